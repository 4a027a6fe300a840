"""Before the exact model, and where it is too large: the relaxation, its roundings, local search beside cases."""

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tierplan.planner.exact_search import Search
from tierplan.planner.members import side_by_side

if TYPE_CHECKING:
    from tierplan.planner.flow_solve import Relaxation

_BOUND_SHARE = 0.3  # of the budget, for relaxations
_ROUNDING_SHARE = 0.1
_WALK_SHARE = 0.5  # of what is left, for one walk of local search
_SHORTEST_S = 0.02


def relax(search: Search) -> "Relaxation | None":
    """Bound the time by relaxations, with fewer tiers first, and round them; that of all tiers, None if not solved."""
    from tierplan.planner.flow import quick_roundings
    from tierplan.planner.flow_merge import relaxations
    from tierplan.planner.flow_solve import build_s
    from tierplan.planner.flow_wishes import heard
    from tierplan.planner.local.guide import guide_of

    problem, budget = search.problem, search.budget
    solved: dict[tuple[int, ...], Relaxation] = {}
    if search.is_over or build_s(problem) > _BOUND_SHARE * budget.seconds:
        return None
    for found in relaxations(problem, time.perf_counter() + _BOUND_SHARE * budget.seconds, budget.stop):
        search.raise_bound(found.bound_s)
        search.infeasible = search.infeasible or (found.infeasible and search.best is None)
        if found.solved and not found.infeasible:
            solved[found.groups] = found
    if not solved:
        return None
    wishes = heard(solved.values())
    search.guide = guide_of(wishes)
    until = time.perf_counter() + _ROUNDING_SHARE * budget.seconds
    for candidate in () if search.is_over else quick_roundings(wishes):
        if candidate is not None:
            search.offer(candidate)
        if search.is_over or time.perf_counter() > until:
            break
    return wishes.first if wishes.first.is_whole else None


def improve(search: Search, found: "Relaxation | None", seconds: float) -> None:
    """Search for better plans for some seconds, and tell cases of the relaxation apart, if it is solved.

    With two workers both at once, with one worker one after the other.
    """
    until = time.perf_counter() + seconds
    if found is None or search.budget.workers == 1:
        if found is not None:
            _tell_apart(search, found, until - seconds / 2, search.budget.stop)
        _walk(search, until, search.budget.stop)
        return
    stop = threading.Event()
    members = {
        "cases": lambda: _tell_apart(search, found, until, stop),
        "local": lambda: _walk(search, until, stop),
    }
    side_by_side(members, lambda: search.is_over, stop)


def _tell_apart(search: Search, found: "Relaxation", until: float, stop: threading.Event | None) -> None:
    from tierplan.planner.flow_branch import raise_bound

    raise_bound(found, until, told=search.raise_bound, stop=stop)


def _walk(search: Search, until: float, stop: threading.Event | None) -> None:
    """Walks of local search, each from the best plan so far."""
    from tierplan.planner.local.plan import plan as local

    seed = search.budget.seed
    while search.best is not None and not search.is_over and not (stop is not None and stop.is_set()):
        left = until - time.perf_counter()
        if left <= 0:
            return
        share = replace(
            search.budget, seconds=max(_SHORTEST_S, _WALK_SHARE * left), bound_s=search.bound_s, seed=seed, stop=stop
        )
        better = local(search.problem, share, start=search.best, cost=search.cost, guide=search.guide).plan
        if better is not None and better is not search.best:
            search.offer(better)
        seed += 1
