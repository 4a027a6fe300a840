"""Local search: simulated annealing over single tensors, neighbours and repeated layers, under the simulator's cost."""

import math
import time

from tierplan.ir.errors import InvalidPlanError
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner import greedy
from tierplan.planner.bounds import bytes_missing, first_bound, is_infeasible
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.local._kernels import Guide
from tierplan.planner.local.walk import Snapshot, Walk

_COOLING = 1e-4  # the last temperature, over the first
_SAMPLES = 100  # edits that tell how much a typical one costs
_HOT = 0.1  # the first temperature, over a typical rise
PROVED = 1e-9


def plan(
    problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost, guide: Guide | None = None
) -> Outcome:
    """Improve `start`, or the plan of `greedy`, by edits of a few tensors at a time.

    An edit writes a new wish for a tensor - which tier serves which use, and where it lies meanwhile - and tells
    anew where it lies and when it is copied; others that are in the way give up their place. Repeated layers are
    edited alike as well as one by one. An edit that takes longer is kept with a probability that falls over time.
    With a `guide`, what a relaxation wishes is tried beside random edits. Never worse than its start. Ends when the
    budget does, in seconds or in evaluations, whichever comes first.

    Assumes: the alternatives that the start takes.
    """
    began = time.perf_counter()
    bound_s = max(first_bound(problem), budget.bound_s)
    if is_infeasible(problem):
        return Outcome("local", Status.INFEASIBLE, None, None, bound_s, _since(began), bytes_missing(problem))
    first = start or greedy.plan(problem, budget, cost=cost).plan
    if first is None:
        return Outcome("local", Status.GAVE_UP, None, None, bound_s, _since(began))
    best, best_s = first, cost(first)
    if best_s > bound_s * (1 + max(PROVED, budget.gap)) and budget.evaluations != 0:
        found = _searched(problem, first, budget, began + budget.seconds, bound_s, cost, guide)
        if found is not None:
            found_s = cost(found)
            if found_s < best_s:
                broken = next(iter(violations(problem, found)), None)
                if broken is not None:
                    raise InvalidPlanError(f"planner 'local' broke a rule: {broken}")
                best, best_s = found, found_s
    status = Status.OPTIMAL if best_s <= bound_s * (1 + PROVED) else Status.FEASIBLE
    return Outcome("local", status, best, best_s, bound_s, _since(began))


def _since(began: float) -> float:
    return time.perf_counter() - began


def _searched(
    problem: Problem, first: Plan, budget: Budget, until: float, bound_s: float, cost: Cost, guide: Guide | None
) -> Plan | None:
    """The best plan of one walk."""
    walk = Walk(problem, first, cost.follow(first), budget.seed, guide)
    if not len(walk.movable):
        return None
    best: Snapshot | None = None
    best_s, enough_s = walk.seconds, bound_s * (1 + max(PROVED, budget.gap))
    temperature, rises = 0.0, list[float]()
    began, evaluations = time.perf_counter(), 0
    try:
        while best_s > enough_s:
            done = (time.perf_counter() - began) / max(1e-9, until - began)
            if budget.evaluations is not None:
                done = max(done, evaluations / budget.evaluations)
            if done >= 1.0 or budget.stopped:
                break
            if len(rises) == _SAMPLES and temperature == 0.0:
                temperature = _HOT * sorted(rises)[_SAMPLES // 2]
            evaluations += 1
            before = walk.seconds
            after = walk.propose()
            if after is None:
                continue
            rise = after - before
            if rise > 0 and len(rises) < _SAMPLES:
                rises.append(rise)
            heat = temperature * _COOLING**done
            if rise > 0 and (heat <= 0.0 or walk.rng.random() >= math.exp(-rise / heat)):
                walk.undo()
                continue
            walk.keep()
            if walk.seconds < best_s * (1 - 1e-12):
                best_s, best = walk.seconds, None
                best = walk.snapshot()
    except KeyboardInterrupt:
        pass
    return None if best is None else walk.plan(best)
