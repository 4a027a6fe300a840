"""Offset allocation: buffers with lifespans and sizes get addresses within a capacity, or the least peak."""

import time
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tierplan.ir.buffers import NONE, Allocation, Buffers, Gaps, Ints, no_gaps
from tierplan.ir.errors import InvalidInputError, InvalidPlanError
from tierplan.ir.outcome import Status
from tierplan.planner import _kernels as kernels
from tierplan.planner.offset_bounds import lower_bound
from tierplan.planner.offset_check import legal
from tierplan.planner.offset_conflict import smallest_conflict
from tierplan.planner.offset_effort import Best, Effort
from tierplan.planner.offset_exact import improve
from tierplan.planner.offset_fit import fit, refit
from tierplan.planner.offset_orders import place
from tierplan.planner.offset_problem import Blocks, blocks_of, by_time, parts_in_time, sections_of, take
from tierplan.planner.offset_search import DEFAULT_RULES, MOST_PAIRS, Rules, pairs_in, part_of

__all__ = ["Allocation", "allocate", "solve"]

_UNBOUNDED = 2**62


def allocate(
    start: ArrayLike,
    stop: ArrayLike,
    size: ArrayLike,
    *,
    alignment: ArrayLike | None = None,
    capacity: int | None = None,
    budget: float = 10.0,
    fixed: ArrayLike | None = None,
    hint: ArrayLike | None = None,
    alias: ArrayLike | None = None,
    gaps: Gaps | None = None,
    minimize: bool | None = None,
    seed: int = 0,
    max_nodes: int | None = None,
    n_workers: int = 1,
    explain: bool = False,
) -> Allocation:
    """Give each buffer an offset so that no two overlap in both time and bytes.

    With a `capacity`, stops at the first allocation that fits; without one (or with `minimize`), looks for the least
    height until it is proved or the budget is spent. Answers are the same for the same input and seed, unless the
    budget cuts the search short; `max_nodes` is a budget that does not depend on the clock.

    >>> found = allocate([0, 3, 0], [3, 9, 9], [4, 4, 4])
    >>> found.height, found.status.name
    (8, 'OPTIMAL')

    Shapes: `start`, `stop`, `size` and the optional arrays are `[n]` (`alignment` may be one number).
    Units: steps; bytes; `budget` in seconds.
    `fixed`: offsets to keep; `hint`: offsets to try first; `alias`: groups that share one address; -1 for none.
    `explain`: where nothing fits, also look for few buffers that cannot fit together.
    Raises: InvalidInputError: see `Buffers`; a capacity or a budget below 0.
    """
    sizes = _integers("size", size)
    n = len(sizes)
    buffers = Buffers(
        start=_integers("start", start),
        stop=_integers("stop", stop),
        size=sizes,
        alignment=_optional("alignment", alignment, n, 1),
        hint=_optional("hint", hint, n, NONE),
        fixed=_optional("fixed", fixed, n, NONE),
        alias=_optional("alias", alias, n, NONE),
        gaps=no_gaps() if gaps is None else gaps,
    )
    return solve(
        buffers,
        capacity=capacity,
        budget=budget,
        minimize=minimize,
        seed=seed,
        max_nodes=max_nodes,
        n_workers=n_workers,
        explain=explain,
    )


