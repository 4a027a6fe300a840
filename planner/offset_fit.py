"""Best fit in many orders: enough for loose problems, and all that large ones allow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.buffers import Ints
from tierplan.planner.offset_check import legal
from tierplan.planner.offset_effort import Best, Effort
from tierplan.planner.offset_orders import (
    Keys,
    buckets_of,
    fit_orders,
    keys_of,
    order_by,
    place,
    place_in_strips,
    rank_of,
    scan_cost,
    settle,
)
from tierplan.planner.offset_problem import Blocks, Sections

_FEW = 3
_SMALL = 5_000
_SCAN_S = 12e-9
"""Seconds per placed block that best fit looks at: measured, and used only to leave out passes that take too long."""


def fit(b: Blocks, sections: Sections, best: Best, effort: Effort) -> None:
    """Try a few orders where an exact search will follow, all of them where the problem is large."""
    with effort.interruptible():
        _fit(b, keys_of(b, sections), best, effort)


def _fit(b: Blocks, k: Keys, best: Best, effort: Effort) -> None:
    edges = buckets_of(b)
    large = len(b.height) > _SMALL
    loose = b.plain and not (b.fixed >= 0).any()
    if large and loose:
        _strips(b, best, effort, len(edges) > 1)
    if large and loose and scan_cost(b, edges) * _SCAN_S > effort.left_s:
        return
    if (b.hint >= 0).any():
        order = order_by(-np.where(b.hint >= 0, b.hint, b.hint.max() + 1), b.height)
        _offer(b, place(b, order, edges, hints=True), "hints", best)
    for tried, (name, order, first_fit) in enumerate(fit_orders(k)):
        if best.done or effort.over or (tried >= _FEW and not large):
            return
        _offer(b, place(b, order, edges, first_fit=first_fit), f"best fit by {name}", best)


def _strips(b: Blocks, best: Best, effort: Effort, wide: bool) -> None:
    if len(b.height) < 100_000 and not wide:
        return
    for per_octave in (2, 4, 16, 1, 8):
        if best.done or effort.over:
            return
        _offer(b, settle(b, place_in_strips(b, per_octave)), f"strips, {per_octave} per octave", best)


def _offer(b: Blocks, offset: Ints, name: str, best: Best) -> None:
    height = int((offset + b.height).max())
    if height < best.height and (not (b.fixed >= 0).any() or legal(b, offset)):
        best.take(offset, height, name)


def refit(b: Blocks, sections: Sections, best: Best, effort: Effort) -> Best:
    """Improve a large allocation until the effort is spent: new orders, and culprits placed earlier.

    A culprit is a block that ends above the bound; it is moved ahead of others in the order that led to it.
    """
    with effort.interruptible():
        _refit(b, keys_of(b, sections), best, effort)
    return best


def _refit(b: Blocks, k: Keys, best: Best, effort: Effort) -> None:
    edges = buckets_of(b)
    if scan_cost(b, edges) * _SCAN_S > effort.left_s / 4:
        return
    rng = np.random.default_rng(effort.seed)
    rank, offset = rank_of(order_by(k.size, k.width)).astype(np.float64), best.offset
    while not best.done and not effort.over:
        if rng.random() < 0.5 and len(offset):
            culprits = offset + b.height > max(best.bound, best.goal)
            rank[culprits] *= rng.random()
            order = np.argsort(rank, kind="stable")
        else:
            order = _pyramid(k, rng)
        offset = place(b, order, edges, first_fit=bool(rng.random() < 0.5))
        rank = rank_of(order).astype(np.float64)
        effort.n_nodes += len(order)
        _offer(b, offset, "best fit, reordered", best)


def _pyramid(k: Keys, rng: np.random.Generator) -> Ints:
    """The blocks that meet the highest load first, by two random keys; then the others, by size and a random key."""
    keys: tuple[NDArray[Any], ...] = (k.total, k.width, k.area, k.size, -k.start, k.start, k.stop, -k.stop)
    hot = k.total >= k.total.max() * float(rng.choice((1.0, 1.0, 0.98, 0.95, 0.9)))
    inner, outer = [int(c) for c in rng.permutation(len(keys))[:2]], (3, int(rng.integers(len(keys))))
    columns = [np.where(hot, keys[i], keys[o]) for i, o in zip(inner, outer, strict=True)]
    return order_by(hot.astype(np.int64), *columns)
