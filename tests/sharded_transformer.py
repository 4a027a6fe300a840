"""Compiles one decode step of a sharded transformer with JAX, on as many host devices as its argument says.

Run as a program, by `test_parallel_jax.py`, since the number of devices is fixed once JAX starts. Prints the HLO text
of one device. Layers are split as Megatron splits them: heads and inner widths over devices, a sum after each block.
The vocabulary is split as well, so that the token table ends with a sum, and the logits are put together.
"""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

AXIS = "tp"
WHOLE, ROWS, COLUMNS, HEADS = (
    PartitionSpec(),
    PartitionSpec(AXIS),
    PartitionSpec(None, AXIS),
    PartitionSpec(None, AXIS, None, None),
)
LAYER = {
    "q": COLUMNS, "k": COLUMNS, "v": COLUMNS, "o": ROWS, "gate": COLUMNS, "up": COLUMNS, "down": ROWS,
    "keys": HEADS, "values": HEADS,
}  # fmt: skip


def normed(x):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)


def step(tokens, table, head, layers, *, width):
    rank, n_rows = jax.lax.axis_index(AXIS), table.shape[0]
    own = tokens - rank * n_rows
    x = jnp.where(((own >= 0) & (own < n_rows))[:, None], table[jnp.clip(own, 0, n_rows - 1)], 0.0)
    x = jax.lax.psum(x, AXIS)
    for layer in layers:
        h = normed(x)
        q, k, v = ((h @ layer[name]).reshape(h.shape[0], -1, width) for name in "qkv")
        keys, values = (layer[name].at[:, :, -1].set(new) for name, new in (("keys", k), ("values", v)))
        group = q.shape[1] // keys.shape[1]
        q = q.reshape(q.shape[0], keys.shape[1], group, width)
        scores = jax.nn.softmax(jnp.einsum("bhgd,bhcd->bhgc", q, keys) * width**-0.5)
        mixed = jnp.einsum("bhgc,bhcd->bhgd", scores, values).reshape(h.shape[0], -1)
        x = x + jax.lax.psum(mixed @ layer["o"], AXIS)
        h = normed(x)
        x = x + jax.lax.psum((jax.nn.silu(h @ layer["gate"]) * (h @ layer["up"])) @ layer["down"], AXIS)
    return jax.lax.all_gather(normed(x) @ head, AXIS, axis=1, tiled=True)


def main() -> None:
    """Print the compiled program of one device."""
    extents = json.loads(sys.argv[1])
    batch, context, hidden, inner, vocab, heads, kv_heads, width, n_layers = (
        extents[name]
        for name in ("batch", "context", "hidden", "inner", "vocab", "heads", "kv_heads", "width", "layers")
    )
    shapes = {
        "q": (hidden, heads * width), "k": (hidden, kv_heads * width), "v": (hidden, kv_heads * width),
        "o": (heads * width, hidden), "gate": (hidden, inner), "up": (hidden, inner), "down": (inner, hidden),
        "keys": (batch, kv_heads, context, width), "values": (batch, kv_heads, context, width),
    }  # fmt: skip
    float_of = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    layers = [{name: float_of(shape) for name, shape in shapes.items()} for _ in range(n_layers)]
    mesh = Mesh(jax.devices(), (AXIS,))
    sharded = jax.shard_map(
        partial(step, width=width), mesh=mesh, in_specs=(WHOLE, ROWS, COLUMNS, [LAYER] * n_layers), out_specs=WHOLE,
        check_vma=False,
    )  # fmt: skip
    tokens = jax.ShapeDtypeStruct((batch,), jnp.int32)
    print(
        jax.jit(sharded).lower(tokens, float_of((vocab, hidden)), float_of((hidden, vocab)), layers).compile().as_text()
    )


if __name__ == "__main__":
    main()
