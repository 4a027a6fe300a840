"""Auto: the planners that suit the size and the budget, side by side, with one best plan and one bound."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner import greedy
from tierplan.planner.bounds import bytes_missing, first_bound, is_infeasible
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.members import side_by_side

if TYPE_CHECKING:
    from tierplan.planner.flow_solve import Relaxation
    from tierplan.planner.flow_wishes import Wishes
    from tierplan.planner.local._kernels import Guide

PROVED = 1e-9
_SHARE_OF_BOUND = 0.7  # of the time, at most, for relaxations
_SHARE_OF_ROUNDING = 0.3  # of that, for rounding the last of them
_SHARE_OF_MSA = 0.25
_SHARE_OF_MSA_ON_MANY = 0.1  # on three tiers and more, where it rarely finds the best plan
_SEGMENTS = 5  # into which the time of a search is cut where it begins near a relaxation
_LONG_SEGMENTS = 2  # the same where it goes on from the best plan
_MOST_STARTS = 1  # near each relaxation
_SHORTEST_S = 0.05
_LONG_S = 2.0
_FEW_CASES = 4  # relaxations must be solved in this part of their time to be solved again for plans and for cases


def plan(problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome:
    """The best plan of `greedy`, `msa`, `flow` and `local`, with the bound of `flow`.

    One thread solves the relaxation, rounds it, and then searches on from the best plan of all; beside it another runs
    the compiler's heuristic and searches from the first second on. All end early when the gap is closed, or at the
    `gap` of the budget. A member that fails is named in `notes`; the others go on.

    With one worker, or a number of evaluations, the same members run one after the other.
    """
    compiling = _warm(cost)
    team = _Team(problem, budget, cost, time.perf_counter())
    if compiling > _LONG_S:
        team.notes.append(f"{compiling:.0f} s more went into compiling the search, once for this installation")
    team.bound_s = max(first_bound(problem), budget.bound_s)
    if start is not None:
        team.offer(start)
    if is_infeasible(problem):
        return team.outcome(infeasible=True)
    with contextlib.suppress(KeyboardInterrupt):
        team.try_to("greedy", lambda: _greedy(team))
        if team.done:
            return team.outcome()
        if budget.workers == 1 or budget.evaluations is not None:
            _one_by_one(team)
        else:
            _side_by_side(team)
    team.stop.set()
    return team.outcome()


def _warm(cost: Cost) -> float:
    """Compile what the members run, before the clock does; the seconds that it took."""
    from tierplan.planner.local.state import warm

    began = time.perf_counter()
    cost.warm()
    warm()
    return time.perf_counter() - began


@dataclass(slots=True)
class _Team:
    """What all members know: the best plan and the best bound so far."""

    problem: Problem
    budget: Budget
    cost: Cost
    began: float
    bound_s: float = 0.0
    best: Plan | None = None
    best_s: float = float("inf")
    infeasible: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    notes: list[str] = field(default_factory=list[str])
    wishes: "Wishes | None" = None

    @property
    def left_s(self) -> float:
        """Seconds left of the budget."""
        return self.budget.seconds - (time.perf_counter() - self.began)

    @property
    def done(self) -> bool:
        """Whether the plan is as good as asked, or the time is over."""
        enough = self.best_s <= self.bound_s * (1 + max(PROVED, self.budget.gap))
        return enough or self.infeasible or self.stop.is_set() or self.budget.stopped or self.left_s <= 0

    def offer(self, candidate: Plan | None) -> None:
        """Keep a plan if it is cheaper than the best, and legal."""
        if candidate is None:
            return
        seconds = self.cost(candidate)
        if seconds >= self.best_s or any(True for _ in violations(self.problem, candidate)):
            return
        with self.lock:
            if seconds < self.best_s:
                self.best, self.best_s = candidate, seconds

    def raise_bound(self, bound_s: float) -> None:
        """Keep a proved bound if it is the best."""
        with self.lock:
            self.bound_s = max(self.bound_s, bound_s)

    def share(self, seconds: float, *, seed: int = 0, evaluations: int | None = None) -> Budget:
        """The budget of a member for some seconds."""
        return replace(
            self.budget, seconds=max(_SHORTEST_S, seconds), workers=1, seed=self.budget.seed + seed,
            evaluations=evaluations, bound_s=self.bound_s, stop=self.stop,
        )  # fmt: skip

    def try_to(self, name: str, run: Callable[[], None]) -> None:
        """Run a member; if it fails, note it and go on."""
        try:
            run()
        except Exception as failure:
            with self.lock:
                self.notes.append(f"planner '{name}' failed, the others went on: {type(failure).__name__}: {failure}")

    def outcome(self, *, infeasible: bool = False) -> Outcome:
        """The answer."""
        seconds, notes = time.perf_counter() - self.began, tuple(self.notes)
        with self.lock:
            if self.best is None:
                status = Status.INFEASIBLE if infeasible or self.infeasible else Status.GAVE_UP
                missing = bytes_missing(self.problem)
                return Outcome("auto", status, None, None, self.bound_s, seconds, missing, notes)
            status = Status.OPTIMAL if self.best_s <= self.bound_s * (1 + PROVED) else Status.FEASIBLE
            return Outcome("auto", status, self.best, self.best_s, self.bound_s, seconds, {}, notes)


def _one_by_one(team: _Team) -> None:
    total = team.left_s
    team.try_to("msa", lambda: _msa(team, total / 2))
    team.try_to("flow", lambda: _flow(team, _SHARE_OF_BOUND * total))
    team.try_to("local", lambda: _local(team, 0))


def _side_by_side(team: _Team) -> None:
    total = team.left_s

    def prove() -> None:
        team.try_to("flow", lambda: _flow(team, _SHARE_OF_BOUND * total))
        team.try_to("local", lambda: _local(team, 1))

    def search() -> None:
        team.try_to("msa", lambda: _msa(team, total))
        team.try_to("local", lambda: _local(team, 0))

    side_by_side({"prove": prove, "search": search}, lambda: team.done, team.stop)


def _greedy(team: _Team) -> None:
    team.offer(greedy.plan(team.problem, team.share(team.left_s), cost=team.cost).plan)


def _msa(team: _Team, seconds: float) -> None:
    """Run the compiler's heuristic for its share of some seconds."""
    from tierplan.planner import msa

    share = _SHARE_OF_MSA if team.problem.n_tiers <= 2 else _SHARE_OF_MSA_ON_MANY
    team.offer(msa.plan(team.problem, team.share(share * seconds), cost=team.cost).plan)


