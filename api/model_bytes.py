"""How many bytes each part of a language model takes, counted from its configuration."""

import math
from collections.abc import Iterable
from typing import Protocol

from tierplan.frontend.config import read_config
from tierplan.frontend.encoder_decoder import EncoderDecoder
from tierplan.frontend.program import Model
from tierplan.frontend.weights import Mixture, weights
from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError
from tierplan.models import load
from tierplan.sim.flash_weights import FeedForwardWeights, ModelBytes


class _Part(Protocol):
    def shapes(self) -> Iterable[tuple[str, tuple[int, ...]]]: ...


def bytes_of(architecture: Model, element_bits: int | None = None) -> ModelBytes:
    """The bytes of a model by part; its elements have `element_bits`, or the width that its configuration names.

    Raises: InvalidInputError: a mixture of experts, whose feed-forward parts are not one per layer.
    """
    if isinstance(architecture, EncoderDecoder) or architecture.patches:
        raise InvalidInputError(f"'{architecture.name}' ({architecture.family}) is no decoder; name a language model")
    if architecture.n_experts:
        raise InvalidInputError(
            f"'{architecture.name}' has {architecture.n_experts} experts per layer; "
            "name a model with one feed-forward part"
        )
    parts = weights(architecture)
    ffn = [layer.mlp for layer in parts.layers if not isinstance(layer.mlp, Mixture)]
    attention = _count(linear for layer in parts.layers for linear in (*layer.qkv, *_present(layer.latent), layer.out))
    embedding = _count(part for part in (parts.tokens, parts.positions, parts.head) if part is not None)
    other = _count([parts]) - attention - embedding - _count(ffn)
    bits = element_bits or BITS[architecture.dtype]
    n_matrices = 3 if ffn[0].gate else 2
    feed_forward = FeedForwardWeights(
        architecture.n_layers, architecture.ffn, architecture.hidden, n_matrices, bits, _count(ffn)
    )
    return ModelBytes(architecture.name, feed_forward, attention * bits // 8, embedding * bits // 8, other * bits // 8)


def model_bytes(name: str) -> ModelBytes:
    """The bytes of a built-in model by part, in 16 bits."""
    counted = bytes_of(read_config(load(name), name), 16)
    return ModelBytes(name, counted.feed_forward, counted.attention, counted.embedding, counted.other)


def _present(part: _Part | None) -> tuple[_Part, ...]:
    return () if part is None else (part,)


def _count(parts: Iterable[_Part]) -> int:
    return sum(math.prod(shape) for part in parts for _, shape in part.shapes())
