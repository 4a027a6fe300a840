"""Proofs that a height cannot be reached: small searches around the highest loads."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.buffers import Ints
from tierplan.planner import _kernels as kernels
from tierplan.planner.offset_effort import Best, Effort
from tierplan.planner.offset_orders import order_by, rank_of
from tierplan.planner.offset_problem import Blocks, take
from tierplan.planner.offset_search import End, Part, Searcher, part_of

_PEAKS = 8
_SLICE = 4_000
_MOST_STACKED = 18
_STACKED_STEPS = 20_000_000


@dataclass(slots=True)
class _Window:
    """The sections `left:right` of a part, searched as if nothing else were held before or after them.

    `tallest`: a height that is known to be enough for the window; `step`: how far above the bound to ask next.
    """

    left: int
    right: int
    searcher: Searcher
    rank: Ints
    height: Ints
    tallest: int
    step: int = 0
    asked: int = -1

    def capacity(self, target: int) -> int:
        """What to ask for next: the target, or above it after successes, always less than what is known to do."""
        return min(target + self.step, self.tallest - 1)


class Prover:
    """Raises the bound of a part by exhausting searches of windows in time; the windows grow while they can be packed.

    A window holds a subset of the blocks, cut to its steps: what cannot be packed there cannot be packed at all.
    Assumes: one piece per block.
    """

    def __init__(self, part: Part, best: Best, effort: Effort) -> None:
        self._part, self._best, self._effort = part, best, effort
        self._windows: deque[_Window] = deque()
        self._seen: set[tuple[int, int]] = set()
        load = part.shape.load
        best.bound = max(best.bound, stacked(part, best.target))
        for s in np.argsort(-load, kind="stable")[:_PEAKS]:
            self._open(int(s) - 1, int(s) + 2)

    @property
    def idle(self) -> bool:
        """Whether every window has grown to the whole part; a search of that is not done here."""
        return not self._windows

    def run(self, n_nodes: int) -> None:
        """Spend about `n_nodes` placements, a slice on each window in turn."""
        until = self._effort.n_nodes + n_nodes
        while self._windows and self._effort.n_nodes < until and not self._best.done and not self._effort.over:
            window = self._windows.popleft()
            self._search(window)
            if window.tallest <= self._best.target:
                width = window.right - window.left
                self._open(window.left - width // 2, window.right + width // 2)
            else:
                self._windows.append(window)

    def _search(self, window: _Window) -> None:
        capacity = window.capacity(self._best.target)
        if capacity != window.asked:
            window.searcher.restart(window.rank)
            window.asked = capacity
        before = window.searcher.n_nodes
        end = window.searcher.run(capacity, _SLICE, self._effort.rules)
        self._effort.n_nodes += max(1, window.searcher.n_nodes - before)
        if end is End.SOLVED:
            window.tallest = int((window.searcher.offset + window.height).max())
            window.step = max(0, (window.tallest - self._best.target) // 2)
            window.asked = -1
        elif end is End.EXHAUSTED:
            self._best.bound = max(self._best.bound, capacity + 1)
            window.step = 2 * window.step + 1
            window.asked = -1
        else:
            window.step //= 2

    def _open(self, left: int, right: int) -> None:
        """Add the window `left:right` unless it is there already or covers the whole part."""
        n_sections = len(self._part.shape.load)
        left, right = max(0, left), min(n_sections, right)
        if (left, right) in self._seen or right - left >= n_sections:
            return
        self._seen.add((left, right))
        part = part_of(_cut(self._part, left, right))
        keys = part.keys
        rank = rank_of(order_by(keys.total, keys.width, keys.area))
        self._windows.append(
            _Window(
                left, right, Searcher(part), rank, part.blocks.height, max(self._best.height, self._best.target + 1)
            )
        )


def stacked(part: Part, above: int) -> int:
    """The largest of the least heights of the blocks of single sections; 0 where none is `above` that.

    Sections of many blocks are left out.
    """
    shape = part.shape
    bound = 0
    if int(shape.align.max()) == 1:
        return bound
    spent = 0
    for s in np.argsort(-shape.load, kind="stable"):
        together = shape.held[shape.row[s] : shape.row[s + 1]]
        most = int(shape.load[s] + (shape.align[together] - 1).sum())
        if most <= max(above, bound) or len(together) > _MOST_STACKED:
            continue
        spent += len(together) << len(together)
        if spent > _STACKED_STEPS:
            break
        least = int(kernels.least_stack(shape.height[together], shape.align[together]))
        bound = max(bound, least if least > above else 0)
    return bound


def _cut(part: Part, left: int, right: int) -> Blocks:
    """The blocks that are held in the sections `left:right`, their lifespans counted in these sections."""
    shape = part.shape
    inside: NDArray[np.intp] = np.flatnonzero((shape.left < right) & (shape.right > left))
    start = np.maximum(shape.left[inside], left) - left
    order = np.argsort(start, kind="stable")
    chosen = take(part.blocks, inside[order])
    stop = np.minimum(shape.right[inside], right) - left
    return chosen._replace(start=start[order], stop=stop[order])
