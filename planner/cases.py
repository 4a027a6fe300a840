"""The cases of a problem with choices: one for each combination of alternatives, if they are few."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import Choice, Problem

MOST = 512


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """The problem with one alternative left of each choice: `taken[c]` of choice c."""

    problem: Problem
    taken: tuple[int, ...]

    def widened(self, plan: Plan) -> Plan:
        """A plan of the case as one of the whole problem."""
        return replace(plan, taken=tuple(Taken(c, alternative) for c, alternative in enumerate(self.taken)))


def n_combinations(problem: Problem) -> int:
    """In how many ways alternatives can be taken."""
    return math.prod(len(choice.alternatives) for choice in problem.choices)


def case_of(problem: Problem, taken: Sequence[int]) -> Case:
    """The case in which these alternatives are taken, one per choice."""
    pairs = zip(problem.choices, taken, strict=True)
    choices = tuple(Choice(choice.name, (choice.alternatives[a],)) for choice, a in pairs)
    return Case(replace(problem, choices=choices), tuple(taken))


def cases(problem: Problem) -> Iterator[Case]:
    """Every case if there are two to `MOST`; none otherwise."""
    if 1 < n_combinations(problem) <= MOST:
        for taken in itertools.product(*(range(len(choice.alternatives)) for choice in problem.choices)):
            yield case_of(problem, taken)


def taken_by(plan: Plan) -> tuple[int, ...]:
    """The alternative that a plan takes of each choice."""
    return tuple(taken.alternative for taken in sorted(plan.taken, key=lambda taken: taken.choice))
