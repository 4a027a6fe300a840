"""One Einsum's loop nest on an array: how often each level of memory is read, filled and written.

Levels from the outside: DRAM, the buffer, the registers of a 1D array at the edge of a 2D one, and the
registers of the processing elements, between the last two the loops that run in parallel.

Assumes: a tile stays where it is while the loops around it leave it the same; elements that need the same
value get it by multicast, from one read; partial sums of elements that share an output are added on their
way out; the first visit of an output reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from math import prod

Loop = tuple[str, int]


class Level(IntEnum):
    """Where a tensor may lie, from the outside."""

    DRAM = 0
    BUFFER = 1
    EDGE = 2
    REGISTERS = 3


@dataclass(frozen=True, slots=True)
class Nest:
    """Loops outermost first: around a tile of the buffer, inside it, and over the elements of the array."""

    outer: tuple[Loop, ...]
    inner: tuple[Loop, ...]
    spatial: tuple[Loop, ...]

    @property
    def n_steps(self) -> int:
        """Iterations of the loops that run one after another."""
        return prod(n for _, n in (*self.outer, *self.inner))

    @property
    def n_elements(self) -> int:
        """Processing elements that work at once."""
        return prod(n for _, n in self.spatial)

    def above(self, level: Level) -> tuple[Loop, ...]:
        """Loops one after another around a tile of that level."""
        return () if level == Level.DRAM else self.outer if level == Level.BUFFER else self.outer + self.inner

    def below(self, level: Level) -> tuple[Loop, ...]:
        """Loops that sweep a tile of that level."""
        inner = self.inner + self.spatial
        return {Level.DRAM: self.outer + inner, Level.BUFFER: inner, Level.EDGE: self.spatial}.get(level, ())


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor as an Einsum touches it: the rank variables that it moves with, the levels at which it lies."""

    tensor: str
    variables: frozenset[str]
    levels: tuple[Level, ...]
    written: bool = False

    def volume(self, loops: Iterable[Loop]) -> int:
        """Values that the loops sweep."""
        return prod(n for variable, n in loops if variable in self.variables)

    def changes(self, loops: tuple[Loop, ...]) -> int:
        """How often the tile inside the loops is another one than before; the first counts."""
        last = 0
        for place, (variable, n) in enumerate(loops, start=1):
            if n > 1 and variable in self.variables:
                last = place
        return prod(n for _, n in loops[:last])


@dataclass(frozen=True, slots=True)
class Traffic:
    """Values that one Einsum reads from a level, that come into it from outside, and that it writes there.

    `tile` and `distinct` are the values of one tile and of the whole tensor. `first` are the reads that the
    first visit of an output saves.
    """

    tensor: str
    level: Level
    reads: int
    fills: int
    updates: int
    tile: int
    distinct: int
    first: int = 0


def traffic(nest: Nest, operand: Operand) -> Iterator[Traffic]:
    """Count what moves at every level at which `operand` lies, registers left out.

    Units: values.
    """
    distinct = operand.volume(nest.below(Level.DRAM))
    fills = 0
    for level, child in pairwise((*operand.levels, Level.REGISTERS)):
        tile = operand.volume(nest.below(level))
        spread = operand.volume(nest.spatial) if child == Level.REGISTERS else 1
        moved = spread * operand.volume(nest.below(child)) * operand.changes(nest.above(child))
        if operand.written:
            again = moved - distinct
            yield Traffic(operand.tensor, level, again, fills, moved, tile, distinct, distinct)
            fills = again
        else:
            yield Traffic(operand.tensor, level, moved, fills, 0, tile, distinct)
            fills = moved


def register_traffic(nest: Nest, operand: Operand) -> Traffic:
    """Count what moves at the registers, all elements together.

    Every computed point reads its operands and writes its result; an element reads the result, too, from its second
    visit on. An output that comes back from outside is filled into every element that shares it.
    """
    computed = nest.n_steps * nest.n_elements
    tiles = operand.changes(nest.above(Level.REGISTERS)) * nest.n_elements
    distinct = operand.volume(nest.below(Level.DRAM))
    if operand.written:
        first = distinct // operand.volume(nest.spatial) * nest.n_elements
        refilled = tiles - first if operand.levels else 0
        return Traffic(operand.tensor, Level.REGISTERS, computed - first, refilled, computed, 1, distinct)
    return Traffic(operand.tensor, Level.REGISTERS, computed, tiles, 0, 1, distinct)