def solve(
    buffers: Buffers,
    *,
    capacity: int | None = None,
    budget: float = 10.0,
    minimize: bool | None = None,
    seed: int = 0,
    max_nodes: int | None = None,
    n_workers: int = 1,
    explain: bool = False,
    rules: Rules = DEFAULT_RULES,
    cp_sat: bool = True,
) -> Allocation:
    """`allocate` for buffers that are already put together."""
    load_kernels()
    if capacity is not None and capacity < 0:
        raise InvalidInputError(f"capacity {capacity} must be at least 0 bytes")
    if not budget >= 0:
        raise InvalidInputError(f"budget {budget} must be at least 0 s")
    if n_workers < 1:
        raise InvalidInputError(f"n_workers {n_workers} must be at least 1")
    if len(buffers.gaps) or (buffers.alias >= 0).any():
        _load_kernels_of_pieces()
    began = time.monotonic()
    effort = Effort(began + budget, max_nodes, 0, seed, n_workers, rules, cp_sat)
    b, _ = by_time(blocks_of(buffers))
    least = capacity is None if minimize is None else minimize
    above_too = capacity is not None and least
    if above_too:
        effort.deadline_to_fit = began + budget / 2
        effort.nodes_to_fit = None if max_nodes is None else max_nodes // 2
    best = _search(b, _UNBOUNDED if capacity is None else capacity // b.unit, least, effort)
    conflict: tuple[int, ...] = ()
    if explain and _infeasible(best):
        blocks = smallest_conflict(b, best.height - 1, effort)
        conflict = tuple(int(i) for i in np.flatnonzero(np.isin(b.of, blocks)))
    lowest = _above(b, best, effort) if above_too and not best.found else _spare(best)
    if lowest.found and not legal(b, lowest.offset):
        raise InvalidPlanError(f"{lowest.by} returned an allocation that overlaps")
    return Allocation(
        offset=best.offset[b.of] * b.unit if best.found else np.full(len(buffers), NONE, np.int64),
        status=_status(best),
        height=lowest.height * b.unit if lowest.found else NONE,
        lower_bound=max(best.bound, lowest.bound) * b.unit,
        capacity=NONE if capacity is None else capacity,
        planner=best.by,
        n_nodes=effort.n_nodes,
        seconds=time.monotonic() - began,
        conflict=conflict,
    )


def _infeasible(best: Best) -> bool:
    return not best.found and best.bound >= best.height


def _status(best: Best) -> Status:
    if best.found:
        return Status.OPTIMAL if best.height <= best.bound else Status.FEASIBLE
    return Status.INFEASIBLE if _infeasible(best) else Status.GAVE_UP


@cache
def load_kernels() -> None:
    """Load the compiled loops, or compile them once on a machine, so that no budget pays for it."""
    b = _two_blocks()
    best = Best(np.empty(0, np.int64), 4, 0, 0, "", False)
    effort = Effort(float("inf"), cp_sat=False)
    fit(b, sections_of(b), best, effort)
    legal(b, best.offset)
    kernels.least_stack(b.height, b.align)
    improve([part_of(b)], [Best(np.empty(0, np.int64), 4, 3, 3, "", False)], effort)


@cache
def _load_kernels_of_pieces() -> None:
    b = _two_blocks()
    place(b._replace(plain=False), np.arange(2), np.zeros(1, np.int64))


def _two_blocks() -> Blocks:
    two = np.array([1, 2])
    none = np.full(2, NONE, np.int64)
    b, _ = by_time(blocks_of(Buffers(two - 1, two + 1, two, np.ones(2, np.int64), none, none, none)))
    return b


def _search(b: Blocks, limit: int, least: bool, effort: Effort) -> Best:
    """Best fit first; then, part by part, the exact search where it is not yet good enough."""
    if not len(b.height):
        return Best(np.empty(0, np.int64), 0, 0, 0, "nothing to place", True)
    sections = sections_of(b)
    bound = lower_bound(b, sections)
    allowed = min(limit, int((b.height + b.align).sum() + (b.fixed + b.height).max(initial=0)))
    best = Best(np.empty(0, np.int64), allowed + 1, bound, bound if least else allowed, "load", False)
    if best.done:
        return best
    fit(b, sections, best, effort)
    return _lower(b, best, effort)


def _lower(b: Blocks, best: Best, effort: Effort) -> Best:
    """Lower an allocation until its goal is met or the effort is spent."""
    if best.done or effort.over:
        return best
    if pairs_in(b) > MOST_PAIRS or best.height * (len(b.height) + 1) >= _UNBOUNDED:
        return refit(b, sections_of(b), best, effort)
    parts = parts_in_time(b)
    if len(parts) == 1:
        improve([part_of(b)], [best], effort)
        return best
    return _improve_parts(b, parts, best, effort)


def _spare(best: Best) -> Best:
    """The lowest allocation at hand, which may lie above the capacity."""
    if best.found or best.spare is None:
        return best
    return Best(best.spare, best.spare_height, best.bound, best.bound, best.by, True)


def _above(b: Blocks, best: Best, effort: Effort) -> Best:
    """Where nothing was found within the capacity: the lowest allocation above it that the effort allows."""
    effort.deadline_to_fit, effort.nodes_to_fit = float("inf"), None
    lowest = _spare(best)
    if effort.interrupted or not len(b.height):
        return lowest
    return _lower(b, lowest, effort) if lowest.found else _search(b, _UNBOUNDED, True, effort)


def _improve_parts(b: Blocks, parts: list[NDArray[np.intp]], best: Best, effort: Effort) -> Best:
    """Search the parts apart; the tallest counts."""
    offset = best.offset.copy() if best.found else np.zeros(len(b.height), np.int64)
    bests: list[Best] = []
    for index in parts:
        blocks = take(b, index)
        height = int((offset[index] + blocks.height).max()) if best.found else best.height
        bound = lower_bound(blocks, sections_of(blocks))
        goal = max(best.goal, best.bound)
        bests.append(Best(offset[index], height, bound, goal, best.by, best.found))
    improve([part_of(take(b, index)) for index in parts], bests, effort)
    for index, own in zip(parts, bests, strict=True):
        offset[index] = own.offset
    tallest = max(bests, key=lambda own: own.height)
    bound = max(own.bound for own in bests)
    found = all(own.found for own in bests)
    return Best(
        *(offset, tallest.height, bound, best.goal, tallest.by, found), spare=best.spare, spare_height=best.spare_height
    )


def _integers(name: str, values: ArrayLike) -> Ints:
    array = np.asarray(values)
    if array.ndim != 1:
        raise InvalidInputError(f"{name} has shape {array.shape}; it must have one dimension")
    if array.dtype == np.int64:
        return array
    if not len(array):
        return np.empty(0, np.int64)
    if not np.issubdtype(array.dtype, np.integer) or (array.dtype == np.uint64 and array.max() > 2**62):
        raise InvalidInputError(f"{name} must be an array of 64-bit integers, not {array.dtype}")
    return array.astype(np.int64)


def _optional(name: str, values: ArrayLike | Sequence[int] | None, n: int, default: int) -> Ints:
    if values is None:
        return np.full(n, default, np.int64)
    array = np.asarray(values)
    return np.full(n, int(array), np.int64) if array.ndim == 0 else _integers(name, array)
