"""The exact search for offsets: canonical placements, bottom up, with everything that prunes them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.buffers import Ints
from tierplan.planner import _kernels as kernels
from tierplan.planner.offset_problem import Blocks, sections_of


class Shape(NamedTuple):
    """What never changes in a search. Rows are compressed: row r of `held` is `held[row[r]:row[r + 1]]`."""

    first: Ints
    bottom: Ints
    high: Ints
    begin: Ints
    end: Ints
    left: Ints
    right: Ints
    ptr: Ints
    other: NDArray[np.int32]
    above: Ints
    back: Ints
    row: Ints
    held: NDArray[np.int32]
    first_in: Ints
    height: Ints
    align: Ints
    fixed: Ints
    twin: Ints
    load: Ints


class State(NamedTuple):
    """What a search changes and takes back."""

    minimum: Ints
    key: Ints
    rank: Ints
    placed: Ints
    total: Ints
    low: Ints
    cuts: Ints
    dirty: Ints
    raised: Ints
    moved: Ints
    moved_from: Ints
    low_at: Ints
    low_was: Ints
    cursor: Ints


def twins_of(b: Blocks) -> Ints:
    """The previous interchangeable block (same lifespan, height, alignment, and free to move), or -1."""
    twin = np.full(len(b.height), -1, np.int64)
    last: dict[tuple[Any, ...], int] = {}
    for i in np.flatnonzero(np.diff(b.first) == 1):
        if b.fixed[i] >= 0:
            continue
        p = b.first[i]
        kind = (b.start[p], b.stop[p], b.low[p], b.high[p], b.height[i], b.align[i])
        twin[i] = last.get(kind, -1)
        last[kind] = i
    return twin


def count_pairs(b: Blocks):
    order = np.argsort(b.start, kind="stable")
    return order, kernels.pairs_per_block(b.first, b.start, b.stop, order, b.owner, len(b.height))


def shape_of(b: Blocks) -> Shape:
    """Precompute the sections and neighbours of blocks that are sorted by time."""
    sections = sections_of(b)
    owner = b.owner
    order, count = count_pairs(b)
    ptr, other, above, back = kernels.neighbours(b.start, b.stop, b.low, b.high, order, owner, count)
    row, held = kernels.blocks_at(sections.begin, sections.end, owner, len(sections.load))
    first_in = np.searchsorted(sections.left, np.arange(len(sections.load) + 1), "left")
    return Shape(
        b.first, b.low, b.high, sections.begin, sections.end, sections.left, sections.right,
        ptr, other, above, back, row, held, first_in, b.height, b.align, b.fixed, twins_of(b), sections.load,
    )


def start_state(shape: Shape, rank: Ints) -> tuple[State, Ints, Ints]:
    n, m = len(shape.height), len(shape.load)
    minimum = np.maximum(shape.fixed, 0)
    cuts = np.zeros(m + 1, np.int64)
    np.add.at(cuts, shape.left, 1)
    np.subtract.at(cuts, shape.right - 1, 1)
    cuts = np.cumsum(cuts)[:m]
    low = np.empty(m, np.int64)
    for s in range(m):
        low[s] = minimum[shape.held[shape.row[s]:shape.row[s + 1]]].min()
    n_moves = len(shape.other) // 2 + n + 1
    n_lows = min(n * m + m + 1, 20_000_000)
    state = State(
        minimum, minimum * n + rank, rank, np.zeros(n, np.int64), shape.load.copy(), low, cuts,
        np.zeros(m, np.int64), np.zeros(n, np.int64), np.empty(n_moves, np.int64), np.empty(n_moves, np.int64),
        np.empty(n_lows, np.int64), np.empty(n_lows, np.int64), np.zeros(8, np.int64),
    )
    frames = np.zeros((n + 1, kernels.N_COLUMNS), np.int64)
    arena = np.zeros((3 * n + m + 8, 5), np.int64)
    ends = [*np.flatnonzero(cuts[: m - 1] == 0), m - 1]
    begin, pending, top = 0, -1, 0
    for a, end in reversed(list(zip([0, *[e + 1 for e in ends[:-1]]], [e + 1 for e in ends], strict=True))):
        arena[top] = (a, end, -1, pending, -1)
        pending, top = top, top + 1
    frames[0, kernels.A], frames[0, kernels.B] = arena[pending, :2]
    frames[0, kernels.OWNER] = -1
    frames[0, kernels.PENDING] = arena[pending, 3]
    frames[0, kernels.LAST] = frames[0, kernels.KEY] = -1
    state.cursor[3] = top
    state.cursor[4] = 1
    return state, frames, arena
