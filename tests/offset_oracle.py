"""The slow truth of offset allocation, and how to draw small problems."""

from itertools import permutations

import numpy as np
from hypothesis import strategies as st

from tierplan.ir.buffers import Buffers, Gaps, broken


def buffers_of(rows, *, alignment=1, fixed=None, hint=None, alias=None, gaps=()):
    """Buffers from (start, stop, size) rows and (buffer, start, stop, low, high) gaps."""
    table = np.array(rows, np.int64).reshape(-1, 3)
    n = len(table)

    def column(values, default):
        return np.array(values if values is not None else [default] * n, np.int64)

    g = np.array(gaps, np.int64).reshape(-1, 5)
    return Buffers(
        table[:, 0].copy(),
        table[:, 1].copy(),
        table[:, 2].copy(),
        column([alignment] * n if isinstance(alignment, int) else alignment, 1),
        column(hint, -1),
        column(fixed, -1),
        column(alias, -1),
        Gaps(*(g[:, k].copy() for k in range(5))),
    )


def is_legal(buffers, offset, capacity=None):
    return next(iter(broken(buffers, offset, capacity)), None) is None


def least_height(buffers):
    """The least height over all orders, each buffer put at the lowest legal offset above those before it.

    Assumes: no fixed offsets and no windows. Some least allocation, sorted by offset and let fall, is of this kind.
    """
    n = len(buffers)
    best = None
    for order in permutations(range(n)):
        offset = np.full(n, -1, np.int64)
        for k, i in enumerate(order):
            floor = max((int(offset[j]) for j in order[:k]), default=0)
            offset[i] = _lowest(buffers, offset, order[:k], i, floor)
        height = int((offset + buffers.size).max()) if n else 0
        best = height if best is None else min(best, height)
    return best


def _lowest(buffers, offset, before, i, floor):
    align = int(buffers.alignment[i])
    tops = [int(offset[j]) + int(buffers.size[j]) for j in before if _meet(buffers, i, j)]
    for o in sorted({-(-x // align) * align for x in [0, floor, *tops]}):
        if o >= floor and all(o >= top for top in tops):
            return o
    raise AssertionError


def _meet(buffers, i, j):
    return max(buffers.start[i], buffers.start[j]) < min(buffers.stop[i], buffers.stop[j])


def problems(most=6, steps=6, sizes=8, alignments=(1,)):
    row = st.tuples(st.integers(0, steps - 1), st.integers(1, steps), st.integers(1, sizes)).map(
        lambda r: (r[0], r[0] + r[1], r[2])
    )
    return st.lists(st.tuples(row, st.sampled_from(alignments)), min_size=1, max_size=most).map(
        lambda pairs: buffers_of([row for row, _ in pairs], alignment=[a for _, a in pairs])
    )


def full_rectangle(seed, n, steps=40, height=64):
    """Buffers that tile a rectangle, by guillotine cuts: the least height is `height`."""
    rng = np.random.default_rng(seed)
    tiles = [(0, steps, 0, height)]
    while len(tiles) < n:
        k = int(np.argmax([(t[1] - t[0]) * (t[3] - t[2]) * rng.random() for t in tiles]))
        a, b, low, high = tiles.pop(k)
        if (rng.random() < 0.5 and b - a > 1) or high - low < 2:
            if b - a < 2:
                tiles.append((a, b, low, high))
                break
            cut = int(rng.integers(a + 1, b))
            tiles += [(a, cut, low, high), (cut, b, low, high)]
        else:
            cut = int(rng.integers(low + 1, high))
            tiles += [(a, b, low, cut), (a, b, cut, high)]
    order = rng.permutation(len(tiles))
    return buffers_of([(tiles[i][0], tiles[i][1], tiles[i][3] - tiles[i][2]) for i in order])
