"""The exact search for offsets: canonical placements, bottom up, with everything that prunes them."""

from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.buffers import Ints
from tierplan.planner import _kernels as kernels
from tierplan.planner.offset_orders import Keys, keys_of
from tierplan.planner.offset_problem import Blocks, sections_of

MOST_PAIRS = 8_000_000
"""Above this many meetings of blocks the search would need more than about half a gigabyte."""

_MOST_CHANGES = 4_000_000
_WORDS_OF_SUMS = 64


class Rules(IntFlag):
    """What prunes the search; none of these changes the answer.

    CANONICAL: place blocks by rising (offset, order), so that no two sequences build the same allocation.
    INFERENCE: in each section the lowest free byte plus what is still to come must not pass the capacity.
    DOMINANCE: never leave room under a block for a whole other one.
    FLOOR: a section is used up to the lowest offset that its unplaced blocks may take.
    DECOMPOSITION: parts that no unplaced block connects are solved one after another.
    HATLESS: if a block with nothing above it led nowhere, its siblings lead nowhere.
    BLOCKED: a block that was passed over must be lifted by a later one, and lies at least on top of it.
    SYMMETRY: of interchangeable blocks the first is placed first.
    NOGOODS: a set of unplaced blocks with these lowest offsets that has failed once fails again.
    REACHABLE: where a section has no byte to spare, each offset in it is a sum of the heights of others in it.
    """

    CANONICAL = kernels.CANONICAL
    INFERENCE = kernels.INFERENCE
    DOMINANCE = kernels.DOMINANCE
    FLOOR = kernels.FLOOR
    DECOMPOSITION = kernels.DECOMPOSITION
    HATLESS = kernels.HATLESS_RULE
    BLOCKED = kernels.BLOCKED
    SYMMETRY = kernels.SYMMETRY
    NOGOODS = kernels.NOGOODS
    REACHABLE = kernels.REACHABLE


ALL_RULES = Rules((1 << 10) - 1)

DEFAULT_RULES = ALL_RULES & ~Rules.REACHABLE
"""REACHABLE shrinks the search, but saves less time than it takes."""


class End(Enum):
    """How a run of the search ended."""

    SOLVED = kernels.SOLVED
    EXHAUSTED = kernels.EXHAUSTED
    PAUSED = kernels.PAUSED


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
    """What a search changes and takes back. Shapes: per block `[n]`, per section `[m]`, and the trails."""

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
    sums: NDArray[np.uint64]


def twins_of(b: Blocks) -> Ints:
    """The previous interchangeable block (same lifespan, height, alignment, and free to move), or -1."""
    twin = np.full(len(b.height), -1, np.int64)
    single = np.flatnonzero((np.diff(b.first) == 1) & (b.fixed < 0))
    if len(single) < 2:
        return twin
    p = b.first[single]
    kind = (b.align[single], b.height[single], b.high[p], b.low[p], b.stop[p], b.start[p])
    order = np.lexsort(kind)
    same = np.logical_and.reduce([column[order][1:] == column[order][:-1] for column in kind])
    twin[single[order[1:][same]]] = single[order[:-1][same]]
    return twin


@dataclass(frozen=True, slots=True)
class Part:
    """Blocks that must be searched together, sorted by time, with what the search precomputes.

    `proves`: whether an exhausted search is a proof; it is not where a block holds less than its first bytes.
    """

    blocks: Blocks
    shape: Shape
    keys: Keys
    proves: bool

    @property
    def load(self) -> int:
        """The largest load of any section, in units."""
        return int(self.shape.load.max())


def pairs_in(b: Blocks) -> int:
    """How many pieces meet in time, counted twice. Takes n log n."""
    return int(2 * (np.searchsorted(np.sort(b.start), b.stop, "left").sum() - len(b.start) * (len(b.start) + 1) // 2))


def part_of(b: Blocks) -> Part:
    """Precompute the sections and neighbours of `b`. Assumes: `b` is sorted by time."""
    sections = sections_of(b)
    owner, n = b.owner, len(b.height)
    order = np.argsort(b.start, kind="stable")
    count = kernels.pairs_per_block(b.first, b.start, b.stop, order, owner, n)
    ptr, other, above, back = kernels.neighbours(b.start, b.stop, b.low, b.high, order, owner, count)
    row, held = kernels.blocks_at(sections.begin, sections.end, owner, len(sections.load))
    first_in = np.searchsorted(sections.left, np.arange(len(sections.load) + 1), "left")
    shape = Shape(
        *(b.first, b.low, b.high, sections.begin, sections.end, sections.left, sections.right),
        *(ptr, other, above, back, row, held, first_in),
        *(b.height, b.align, b.fixed, twins_of(b), sections.load),
    )
    return Part(b, shape, keys_of(b, sections, np.diff(ptr)), not b.low.any())


class Searcher:
    """One search over a part that can be restarted, run for a while, and continued."""

    def __init__(self, part: Part) -> None:
        shape = part.shape
        n, m = len(shape.height), len(shape.load)
        changes, lows = len(shape.other) // 2 + 8 * n + 1, min(n * m + m + 1, _MOST_CHANGES + m)
        per_block, per_section = (np.zeros(n, np.int64) for _ in range(5)), (np.zeros(m, np.int64) for _ in range(4))
        minimum, key, rank, placed, raised = per_block
        total, low, cuts, dirty = per_section
        self._shape, self._plain = shape, part.blocks.plain
        self._state = State(
            *(minimum, key, rank, placed, total, low, cuts, dirty, raised),
            *(np.empty(changes, np.int64), np.empty(changes, np.int64)),
            *(np.empty(lows, np.int64), np.empty(lows, np.int64), np.zeros(8, np.int64)),
            np.zeros(_WORDS_OF_SUMS, np.uint64),
        )
        self._frames = np.zeros((n + 1, kernels.N_COLUMNS), np.int64)
        self._arena = np.zeros((3 * n + m + 8, 5), np.int64)
        self._failed = np.zeros(1 << min(18, 6 + n.bit_length()), np.uint64)

    def restart(self, rank: Ints) -> None:
        """Begin anew; `rank[n]` breaks ties, the smallest first."""
        kernels.restart(self._shape, self._state, self._frames, self._arena, rank)

    def run(self, capacity: int, n_nodes: int, rules: Rules = DEFAULT_RULES) -> End:
        """Search on within `capacity` units for at most `n_nodes` placements."""
        if not self._plain:
            rules &= ~Rules.REACHABLE
        return End(
            kernels.search(
                *(self._shape, self._state, self._frames, self._arena, self._failed),
                *(capacity, n_nodes, int(rules)),
            )
        )

    @property
    def n_nodes(self) -> int:
        """Placements since the last restart."""
        return int(self._state.cursor[5])

    @property
    def offset(self) -> Ints:
        """The offsets found, in units, after a run that ended SOLVED."""
        return self._state.minimum.copy()
