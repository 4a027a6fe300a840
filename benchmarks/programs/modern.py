"""Programs as people write them with `jax.nn` and `jax.lax`: attention of today, routing, loops, transforms."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from programs.layers import Array, Tree, cross_entropy, shape

F32 = jnp.float32


def _rotated(x: Array) -> Array:
    """Rotary positions over `x` [batch, tokens, heads, width]."""
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None] / 10_000 ** (jnp.arange(half) / half)
    sine, cosine = (f(angle)[None, :, None].astype(x.dtype) for f in (jnp.sin, jnp.cos))
    left, right = x[..., :half], x[..., half:]
    return jnp.concatenate([left * cosine - right * sine, right * cosine + left * sine], axis=-1)


def _rms(x: Array, scale: Array) -> Array:
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6) * scale


def llama_block(p: Tree, x: Array) -> Array:
    """A layer with grouped queries, rotary positions and a gated network."""
    b, t, d = x.shape
    h = _rms(x, p["n1"])
    q = _rotated((h @ p["q"]).reshape(b, t, 8, d // 8))
    k, v = _rotated((h @ p["k"]).reshape(b, t, 2, d // 8)), (h @ p["v"]).reshape(b, t, 2, d // 8)
    x = x + jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(b, t, d) @ p["o"]
    h = _rms(x, p["n2"])
    return x + (jax.nn.silu(h @ p["gate"]) * (h @ p["up"])) @ p["down"]


def llama_shapes(d: int = 512) -> Tree:
    """Parameters of `llama_block`."""
    sizes = {"q": (d, d), "k": (d, d // 4), "v": (d, d // 4), "o": (d, d), "gate": (d, 3 * d), "up": (d, 3 * d)}
    return {n: shape(*s) for n, s in sizes.items()} | {"down": shape(3 * d, d), "n1": shape(d), "n2": shape(d)}


def llama_loss(layers: list[Tree], x: Array) -> Array:
    """Two layers, each computed again in the backward pass."""
    for p in layers:
        x = jax.checkpoint(llama_block)(p, x)
    return jnp.mean(jnp.square(x.astype(F32)))


def decode_step(p: Tree, cache: tuple[Array, Array], x: Array, position: Array) -> tuple[Array, tuple[Array, Array]]:
    """One token against a cache of keys and values, which it extends."""
    b, _, d = x.shape
    q, k, v = ((x @ p[n]).reshape(b, 1, 8, d // 8) for n in ("q", "kk", "vv"))
    keys, values = (lax.dynamic_update_slice(c, new, (0, position, 0, 0)) for c, new in zip(cache, (k, v), strict=True))
    seen = jnp.arange(keys.shape[1]) <= position
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, keys) * (d // 8) ** -0.5
    weights = jax.nn.softmax(jnp.where(seen, scores, -1e9), axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, values).reshape(b, 1, d) @ p["o"], (keys, values)


def scanned(layers: Tree, x: Array) -> Array:
    """Layers in a `scan`: a gated network with a residual."""

    def layer(h: Array, p: Tree) -> tuple[Array, Array]:
        h = h + jax.nn.gelu(h @ p["up"]) @ p["down"]
        return h, jnp.mean(h)

    x, means = lax.scan(layer, x, layers)
    return jnp.sum(x) + jnp.sum(means)


def routed(p: Tree, x: Array) -> Array:
    """Tokens routed to two of eight experts by `top_k`, dispatched by one-hot products."""
    gates = jax.nn.softmax(x @ p["router"], axis=-1)
    best, index = lax.top_k(gates, 2)
    share = jnp.einsum("tk,tke->te", best, jax.nn.one_hot(index, 8, dtype=x.dtype))
    h = jax.nn.relu(jnp.einsum("td,edf->etf", x, p["up"]))
    return jnp.einsum("etf,efd,te->td", h, p["down"], share)


def ensemble(p: Tree, x: Array) -> Array:
    """Sixteen networks side by side with `vmap`."""
    return jax.vmap(lambda w: jax.nn.elu(jax.nn.elu(x @ w["a"]) @ w["b"]) @ w["c"])(p)


def private_gradients(p: Tree, x: Array, y: Array) -> Tree:
    """A gradient for every example, clipped: `vmap` of `grad`."""

    def loss(p: Tree, x: Array, y: Array) -> Array:
        return jnp.sum((jnp.tanh(x @ p["a"]) @ p["b"] - y) ** 2)

    grads = jax.vmap(jax.grad(loss), (None, 0, 0))(p, x, y)
    norm = jnp.sqrt(sum(jnp.sum(g**2, axis=(1, 2)) for g in jax.tree.leaves(grads)))
    scale = jnp.minimum(1.0, 1.0 / norm)
    return jax.tree.map(lambda g: jnp.einsum("n,nij->ij", scale, g), grads)


def gru(p: Tree, x: Array) -> Array:
    """A gated recurrent unit over `x` [tokens, batch, width]."""

    def turn(h: Array, x: Array) -> tuple[Array, Array]:
        r, z = (jax.nn.sigmoid(x @ p[f"x{g}"] + h @ p[f"h{g}"]) for g in "rz")
        n = jnp.tanh(x @ p["xn"] + r * (h @ p["hn"]))
        h = (1 - z) * n + z * h
        return h, h

    return lax.scan(turn, jnp.zeros(x.shape[1:], x.dtype), x)[1]


def ode(p: Tree, x: Array) -> Array:
    """Runge-Kutta steps of a neural differential equation, in a `fori_loop`."""

    def field(x: Array) -> Array:
        return jnp.tanh(x @ p["a"]) @ p["b"]

    def step(_: Any, x: Array) -> Array:
        k1 = field(x)
        k2 = field(x + 0.05 * k1)
        k3 = field(x + 0.05 * k2)
        k4 = field(x + 0.1 * k3)
        return x + 0.1 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    return lax.fori_loop(0, 10, step, x)


def guarded(p: Tree, x: Array) -> Array:
    """The deep branch for hard inputs, the shallow one for the others."""

    def deep(x: Array) -> Array:
        return jax.nn.relu(jax.nn.relu(x @ p["a"]) @ p["b"]) @ p["c"]

    return lax.cond(jnp.max(x) > 1.0, deep, lambda x: x @ p["c"], x)


def vae_loss(p: Tree, x: Array, noise: Array) -> Array:
    """A variational autoencoder's loss with given noise."""
    h = jax.nn.softplus(x @ p["enc"])
    mean, log_var = h @ p["mean"], h @ p["var"]
    z = mean + jnp.exp(0.5 * log_var) * noise
    out = jax.nn.sigmoid(jax.nn.softplus(z @ p["dec"]) @ p["out"])
    return jnp.mean((out - x) ** 2) - 0.5 * jnp.mean(1 + log_var - mean**2 - jnp.exp(log_var))


