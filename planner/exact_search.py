"""What an exact search has found so far: the best plan, the proved bound, and what no offsets fit."""

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner.bounds import bytes_missing
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.exact_pack import Block, Packing
from tierplan.planner.exact_plan import Draft

if TYPE_CHECKING:
    from tierplan.planner.local._kernels import Guide

PROVED = 1e-7  # a cost this close to the bound, relatively, is the best possible: the rest is rounding to ticks


@dataclass(frozen=True, slots=True)
class Cut:
    """Residencies that no offsets fit together while these alternatives are taken."""

    blocks: tuple[Block, ...]
    taken: tuple[Taken, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A solution of the model for which no offsets were found."""

    draft: Draft
    packing: Packing


@dataclass(slots=True)
class Search:
    """What a search has found so far.

    `guide`: what a solved relaxation wishes. `ticks`: into which the exact model cuts the time of the best plan.
    `latest`: the plan of the best solution of the model.
    """

    problem: Problem
    budget: Budget
    cost: Cost
    ticks: int
    began: float
    bound_s: float
    best: Plan | None = None
    best_s: float = math.inf
    infeasible: bool = False
    interrupted: bool = False
    guide: "Guide | None" = None
    cuts: list[Cut] = field(default_factory=list[Cut])
    failed: Failed | None = None
    latest: Plan | None = None
    notes: list[str] = field(default_factory=list[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def seconds_left(self) -> float:
        return self.budget.seconds - (time.perf_counter() - self.began)

    @property
    def is_proved(self) -> bool:
        return self.best_s <= self.bound_s * (1 + max(PROVED, self.budget.gap)) or self.budget.stopped

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to find, or no time to find it."""
        return self.is_proved or self.infeasible or self.interrupted or self.seconds_left <= 0

    def offer(self, candidate: Plan) -> None:
        """Keep a plan if it is cheaper than the best, and legal."""
        self.latest = candidate
        seconds = self.cost(candidate)
        if seconds < self.best_s and not any(violations(self.problem, candidate)):
            with self.lock:
                if seconds < self.best_s:
                    self.best, self.best_s = candidate, seconds

    def raise_bound(self, bound_s: float) -> float:
        """Keep a proved bound if it is the best; the time of the best plan."""
        with self.lock:
            self.bound_s = max(self.bound_s, bound_s)
        return self.best_s

    def outcome(self) -> Outcome:
        """The answer, whenever the search ends."""
        seconds = time.perf_counter() - self.began
        if self.best is None:
            status = Status.INFEASIBLE if self.infeasible else Status.GAVE_UP
            missing = bytes_missing(self.problem) if self.infeasible else {}
            return Outcome("exact", status, None, None, self.bound_s, seconds, missing, tuple(self.notes))
        status = Status.OPTIMAL if self.best_s <= self.bound_s * (1 + PROVED) else Status.FEASIBLE
        bound_s = min(self.bound_s, self.best_s)
        return Outcome("exact", status, self.best, self.best_s, bound_s, seconds, {}, tuple(self.notes))
