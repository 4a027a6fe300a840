"""Branch: raise the bound of the relaxation by telling apart cases in which a tensor lies whole or not at all."""

import heapq
import itertools
from collections.abc import Callable
from threading import Event

import numpy as np

from tierplan.ir.problem import Floats, Ints
from tierplan.planner.flow_flights import with_waiting
from tierplan.planner.flow_solve import Relaxation, Solver

_WHOLE = 1e-6


def raise_bound(
    found: Relaxation, until: float, *, told: Callable[[float], float], stop: Event | None = None, share: float = 1e-9
) -> None:
    """Split the relaxation into cases until the bound reaches the best plan, or the clock says `until`.

    In each plan every fraction of the relaxation is 0 or 1. So the plans are those with a given fraction 0 and those
    with it 1, and the least bound of all cases bounds them all. The case with the least bound is split next, at the
    fraction that leaves most bytes in two.

    Args:
        told: is called with each better bound, in seconds, and answers the time of the best plan, in seconds.
        share: cases whose bound comes as close as this to the best plan, relatively, are not split.
    """
    lp = with_waiting(found.lp, found.begin_s / found.lp.unit_s)
    solver = Solver(lp, stop)
    column, n_bytes = _fractions(found)
    cases: list[tuple[float, int, dict[int, float] | None]] = [(found.bound_s, 0, {})]  # None: nothing to tell apart
    count, reached_s = itertools.count(1), found.bound_s
    fixed: dict[int, float] = {}
    while cases:
        bound_s, _, case = heapq.heappop(cases)
        if bound_s > reached_s:
            reached_s = bound_s
        best_s = told(reached_s)
        if case is None or reached_s >= best_s * (1 - share):
            return
        solver.fix(dict.fromkeys(fixed, (0.0, 1.0)) | {c: (value, value) for c, value in case.items()})
        fixed = case
        node = solver.settle(until)
        if node.infeasible:
            continue
        if not node.solved:
            return
        bound_s = max(bound_s, node.bound_s)
        x = node.x[column]
        torn = np.minimum(x, 1.0 - x)
        if not len(torn) or float(torn.max()) <= _WHOLE:
            heapq.heappush(cases, (bound_s, next(count), None))
            continue
        chosen = int(column[int(np.argmax(torn * n_bytes))])
        for value in (0.0, 1.0):
            heapq.heappush(cases, (bound_s, next(count), case | {chosen: value}))


def _fractions(found: Relaxation) -> tuple[Ints, Floats]:
    """The columns that say where tensors lie and which alternatives are taken, and the bytes that each is about."""
    lp = found.lp
    bytes_of: dict[int, float] = {}
    for places in lp.places.of_tensor:
        for place in places:
            size = float(lp.problem.size[place.visit.tensor])
            for c in (*place.keep.values(), *place.fresh.values(), *place.load.values()):
                bytes_of[c] = size
            if place.visit.before is None:
                bytes_of |= {c: size for lies in place.lies.values() for c, _ in lies.terms}
    most = max(bytes_of.values(), default=1.0)
    for group in lp.taken:
        bytes_of |= dict.fromkeys(group, most)
    return np.array(list(bytes_of), dtype=np.int64), np.array(list(bytes_of.values()), dtype=np.float64)
