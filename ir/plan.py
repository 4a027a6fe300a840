"""A plan: where every tensor lies, from when to when, and what is moved when. It is data."""

import itertools
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError

Table: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Lifespan:
    """Half-open run of steps, `start <= t < stop`.

    >>> Lifespan(0, 2).overlaps(Lifespan(2, 3))
    False
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise InvalidInputError(f"lifespan [{self.start}, {self.stop}): need 0 <= start < stop")

    def overlaps(self, other: "Lifespan") -> bool:
        """Whether the two share a step; runs that only touch do not."""
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True, slots=True, order=True)
class Residency:
    """Bytes `[offset, offset + size)` of a tier, reserved for a tensor over steps `[start, stop)`."""

    tensor: int
    tier: int
    offset: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise InvalidInputError(f"residency over [{self.start}, {self.stop}): need 0 <= start < stop")
        if self.tensor < 0 or self.tier < 0 or self.offset < 0:
            raise InvalidInputError("a residency's tensor, tier and offset cannot be negative")


@dataclass(frozen=True, slots=True, order=True)
class Copy:
    """A tensor moved from one tier to another.

    Issued when step `start` begins; done before step `done` begins. In a cyclic program of
    n steps, `done > n` means step `done - n` of the next turn.
    """

    tensor: int
    source: int
    target: int
    start: int
    done: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.done:
            raise InvalidInputError(f"copy over [{self.start}, {self.done}): need 0 <= start < done")
        if self.source == self.target or min(self.tensor, self.source, self.target) < 0:
            raise InvalidInputError("a copy needs a tensor and two different tiers")


@dataclass(frozen=True, slots=True, order=True)
class Taken:
    """The alternative that a plan takes of a choice, both by index."""

    choice: int
    alternative: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Residencies, copies and alternatives. Copies on one link are issued by start, then in this order."""

    residencies: tuple[Residency, ...] = ()
    copies: tuple[Copy, ...] = ()
    taken: tuple[Taken, ...] = ()
    _tables: tuple[Table, Table] | None = field(default=None, init=False, repr=False, compare=False)

    def tables(self) -> tuple[Table, Table]:
        """Shapes [5, R], [5, C]: the fields of residencies and of copies in their order, made once."""
        if self._tables is None:
            residencies = [(r.tensor, r.tier, r.offset, r.start, r.stop) for r in self.residencies]
            copies = [(c.tensor, c.source, c.target, c.start, c.done) for c in self.copies]
            object.__setattr__(self, "_tables", (_table(residencies), _table(copies)))
        assert self._tables is not None
        return self._tables


def _table(rows: list[tuple[int, int, int, int, int]]) -> Table:
    flat = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int64, count=5 * len(rows))
    table = flat.reshape(-1, 5).T.copy()
    table.flags.writeable = False
    return table
