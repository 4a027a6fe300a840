"""Orders of blocks: what the searches break ties with, and what best fit follows."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.buffers import Ints
from tierplan.planner import _kernels as kernels
from tierplan.planner.offset_problem import Blocks, Sections


class Keys(NamedTuple):
    """What orders sort by, largest first. Shapes: all `[n]`.

    total: largest load among the block's sections; width: steps held; area: width times height;
    size: height; overlaps: blocks that it meets (sections that it spans where those are not counted).
    """

    total: Ints
    width: Ints
    area: NDArray[np.float64] | Ints
    size: Ints
    overlaps: Ints
    sections: Ints
    start: Ints
    stop: Ints


def range_max(values: Ints, left: Ints, right: Ints) -> Ints:
    """`max(values[left:right])` of each run, by doubling. Assumes: no run is empty."""
    width = right - left
    level = np.zeros(len(width), np.int64)
    np.log2(width, out=level, casting="unsafe")
    table = values
    out = np.zeros(len(width), values.dtype)
    for k in range(int(level.max(initial=0)) + 1):
        at = np.flatnonzero(level == k)
        out[at] = np.maximum(table[left[at]], table[right[at] - (1 << k)])
        if len(table) > (1 << k):
            table = np.maximum(table[: -(1 << k)], table[1 << k :])
    return out


def keys_of(b: Blocks, sections: Sections, overlaps: Ints | None = None) -> Keys:
    """The sort keys of `b`."""
    held = b.stop - b.start
    if b.plain:
        width, area, start, stop = held, held.astype(np.float64) * b.height, b.start, b.stop
    else:
        starts = b.first[:-1]
        width = np.add.reduceat(held, starts)
        area = np.add.reduceat(held.astype(np.float64) * (b.high - b.low), starts)
        start, stop = np.minimum.reduceat(b.start, starts), np.maximum.reduceat(b.stop, starts)
    total = range_max(sections.load, sections.left, sections.right)
    span = sections.right - sections.left
    return Keys(total, width, area, b.height, span if overlaps is None else overlaps, span, start, stop)


def order_by(*columns: NDArray[Any]) -> Ints:
    """Indices sorted by the first column, then the second, and so on; the largest comes first."""
    return np.lexsort([-column for column in reversed(columns)]).astype(np.int64, copy=False)


def rank_of(order: Ints) -> Ints:
    """The place of each index in `order`."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def random_order(k: Keys, rng: np.random.Generator) -> Ints:
    """An order by a random sequence of keys."""
    columns: tuple[NDArray[Any], ...] = (k.total, k.width, k.area, k.size, k.overlaps, k.sections)
    return order_by(*(columns[int(c)] for c in rng.permutation(len(columns))))


def fit_orders(k: Keys) -> Iterator[tuple[str, Callable[[], Ints], bool]]:
    """Orders for best fit, the most promising first: (name, what makes the order, first fit)."""
    yield "size", lambda: order_by(k.size, k.width), False
    yield "load", lambda: order_by(k.total, k.width, k.area), False
    yield "pyramid", lambda: _hot_first(k, 1.0), True
    yield "size, load", lambda: order_by(k.size, k.total), True
    yield "start", lambda: order_by(-k.start, k.width), False
    yield "length", lambda: order_by(k.width, k.size), False
    yield "area", lambda: order_by(k.area), True
    for share in (0.98, 0.95, 0.9):
        yield f"pyramid {share}", partial(_hot_first, k, share), True
    yield "octave of size, start", lambda: order_by(np.frexp(k.size)[1], -k.start), True
    yield "octave of size, load", lambda: order_by(np.frexp(k.size)[1], k.total, k.width), True


def _hot_first(k: Keys, share: float) -> Ints:
    """First what meets `share` of the highest load, longest first; then the others, largest first."""
    hot = k.total >= share * k.total.max()
    return order_by(hot.astype(np.int64), np.where(hot, k.width, k.size), k.start)


def buckets_of(b: Blocks) -> Ints:
    """First steps of time buckets such that a block touches few of them and looks at few others."""
    n = len(b.height)
    if n < 4096:
        return np.zeros(1, np.int64)
    times = np.unique(b.start)
    mean = float((np.searchsorted(times, b.stop) - np.searchsorted(times, b.start)).mean())
    count = int(np.clip(len(times) / max(1.0, mean) * 2, 1, 65536))
    if count < 8:
        return np.zeros(1, np.int64)
    edges = times[np.linspace(0, len(times), count, endpoint=False).astype(np.int64)]
    edges[0] = 0
    return np.unique(edges)


def scan_cost(b: Blocks, edges: Ints) -> float:
    """About how many placed blocks one pass of best fit looks at."""
    low = np.searchsorted(edges, b.start, "right") - 1
    high = np.searchsorted(edges, b.stop, "left")
    step = np.zeros(len(edges) + 1)
    np.add.at(step, low, 1.0)
    np.subtract.at(step, high, 1.0)
    prefix = np.concatenate(([0.0], np.cumsum(np.cumsum(step[:-1]))))
    return float((prefix[high] - prefix[low]).sum() / 2)


def place(b: Blocks, order: Ints, edges: Ints, *, first_fit: bool = False, hints: bool = False) -> Ints:
    """Place the blocks of `b` in `order`, fixed ones first. Returns offsets in units."""
    if (b.fixed >= 0).any():
        order = np.concatenate((order[b.fixed[order] >= 0], order[b.fixed[order] < 0]))
    hint = b.hint if hints else np.full(len(order), -1, np.int64)
    if b.plain:
        return kernels.best_fit(order, b.start, b.stop, b.height, b.align, b.fixed, hint, edges, first_fit)
    return kernels.best_fit_pieces(order, b.first, b.start, b.stop, b.low, b.high, b.align, b.fixed, hint, first_fit)


def place_in_strips(b: Blocks, classes_per_octave: int = 16) -> Ints:
    """Place blocks in strips of nearly equal height, each strip an optimal colouring of its lifespans.

    Takes n log n whatever the overlap; meant for inputs too dense for best fit.
    Assumes: no fixed offsets and one piece per block.
    """
    classes = np.ceil(np.log2(b.height.astype(np.float64)) * classes_per_octave - 1e-9).astype(np.int64)
    _, classes = np.unique(classes, return_inverse=True)
    n_classes = int(classes.max()) + 1
    tallest = np.zeros(n_classes, np.int64)
    np.maximum.at(tallest, classes, b.height)
    align = int(np.lcm.reduce(np.unique(b.align)))
    tallest = -(-tallest // align) * align
    by_class = np.lexsort((b.start, classes))
    colour, n_colours = kernels.strips(by_class, b.start, b.stop, n_classes, classes)
    base = np.concatenate(([0], np.cumsum(tallest * n_colours)))[:-1]
    return base[classes] + colour * tallest[classes]


def settle(b: Blocks, offset: Ints) -> Ints:
    """Let blocks fall, lowest first, as far as those below let them. Assumes: one piece per block, none fixed."""
    times, slot = np.unique(np.concatenate((b.start, b.stop)), return_inverse=True)
    n = len(offset)
    order = np.argsort(offset, kind="stable")
    return kernels.drop(order, slot[:n], slot[n:], b.height, b.align, len(times))
