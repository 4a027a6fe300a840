"""Search over the choices of a problem for planners that place tensors under given alternatives."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import Choice, Problem
from tierplan.planner.contract import Budget, Cost, Edits

_FEW = 24  # combinations of alternatives up to which all are tried
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


def chosen(problem: Problem, alternatives: Sequence[int]) -> Problem:
    """The problem of which only these alternatives are left, one of each choice."""
    choices = zip(problem.choices, alternatives, strict=True)
    return replace(problem, choices=tuple(Choice(c.name, (c.alternatives[a],)) for c, a in choices))


def best_choices(problem: Problem, budget: Budget, cost: Cost, solve: Solve) -> Plan | None:
    """The best plan that `solve` finds over alternatives: all combinations if they are few, else one choice at a time.

    The first combination is always tried; others as long as the budget lasts.
    """
    if not problem.choices:
        return solve(problem, cost)
    search = _Search(problem, budget, cost, solve, time.perf_counter(), {})
    few = math.prod(len(choice.alternatives) for choice in problem.choices) <= _FEW
    for alternatives in search.all() if few else search.descent():
        search.seconds(alternatives)
        if search.is_over:
            break
    return min(search.found.values(), key=lambda pair: pair[0])[1]


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
        return self.budget.stopped or time.perf_counter() - self.began > self.budget.seconds

    def seconds(self, alternatives: tuple[int, ...]) -> float:
        """The time of the plan under these alternatives, solved once."""
        if alternatives not in self.found:
            taken = tuple(Taken(c, a) for c, a in enumerate(alternatives))
            plan = self.solve(chosen(self.problem, alternatives), Chosen(self.cost, taken))
            plan = None if plan is None else replace(plan, taken=taken)
            self.found[alternatives] = (math.inf if plan is None else self.cost(plan)), plan
        return self.found[alternatives][0]

    def all(self) -> Iterator[tuple[int, ...]]:
        """Every combination."""
        return itertools.product(*(range(len(choice.alternatives)) for choice in self.problem.choices))

    def descent(self) -> Iterator[tuple[int, ...]]:
        """From the first alternatives, and from those that reserve least, one choice after the other to its best."""
        least = tuple(
            min(range(len(c.alternatives)), key=lambda a, c=c: sum(c.alternatives[a].reserved))
            for c in self.problem.choices
        )
        current = (0,) * len(least)
        yield current
        yield least
        current = min(current, least, key=self.seconds)
        for _ in range(_MOST_ROUNDS):
            before = current
            for c, choice in enumerate(self.problem.choices):
                for a in range(len(choice.alternatives)):
                    other = (*current[:c], a, *current[c + 1 :])
                    yield other
                    if self.seconds(other) < self.seconds(current):
                        current = other
            if current == before:
                return
