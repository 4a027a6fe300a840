"""Flow: a linear relaxation bounds every legal plan, and its fractions are rounded to one."""

import contextlib
import time
from collections.abc import Iterator
from threading import Event

from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner import greedy
from tierplan.planner.bounds import bytes_missing, first_bound, is_infeasible
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.flow_dive import dive
from tierplan.planner.flow_merge import relaxations
from tierplan.planner.flow_round import STYLES, Style, rounded
from tierplan.planner.flow_solve import Relaxation, build_s
from tierplan.planner.flow_wishes import Wishes, heard

PROVED = 1e-9  # a cost this close to the bound, relatively, is the best possible: the rest is rounding
_SHARE_OF_BOUND = 0.6  # of the budget; the rest is for plans
_SLACKS = (1.5, 2.5, 1.0)
_THRESHOLDS = (0.5, 0.2)
_PROMISING = (
    (Style(1.0, "fraction", True), 0.2), (Style(1.0, "size", True), 0.5), (Style(1.0, "value", True), 0.2),
    (Style(0.5, "due", False), 0.5), (Style(0.5, "fraction", True), 0.2), (Style(1.0, "size", True), 0.8),
)  # fmt: skip


def plan(problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome:
    """Bound the simulated time of every legal plan, and return the cheapest of several roundings.

    The relaxation keeps fractions of tensors in each tier between one use and the next, under the room of each tier
    at each step and under what steps leave of links and tiers for copies (docs/bounds.md). Fractions are
    made whole a few tensors at a time, and whole tensors fitted at real offsets, in several orders. The greedy plan
    and `start` compete too.

    A problem too large to write the relaxation down within the budget gets the greedy plan and the simple bound.

    Assumes: a cyclic program settles, so that each turn takes as long as the one before.
    Deterministic, if the budget lasts.
    """
    began = time.perf_counter()
    search = _Search(problem, cost, first_bound(problem), is_infeasible(problem))
    with contextlib.suppress(KeyboardInterrupt):
        _run(search, budget, start, began + budget.seconds)
    return search.outcome(time.perf_counter() - began)


class _Search:
    """The best plan and the best bound so far."""

    def __init__(self, problem: Problem, cost: Cost, bound_s: float, infeasible: bool) -> None:
        self.problem, self.cost, self.bound_s, self.infeasible = problem, cost, bound_s, infeasible
        self.best: Plan | None = None
        self.best_s = float("inf")

    @property
    def closed(self) -> bool:
        """Whether no better plan exists."""
        return self.best_s <= self.bound_s * (1 + PROVED)

    def offer(self, plan: Plan | None, *, verified: bool = False) -> None:
        """Keep a plan if it is legal and cheaper than the best so far."""
        if plan is None or not (verified or not any(True for _ in violations(self.problem, plan))):
            return
        seconds = self.cost(plan)
        if seconds < self.best_s:
            self.best, self.best_s = plan, seconds

    def outcome(self, planning_s: float) -> Outcome:
        """The answer."""
        if self.best is None:
            status = Status.INFEASIBLE if self.infeasible else Status.GAVE_UP
            return Outcome("flow", status, None, None, self.bound_s, planning_s, bytes_missing(self.problem))
        status = Status.OPTIMAL if self.closed else Status.FEASIBLE
        return Outcome("flow", status, self.best, self.best_s, self.bound_s, planning_s)


def _run(search: _Search, budget: Budget, start: Plan | None, until: float) -> None:
    problem = search.problem
    search.offer(start, verified=True)
    if search.infeasible:
        return
    search.offer(greedy.plan(problem, budget, cost=search.cost).plan, verified=True)
    if search.closed:
        return
    left = _SHARE_OF_BOUND * (until - time.perf_counter())
    if left < build_s(problem):
        return
    solved: dict[tuple[int, ...], Relaxation] = {}
    for found in relaxations(problem, time.perf_counter() + left, budget.stop):
        search.bound_s = max(search.bound_s, found.bound_s)
        search.infeasible = search.infeasible or found.infeasible
        if found.solved and not found.infeasible:
            solved[found.groups] = found
    if not solved or search.infeasible:
        return
    for candidate in roundings(heard(solved.values()), until, budget.stop):
        search.offer(candidate)
        if search.closed or budget.stopped or time.perf_counter() > until:
            return


def roundings(wishes: Wishes, until: float, stop: Event | None = None) -> Iterator[Plan | None]:
    """Plans near solved relaxations, to be verified; None for those that came to nothing."""
    yield from quick_roundings(wishes)
    if wishes.first.is_whole:
        yield from dives(wishes.first, until, stop)


def quick_roundings(wishes: Wishes) -> Iterator[Plan | None]:
    """As `roundings`, only those for which nothing is solved again, the most promising first."""
    rest = [(style, threshold) for threshold in _THRESHOLDS for style in STYLES]
    for style, threshold in dict.fromkeys((*_PROMISING, *rest)):
        yield rounded(wishes, {}, style, threshold)


def near(wishes: Wishes) -> Iterator[Plan | None]:
    """A few plans near relaxations: what all wish together, and what each wishes alone, in several styles."""
    alone = [Wishes([found]) for found in wishes.relaxations] if len(wishes.relaxations) > 1 else []
    for style, threshold in _PROMISING:
        for heeded in (wishes, *alone):
            yield rounded(heeded, {}, style, threshold)


def dives(found: Relaxation, until: float, stop: Event | None = None) -> Iterator[Plan | None]:
    """As `roundings`, only those for which it is solved again, with ever more tensors made whole."""
    for slack in _SLACKS:
        whole, fixed = dive(found, slack, until, stop)
        for style in STYLES:
            yield rounded(Wishes([whole]), fixed, style)
