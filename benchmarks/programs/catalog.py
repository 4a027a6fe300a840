"""Some forty programs for comparisons with XLA: name, function, arguments, small enough to compile in seconds."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from programs import convolutional as conv
from programs import modern, modules, others
from programs import sequences as seq
from programs.layers import Tree, shape

Entry = tuple[str, Callable[..., Any], tuple[Any, ...]]
_F32, _INT = jnp.float32, jnp.int32


def _f32(*dims: int) -> jax.ShapeDtypeStruct:
    return shape(*dims, dtype=_F32)


def _ints(*dims: int) -> jax.ShapeDtypeStruct:
    return shape(*dims, dtype=_INT)


def _square(names: str, d: int) -> Tree:
    return {name: _f32(d, d) for name in names}


def programs() -> Iterator[Entry]:
    """Yield the programs."""
    yield from _from_the_suite()
    yield from _modern()
    yield from _from_libraries()


def _from_the_suite() -> Iterator[Entry]:
    grad, image, label = jax.value_and_grad, shape(2, 64, 64, 3), _ints(2)
    yield "vgg16", conv.vgg16, (conv.vgg16_shapes(), shape(1, 224, 224, 3))
    yield "alexnet-train", grad(conv.classifier_loss(conv.alexnet)), (
        conv.alexnet_shapes(), shape(2, 224, 224, 3), label,
    )  # fmt: skip
    yield "resnet50", conv.resnet50, (conv.resnet50_shapes(), image)
    yield "unet-train", grad(conv.unet_loss), (conv.unet_shapes(), image, _ints(2, 64, 64))
    params, tokens = seq.encoder_shapes(2, 192, 1000, 64), _ints(2, 64)
    yield "bert", seq.bert, (params, tokens)
    yield "gpt2", seq.gpt2, (params, tokens)
    yield "gpt2-train", grad(seq.language_loss), (params, tokens, tokens)
    yield "vit", seq.vit, (seq.vit_shapes(layers=2), shape(2, 196, 768))
    yield "mixer", seq.mixer, (seq.mixer_shapes(), shape(1, 196, 768))
    yield "experts", seq.experts, (seq.experts_shapes(), shape(16, 1024))
    yield "lstm", seq.lstm, (seq.lstm_shapes(), _ints(4, 8))
    yield "lstm-train", grad(seq.lstm_loss), (seq.lstm_shapes(), _ints(4, 4), _ints(4))
    yield "wavernn", seq.wavernn, (seq.wavernn_shapes(), shape(4, 8, 3))
    edges, nodes = _ints(600), shape(200, 512)
    yield "gnn-train", grad(others.gnn_loss), (others.gnn_shapes(), nodes, edges, edges, _ints(200))
    small = jax.tree.map(lambda leaf: _f32(*leaf.shape), seq.vit_shapes(layers=1))  # 0.999 is 1 in bfloat16
    yield "adam", others.adam, (small, small, small, small)
    yield "bilinear", others.bilinear, (shape(512, 512), shape(512, 512))


def _modern() -> Iterator[Entry]:
    m, d, x = modern, 512, shape(2, 64, 512)
    yield "llama-block", m.llama_block, (m.llama_shapes(), x)
    yield "llama-remat-train", jax.grad(m.llama_loss), ([m.llama_shapes(), m.llama_shapes()], x)
    cache = (shape(2, 128, 8, 64), shape(2, 128, 8, 64))
    step = {name: shape(d, d) for name in ("q", "kk", "vv", "o")}
    yield "decode-step", m.decode_step, (step, cache, shape(2, 1, d), _ints())
    layers = {"up": shape(4, d, 1024), "down": shape(4, 1024, d)}
    yield "scanned-layers-train", jax.grad(m.scanned), (layers, shape(64, d))
    experts = {"router": _f32(128, 8), "up": _f32(8, 128, 256), "down": _f32(8, 256, 128)}
    yield "routed-experts", m.routed, (experts, _f32(256, 128))
    yield "ensemble", m.ensemble, ({n: _f32(16, 128, 128) for n in "abc"}, _f32(64, 128))
    yield "private-gradients", m.private_gradients, (_square("ab", 64), _f32(32, 16, 64), _f32(32, 16, 64))
    gates = {f"{a}{b}": _f32(128, 128) for a in "xh" for b in "rzn"}
    yield "gru", m.gru, (gates, _f32(16, 32, 128))
    yield "ode", m.ode, (_square("ab", 256), _f32(32, 256))
    yield "guarded", m.guarded, (_square("abc", 256), _f32(32, 256))
    vae = {"enc": (784, 400), "mean": (400, 20), "var": (400, 20), "dec": (20, 400), "out": (400, 784)}
    arrays = {name: _f32(*dims) for name, dims in vae.items()}
    yield "vae-train", jax.value_and_grad(m.vae_loss), (arrays, _f32(64, 784), _f32(64, 20))
    yield "hessian-product", m.hessian_product, (_square("ab", 256), _square("ab", 256), _f32(64, 256))
    yield "custom-vjp-train", jax.grad(m.clipped_loss), (_square("ab", 256), _f32(64, 256))
    towers = {"image": _f32(512, 256), "text": _f32(384, 256), "scale": _f32()}
    yield "contrastive-train", jax.grad(m.contrastive_loss), (towers, _f32(64, 512), _f32(64, 384))
    adapters = [{"down": shape(d, 8), "up": shape(8, d)} for _ in range(3)]
    yield "low-rank-train", jax.grad(m.low_rank_loss), (adapters, [shape(d, d) for _ in range(3)], shape(64, d))
    noise = {"time": (64, 64), "in": (3, 3, 3, 64), "down": (3, 3, 64, 64), "up": (3, 3, 64, 64), "out": (3, 3, 128, 3)}
    yield "denoise", m.denoise, ({n: _f32(*dims) for n, dims in noise.items()}, _f32(2, 32, 32, 3), _f32(2))


def _from_libraries() -> Iterator[Entry]:
    def entry(name: str, made: modules.Made, *args: Any) -> Entry:
        return name, made[0], (made[1], *args)

    yield entry("nnx-mlp", modules.nnx_mlp(), _f32(64, 256))
    yield entry("nnx-cnn-train", modules.nnx_cnn_grad(), _f32(8, 28, 28, 1), _ints(8))
    yield entry("nnx-block", modules.nnx_block(), _f32(2, 64, 256))
    yield entry("nnx-lstm", modules.nnx_lstm(), _f32(8, 16, 64))
    yield entry("eqx-mlp", modules.eqx_mlp(), _f32(64, 128))
    yield entry("eqx-mlp-train", modules.eqx_mlp_grad(), _f32(64, 128), _ints(64))
    yield entry("eqx-cnn", modules.eqx_cnn(), _f32(4, 3, 32, 32))
    yield entry("eqx-attention", modules.eqx_attention(), _f32(2, 64, 256))
    yield entry("eqx-gru", modules.eqx_gru(), _f32(32, 64))
    yield entry("nnx-language-train", modules.nnx_language_grad(), _ints(2, 64), _ints(2, 64))
