"""Record a real activation trace: train a small ReLU language model on a text, and note which neurons fire.

This module exists for JAX and imports it at once; import it late.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

import functools
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Bools
from tierplan.sim.flash_trace import ActivationTrace

Weights: TypeAlias = dict[str, jax.Array | NDArray[np.float32]]

_BYTES = 256
_DECAY_FIRST, _DECAY_SECOND, _TINY = 0.9, 0.99, 1e-8


@dataclass(frozen=True, slots=True)
class SmallModel:
    """A decoder over bytes: `n_layers` of attention and a ReLU feed-forward part, `context` bytes long."""

    n_layers: int = 2
    hidden: int = 64
    n_heads: int = 4
    n_neurons: int = 256
    context: int = 128

    def __post_init__(self) -> None:
        for field in ("n_layers", "hidden", "n_heads", "n_neurons", "context"):
            if getattr(self, field) < 1:
                raise InvalidInputError(f"small model: {field} is {getattr(self, field)}; need 1 or more")
        if self.hidden % self.n_heads:
            raise InvalidInputError(f"small model: {self.n_heads} heads do not divide {self.hidden} elements")


@dataclass(frozen=True, slots=True)
class Recording:
    """A trace, and the model's mean loss per byte (nats) on the recorded text."""

    trace: ActivationTrace
    loss: float


def record(
    text: bytes, model: SmallModel | None = None, steps: int = 200, batch: int = 16, rate: float = 3e-3, seed: int = 0
) -> Recording:
    """Train on all of the text but its end, then read the end and record the neurons that are above zero.

    The trace has one token per byte of the last `context` bytes, each seen with all before it, as in generation.

    Raises: InvalidInputError: a text shorter than two contexts and a byte.
    """
    model = model or SmallModel()
    span = model.context + 1
    if len(text) < 2 * span:
        raise InvalidInputError(f"a text of {len(text)} bytes; need {2 * span} or more, or a shorter context")
    if steps < 0 or batch < 1:
        raise InvalidInputError(f"{steps} steps of batch {batch}; need 0 or more steps, batch 1 or more")
    tokens = np.frombuffer(text, dtype=np.uint8).astype(np.int32)
    seen, unseen = tokens[:-span], tokens[-span:]
    random = np.random.default_rng(seed)
    weights = _initial(model, random)
    first = second = jax.tree.map(np.zeros_like, weights)
    for step in range(1, steps + 1):
        starts = random.integers(0, len(seen) - span + 1, batch)
        rows = np.stack([seen[start : start + span] for start in starts])
        weights, first, second = _train_step(model, weights, first, second, rows, step, rate)
    active, loss = _look(model, weights, unseen[None])
    fired: Bools = np.asarray(active, dtype=np.bool_)
    return Recording(ActivationTrace.of(fired.transpose(1, 0, 2)), float(loss))


def _initial(model: SmallModel, random: np.random.Generator) -> Weights:
    d, n = model.hidden, model.n_neurons
    weights: Weights = {"tokens": _drawn(random, _BYTES, d, d), "positions": _drawn(random, model.context, d, d)}
    for layer in range(model.n_layers):
        weights |= {
            f"qkv{layer}": _drawn(random, d, 3 * d, d),
            f"out{layer}": _drawn(random, d, d, d),
            f"up{layer}": _drawn(random, d, n, d),
            f"bias{layer}": np.zeros(n, np.float32),
            f"down{layer}": _drawn(random, n, d, n),
        }
    return weights


def _drawn(random: np.random.Generator, rows: int, columns: int, inputs: int) -> NDArray[np.float32]:
    """A matrix whose products keep the size of their inputs."""
    return (random.standard_normal((rows, columns)) / np.sqrt(inputs)).astype(np.float32)


def _forward(weights: Weights, model: SmallModel, tokens: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
    """Shapes: tokens [B, T] to logits [B, T, 256] and, per layer, feed-forward inputs to ReLU [B, T, neurons]."""
    batch, length = tokens.shape
    x = weights["tokens"][tokens] + weights["positions"][:length]
    before_relu: list[jax.Array] = []
    past = jnp.tril(jnp.ones((length, length), dtype=bool))
    for layer in range(model.n_layers):
        heads = (_normed(x) @ weights[f"qkv{layer}"]).reshape(batch, length, 3, model.n_heads, -1)
        query, key, value = heads[:, :, 0], heads[:, :, 1], heads[:, :, 2]
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / jnp.sqrt(query.shape[-1])
        attention = jax.nn.softmax(jnp.where(past, scores, -jnp.inf), axis=-1)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", attention, value).reshape(batch, length, -1)
        x = x + mixed @ weights[f"out{layer}"]
        inner = _normed(x) @ weights[f"up{layer}"] + weights[f"bias{layer}"]
        before_relu.append(inner)
        x = x + jax.nn.relu(inner) @ weights[f"down{layer}"]
    return _normed(x) @ weights["tokens"].T, before_relu


def _normed(x: jax.Array) -> jax.Array:
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def _loss(weights: Weights, model: SmallModel, rows: jax.Array) -> jax.Array:
    logits, _ = _forward(weights, model, rows[:, :-1])
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), rows[:, 1:, None], axis=-1)
    return -chosen.mean()


@functools.partial(jax.jit, static_argnums=0)
def _look(model: SmallModel, weights: Weights, row: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Shape [layers, T, neurons]: what fires on a row of T + 1 tokens; and the loss."""
    _, before_relu = _forward(weights, model, row[:, :-1])
    return jnp.stack([inner[0] > 0 for inner in before_relu]), _loss(weights, model, row)


@functools.partial(jax.jit, static_argnums=0)
def _train_step(
    model: SmallModel, weights: Weights, first: Weights, second: Weights, rows: jax.Array, step: int, rate: float
) -> tuple[Weights, Weights, Weights]:
    """One step of Adam (Kingma and Ba, 2015)."""
    slope = jax.grad(_loss)(weights, model, rows)
    first = jax.tree.map(lambda m, g: _DECAY_FIRST * m + (1 - _DECAY_FIRST) * g, first, slope)
    second = jax.tree.map(lambda v, g: _DECAY_SECOND * v + (1 - _DECAY_SECOND) * g**2, second, slope)

    def moved(w: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        mean, square = m / (1 - _DECAY_FIRST**step), v / (1 - _DECAY_SECOND**step)
        return w - rate * mean / (jnp.sqrt(square) + _TINY)

    return jax.tree.map(moved, weights, first, second), first, second
