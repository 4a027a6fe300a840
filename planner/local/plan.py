"""Local search: simulated annealing over single tensors, neighbours and repeated layers, under the simulator's cost."""

import contextlib
import math
import time
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidPlanError
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner import greedy
from tierplan.planner.bounds import bytes_missing, first_bound, is_infeasible
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.local._kernels import Guide
from tierplan.planner.local.choices import neighbours, switched
from tierplan.planner.local.walk import Snapshot, Walk

_COOLING = 1e-4  # the last temperature, over the first
_SAMPLES = 100  # edits that tell how much a typical one costs
_HOT = 0.1  # the first temperature, over a typical rise
_WALKS = 6  # where alternatives can be changed: from the best plan, and from one with another alternative, in turn
_LOOKING_SHARE = 0.2  # of the time of such a walk, for looking at other alternatives before it
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

    Where there are choices, the budget is divided among walks. Before every other one, other alternatives of one choice
    are tried on the best plan; those that make it faster are kept, and the best of the others is walked from.
    """
    began = time.perf_counter()
    bound_s = max(first_bound(problem), budget.bound_s)
    if is_infeasible(problem):
        return Outcome("local", Status.INFEASIBLE, None, None, bound_s, _since(began), bytes_missing(problem))
    first = start or greedy.plan(problem, budget, cost=cost).plan
    if first is None:
        return Outcome("local", Status.GAVE_UP, None, None, bound_s, _since(began))
    search = _Search(problem, budget, cost, guide, bound_s * (1 + max(PROVED, budget.gap)), first, cost(first))
    with contextlib.suppress(KeyboardInterrupt):
        _improve(search, began + budget.seconds)
    status = Status.OPTIMAL if search.best_s <= bound_s * (1 + PROVED) else Status.FEASIBLE
    return Outcome("local", status, search.best, search.best_s, bound_s, _since(began))


def _since(began: float) -> float:
    return time.perf_counter() - began


@dataclass(slots=True)
class _Search:
    """The best plan so far, and how many plans have been looked at."""

    problem: Problem
    budget: Budget
    cost: Cost
    guide: Guide | None
    enough_s: float
    best: Plan
    best_s: float
    evaluations: int = 0

    def is_over(self, until: float) -> bool:
        """Whether the best plan is good enough, or the budget or the time until then is used up."""
        used = self.budget.evaluations is not None and self.evaluations >= self.budget.evaluations
        return self.best_s <= self.enough_s or used or self.budget.stopped or time.perf_counter() >= until

    def offer(self, found: Plan) -> float:
        """Keep a plan if it is faster than the best; its time."""
        seconds = self.cost(found)
        if seconds < self.best_s:
            broken = next(iter(violations(self.problem, found)), None)
            if broken is not None:
                raise InvalidPlanError(f"planner 'local' broke a rule: {broken}")
            self.best, self.best_s = found, seconds
        return seconds


def _improve(search: _Search, until: float) -> None:
    n_walks = _WALKS if any(len(choice.alternatives) > 1 for choice in search.problem.choices) else 1
    rng = np.random.default_rng(search.budget.seed)
    walked = {search.best.taken}
    for i in range(n_walks):
        now = time.perf_counter()
        ends = now + (until - now) / (n_walks - i)
        begins: Plan | None = search.best
        if i % 2:
            begins = _with_other_choice(search, walked, now + _LOOKING_SHARE * (ends - now), rng)
        if search.is_over(until):
            return
        n_left = None
        if search.budget.evaluations is not None:
            n_left = (search.budget.evaluations - search.evaluations) // (n_walks - i)
        _anneal(search, begins or search.best, search.budget.seed + i, ends, n_left)


def _with_other_choice(
    search: _Search, walked: set[tuple[Taken, ...]], until: float, rng: np.random.Generator
) -> Plan | None:
    """The fastest plan that differs from the best in one choice, of those not yet `walked` from; it joins them.

    A plan that is faster than the best takes its place, and the search goes on from there.
    """
    improved, other, other_s = True, None, math.inf
    while improved and not search.is_over(until):
        improved, other, other_s = False, None, math.inf
        for taken in neighbours(search.problem, search.best, search.best_s, rng):
            if search.is_over(until):
                break
            search.evaluations += 1
            found = switched(search.problem, search.best, taken, search.cost, search.budget.seed)
            if found is None:
                continue
            before_s = search.best_s
            seconds = search.offer(found)
            if seconds < before_s:
                improved = True
                break
            if seconds < other_s and taken not in walked:
                other, other_s = found, seconds
    if other is not None:
        walked.add(other.taken)
    return other


def _anneal(search: _Search, begins: Plan, seed: int, until: float, n_evaluations: int | None) -> None:
    """One walk from a plan; the best of its plans is offered, also when it is interrupted."""
    walk = Walk(search.problem, begins, search.cost.follow(begins), seed, search.guide)
    if not len(walk.movable):
        return
    best: Snapshot | None = None
    best_s = walk.seconds
    temperature, rises = 0.0, list[float]()
    began, evaluations = time.perf_counter(), 0
    try:
        while best_s > search.enough_s:
            done = (time.perf_counter() - began) / max(1e-9, until - began)
            if n_evaluations is not None:
                done = max(done, evaluations / max(1, n_evaluations))
            if done >= 1.0 or search.budget.stopped:
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
    finally:
        search.evaluations += evaluations
        if best is not None:
            search.offer(walk.plan(best))
