"""Shift the copies of a plan in time, one step at a time, as long as its simulated time falls.

The exact model lets copies share a link as they like; a real link serves them in order of issue, so a
solution may gain by copies that are issued or done a step earlier or later.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tierplan.ir.plan import Copy, Plan
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner.contract import Cost


def retimed(problem: Problem, plan: Plan, cost: Cost, goes_on: Callable[[], bool]) -> Plan:
    """The best plan that single shifts of copies lead to; each step of the way is legal and cheaper."""
    best, best_s = plan, cost(plan)
    improved = True
    while improved and goes_on():
        improved = False
        for candidate in _shifts(problem, best):
            if not goes_on():
                break
            if any(violations(problem, candidate)):
                continue
            seconds = cost(candidate)
            if seconds < best_s:
                best, best_s, improved = candidate, seconds, True
                break
    return best


def _shifts(problem: Problem, plan: Plan) -> Iterator[Plan]:
    for copy in plan.copies:
        for start in range(copy.done - 1, copy.start, -1):
            yield _moved(plan, copy, replace(copy, start=start))
        for start in range(copy.start - 1, -1, -1):
            yield _moved(plan, copy, replace(copy, start=start))
        last = copy.done + 2 if problem.cyclic else min(copy.done + 2, problem.n_steps)
        for done in range(copy.done + 1, last + 1):
            yield _moved(plan, copy, replace(copy, done=done))
        yield replace(plan, copies=(copy, *(c for c in plan.copies if c != copy)))


def _moved(plan: Plan, old: Copy, new: Copy) -> Plan:
    """A copy replaced by another, and the residency that begins with it moved along."""
    residencies = tuple(
        replace(r, start=new.start)
        if (r.tensor, r.tier, r.start) == (old.tensor, old.target, old.start) and new.start < r.stop
        else r
        for r in plan.residencies
    )
    copies = sorted((new if c == old else c for c in plan.copies), key=lambda c: (c.start, c.done))
    return Plan(residencies, tuple(copies), plan.taken)
