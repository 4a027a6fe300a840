"""What every planner is: `plan(problem, budget, *, start=None, cost) -> Outcome`."""

import math
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.outcome import Outcome
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Floats, Ints, Problem


class Edits(Protocol):
    """A legal plan that is edited tensor by tensor, and its simulated seconds after each edit.

    `serves` [A] is the tier that serves each access. `rows` names the copies of the plan in its order. `elapsed_s`
    [S + 1] is how long each step, and the end, takes with what it waits for. `supply` is how long steps take, and
    use tiers and links, themselves: shapes [S], [S, K], [S, L]; it changes with the edits.
    """

    seconds: float
    serves: Ints
    rows: Ints

    @property
    def elapsed_s(self) -> Floats: ...

    @property
    def supply(self) -> tuple[Floats, Floats, Floats]: ...

    def change(self, accesses: Ints, tiers: Ints, removed: Ints, added: Ints) -> float:
        """Seconds of the plan in which `tiers` serve these accesses, without some copies and with others.

        Rows of `added` [C, 5]: tensor, source, target, start, done.
        """
        ...

    def keep(self) -> Ints:
        """Keep the last change; the names of the copies that it added."""
        ...

    def undo(self) -> None:
        """Take the last change back."""
        ...


class Cost(Protocol):
    """Simulated seconds of a legal plan."""

    def __call__(self, plan: Plan, /) -> float: ...

    def follow(self, plan: Plan, /) -> Edits:
        """Edit a legal plan step by step."""
        ...

    def warm(self) -> None:
        """Compile what the first call would compile, if anything."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a planner may search, and with what: seconds of wall clock, threads, and a seed.

    `evaluations`: plans that a search may look at, so that its result can be repeated. `gap`: a plan within this
    share of its proved bound is good enough, 0.01 for 1%. `bound_s`: a bound that is proved already, in seconds.
    `stop`: once it is set, the search ends soon with the best plan so far.
    The same problem, budget and seed give the same plan, unless the clock ends the search.
    """

    seconds: float = 10.0
    workers: int = 2
    seed: int = 0
    evaluations: int | None = None
    gap: float = 0.0
    bound_s: float = 0.0
    stop: Event | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not math.isfinite(self.seconds) or self.seconds <= 0:
            raise InvalidInputError(f"a budget of {self.seconds} seconds; need a positive, finite number")
        if self.workers < 1:
            raise InvalidInputError(f"a budget of {self.workers} workers; need at least 1")
        if self.evaluations is not None and self.evaluations < 1:
            raise InvalidInputError(f"a budget of {self.evaluations} evaluations; need at least 1")
        if not 0 <= self.gap < math.inf:
            raise InvalidInputError(f"a gap of {self.gap}; need a share such as 0.01")

    @property
    def stopped(self) -> bool:
        """Whether the search is to end now."""
        return self.stop is not None and self.stop.is_set()


class Planner(Protocol):
    """A planner; it may improve on `start`, and ranks plans by `cost`."""

    def __call__(self, problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome: ...
