"""What one kernel has to do: arithmetic operations and bytes, for many shapes at once.

Every field may be a number or an array; arrays are broadcast against each other, so that one call
prices a whole table of measurements.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tierplan.ir.dtypes import BITS

Floats = NDArray[np.float64]


def _float(value: ArrayLike) -> Floats:
    return np.asarray(value, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Gemm:
    """`C[m, n] = A[m, k] B[k, n]`, `count` of them in one kernel; C is 16 bits wide where A is narrower."""

    m: ArrayLike
    n: ArrayLike
    k: ArrayLike
    dtype: str = "bfloat16"
    count: ArrayLike = 1

    @property
    def ops(self) -> Floats:
        """Arithmetic operations; a multiply-accumulate is two."""
        return 2 * _float(self.count) * _float(self.m) * _float(self.n) * _float(self.k)

    @property
    def bytes(self) -> Floats:
        """Bytes of the operands and the result, each once."""
        m, n, k, size = _float(self.m), _float(self.n), _float(self.k), BITS[self.dtype] / 8
        return _float(self.count) * (size * (m * k + k * n) + max(size, 2) * m * n)


@dataclass(frozen=True, slots=True)
class Attention:
    """`queries` new positions of each of `batch` sequences, which end a context of `context` positions.

    Prefill without a cache has `queries == context`, decoding has `queries == 1`. Query i sees the positions up to
    its own, and of those the last `window` if that is not 0. `value_dim` is the width of a value where it is not
    `head_dim` (latent attention: 512 beside 576).
    """

    batch: ArrayLike
    queries: ArrayLike
    context: ArrayLike
    heads: ArrayLike
    kv_heads: ArrayLike
    head_dim: ArrayLike
    window: ArrayLike = 0
    dtype: str = "bfloat16"
    cache_dtype: str = ""
    value_dim: ArrayLike | None = None

    @property
    def seen(self) -> Floats:
        """Positions that the queries of one sequence see, summed over them."""
        q, c, window = _float(self.queries), _float(self.context), _float(self.window)
        q, c, window = np.broadcast_arrays(q, c, window)
        w = np.where(window > 0, window, np.inf)
        first = c - q + 1
        n_growing = np.clip(np.minimum(c, w) - first + 1, 0, q)
        growing = n_growing * (first + np.minimum(first + n_growing - 1, c)) / 2
        return growing + np.where(n_growing < q, (q - n_growing) * np.where(np.isinf(w), 0, w), 0)

    @property
    def widths(self) -> Floats:
        """Elements of a key and of a value of one head, together."""
        key = _float(self.head_dim)
        return key + (key if self.value_dim is None else _float(self.value_dim))

    @property
    def ops(self) -> Floats:
        """Operations of both products."""
        return 2 * _float(self.batch) * _float(self.heads) * self.seen * self.widths

    @property
    def cached(self) -> Floats:
        """Bytes of the keys and values that are read: those that any query sees."""
        q, c, window = _float(self.queries), _float(self.context), _float(self.window)
        seen = np.where(window > 0, np.minimum(c, window + q - 1), c)
        size = BITS[self.cache_dtype or self.dtype] / 8
        return _float(self.batch) * seen * _float(self.kv_heads) * self.widths * size

    @property
    def bytes(self) -> Floats:
        """Bytes of queries, results (16 bits each), keys and values."""
        return self.cached + 2 * _float(self.batch) * _float(self.queries) * _float(self.heads) * self.widths


@dataclass(frozen=True, slots=True)
class Moe:
    """The experts' matrix products of one mixture layer on one device, gate to down projection.

    Each of `tokens` goes to `top_k` of `n_experts` experts `[hidden, inner]`. Of the experts, this device holds
    one of `expert_ranks` equal parts, and of each expert one of `tensor_ranks` slices of `inner`. `gated` experts have
    three matrices, others two. `skew` is the exponent of the power law that shares out the tokens; 0 is balanced.
    """

    tokens: ArrayLike
    hidden: ArrayLike
    inner: ArrayLike
    n_experts: ArrayLike
    top_k: ArrayLike
    tensor_ranks: ArrayLike = 1
    expert_ranks: ArrayLike = 1
    skew: ArrayLike = 0.0
    dtype: str = "bfloat16"
    gated: ArrayLike = True

    @property
    def local_experts(self) -> Floats:
        """Experts on this device."""
        return np.maximum(_float(self.n_experts) / _float(self.expert_ranks), 1)

    @property
    def routed(self) -> Floats:
        """Rows that the experts of this device read: tokens times experts each."""
        return _float(self.tokens) * _float(self.top_k) / _float(self.expert_ranks)

    @property
    def active(self) -> Floats:
        """Experts of this device that get a token, if every token chooses `top_k` at random, evenly."""
        missed = (1 - np.minimum(_float(self.top_k) / _float(self.n_experts), 1)) ** _float(self.tokens)
        return self.local_experts * (1 - missed)

    @property
    def expert_elements(self) -> Floats:
        """Elements of the slice of one expert."""
        return np.where(self.gated, 3, 2) * _float(self.hidden) * _float(self.inner) / _float(self.tensor_ranks)

    @property
    def ops(self) -> Floats:
        """Operations of all experts' products."""
        return 2 * self.routed * self.expert_elements

    @property
    def bytes(self) -> Floats:
        """Bytes of the experts that are used, and of the rows in and out (16 bits)."""
        weights = self.active * self.expert_elements * BITS[self.dtype] / 8
        inner = np.where(self.gated, 3, 2) * _float(self.inner) / _float(self.tensor_ranks)
        return weights + 2 * self.routed * (2 * _float(self.hidden) + inner)


@dataclass(frozen=True, slots=True)
class Collective:
    """An exchange among `ranks` devices; `bytes` is what each holds (all_gather: what each has in the end)."""

    kind: str
    bytes: ArrayLike
    ranks: ArrayLike

    @property
    def sent(self) -> Floats:
        """Bytes that each device sends, by the bandwidth-optimal algorithm."""
        rank = _float(self.ranks)
        return _float(self.bytes) * (rank - 1) / rank * (2 if self.kind == "all_reduce" else 1)
