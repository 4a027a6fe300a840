"""The neuron store: one preallocated buffer per layer whose live rows are always the first ones."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Rewrites:
    """Rows that the store wrote for one token: holes filled by moves, and new rows appended."""

    deleted: int
    moved: int
    inserted: int


class Rows(Protocol):
    """Rows that come by number: an array, or a file of which those that are asked for are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Neurons, elements of each."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""
        ...

    def __getitem__(self, neurons: Ints, /) -> Floats:
        """Shape [neurons, width]."""
        ...


@dataclass(slots=True)
class NeuronStore:
    """The neurons of one layer that lie in DRAM, ready for compute.

    Live rows are `matrix[:num_used]` in no order: row r holds the rows of neuron `pointer[r]` of all matrices, one
    behind the other, and `bias[r]` its bias. `last_k_active` holds the neurons of the last `window` tokens, the
    present one included and last. Nothing is allocated after the start.

    Shapes: `flash` [neurons, width], what the drive holds; `flash_bias` [neurons]; `matrix` [rows, width].
    Source: Alizadeh et al., LLM in a flash, ACL 2024, section 3.3 (optimized data management in DRAM).
    """

    flash: Rows
    flash_bias: Floats
    rows: int
    window: int
    matrix: Floats = field(init=False)
    pointer: Ints = field(init=False)
    bias: Floats = field(init=False)
    num_used: int = field(init=False, default=0)
    last_k_active: deque[Ints] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.flash.shape) != 2 or self.flash_bias.shape != self.flash.shape[:1]:
            raise InvalidInputError(
                f"neurons of shape {self.flash.shape} and biases of shape {self.flash_bias.shape}; "
                "need [neurons, width] and [neurons]"
            )
        if self.rows < 1 or self.window < 1:
            raise InvalidInputError(f"{self.rows} rows, a window of {self.window} tokens; need 1 or more of both")
        self.matrix = np.zeros((self.rows, self.flash.shape[1]), dtype=self.flash.dtype)
        self.pointer = np.full(self.rows, -1, dtype=np.int64)
        self.bias = np.zeros(self.rows, dtype=self.flash_bias.dtype)
        self.last_k_active = deque(maxlen=self.window)

    def advance(self, active: Iterable[int] | Ints) -> Rewrites:
        """Make exactly the neurons of the window, which now ends with this token, live.

        Raises: InvalidInputError: an unknown neuron, or more neurons than rows; the store stays as it was.
        """
        now = np.unique(np.asarray(active if isinstance(active, np.ndarray) else list(active), dtype=np.int64))
        if len(now) and (now[0] < 0 or now[-1] >= self.flash.shape[0]):
            raise InvalidInputError(f"active neurons must be from 0 to {self.flash.shape[0] - 1}")
        kept = [*self.last_k_active, now][-self.window :]
        wanted = np.zeros(self.flash.shape[0], dtype=np.bool_)
        wanted[np.concatenate(kept)] = True
        if wanted.sum() > self.rows:
            raise InvalidInputError(
                f"{int(wanted.sum())} neurons are live, the store has {self.rows} rows; "
                "allocate more rows or shorten the window"
            )
        self.last_k_active.append(now)
        live = self.pointer[: self.num_used]
        deleted, moved = self._delete(np.flatnonzero(~wanted[live]))
        wanted[self.pointer[: self.num_used]] = False
        return Rewrites(deleted, moved, self._insert(np.flatnonzero(wanted)))

    def _delete(self, dead: Ints) -> tuple[int, int]:
        """Move the last live rows into the holes; rows deleted, rows moved."""
        left = self.num_used - len(dead)
        holes = dead[dead < left]
        tail = np.setdiff1d(np.arange(left, self.num_used), dead, assume_unique=True)
        for rows in (self.matrix, self.pointer, self.bias):
            rows[holes] = rows[tail]
        self.pointer[left : self.num_used] = -1
        self.num_used = left
        return len(dead), len(holes)

    def _insert(self, new: Ints) -> int:
        """Append rows straight from flash."""
        stop = self.num_used + len(new)
        self.matrix[self.num_used : stop] = self.flash[new]
        self.bias[self.num_used : stop] = self.flash_bias[new]
        self.pointer[self.num_used : stop] = new
        self.num_used = stop
        return len(new)


def feed_forward(store: NeuronStore, x: Floats, firing: Bools | None = None) -> Floats:
    """Output of a ReLU feed-forward part over the live rows: each is an up row, then a down column.

    `firing`: neurons that may add to the output; the others count as idle whatever the weights say, as in a trace.

    Shapes: `x` [hidden] to [hidden]; the store's width is 2 hidden; `firing` [neurons].
    """
    hidden = x.shape[0]
    if store.matrix.shape[1] != 2 * hidden:
        raise InvalidInputError(f"input of {hidden} elements for rows of {store.matrix.shape[1]}; need half of that")
    live = store.matrix[: store.num_used]
    inner = np.maximum(live[:, :hidden] @ x + store.bias[: store.num_used], 0)
    if firing is not None:
        inner *= firing[store.pointer[: store.num_used]]
    return inner @ live[:, hidden:]


@dataclass(frozen=True, slots=True)
class ManagementCost:
    """Time that a store takes per rewritten row: `row_s` to find and book it, and its bytes at `bandwidth`.

    Assumes: as many rows leave as come, each leaving row has a row moved into its hole, and each coming
    row is written once: two rows rewritten per neuron loaded.
    """

    row_s: float
    bandwidth: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.row_s) and self.row_s >= 0):
            raise InvalidInputError(f"time per row is {self.row_s} s; need a finite time, 0 or more")
        if not (math.isfinite(self.bandwidth) and self.bandwidth > 0):
            raise InvalidInputError(f"bandwidth of rewriting is {self.bandwidth} B/s; need a positive number")

    def time_s(self, n_loaded: float, neuron: int) -> float:
        """Seconds per token that loads `n_loaded` neurons of `neuron` bytes.

        >>> ManagementCost(row_s=1e-6, bandwidth=1e9).time_s(1000, 1000)
        0.004
        """
        return 2 * n_loaded * (self.row_s + neuron / self.bandwidth)


def fit_management(first: tuple[float, int, float], second: tuple[float, int, float]) -> ManagementCost:
    """The cost from two measurements of (neurons loaded per token, bytes per neuron, seconds per token).

    Raises: InvalidInputError: both have neurons of the same size, or more bytes took less time.
    """
    (n_a, bytes_a, time_a), (n_b, bytes_b, time_b) = sorted((first, second), key=lambda point: point[1])
    if min(n_a, n_b, time_a, time_b) <= 0 or bytes_a <= 0:
        raise InvalidInputError("measurements of the store must count neurons, bytes and seconds above 0")
    per_a, per_b = time_a / (2 * n_a), time_b / (2 * n_b)
    if bytes_a == bytes_b or per_b <= per_a:
        raise InvalidInputError(
            f"a row of {bytes_a} B took {per_a:.3g} s, one of {bytes_b} B {per_b:.3g} s; larger rows must take longer"
        )
    bandwidth = (bytes_b - bytes_a) / (per_b - per_a)
    return ManagementCost(max(0.0, per_a - bytes_a / bandwidth), bandwidth)
