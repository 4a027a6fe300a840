"""Sequence models: BERT, GPT-2, ViT, a mixture of experts, MLP-Mixer, and recurrent ones."""

import jax
import jax.numpy as jnp
from jax import lax

from programs.layers import Array, Tree, block, block_shapes, cross_entropy, norm, shape


def encoder(p: Tree, tokens: Array, *, heads: int, causal: bool) -> Array:
    """Token embeddings through all layers."""
    x = p["embed"][tokens] + p["position"]
    for layer in p["layers"]:
        x = block(layer, x, heads, causal=causal)
    return norm(x, p["last"])


def encoder_shapes(layers: int, width: int, vocabulary: int, tokens: int) -> Tree:
    """Parameters of `encoder`."""
    return {
        "embed": shape(vocabulary, width), "position": shape(tokens, width), "last": shape(width),
        "layers": [block_shapes(width, 4 * width) for _ in range(layers)],
    }  # fmt: skip


def bert(p: Tree, tokens: Array) -> Array:
    """Devlin et al. 2018: hidden states of all tokens."""
    return encoder(p, tokens, heads=12, causal=False)


def gpt2(p: Tree, tokens: Array) -> Array:
    """Radford et al. 2019: logits of the last token."""
    return encoder(p, tokens, heads=12, causal=True)[:, -1] @ p["embed"].T


def language_loss(p: Tree, tokens: Array, labels: Array) -> Array:
    """Loss of `gpt2` over all tokens."""
    logits = encoder(p, tokens, heads=12, causal=True) @ p["embed"].T
    return cross_entropy(logits.astype(jnp.float32), labels)


def vit(p: Tree, patches: Array) -> Array:
    """Dosovitskiy et al. 2020, on patches that are cut already."""
    x = patches @ p["patch"] + p["position"]
    for layer in p["layers"]:
        x = block(layer, x, 12, causal=False)
    return norm(x, p["last"]).mean(axis=1) @ p["head"]


def vit_shapes(layers: int = 12, width: int = 768, patches: int = 196) -> Tree:
    """Parameters of `vit`, base size."""
    return {
        "patch": shape(768, width), "position": shape(patches, width), "last": shape(width),
        "layers": [block_shapes(width, 4 * width) for _ in range(layers)], "head": shape(width, 1000),
    }  # fmt: skip


def vit_loss(p: Tree, patches: Array, labels: Array) -> Array:
    """Loss of `vit`."""
    return cross_entropy(vit(p, patches).astype(jnp.float32), labels)


def mixer(p: Tree, x: Array) -> Array:
    """Tolstikhin et al. 2021: MLPs over patches and over channels by turns."""
    for layer in p["layers"]:
        y = norm(x, layer["n1"]).transpose(0, 2, 1)
        x = x + (jax.nn.gelu(y @ layer["t1"]) @ layer["t2"]).transpose(0, 2, 1)
        x = x + jax.nn.gelu(norm(x, layer["n2"]) @ layer["c1"]) @ layer["c2"]
    return x.mean(axis=1) @ p["head"]


def mixer_shapes(layers: int = 12, patches: int = 196, width: int = 768) -> Tree:
    """Parameters of `mixer`, B/16."""
    layer = {
        "t1": shape(patches, 384), "t2": shape(384, patches), "c1": shape(width, 3072), "c2": shape(3072, width),
        "n1": shape(width), "n2": shape(width),
    }  # fmt: skip
    return {"layers": [dict(layer) for _ in range(layers)], "head": shape(width, 1000)}


def mixer_loss(p: Tree, x: Array, labels: Array) -> Array:
    """Loss of `mixer`."""
    return cross_entropy(mixer(p, x).astype(jnp.float32), labels)


def experts(p: Tree, x: Array) -> Array:
    """Layers whose MLP is a mixture of eight experts, each token through all, weighted by a router."""
    for layer in p["layers"]:
        y = norm(x, layer["n"])
        weight = jax.nn.softmax(y @ layer["router"], axis=-1)
        total = jnp.zeros_like(x)
        for i, expert in enumerate(layer["experts"]):
            total = total + weight[..., i : i + 1] * (jax.nn.gelu(y @ expert["up"]) @ expert["down"])
        x = x + total
    return x


def experts_shapes(layers: int = 6, width: int = 1024, hidden: int = 4096) -> Tree:
    """Parameters of `experts`."""
    expert = {"up": shape(width, hidden), "down": shape(hidden, width)}
    layer = {"n": shape(width), "router": shape(width, 8), "experts": [dict(expert) for _ in range(8)]}
    return {"layers": [dict(layer) for _ in range(layers)]}


def lstm(p: Tree, tokens: Array) -> Array:
    """A language model of two LSTM layers, over tokens [batch, time]; logits of the last."""
    x = p["embed"][tokens].transpose(1, 0, 2)
    for layer in p["layers"]:

        def cell(carry: tuple[Array, Array], now: Array, layer: Tree = layer) -> tuple[tuple[Array, Array], Array]:
            h, c = carry
            i, f, g, o = jnp.split(now @ layer["w"] + h @ layer["u"], 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((x.shape[1], layer["u"].shape[0]), x.dtype)
        _, x = lax.scan(cell, (zero, zero), x)
    return x[-1] @ p["out"]


def lstm_shapes(width: int = 1024, vocabulary: int = 32_000) -> Tree:
    """Parameters of `lstm`."""
    layer = {"w": shape(width, 4 * width), "u": shape(width, 4 * width)}
    return {"embed": shape(vocabulary, width), "layers": [layer, dict(layer)], "out": shape(width, vocabulary)}


def lstm_loss(p: Tree, tokens: Array, labels: Array) -> Array:
    """Loss of `lstm` for the token after the last."""
    return cross_entropy(lstm(p, tokens).astype(jnp.float32), labels)


def wavernn(p: Tree, x: Array) -> Array:
    """A recurrent vocoder after Kalchbrenner et al. 2018: a gated cell of 896 units and two dual softmax heads."""

    def cell(h: Array, now: Array) -> tuple[Array, Array]:
        u, r, e = jnp.split(h @ p["r"], 3, axis=-1)
        iu, ir, ie = jnp.split(now @ p["i"], 3, axis=-1)
        u, r = jax.nn.sigmoid(u + iu), jax.nn.sigmoid(r + ir)
        h = u * h + (1 - u) * jnp.tanh(r * e + ie)
        y = jax.nn.relu(h @ p["o1"]) @ p["o2"]
        return h, y

    zero = jnp.zeros((x.shape[1], p["r"].shape[0]), x.dtype)
    return lax.scan(cell, zero, x)[1]


def wavernn_shapes(units: int = 896) -> Tree:
    """Parameters of `wavernn`."""
    return {"r": shape(units, 3 * units), "i": shape(3, 3 * units), "o1": shape(units, units), "o2": shape(units, 256)}
