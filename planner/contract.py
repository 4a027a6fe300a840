"""What every planner is: `plan(problem, budget, *, start=None, cost) -> Outcome`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.outcome import Outcome
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem

Cost: TypeAlias = Callable[[Plan], float]
"""Simulated seconds of a legal plan."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a planner may search, and with what: seconds of wall clock, threads, and a seed.

    The same problem, budget and seed give the same plan, unless the clock ends the search.
    """

    seconds: float = 10.0
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.seconds) or self.seconds <= 0:
            raise InvalidInputError(f"a budget of {self.seconds} seconds; need a positive, finite number")
        if self.workers < 1:
            raise InvalidInputError(f"a budget of {self.workers} workers; need at least 1")


class Planner(Protocol):
    """A planner; it may improve on `start`, and ranks plans by `cost`."""

    def __call__(self, problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome: ...
