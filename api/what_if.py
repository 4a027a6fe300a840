"""What would help most: each resource doubled, by plans for that machine, or a little larger, by the relaxation."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.scaled import Quantity, Resource, resources, scaled
from tierplan.ir.verify import violations
from tierplan.planner.contract import Budget
from tierplan.planner.flow_value import marginal_seconds
from tierplan.planner.registry import find_planner
from tierplan.sim.incremental.session import Simulated

_SHARE_OF_DUALS = 0.4
_TWICE = 2.0


@dataclass(frozen=True, slots=True)
class Help:
    """What more of one resource brings, in seconds saved of a run or turn; None where there was no time to find out.

    `tenth_s`: of the relaxation's optimum with 10 % more, by its duals. `same_s`: of this plan on a machine with twice
    as much. `replanned_s`: of the best of this plan and a new one there, which is what can be had at least.
    """

    resource: Resource
    tenth_s: float | None
    same_s: float
    replanned_s: float | None

    @property
    def most_s(self) -> float:
        """By what the table is sorted."""
        return max(self.same_s, self.replanned_s or 0.0, self.tenth_s or 0.0)


def what_helps(
    problem: Problem, plan: Plan, time_s: float, seconds: float, advance: Callable[[int], None]
) -> tuple[Help, ...]:
    """Every resource of the machine, the one that helps most first. `advance(1)` is called after each.

    Takes about `seconds`, and one new plan more.
    """
    until = time.perf_counter() + seconds
    duals = marginal_seconds(problem, _SHARE_OF_DUALS * seconds)
    helps: list[Help] = []
    wanted = resources(problem)
    for done, resource in enumerate(wanted):
        other = scaled(problem, resource, _TWICE)
        cost = Simulated(other)
        same_s = cost(plan)
        left = until - time.perf_counter()
        replanned = _replanned(other, plan, same_s, left / (len(wanted) - done)) if left > 0 else None
        tenth = duals.get(resource)
        helps.append(
            Help(
                resource,
                None if tenth is None else tenth / 10,
                max(0.0, time_s - same_s),
                None if replanned is None else max(0.0, time_s - replanned),
            )
        )
        advance(1)
    return tuple(sorted(helps, key=lambda each: -each.most_s))


def _replanned(problem: Problem, plan: Plan, same_s: float, seconds: float) -> float:
    """Seconds of the best of a plan and a new one by the greedy planner."""
    found = find_planner("greedy")(problem, Budget(seconds=max(0.1, seconds)), start=plan, cost=Simulated(problem))
    if found.plan is None or found.cost_s is None or any(True for _ in violations(problem, found.plan)):
        return same_s
    return min(same_s, found.cost_s)


def n_resources(problem: Problem) -> int:
    """How many resources `what_helps` tries."""
    return len(resources(problem))


def resource_name(resource: Resource) -> str:
    """For people: 'vram capacity', 'ddr->vram bandwidth'."""
    if resource.quantity is Quantity.LINK:
        return f"link {resource.name} bandwidth"
    return f"{resource.name} {resource.quantity.value}"
