"""Buffers as the search sees them: blocks that take one offset each, made of pieces that hold bytes over time."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.buffers import NONE, Buffers, Ints, held
from tierplan.ir.errors import InvalidInputError


class Blocks(NamedTuple):
    """Blocks: what takes one offset (a buffer, or a group of buffers that share an address).

    Shapes: `height`, `align`, `fixed`, `hint` are `[n]`; block b owns the pieces `first[b]:first[b + 1]`
    (`first[n + 1]`), piece p holds bytes `[low[p], high[p])` of its block over steps `[start[p], stop[p])`.
    `of[m]` is the block of buffer m. `plain`: every block is one piece that begins at its byte 0.
    Units: bytes are in multiples of `unit`.
    """

    height: Ints
    align: Ints
    fixed: Ints
    hint: Ints
    first: Ints
    start: Ints
    stop: Ints
    low: Ints
    high: Ints
    of: Ints
    unit: int
    plain: bool

    @property
    def owner(self) -> Ints:
        """The block of each piece."""
        return np.repeat(np.arange(len(self.height)), np.diff(self.first))


def blocks_of(buffers: Buffers) -> Blocks:
    """Merge what shares an address and divide all bytes by their common measure."""
    if not len(buffers.gaps) and (len(buffers) == 0 or int(buffers.alias.max()) < 0):
        n = len(buffers)
        raw = Blocks(
            buffers.size,
            buffers.alignment,
            buffers.fixed,
            buffers.hint,
            np.arange(n + 1),
            buffers.start,
            buffers.stop,
            np.zeros(n, np.int64),
            buffers.size,
            np.arange(n),
            1,
            True,
        )
    else:
        raw = _grouped(buffers)
    return _in_units(raw)


def _grouped(buffers: Buffers) -> Blocks:
    of = np.empty(len(buffers), np.int64)
    groups: dict[int, list[int]] = {}
    for i in range(len(buffers)):
        alias = int(buffers.alias[i])
        groups.setdefault(alias if alias >= 0 else -1 - i, []).append(i)
    pieces: list[list[tuple[int, int, int, int]]] = []
    height: list[int] = []
    align: list[int] = []
    fixed: list[int] = []
    hint: list[int] = []
    for block, members in enumerate(groups.values()):
        of[members] = block
        runs = [run for i in members for run in held(buffers, i)]
        pieces.append(_merged(runs) if len(members) > 1 else runs)
        height.append(max(int(buffers.size[i]) for i in members))
        align.append(int(np.lcm.reduce(buffers.alignment[members])))
        fixed.append(_agreed(buffers, members))
        hint.append(max(int(buffers.hint[i]) for i in members))
    table = np.array([piece for run in pieces for piece in run], np.int64).reshape(-1, 4)
    return Blocks(
        np.array(height, np.int64),
        np.array(align, np.int64),
        np.array(fixed, np.int64),
        np.array(hint, np.int64),
        np.concatenate(([0], np.cumsum([len(run) for run in pieces]))).astype(np.int64),
        np.ascontiguousarray(table[:, 0]),
        np.ascontiguousarray(table[:, 1]),
        np.ascontiguousarray(table[:, 2]),
        np.ascontiguousarray(table[:, 3]),
        of,
        1,
        bool(all(len(run) == 1 for run in pieces) and not table[:, 2].any()),
    )


def _agreed(buffers: Buffers, members: list[int]) -> int:
    fixed = sorted({int(buffers.fixed[i]) for i in members if buffers.fixed[i] >= 0})
    if len(fixed) > 1:
        names = ", ".join(buffers.name(i) for i in members)
        raise InvalidInputError(f"buffers {names} share an address but are fixed at {fixed[0]} and {fixed[1]}")
    return fixed[0] if fixed else NONE


def _merged(runs: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """The hull of the bytes held at each step, as runs that do not overlap in time."""
    times = sorted({t for run in runs for t in run[:2]})
    merged: list[tuple[int, int, int, int]] = []
    for start, stop in pairwise(times):
        live = [run for run in runs if run[0] <= start and stop <= run[1]]
        if not live:
            continue
        low, high = min(run[2] for run in live), max(run[3] for run in live)
        if merged and merged[-1][1:] == (start, low, high):
            merged[-1] = (merged[-1][0], stop, low, high)
        else:
            merged.append((start, stop, low, high))
    return merged


def _in_units(b: Blocks) -> Blocks:
    """Divide bytes by the greatest unit that measures sizes and offsets.

    An offset of a canonical allocation is a sum of sizes rounded up to alignments, so a unit that divides all sizes
    and all alignments above 1 loses nothing; an alignment that divides the unit asks for nothing.
    """
    if not len(b.height):
        return b
    unit = int(np.gcd.reduce(b.height))
    if not b.plain:
        unit = int(np.gcd.reduce(np.concatenate(([unit], b.high, b.low))))
    if b.fixed.max() > 0:
        unit = int(np.gcd(unit, np.gcd.reduce(b.fixed[b.fixed > 0])))
    while len(coarse := b.align[unit % b.align != 0]):
        finer = int(np.gcd(unit, np.gcd.reduce(coarse)))
        if finer == unit:
            break
        unit = finer
    if unit == 1:
        return b
    return b._replace(
        height=b.height // unit,
        align=np.where(unit % b.align == 0, 1, b.align // unit),
        fixed=np.where(b.fixed >= 0, b.fixed // unit, NONE),
        hint=np.where(b.hint >= 0, b.hint // unit, NONE),
        low=b.low // unit,
        high=b.high // unit,
        unit=unit,
    )


class Sections(NamedTuple):
    """The moments at which the load can be largest, and which blocks meet there.

    A section is a step just before some piece ends and just after some piece has begun: the locally largest sets
    of pieces that live together, in order of time. Shapes: piece p lives in sections `begin[p]:end[p]`,
    block b spans `left[b]:right[b]`; `load[s]` is in units, `steps[s]` is the step of section s.
    """

    begin: Ints
    end: Ints
    left: Ints
    right: Ints
    load: Ints
    steps: Ints


def section_steps(start: Ints, stop: Ints) -> Ints:
    """The first step of each section. Shapes: `start[p]`, `stop[p]` -> `[s]`, increasing."""
    starts = np.unique(start)
    last_before = np.unique(np.searchsorted(starts, stop, "left") - 1)
    return starts[last_before]


def sections_of(b: Blocks) -> Sections:
    """Find the sections of `b` and the load of each, in units."""
    steps = section_steps(b.start, b.stop)
    begin = np.searchsorted(steps, b.start, "left")
    end = np.searchsorted(steps, b.stop, "left")
    step = np.zeros(len(steps) + 1, np.int64)
    np.add.at(step, begin, b.high - b.low)
    np.subtract.at(step, end, b.high - b.low)
    if b.plain:
        left, right = begin, end
    else:
        left = np.minimum.reduceat(begin, b.first[:-1])
        right = np.maximum.reduceat(end, b.first[:-1])
    return Sections(begin, end, left, right, np.cumsum(step[:-1]), steps)


def by_time(b: Blocks) -> tuple[Blocks, NDArray[np.intp]]:
    """Reorder blocks by their first step; also return the order, `order[new] = old`."""
    first_step = b.start if b.plain else np.minimum.reduceat(b.start, b.first[:-1])
    order = np.argsort(first_step, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    moved = take(b, order)._replace(of=rank[b.of])
    return moved, order


def take(b: Blocks, index: NDArray[np.intp]) -> Blocks:
    """The blocks `index` of `b` on their own; the buffers of others are forgotten."""
    counts = np.diff(b.first)[index]
    pieces: NDArray[np.intp] = index
    if not b.plain:
        pieces = np.concatenate([np.arange(int(b.first[i]), int(b.first[i + 1])) for i in index])
    return b._replace(
        height=b.height[index],
        align=b.align[index],
        fixed=b.fixed[index],
        hint=b.hint[index],
        first=np.concatenate(([0], np.cumsum(counts))),
        start=b.start[pieces],
        stop=b.stop[pieces],
        low=b.low[pieces],
        high=b.high[pieces],
        of=np.arange(len(index)),
    )


def parts_in_time(b: Blocks) -> list[NDArray[np.intp]]:
    """The blocks of each stretch of steps at whose borders nothing is held. Assumes: `b` is sorted by time."""
    if b.plain:
        start, stop = b.start, b.stop
    else:
        start, stop = np.minimum.reduceat(b.start, b.first[:-1]), np.maximum.reduceat(b.stop, b.first[:-1])
    cut = np.flatnonzero(start[1:] >= np.maximum.accumulate(stop)[:-1]) + 1
    return np.split(np.arange(len(b.height)), cut)