def hessian_product(p: Tree, direction: Tree, x: Array) -> Tree:
    """A product with the Hessian: forward over backward."""

    def loss(p: Tree) -> Array:
        return jnp.mean(jax.nn.swish(x @ p["a"]) @ p["b"])

    return jax.jvp(jax.grad(loss), (p,), (direction,))[1]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _clipped(x: Array, most: float) -> Array:
    return x


def _clipped_fwd(x: Array, most: float) -> tuple[Array, None]:
    return x, None


def _clipped_bwd(most: float, _: None, g: Array) -> tuple[Array]:
    return (jnp.clip(g, -most, most),)


_clipped.defvjp(_clipped_fwd, _clipped_bwd)


def clipped_loss(p: Tree, x: Array) -> Array:
    """A network whose gradients are clipped on their way, by `custom_vjp`."""
    h = _clipped(jax.nn.leaky_relu(x @ p["a"]), 0.1)
    return jnp.mean(_clipped(h @ p["b"], 0.1) ** 2)


def contrastive_loss(p: Tree, images: Array, texts: Array) -> Array:
    """Two towers, every pair compared."""
    a, b = images @ p["image"], texts @ p["text"]
    a, b = (v * lax.rsqrt(jnp.sum(v * v, axis=-1, keepdims=True)) for v in (a, b))
    logits = (a @ b.T * jnp.exp(p["scale"])).astype(F32)
    labels = jnp.arange(logits.shape[0])
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def low_rank_loss(adapters: Tree, p: Tree, x: Array) -> Array:
    """Fine-tuning of low-rank adapters beside frozen weights."""
    for a, w in zip(adapters, p, strict=True):
        x = jax.nn.gelu(x @ w + (x @ a["down"]) @ a["up"])
    return jnp.mean(x.astype(F32) ** 2)


def denoise(p: Tree, x: Array, t: Array) -> Array:
    """One step of a diffusion model: convolutions conditioned on the time."""
    conv = partial(lax.conv_general_dilated, padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    angle = t[:, None] * jnp.exp(jnp.linspace(0.0, -9.0, 32))
    time = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1) @ p["time"]
    h = jax.nn.silu(conv(x, p["in"], (1, 1)) + time[:, None, None])
    down = jax.nn.silu(conv(h, p["down"], (2, 2)))
    up = conv(down, p["up"], (1, 1), padding=[(2, 1), (2, 1)], lhs_dilation=(2, 2))
    return conv(jnp.concatenate([h, up], axis=-1), p["out"], (1, 1))
