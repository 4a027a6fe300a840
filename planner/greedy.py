"""Greedy: everything in the fastest tier that holds it, largest benefit per byte-step first."""

import time
from collections.abc import Iterator

import numpy as np

from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Floats, Mode, Problem
from tierplan.planner.bounds import bounded_cases, bytes_missing, first_bound, is_infeasible, lacks_room
from tierplan.planner.cases import Case, case_of
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.placing import Placing
from tierplan.planner.uses import Uses, stream_s, uses_of

_STAGING = (32, 16, 8, 4, 2, 1)  # room kept for streaming, in sizes of the largest tensor that is streamed

_SHARE_OF_CASES = 1 / 3  # of the budget, for trying one combination of alternatives after the other


def plan(problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome:
    """Place tensors one by one, those that save most seconds per byte and step first.

    A tensor that fits in no tier that steps can use is parked in a slower one and streamed: copied
    in ahead of each use through staging room, which is then kept free. Of several amounts of
    staging room, and of plans with and without prefetching, the cheapest by `cost` is returned.

    Of few combinations of alternatives of choices, each whose bound is below the best plan so far is planned, the
    least bound first, for at most a third of the budget. Assumes, if they are many: the first alternative of each.
    """
    began = time.perf_counter()
    bound = first_bound(problem)
    best, best_s = start, float("inf") if start is None else cost(start)
    for case, case_s in _cases(problem):
        late = budget.stopped or time.perf_counter() - began > budget.seconds * _SHARE_OF_CASES
        if best is not None and (late or case_s >= best_s):
            break
        for found in _candidates(case.problem):
            candidate = case.widened(found)
            candidate_s = cost(candidate)
            if candidate_s < best_s:
                best, best_s = candidate, candidate_s
    seconds = time.perf_counter() - began
    if best is None:
        status = Status.INFEASIBLE if is_infeasible(problem) else Status.GAVE_UP
        return Outcome("greedy", status, None, None, bound, seconds, bytes_missing(problem))
    status = Status.OPTIMAL if best_s <= bound * (1 + 1e-9) else Status.FEASIBLE
    return Outcome("greedy", status, best, best_s, bound, seconds)


def _cases(problem: Problem) -> Iterator[tuple[Case, float]]:
    """Combinations of alternatives, and the seconds that no plan with them can beat; none if nothing fits.

    The best one with which all data can lie where steps use it comes first: it is planned fast, and well.
    """
    if is_infeasible(problem):
        return
    found = bounded_cases(problem)
    if not found:
        yield case_of(problem, [0] * len(problem.choices)), 0.0
    roomy = next((bounded for bounded in found if not lacks_room(bounded.case.problem, directly=True)), None)
    if roomy is not None:
        yield roomy.case, 0.0
    for bounded in found:
        if bounded is not roomy:
            yield bounded.case, bounded.bound_s


def _candidates(problem: Problem) -> list[Plan]:
    uses = uses_of(problem)
    for order in _orders(problem, uses):
        if found := _placed(problem, uses, order):
            return found
    return []


def _placed(problem: Problem, uses: Uses, order: list[int]) -> list[Plan]:
    """The plans that one order of placement leads to."""
    found: list[Plan] = []
    placing = Placing(problem, uses)
    if placing.run(order, spare=0):
        found.append(placing.plan())
    if placing.is_streaming or not found:
        largest = int(problem.size.max())
        for n in _STAGING:
            placing = Placing(problem, uses)
            if placing.run(order, spare=n * largest):
                found.append(placing.plan())
    elif placing.plan().copies:
        placing = Placing(problem, uses, prefetch=False)
        if placing.run(order, spare=0):
            found.append(placing.plan())
    return found


def _orders(problem: Problem, uses: Uses) -> list[list[int]]:
    """Orders of placement: written tensors first, then by benefit per byte-step; or produced ones before all.

    What is produced is not parked here, so that it must find room before what exists takes it.
    """
    density = benefit_s(problem) / np.maximum(problem.size * np.maximum(uses.stop - uses.start, 1), 1)
    written = np.zeros(problem.n_tensors, dtype=np.bool_)
    written[problem.access_tensor[problem.access_mode != Mode.READ]] = True
    used = set(uses.used())
    keys = ((-problem.size, -density, ~written), (-problem.size, -density, ~written, uses.exists))
    return [[x for x in np.lexsort(key).tolist() if x in used] for key in keys]


def benefit_s(problem: Problem) -> Floats:
    """Shape [N]: seconds that serving each tensor from the fastest direct tier saves against the slowest."""
    direct = np.flatnonzero(problem.tiers.direct).tolist()
    saved = stream_s(problem, direct[-1]) - stream_s(problem, direct[0])
    return np.bincount(problem.access_tensor, saved, minlength=problem.n_tensors).astype(np.float64)
