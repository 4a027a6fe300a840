"""The architecture of a transformer language model: what its configuration says about its structure."""

from dataclasses import dataclass
from enum import Enum

from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError, unknown_name

FAMILIES = (
    "bert", "deepseek_v2", "deepseek_v3", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "llama", "llama4_text",
    "mistral", "mixtral", "opt", "phi", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "vit",
)  # fmt: skip
"""Families of one stack of layers. Those with an encoder and a decoder stand in `encoder_decoder`."""

LEARNED_POSITIONS = ("bert", "gpt2", "opt")
"""Families whose positions are rows of a table: a context longer than the table has no meaning."""

ENCODERS = ("bert", "vit")
"""Families in which each token attends to all others."""

LAYER_NORM = ("bert", "falcon", "gpt2", "opt", "phi", "vit")
"""Families that normalise by mean and variance; the others by the root of the mean square."""

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
    "vocab": 10**8, "max_positions": 10**9, "embedding_width": 10**6, "sliding_window": 10**9, "token_types": 10**6,
    "rotary_dims": 10**5,
}  # fmt: skip


class Block(Enum):
    """Where a layer normalises and adds."""

    SEQUENTIAL = "norm, attention, add, norm, feed-forward, add"
    PARALLEL = "norm, attention and feed-forward side by side, add"
    POST_NORM = "attention, add, norm, feed-forward, add, norm"
    SANDWICH = "norm, attention, norm, add, norm, feed-forward, norm, add"


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: of `n` feed-forward parts of inner width `ffn` each token uses `per_token`.

    `layers` have it; the others are dense. `shared` is the inner width of a part that every token uses as well,
    0 for none; a `shared_gate` scales what it returns. `stacked`: the matrices of all experts of a layer are one
    tensor, as runtimes hold them. `corrected`: a bias per expert takes part in the choice.
    """

    n: int
    per_token: int
    ffn: int
    layers: frozenset[int]
    shared: int = 0
    shared_gate: bool = False
    stacked: bool = True
    corrected: bool = False

    def __post_init__(self) -> None:
        for field, extent, largest in (("n_experts", self.n, 10**4), ("expert width", self.ffn, 10**7)):
            if not 1 <= extent <= largest:
                raise InvalidInputError(f"{field} is {extent}; need 1 to {largest}")
        if not 1 <= self.per_token <= self.n:
            raise InvalidInputError(f"{self.per_token} experts per token, but {self.n} experts")
        if not 0 <= self.shared <= 10**7:
            raise InvalidInputError(f"the width of the shared expert is {self.shared}; need 0 to 10000000")


@dataclass(frozen=True, slots=True)
class Latent:
    """Latent attention: keys and values of a token are `kv_rank` numbers, from which each head makes its own.

    Beside them `rotary` numbers, shared by all heads, carry the position. A head's key has `plain` + `rotary`
    dimensions, its value has `value`. Queries pass through `query_rank` numbers, or do not where it is 0.
    Source: DeepSeek-V2, 2024, section 2.1.
    """

    query_rank: int
    kv_rank: int
    plain: int
    rotary: int
    value: int

    def __post_init__(self) -> None:
        for name in ("kv_rank", "plain", "rotary", "value"):
            if not 1 <= getattr(self, name) <= 10**5:
                raise InvalidInputError(f"{name} of a latent attention is {getattr(self, name)}; need 1 to 100000")
        if not 0 <= self.query_rank <= 10**5 or self.rotary % 2:
            raise InvalidInputError("a latent attention needs an even number of rotary dimensions")

    @property
    def key(self) -> int:
        """Dimensions of a query or key of one head."""
        return self.plain + self.rotary

    @property
    def cached(self) -> int:
        """Numbers that the cache holds per token."""
        return self.kv_rank + self.rotary


@dataclass(frozen=True, slots=True)
class Patches:
    """An image as tokens: `side` x `side` pixels in squares of `patch` x `patch`, of `channels` each.

    `classes` is the number of outputs of a classifier at the end; 0 where a pooler stands there.
    """

    side: int
    patch: int
    channels: int
    classes: int = 0

    @property
    def n(self) -> int:
        """Number of patches."""
        return (self.side // self.patch) ** 2


@dataclass(frozen=True, slots=True)
class Architecture:
    """A transformer language model, or an encoder of images.

    `ffn` is the inner width of the feed-forward part of a dense layer and `embedding_width` the width of the token
    table, which is `hidden` unless projections stand around the layers.
    `rotary_dims` counts the dimensions of a head that rotate with the position, 0 where none do, and in
    `plain_layers` none do. A `sliding_window` of w lets a token attend to itself and the w - 1 before it, in all
    layers but the `full_layers`; where it is `chunked`, to those of its own chunk of w.
    `score_cap` bounds the scores of the attention softly.
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
    head_bias: bool = False
    qk_norm: bool = False
    alibi: bool = False
    rotary_dims: int = 0
    plain_layers: frozenset[int] = frozenset()
    sliding_window: int | None = None
    full_layers: frozenset[int] = frozenset()
    chunked: bool = False
    score_cap: float | None = None
    experts: Experts | None = None
    latent: Latent | None = None
    token_types: int = 0
    patches: Patches | None = None

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
        if self.n_layers * max(self.n_experts, 1) > 10**5:
            raise InvalidInputError(f"'{self.name}': {self.n_layers} layers of {self.n_experts} experts is absurd")

    @property
    def n_experts(self) -> int:
        """Experts of each layer that has any."""
        return self.experts.n if self.experts else 0

    @property
    def experts_per_token(self) -> int:
        """Experts that one token uses in a layer."""
        return self.experts.per_token if self.experts else 0

    @property
    def causal(self) -> bool:
        """Whether a token attends only to itself and those before it."""
        return self.family not in ENCODERS

    @property
    def query_width(self) -> int:
        """Elements of all query heads of one token."""
        return self.n_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Elements of all key heads of one token."""
        return self.n_kv_heads * self.head_dim

    def experts_of(self, layer: int) -> Experts | None:
        """The mixture of experts of a layer; None where it is dense."""
        return self.experts if self.experts and layer in self.experts.layers else None

    def window(self, layer: int) -> int | None:
        """How many tokens one attends to in a layer; None for all."""
        return None if layer in self.full_layers else self.sliding_window

    def cached_rows(self, context: int, layer: int = 0) -> int:
        """Rows that the key-value cache of one sequence holds in a layer.

        Assumes: a sliding window is cached as a rolling buffer of its own length.
        Source: Jiang et al., Mistral 7B, 2023, section 2.
        """
        window = self.window(layer)
        return context if window is None else min(context, window)


_MAY_BE_ZERO = ("rotary_dims", "token_types", "vocab")


def _check_extents(arch: Architecture) -> None:
    for field, largest in _LARGEST.items():
        extent: int | None = getattr(arch, field)
        if extent is None:
            continue
        least = 0 if field in _MAY_BE_ZERO else 1
        if not least <= extent <= largest:
            raise InvalidInputError(f"'{arch.name}': {field} is {extent}; need {least} to {largest}")
