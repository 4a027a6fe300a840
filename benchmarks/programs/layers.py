"""Layers that the programs share: pure functions of parameters, and trees of their shapes."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
Tree = Any


def shape(*dims: int, dtype: Any = jnp.bfloat16) -> jax.ShapeDtypeStruct:
    """An array of which only shape and type are known."""
    return jax.ShapeDtypeStruct(dims, dtype)


def norm(x: Array, scale: Array) -> Array:
    """Layer normalisation over the last axis."""
    x = x - x.mean(axis=-1, keepdims=True)
    return x * lax.rsqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5) * scale


def attention(p: Tree, x: Array, heads: int, *, causal: bool) -> Array:
    """Self-attention over `x` [batch, tokens, width]."""
    b, t, d = x.shape
    q, k, v = (jnp.reshape(x @ p[n], (b, t, heads, d // heads)).transpose(0, 2, 1, 3) for n in ("q", "k", "v"))
    scores = q @ k.transpose(0, 1, 3, 2) * (d // heads) ** -0.5
    if causal:
        scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -1e9)
    mixed = jax.nn.softmax(scores, axis=-1) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(b, t, d) @ p["o"]


def block(p: Tree, x: Array, heads: int, *, causal: bool) -> Array:
    """One layer of a transformer."""
    x = x + attention(p, norm(x, p["n1"]), heads, causal=causal)
    return x + jax.nn.gelu(norm(x, p["n2"]) @ p["up"]) @ p["down"]


def block_shapes(width: int, hidden: int) -> Tree:
    """The parameters of `block`."""
    square = {name: shape(width, width) for name in "qkvo"}
    return square | {"up": shape(width, hidden), "down": shape(hidden, width), "n1": shape(width), "n2": shape(width)}


def conv(x: Array, w: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """Convolution of `x` [batch, height, width, channels] with `w` [height, width, in, out]."""
    return lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pool(x: Array, size: int = 2, stride: int = 2) -> Array:
    """The largest of each window."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), "SAME")


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Mean loss of `logits` [..., classes] for integer labels."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)
    return -chosen.mean()
