"""A two-layer transformer block in plain jax.numpy: `block`, its loss, and the loss with its gradient.

    tierplan plan examples/transformer_block.py:block --hardware tpu-v4i
    tierplan compare examples/transformer_block.py:loss_and_grad --hardware tpu-v4i --planners greedy,msa,flow,auto

The arguments are shapes only: nothing is allocated, nothing runs.
"""

import jax
import jax.numpy as jnp

BATCH, CONTEXT, WIDTH, HEADS, HIDDEN, LAYERS = 4, 512, 1024, 8, 4096, 2
DTYPE = jnp.bfloat16

Parameters = dict[str, jax.Array]


def normalized(x: jax.Array, scale: jax.Array) -> jax.Array:
    """Root-mean-square normalisation over the last axis, in float32."""
    wide = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + 1e-6)
    return (wide * inverse).astype(x.dtype) * scale


def attention(layer: Parameters, x: jax.Array) -> jax.Array:
    """Causal self-attention with HEADS heads."""
    batch, context, width = x.shape
    query, key, value = (
        (x @ layer[name]).reshape(batch, context, HEADS, width // HEADS) for name in ("query", "key", "value")
    )
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / (width // HEADS) ** 0.5
    causal = jnp.tril(jnp.ones((context, context), bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -1e9), axis=-1)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(batch, context, width)
    return mixed @ layer["out"]


def feed_forward(layer: Parameters, x: jax.Array) -> jax.Array:
    """Gated feed-forward network."""
    return (jax.nn.silu(x @ layer["gate"]) * (x @ layer["up"])) @ layer["down"]


def block(layers: list[Parameters], x: jax.Array) -> jax.Array:
    """The layers, one after the other."""
    for layer in layers:
        x = x + attention(layer, normalized(x, layer["attention_scale"]))
        x = x + feed_forward(layer, normalized(x, layer["feed_forward_scale"]))
    return x


def loss(layers: list[Parameters], x: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared distance from `target`."""
    distance = (block(layers, x) - target).astype(jnp.float32)
    return jnp.mean(distance * distance)


def loss_and_grad(layers: list[Parameters], x: jax.Array, target: jax.Array) -> tuple[jax.Array, list[Parameters]]:
    """The loss and its gradient with respect to every parameter."""
    return jax.value_and_grad(loss)(layers, x, target)


def _shapes() -> tuple[list[dict[str, jax.ShapeDtypeStruct]], jax.ShapeDtypeStruct]:
    shapes = dict.fromkeys(("query", "key", "value", "out"), (WIDTH, WIDTH))
    shapes |= {"gate": (WIDTH, HIDDEN), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}
    shapes |= {"attention_scale": (WIDTH,), "feed_forward_scale": (WIDTH,)}
    layer = {name: jax.ShapeDtypeStruct(shape, DTYPE) for name, shape in shapes.items()}
    return [layer] * LAYERS, jax.ShapeDtypeStruct((BATCH, CONTEXT, WIDTH), DTYPE)


_layers, _x = _shapes()
example_args = {"block": (_layers, _x), "loss": (_layers, _x, _x), "loss_and_grad": (_layers, _x, _x)}