def _flow(team: _Team, seconds: float) -> None:
    from tierplan.planner.flow import quick_roundings
    from tierplan.planner.flow_merge import relaxations
    from tierplan.planner.flow_solve import build_s
    from tierplan.planner.flow_wishes import heard

    if seconds < build_s(team.problem):
        return
    began = time.perf_counter()
    solved: dict[tuple[int, ...], Relaxation] = {}
    for found in relaxations(team.problem, began + seconds, team.stop):
        team.raise_bound(found.bound_s)
        team.infeasible = team.infeasible or found.infeasible
        if found.solved and not found.infeasible:
            solved[found.groups] = found
            team.wishes = heard(solved.values())
    if team.wishes is None or team.done or not team.wishes.first.is_whole:
        return
    solving_s = time.perf_counter() - began
    _offer_all(team, quick_roundings(team.wishes), seconds * _SHARE_OF_ROUNDING)
    if not team.done and solving_s * _FEW_CASES < seconds:
        _dive(team, team.wishes.first, seconds)


def _offer_all(team: _Team, candidates: Iterable[Plan | None], seconds: float) -> None:
    """Look at plans for some seconds."""
    until = time.perf_counter() + seconds
    for candidate in candidates:
        team.offer(candidate)
        if team.done or time.perf_counter() > until:
            return


def _dive(team: _Team, found: "Relaxation", seconds: float) -> None:
    """Plans that take some solving again, and then a better bound by telling cases apart."""
    from tierplan.planner.flow import dives
    from tierplan.planner.flow_branch import raise_bound

    _offer_all(team, dives(found, time.perf_counter() + seconds / 2, team.stop), seconds / 2)

    def told(bound_s: float) -> float:
        team.raise_bound(bound_s)
        return team.best_s

    if not team.done:
        raise_bound(found, time.perf_counter() + team.left_s / 2, told=told, stop=team.stop)


def _local(team: _Team, member: int) -> None:
    """Search on from the best plan of all, but first, for a while, from a plan near each new relaxation.

    Such a plan may be slower, and is far from the best found so far; what is found from there often ends better.
    """
    from tierplan.planner.local.guide import guide_of
    from tierplan.planner.local.plan import plan as local

    total, seed = team.left_s, 0
    wishes: Wishes | None = None
    guide: Guide | None = None
    starts: list[Plan] = []
    while not team.done:
        if team.wishes is not wishes and team.wishes is not None:
            wishes = team.wishes
            guide = guide_of(wishes)
            starts = _near(team, wishes, total / _SEGMENTS * _SHARE_OF_ROUNDING)[member:][:_MOST_STARTS]
        start, n_segments = (starts.pop(0), _SEGMENTS) if starts else (team.best, _LONG_SEGMENTS)
        seconds = min(total / n_segments, team.left_s)
        limit = team.share(seconds, seed=2 * seed + member, evaluations=team.budget.evaluations)
        found = local(team.problem, limit, start=start, cost=team.cost, guide=guide)
        team.offer(found.plan)
        seed += 1
        if team.budget.evaluations is not None or found.plan is None:
            return


def _near(team: _Team, wishes: "Wishes", seconds: float) -> list[Plan]:
    """Plans near relaxations, cheapest first, made within some seconds unless evaluations are counted."""
    from tierplan.planner.flow import near

    found: dict[float, Plan] = {}
    until = time.perf_counter() + seconds
    for candidate in near(wishes):
        if candidate is not None and not any(True for _ in violations(team.problem, candidate)):
            team.offer(candidate)
            found[team.cost(candidate)] = candidate
        if team.done or (team.budget.evaluations is None and time.perf_counter() > until):
            break
    return [found[seconds] for seconds in sorted(found)]
