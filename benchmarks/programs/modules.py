"""Modules of flax.nnx and of equinox as pure functions of their state, by shape only."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

from programs.layers import Array, Tree, cross_entropy

Made = tuple[Callable[..., Any], Tree]
"""A function of the state first, and the shapes of the state."""


def _nnx(make: Callable[[], nnx.Module]) -> Made:
    """A module's call as a function of its state; the module is never built in memory."""
    definition, state = nnx.split(nnx.eval_shape(make))
    plain = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)

    def call(state: Any, *args: Array) -> Array:
        return nnx.merge(definition, state)(*args)

    return call, plain


def _eqx(make: Callable[[], Any], batched: bool = True) -> Made:
    """A module's call, over a batch, as a function of its arrays."""
    arrays, rest = eqx.partition(eqx.filter_eval_shape(make), lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def call(arrays: Any, *args: Array) -> Array:
        module = eqx.combine(arrays, rest)
        return jax.vmap(module)(*args) if batched else module(*args)

    return call, arrays


def _key() -> Array:
    return jax.random.key(0)


class _Mlp(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.up, self.norm = nnx.Linear(256, 1024, rngs=rngs), nnx.LayerNorm(1024, rngs=rngs)
        self.down = nnx.Linear(1024, 256, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.down(nnx.gelu(self.norm(self.up(x))))


class _Cnn(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 32, kernel_size=(3, 3), rngs=rngs)
        self.second = nnx.Conv(32, 64, kernel_size=(3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(32, use_running_average=True, rngs=rngs)
        self.head = nnx.Linear(64 * 49, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.avg_pool(nnx.relu(self.norm(self.first(x))), (2, 2), (2, 2))
        x = nnx.max_pool(nnx.relu(self.second(x)), (2, 2), (2, 2))
        return self.head(x.reshape(x.shape[0], -1))


class _Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(8, in_features=256, decode=False, rngs=rngs)
        self.norm = nnx.RMSNorm(256, rngs=rngs)
        self.mlp = _Mlp(rngs)

    def __call__(self, x: Array) -> Array:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class _Language(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed, self.block = nnx.Embed(1000, 256, rngs=rngs), _Block(rngs)

    def __call__(self, tokens: Array) -> Array:
        return self.embed.attend(self.block(self.embed(tokens)))


class _Recurrent(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.rnn = nnx.RNN(nnx.LSTMCell(64, 128, rngs=rngs))

    def __call__(self, x: Array) -> Array:
        return self.rnn(x)


def nnx_mlp() -> Made:
    """Two linear layers with a normalisation."""
    return _nnx(lambda: _Mlp(nnx.Rngs(0)))


def nnx_cnn_grad() -> Made:
    """The gradient of a small classifier of images."""
    call, state = _nnx(lambda: _Cnn(nnx.Rngs(0)))
    return jax.grad(lambda p, x, y: cross_entropy(call(p, x), y)), state


def nnx_block() -> Made:
    """A transformer's layer."""
    return _nnx(lambda: _Block(nnx.Rngs(0)))


def nnx_language_grad() -> Made:
    """The gradient of a one-layer language model with tied embeddings."""
    call, state = _nnx(lambda: _Language(nnx.Rngs(0)))
    return jax.value_and_grad(lambda p, x, y: cross_entropy(call(p, x), y), allow_int=True), state


def nnx_lstm() -> Made:
    """A recurrent network over a sequence."""
    return _nnx(lambda: _Recurrent(nnx.Rngs(0)))


def eqx_mlp() -> Made:
    """A perceptron of three layers."""
    return _eqx(lambda: eqx.nn.MLP(128, 10, 512, 3, key=_key()))


def eqx_mlp_grad() -> Made:
    """Its gradient."""
    call, arrays = eqx_mlp()
    return jax.grad(lambda p, x, y: cross_entropy(call(p, x), y)), arrays


def eqx_cnn() -> Made:
    """Convolutions, pooling, a linear head."""

    def make() -> Any:
        keys = jax.random.split(_key(), 3)
        return eqx.nn.Sequential(
            [
                eqx.nn.Conv2d(3, 32, 3, key=keys[0]),
                eqx.nn.Lambda(jax.nn.relu),
                eqx.nn.MaxPool2d(2, 2),
                eqx.nn.Conv2d(32, 64, 3, stride=2, key=keys[1]),
                eqx.nn.Lambda(jnp.ravel),
                eqx.nn.Linear(64 * 7 * 7, 10, key=keys[2]),
            ]
        )

    return _eqx(make)


def eqx_attention() -> Made:
    """Attention of eight heads over one sequence."""
    call, arrays = _eqx(lambda: eqx.nn.MultiheadAttention(8, 256, key=_key()))
    return lambda p, x: call(p, x, x, x), arrays


def eqx_gru() -> Made:
    """A gated recurrent unit in a `scan`."""
    call, arrays = _eqx(lambda: eqx.nn.GRUCell(64, 128, key=_key()), batched=False)

    def run(p: Tree, x: Array) -> Array:
        return jax.lax.scan(lambda h, x: (call(p, x, h), None), jnp.zeros(128), x)[0]

    return run, arrays
