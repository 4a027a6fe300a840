"""Other alternatives for a plan: what no longer fits beside what they reserve is told anew."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import Problem
from tierplan.planner.bounds import first_bound, lacks_room
from tierplan.planner.cases import case_of, taken_by
from tierplan.planner.contract import Cost
from tierplan.planner.local.walk import Walk

_ATTEMPTS = 8  # others are pushed aside at random


def neighbours(problem: Problem, plan: Plan, below_s: float, rng: np.random.Generator) -> Iterator[tuple[Taken, ...]]:
    """What else can be taken of one choice, in random order: what a plan faster than `below_s` may take."""
    taken = taken_by(plan)
    others: list[tuple[int, ...]] = [
        (*taken[:c], a, *taken[c + 1 :])
        for c, choice in enumerate(problem.choices)
        for a in range(len(choice.alternatives))
        if a != taken[c]
    ]
    order: list[int] = rng.permutation(len(others)).tolist()
    for i in order:
        case = case_of(problem, others[i]).problem
        if not lacks_room(case) and first_bound(case) < below_s:
            yield tuple(Taken(c, a) for c, a in enumerate(others[i]))


def switched(problem: Problem, plan: Plan, taken: tuple[Taken, ...], cost: Cost, seed: int) -> Plan | None:
    """The plan with other alternatives; None if what they reserve pushes out more than can be told anew."""
    other = replace(plan, taken=taken)
    walk = Walk(problem, other, cost.follow(other), seed)
    out = walk.sticking_out()
    if not len(out):
        return other
    for _ in range(_ATTEMPTS):
        if walk.tell_anew(out) is not None:
            walk.keep()
            return walk.plan(walk.snapshot())
    return None
