"""The architecture of a transformer language model: what its configuration says about its structure."""

from dataclasses import dataclass
from enum import Enum

from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError, unknown_name

FAMILIES = ("bert", "falcon", "gpt2", "llama", "mistral", "mixtral", "opt", "phi")

LEARNED_POSITIONS = ("bert", "gpt2", "opt")
"""Families whose positions are rows of a table: a context longer than the table has no meaning."""

VECTOR_OPS = {
    "relu": 1, "relu2": 2, "tanh": 1, "sigmoid": 4, "silu": 4, "swish": 4, "quick_gelu": 5,
    "gelu": 5, "gelu_python": 5, "gelu_new": 9, "gelu_fast": 9, "gelu_pytorch_tanh": 9,
}  # fmt: skip
"""Vector operations per element of each activation function, by the names that configurations use.

Assumes: exponential, division, erf and tanh count as one operation each.
silu is x / (1 + exp(-x)); gelu is x * (1 + erf(x / sqrt 2)) / 2; gelu_new is its tanh form.
"""

_LARGEST = {
    "hidden": 10**6, "n_layers": 10**4, "n_heads": 10**5, "n_kv_heads": 10**5, "head_dim": 10**5, "ffn": 10**7,
    "vocab": 10**8, "max_positions": 10**9, "embedding_width": 10**6, "n_experts": 10**4,
    "experts_per_token": 10**4, "sliding_window": 10**9, "token_types": 10**6, "rotary_dims": 10**5,
}  # fmt: skip


class Block(Enum):
    """Where a layer normalises and adds."""

    SEQUENTIAL = "norm, attention, add, norm, feed-forward, add"
    PARALLEL = "norm, attention and feed-forward side by side, add"
    POST_NORM = "attention, add, norm, feed-forward, add, norm"


@dataclass(frozen=True, slots=True)
class Architecture:
    """A transformer language model.

    `ffn` is the inner width of the feed-forward part (of each expert, where `n_experts` > 0) and
    `embedding_width` that of the token table, which is `hidden` unless projections stand around the layers.
    `rotary_dims` counts the dimensions of a head that rotate with the position, 0 where none do.
    A `sliding_window` of w lets a token attend to itself and the w - 1 before it.
    `tied`: the head reads the token table. `mlp_norm`: the feed-forward part has a norm of its own.
    """

    name: str
    family: str
    dtype: str
    hidden: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_positions: int
    embedding_width: int
    activation: str
    tied: bool
    block: Block
    mlp_norm: bool = True
    final_norm: bool = True
    affine_norms: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    alibi: bool = False
    rotary_dims: int = 0
    sliding_window: int | None = None
    n_experts: int = 0
    experts_per_token: int = 0
    token_types: int = 0

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise unknown_name("model family", self.family, FAMILIES)
        if self.dtype not in BITS:
            raise unknown_name("dtype", self.dtype, BITS)
        if self.activation not in VECTOR_OPS:
            raise unknown_name(f"activation function of '{self.name}'", self.activation, VECTOR_OPS)
        _check_extents(self)
        if self.n_heads % self.n_kv_heads:
            raise InvalidInputError(
                f"'{self.name}': {self.n_heads} query heads cannot share {self.n_kv_heads} key-value heads evenly"
            )
        if self.rotary_dims > self.head_dim or self.rotary_dims % 2:
            raise InvalidInputError(
                f"'{self.name}': {self.rotary_dims} rotary dimensions; need an even number up to {self.head_dim}"
            )
        if self.experts_per_token > self.n_experts:
            raise InvalidInputError(
                f"'{self.name}': {self.experts_per_token} experts per token, but only {self.n_experts} experts"
            )
        if self.n_layers * max(self.n_experts, 1) > 10**5:
            raise InvalidInputError(f"'{self.name}': {self.n_layers} layers of {self.n_experts} experts is absurd")

    @property
    def causal(self) -> bool:
        """Whether a token attends only to itself and those before it."""
        return self.family != "bert"

    @property
    def query_width(self) -> int:
        """Elements of all query heads of one token."""
        return self.n_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Elements of all key heads of one token."""
        return self.n_kv_heads * self.head_dim

    def cached_rows(self, context: int) -> int:
        """Rows that the key-value cache of one sequence holds.

        Assumes: a sliding window is cached as a rolling buffer of its own length.
        Source: Jiang et al., Mistral 7B, 2023, section 2.
        """
        return context if self.sliding_window is None else min(context, self.sliding_window)


_MAY_BE_ZERO = ("rotary_dims", "n_experts", "experts_per_token", "token_types")


def _check_extents(arch: Architecture) -> None:
    for field, largest in _LARGEST.items():
        extent: int | None = getattr(arch, field)
        if extent is None:
            continue
        least = 0 if field in _MAY_BE_ZERO else 1
        if not least <= extent <= largest:
            raise InvalidInputError(f"'{arch.name}': {field} is {extent}; need {least} to {largest}")
