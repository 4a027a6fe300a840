"""Best fit in many orders: enough for loose problems, and all that large ones allow."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
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
from tierplan.planner.offset_problem import Blocks, Sections, sections_of, take

_FEW = 3
_SMALL = 5_000
_SLOW_S = 2.0
"""Where a pass of best fit takes longer, the orders are first compared on a sample."""
_SAMPLE = 20_000
_SCAN_S = 12e-9
"""Seconds per placed block that best fit looks at: measured, and used only to leave out passes that take too long."""

Orders = list[tuple[str, Callable[[], Ints], bool]]


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
    orders = list(fit_orders(k))
    if not large:
        orders = orders[:_FEW]
    elif scan_cost(b, edges) * _SCAN_S > _SLOW_S:
        orders = _sorted_by_sample(b, k, orders)
    _place_all(b, edges, orders, best, effort)


def _place_all(b: Blocks, edges: Ints, orders: Orders, best: Best, effort: Effort) -> None:
    """Place in each order, as many at a time as there are workers, while there is time for one more round."""
    with ThreadPoolExecutor(effort.n_workers) if effort.n_workers > 1 else nullcontext() as pool:
        took_s = 0.0
        for at in range(0, len(orders), effort.n_workers):
            if best.done or effort.over or effort.left_s < took_s:
                return
            began_s = effort.left_s
            batch = orders[at : at + effort.n_workers]
            jobs = [partial(place, b, make(), edges, first_fit=first) for _, make, first in batch]
            for (name, _, _), offset in zip(batch, _run_all(pool, jobs), strict=True):
                _offer(b, offset, f"best fit by {name}", best)
            took_s = began_s - effort.left_s


def _run_all(pool: ThreadPoolExecutor | None, jobs: Sequence[Callable[[], Ints]]) -> list[Ints]:
    if pool is None or len(jobs) < 2:
        return [job() for job in jobs]
    return [future.result() for future in [pool.submit(job) for job in jobs]]


def _sorted_by_sample(b: Blocks, k: Keys, orders: Orders) -> Orders:
    """The orders by what they reach on the blocks around the highest load. Assumes: `b` is sorted by time."""
    middle = int(np.argmax(k.total))
    index = np.arange(max(0, middle - _SAMPLE // 2), min(len(b.height), middle + _SAMPLE // 2))
    sample = take(b, index)
    edges, keys = buckets_of(sample), keys_of(sample, sections_of(sample))
    reached = [
        int((place(sample, make(), edges, first_fit=first) + sample.height).max())
        for _, make, first in fit_orders(keys)
    ]
    return [orders[i] for i in np.argsort(reached, kind="stable")]


def _strips(b: Blocks, best: Best, effort: Effort, wide: bool) -> None:
    if len(b.height) < 100_000 and not wide:
        return
    for per_octave in (2, 4, 16, 1, 8):
        if best.done or effort.over:
            return
        _offer(b, settle(b, place_in_strips(b, per_octave)), f"strips, {per_octave} per octave", best)


def _offer(b: Blocks, offset: Ints, name: str, best: Best) -> None:
    height = int((offset + b.height).max())
    if (height < best.height or not best.found) and (not (b.fixed >= 0).any() or legal(b, offset)):
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
    with ThreadPoolExecutor(effort.n_workers) if effort.n_workers > 1 else nullcontext() as pool:
        while not best.done and not effort.over and (best.found or not effort.late):
            orders: list[Ints] = []
            jobs: list[Callable[[], Ints]] = []
            for _ in range(effort.n_workers):
                if rng.random() < 0.5 and len(offset):
                    culprits = offset + b.height > max(best.bound, best.goal)
                    orders.append(np.argsort(np.where(culprits, rank * rng.random(), rank), kind="stable"))
                else:
                    orders.append(_pyramid(k, rng))
                jobs.append(partial(place, b, orders[-1], edges, first_fit=bool(rng.random() < 0.5)))
            for order, placed in zip(orders, _run_all(pool, jobs), strict=True):
                rank, offset = rank_of(order).astype(np.float64), placed
                effort.n_nodes += len(order)
                _offer(b, placed, "best fit, reordered", best)


def _pyramid(k: Keys, rng: np.random.Generator) -> Ints:
    """The blocks that meet the highest load first, by two random keys; then the others, by size and a random key."""
    keys: tuple[NDArray[Any], ...] = (k.total, k.width, k.area, k.size, -k.start, k.start, k.stop, -k.stop)
    hot = k.total >= k.total.max() * float(rng.choice((1.0, 1.0, 0.98, 0.95, 0.9)))
    inner, outer = [int(c) for c in rng.permutation(len(keys))[:2]], (3, int(rng.integers(len(keys))))
    columns = [np.where(hot, keys[i], keys[o]) for i, o in zip(inner, outer, strict=True)]
    return order_by(hot.astype(np.int64), *columns)
