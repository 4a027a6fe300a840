"""Model sizes for tests, counted from configurations."""

import math
from collections.abc import Iterable
from typing import Protocol

from tierplan.frontend.config import read_config
from tierplan.frontend.weights import weights
from tierplan.models import load
from tierplan.sim.flash_weights import FeedForwardWeights, ModelBytes


class _Part(Protocol):
    def shapes(self) -> Iterable[tuple[str, tuple[int, ...]]]: ...


def model_bytes(name: str) -> ModelBytes:
    """The bytes of a built-in model by part, in 16 bits."""
    architecture = read_config(load(name), name)
    parts = weights(architecture)
    ffn = [expert for layer in parts.layers for expert in layer.experts]
    attention = _count(linear for layer in parts.layers for linear in (*layer.qkv, layer.out))
    embedding = _count(part for part in (parts.tokens, parts.positions, parts.head) if part is not None)
    feed_forward = FeedForwardWeights(
        architecture.n_layers, architecture.ffn, architecture.hidden, 3 if ffn[0].gate else 2, 16, _count(ffn)
    )
    other = _count([parts]) - attention - embedding - _count(ffn)
    return ModelBytes(name, feed_forward, 2 * attention, 2 * embedding, 2 * other)


def _count(parts: Iterable[_Part]) -> int:
    return sum(math.prod(shape) for part in parts for _, shape in part.shapes())
