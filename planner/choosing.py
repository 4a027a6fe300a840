"""Search over the choices of a problem for planners that place tensors under given alternatives."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import Problem
from tierplan.planner.bounds import bounded_cases, lacks_room
from tierplan.planner.cases import case_of
from tierplan.planner.contract import Budget, Cost, Edits

_SHARE = 1 / 3  # of the budget, for trying one combination of alternatives after the other
_MOST_ROUNDS = 4

Solve = Callable[[Problem, Cost], Plan | None]
"""A plan of a problem whose choices have one alternative each."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The simulator's cost of plans for a problem of which only these alternatives are left."""

    cost: Cost
    taken: tuple[Taken, ...]

    def __call__(self, plan: Plan, /) -> float:
        return self.cost(replace(plan, taken=self.taken))

    def follow(self, plan: Plan, /) -> Edits:
        """Edit a plan step by step."""
        return self.cost.follow(replace(plan, taken=self.taken))

    def warm(self) -> None:
        """Compile what the first call would compile."""
        self.cost.warm()


def best_choices(problem: Problem, budget: Budget, cost: Cost, solve: Solve) -> Plan | None:
    """The best plan that `solve` finds over the alternatives of choices, for at most a third of the budget.

    Of few combinations of alternatives, each whose bound is below the best plan so far is solved, the least bound
    first; of many, one choice after the other is moved to its best alternative. The first combination is always tried.
    """
    if not problem.choices:
        return solve(problem, cost)
    search = _Search(problem, budget, cost, solve, time.perf_counter(), {})
    for alternatives, least_s in search.cases() or search.descent():
        if search.found and (search.is_over or least_s >= search.best_s):
            break
        search.seconds(alternatives)
    return min(search.found.values(), key=lambda pair: pair[0])[1] if search.found else None


@dataclass(slots=True)
class _Search:
    problem: Problem
    budget: Budget
    cost: Cost
    solve: Solve
    began: float
    found: dict[tuple[int, ...], tuple[float, Plan | None]]

    @property
    def is_over(self) -> bool:
        """Whether the budget has ended."""
        return self.budget.stopped or time.perf_counter() - self.began > self.budget.seconds * _SHARE

    @property
    def best_s(self) -> float:
        """The time of the best plan so far."""
        return min(seconds for seconds, _ in self.found.values())

    def seconds(self, alternatives: tuple[int, ...]) -> float:
        """The time of the plan under these alternatives, solved once."""
        if alternatives not in self.found:
            taken = tuple(Taken(c, a) for c, a in enumerate(alternatives))
            case = case_of(self.problem, alternatives).problem
            plan = None if lacks_room(case) else self.solve(case, Chosen(self.cost, taken))
            plan = None if plan is None else replace(plan, taken=taken)
            self.found[alternatives] = (math.inf if plan is None else self.cost(plan)), plan
        return self.found[alternatives][0]

    def cases(self) -> list[tuple[tuple[int, ...], float]]:
        """Every combination that room allows, with the seconds that no plan with it can beat; none if they are many.

        The best one with which all data can lie where steps use it comes first: it is planned fast, and well.
        """
        found = bounded_cases(self.problem)
        roomy = next((bounded for bounded in found if not lacks_room(bounded.case.problem, directly=True)), None)
        first = [] if roomy is None else [(roomy.case.taken, 0.0)]
        return first + [(bounded.case.taken, bounded.bound_s) for bounded in found if bounded is not roomy]

    def descent(self) -> Iterator[tuple[tuple[int, ...], float]]:
        """From the first alternatives, and from those that reserve least, one choice after the other to its best."""
        least = tuple(
            min(range(len(c.alternatives)), key=lambda a, c=c: sum(c.alternatives[a].reserved))
            for c in self.problem.choices
        )
        current = (0,) * len(least)
        yield current, 0.0
        yield least, 0.0
        current = min(current, least, key=self.seconds)
        for _ in range(_MOST_ROUNDS):
            before = current
            for c, choice in enumerate(self.problem.choices):
                for a in range(len(choice.alternatives)):
                    other = (*current[:c], a, *current[c + 1 :])
                    yield other, 0.0
                    if self.seconds(other) < self.seconds(current):
                        current = other
            if current == before:
                return
