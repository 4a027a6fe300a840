"""Image networks: AlexNet, VGG-16, ResNet-50 and a U-Net."""

import jax
import jax.numpy as jnp

from programs.layers import Array, Tree, conv, cross_entropy, pool, shape

_CLASSES = 1000
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
_VGG = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def alexnet(p: Tree, x: Array) -> Array:
    """Krizhevsky et al. 2012, one tower."""
    x = pool(jax.nn.relu(conv(x, p["c1"], 4)), 3, 2)
    x = pool(jax.nn.relu(conv(x, p["c2"])), 3, 2)
    x = jax.nn.relu(conv(jax.nn.relu(conv(x, p["c3"])), p["c4"]))
    x = pool(jax.nn.relu(conv(x, p["c5"])), 3, 2)
    x = x.reshape(x.shape[0], -1)
    return jax.nn.relu(jax.nn.relu(x @ p["f1"]) @ p["f2"]) @ p["f3"]


def alexnet_shapes() -> Tree:
    """Parameters of `alexnet`."""
    convs = {"c1": (11, 11, 3, 96), "c2": (5, 5, 96, 256), "c3": (3, 3, 256, 384), "c4": (3, 3, 384, 384)}
    convs |= {"c5": (3, 3, 384, 256)}
    dense = {"f1": (7 * 7 * 256, 4096), "f2": (4096, 4096), "f3": (4096, _CLASSES)}
    return {name: shape(*dims) for name, dims in (convs | dense).items()}


def vgg16(p: Tree, x: Array) -> Array:
    """Simonyan and Zisserman 2014, configuration D."""
    for stage, (_, n) in enumerate(_VGG):
        for i in range(n):
            x = jax.nn.relu(conv(x, p[f"c{stage}_{i}"]))
        x = pool(x)
    x = x.reshape(x.shape[0], -1)
    return jax.nn.relu(jax.nn.relu(x @ p["f1"]) @ p["f2"]) @ p["f3"]


def vgg16_shapes() -> Tree:
    """Parameters of `vgg16`."""
    found, width = {}, 3
    for stage, (out, n) in enumerate(_VGG):
        for i in range(n):
            found[f"c{stage}_{i}"], width = shape(3, 3, width, out), out
    return found | {"f1": shape(7 * 7 * 512, 4096), "f2": shape(4096, 4096), "f3": shape(4096, _CLASSES)}


def resnet50(p: Tree, x: Array) -> Array:
    """He et al. 2015, batch normalisation folded into scales."""
    x = pool(jax.nn.relu(conv(x, p["stem"], 2)), 3, 2)
    for stage, (_, n) in enumerate(_STAGES):
        for i in range(n):
            at, stride = f"s{stage}_{i}", 2 if stage and not i else 1
            y = jax.nn.relu(conv(x, p[at + "a"]) * p[at + "ga"])
            y = jax.nn.relu(conv(y, p[at + "b"], stride) * p[at + "gb"])
            y = conv(y, p[at + "c"]) * p[at + "gc"]
            x = jax.nn.relu(y + (conv(x, p[at + "s"], stride) if i == 0 else x))
    return x.mean(axis=(1, 2)) @ p["head"]


def resnet50_shapes() -> Tree:
    """Parameters of `resnet50`."""
    found, width = {"stem": shape(7, 7, 3, 64)}, 64
    for stage, (inner, n) in enumerate(_STAGES):
        for i in range(n):
            at, out = f"s{stage}_{i}", 4 * inner
            found |= {at + "a": shape(1, 1, width, inner), at + "b": shape(3, 3, inner, inner)}
            found |= {at + "c": shape(1, 1, inner, out), at + "ga": shape(inner), at + "gb": shape(inner)}
            found |= {at + "gc": shape(out)}
            if i == 0:
                found[at + "s"] = shape(1, 1, width, out)
            width = out
    return found | {"head": shape(width, _CLASSES)}


def unet(p: Tree, x: Array) -> Array:
    """Ronneberger et al. 2015 with padded convolutions and four levels."""
    skips = []
    for level in range(4):
        x = jax.nn.relu(conv(jax.nn.relu(conv(x, p[f"d{level}a"])), p[f"d{level}b"]))
        skips.append(x)
        x = pool(x)
    x = jax.nn.relu(conv(jax.nn.relu(conv(x, p["ma"])), p["mb"]))
    for level in reversed(range(4)):
        b, h, w, c = x.shape
        x = jax.image.resize(x, (b, 2 * h, 2 * w, c), "nearest")
        x = jnp.concatenate([skips[level], x], axis=-1)
        x = jax.nn.relu(conv(jax.nn.relu(conv(x, p[f"u{level}a"])), p[f"u{level}b"]))
    return conv(x, p["out"])


def unet_shapes() -> Tree:
    """Parameters of `unet`."""
    widths = [64, 128, 256, 512, 1024]
    found, before = {}, 3
    for level in range(4):
        out = widths[level]
        found |= {f"d{level}a": shape(3, 3, before, out), f"d{level}b": shape(3, 3, out, out)}
        before = out
    found |= {"ma": shape(3, 3, 512, 1024), "mb": shape(3, 3, 1024, 1024)}
    for level in range(4):
        out = widths[level]
        found |= {f"u{level}a": shape(3, 3, out + widths[level + 1], out), f"u{level}b": shape(3, 3, out, out)}
    return found | {"out": shape(1, 1, 64, 2)}


def classifier_loss(network):  # type: ignore[no-untyped-def]
    """The loss of a network that gives logits of images."""

    def loss(p: Tree, x: Array, labels: Array) -> Array:
        return cross_entropy(network(p, x).astype(jnp.float32), labels)

    return loss


def unet_loss(p: Tree, x: Array, labels: Array) -> Array:
    """The loss of `unet` for a class per pixel."""
    return cross_entropy(unet(p, x).astype(jnp.float32), labels)
