"""Greedy: everything in the fastest tier that holds it, largest benefit per byte-step first."""

import contextlib
import time
from collections.abc import Iterator

import numpy as np

from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Floats, Mode, Problem
from tierplan.ir.verify import violations
from tierplan.planner.bounds import bytes_missing, first_bound, is_infeasible
from tierplan.planner.choosing import best_choices
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.placing import Placing
from tierplan.planner.spill import candidates as spilled
from tierplan.planner.uses import Uses, stream_s, uses_of

_STAGING = (32, 16, 8, 4, 2, 1)  # room kept for streaming, in sizes of the largest tensor that is streamed

_MANY_TIERS = 3
_MANY_ACCESSES = 20_000
_LEAST_SPILLED, _MOST_SPILLED = 4, 24  # spilled plans that are looked at: fewer of a large problem
_GRACE_S = 10.0  # after the budget, as long as there is no plan at all
PROVED = 1e-9


def plan(problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome:
    """Place tensors one by one, those that save most seconds per byte and step first.

    A tensor that fits in no tier that steps can use is parked in a slower one and streamed: copied
    in ahead of each use through staging room, which is then kept free. Of several amounts of
    staging room, and of plans with and without prefetching, the cheapest by `cost` is returned.

    On three tiers and more, and where none of this gives a plan, tensors with long gaps between uses are also
    spilled to slower tiers over the gap, and fetched back (`planner/spill.py`), in some ways, fewer of a large problem.
    As long as there is no plan at all, that goes on for up to ten seconds after the budget.

    Alternatives of choices are tried for at most a third of the budget (`planner/choosing.py`).
    """
    began = time.perf_counter()
    bound = max(first_bound(problem), budget.bound_s)
    best, best_s = start, float("inf") if start is None else cost(start)
    if not is_infeasible(problem):
        with contextlib.suppress(KeyboardInterrupt):
            found = best_choices(problem, budget, cost, lambda p, c: _best(p, budget, c, bound, began))
            found_s = float("inf") if found is None else cost(found)
            if found_s < best_s:
                best, best_s = found, found_s
    seconds = time.perf_counter() - began
    if best is None:
        status = Status.INFEASIBLE if is_infeasible(problem) else Status.GAVE_UP
        return Outcome("greedy", status, None, None, bound, seconds, bytes_missing(problem))
    status = Status.OPTIMAL if best_s <= bound * (1 + PROVED) else Status.FEASIBLE
    return Outcome("greedy", status, best, best_s, bound, seconds)


def _best(problem: Problem, budget: Budget, cost: Cost, bound: float, began: float) -> Plan | None:
    """The cheapest candidate under the first alternative of every choice."""
    best, best_s = None, float("inf")
    for candidate in _all_candidates(problem, budget, cost, began):
        candidate_s = cost(candidate)
        if candidate_s < best_s:
            best, best_s = candidate, candidate_s
        if budget.stopped or best_s <= bound * (1 + PROVED):
            break
    return best


def _all_candidates(problem: Problem, budget: Budget, cost: Cost, began: float) -> Iterator[Plan]:
    found = False
    for candidate in _candidates(problem):
        found = True
        yield candidate
    if found and (problem.n_tiers < _MANY_TIERS or len(problem.access_tensor) > _MANY_ACCESSES):
        return
    n_spilled = min(_MOST_SPILLED, max(_LEAST_SPILLED, _MANY_ACCESSES // len(problem.access_tensor)))
    until = began + budget.seconds
    for n, candidate in enumerate(spilled(problem, cost, until=until if found else until + _GRACE_S), 1):
        if not any(True for _ in violations(problem, candidate)):
            found = True
            yield candidate
        if found and (n >= n_spilled or time.perf_counter() > until):
            return


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
