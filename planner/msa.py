"""Msa: the heuristic that compilers ship, XLA's memory-space assignment, on machines with any number of tiers."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import NO_HOME, NO_LINK, Keep, Mode, Problem
from tierplan.ir.verify import violations
from tierplan.planner import greedy
from tierplan.planner.bounds import bytes_missing, first_bound, is_infeasible
from tierplan.planner.cases import case_of, n_combinations, taken_by
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.msa_cost import Clock, Ratios
from tierplan.planner.msa_pass import Assignment, Pass
from tierplan.planner.stories import Rooms, Stay, Story
from tierplan.planner.visits import Visit, visits_of

PROVED = 1e-9


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one run.

    `ratios`: overlap of prefetches. `bandwidth_scaling`: the share of its bandwidth that a copy is expected to get,
    XLA's async_copy_bandwidth_scaling_factor. `resident`: the share of an alternate tier that cross-program
    prefetch may fill.
    `retries`, `repacks`: per tensor. `most_outstanding`: copies in flight in one direction; None for no limit.
    """

    ratios: Ratios
    bandwidth_scaling: float = 1.0
    resident: float = 1.0
    retries: int = 2
    repacks: int = 1
    most_outstanding: int | None = None


_RATIOS = (Ratios(1.0, 2.0, 8.0), Ratios(0.8, 1.5, 10.0), Ratios(0.6, 3.3, 16.0))
_SCALINGS = (1.0, 0.6, 0.3)
_RESIDENT = (1.0, 0.9, 0.75, 0.5, 0.0)


def plan(problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome:
    """Assign tensors to faster tiers one by one, by how much memory bounds the steps that use them.

    As in XLA: buffers by memory-boundedness over the square root of their size; each from one use to the
    next kept without a copy, produced in the faster tier, evicted right after it is written, or prefetched in
    a window that overlaps with enough of the program; copies in flight first in, first out;
    offsets by best fit that stay free longest; retries with longer evictions; repacking when room is short.

    What differs from XLA's:
    - Any number of tiers: one pass per tier, from the slowest pair of neighbours to the fastest. A tensor
      that a pass leaves where it was may move in the next; one that it makes resident is at home there from then on.
    - Cross-program prefetch takes any number of tensors of a program that repeats, those that the program updates
      included; they are resident throughout. A program that runs once has none, as its inputs begin in their home.
    - In a program that runs once, an existing tensor keeps its home for as long as it is copied from there.
    - An update in place counts as a use and as a new definition; the tensor must be evicted after it.
    - Several overlap ratios, bandwidth scaling factors and shares of residents are tried where a user of XLA sets
      one of each, and the cheapest plan by `cost` is returned; the plan with all tensors in the slowest tier that
      steps can use competes too.
    - What steps cannot use where it lies is copied in even where no window is long enough: the step waits.
    - Left out: sliced, window and block prefetches, loops (they are unrolled), scoped memory, freeing of
      cross-program prefetches, and the end-of-program prefetch.

    If none of this gives a plan, that of `greedy` is returned.
    Assumes: the alternatives of choices that the plan to start with takes, which is that of `greedy` if none is given.
    Deterministic, if the budget lasts.
    Source: openxla/xla, xla/service/memory_space_assignment (2023-2026): algorithm, cost_analysis,
    prefetch_interval_picker, best_fit_repacker.
    """
    began = time.perf_counter()
    bound = first_bound(problem)
    if start is None and n_combinations(problem) > 1:
        start = greedy.plan(problem, budget, cost=cost).plan
    case = case_of(problem, [0] * len(problem.choices) if start is None else taken_by(start))
    best, best_s = start, float("inf") if start is None else cost(start)
    try:
        for found in () if is_infeasible(problem) else _candidates(case.problem):
            candidate = case.widened(found)
            if not any(True for _ in violations(problem, candidate)):
                seconds = cost(candidate)
                if seconds < best_s:
                    best, best_s = candidate, seconds
            if time.perf_counter() - began > budget.seconds or budget.stopped or best_s <= bound * (1 + PROVED):
                break
        if best is None:
            other = greedy.plan(problem, budget, cost=cost)
            best, best_s = other.plan, float("inf") if other.cost_s is None else other.cost_s
    except KeyboardInterrupt:
        pass
    seconds = time.perf_counter() - began
    if best is None:
        status = Status.INFEASIBLE if is_infeasible(problem) else Status.GAVE_UP
        return Outcome("msa", status, None, None, bound, seconds, bytes_missing(problem))
    status = Status.OPTIMAL if best_s <= bound * (1 + PROVED) else Status.FEASIBLE
    return Outcome("msa", status, best, best_s, bound, seconds)


def _candidates(problem: Problem) -> Iterator[Plan]:
    visits = visits_of(problem)
    first = Options(_RATIOS[0])
    for passes in (0, problem.n_tiers):
        found = _Run(problem, visits, first).plan(passes)
        if found is not None:
            yield found
    residents = _RESIDENT[1:] if problem.cyclic else ()
    for options in (
        *(
            replace(first, ratios=ratios, bandwidth_scaling=scaling)
            for scaling in _SCALINGS
            for ratios in _RATIOS
            if (scaling, ratios) != (first.bandwidth_scaling, first.ratios)
        ),
        *(replace(first, resident=share) for share in residents),
    ):
        found = _Run(problem, visits, options).plan(problem.n_tiers)
        if found is not None:
            yield found


class _Run:
    """One run of all passes."""

    def __init__(self, problem: Problem, visits: list[tuple[Visit, ...]], options: Options) -> None:
        self.problem, self.visits, self.options, self.n = problem, visits, options, problem.n_steps
        self.used = [x for x, of_tensor in enumerate(visits) if of_tensor]
        self.taken = [0] * len(problem.choices)
        self.rooms = Rooms(problem, self.taken)
        self.base: dict[int, int] = {}
        self.assigned: dict[int, tuple[int, Assignment]] = {}
        self.direct: list[int] = np.flatnonzero(problem.tiers.direct).tolist()

    def plan(self, most_passes: int) -> Plan | None:
        """The plan after at most so many passes; None if some tensor fits nowhere."""
        clock = self._clock()
        slow = self.direct[-1]
        order = sorted(self.used, key=lambda x: (self._worth(clock, x, self.direct[0]), -int(self.problem.size[x])))
        if not all(self._settle(x) for x in order):
            return None
        alternates = [k for k in reversed(range(self.problem.n_tiers)) if self.problem.tiers.direct[k] or k < slow]
        for alternate in alternates[:most_passes]:
            if not self._pass(alternate):
                return None
        if any(not self.problem.tiers.direct[self.base[x]] and x not in self.assigned for x in self.used):
            return None
        return self._assemble()

    def _clock(self) -> Clock:
        """The clock if every access is served from where it lies now."""
        serves = np.full(len(self.problem.access_tensor), self.direct[-1], dtype=np.int64)
        for x, base in self.base.items():
            held = self.assigned.get(x)
            for i, visit in enumerate(v for v in self.visits[x] if not v.is_end):
                inside = held is not None and held[1].in_alternate[i]
                tier = held[0] if held is not None and inside else base
                if self.problem.tiers.direct[tier]:
                    serves[visit.access] = tier
        return Clock(self.problem, serves, self.taken)

    def _worth(self, clock: Clock, x: int, tier: int) -> float:
        accesses = [v.access for v in self.visits[x] if not v.is_end]
        return clock.boundedness(accesses, tier, int(self.problem.size[x]))

    def _circular(self, x: int) -> bool:
        before = self.visits[x][0].before
        return before is not None and before >= 0

    def _settle(self, x: int) -> bool:
        """Let a tensor lie in the slowest tier that steps can use and that has room, or else where it can be parked."""
        problem, visits = self.problem, self.visits[x]
        returns = problem.keep[x] == Keep.HOME and not problem.cyclic
        if returns or (visits[0].before is not None and not self._circular(x)):
            tiers = [int(problem.home[x])]
        elif self._circular(x):
            tiers = [*reversed(self.direct), *(k for k in range(problem.n_tiers) if k not in self.direct)]
        else:
            tiers = list(reversed(self.direct))
        start = 0 if visits[0].before is not None else visits[0].step
        stop = self.n if self._circular(x) else min(visits[-1].step + 1, self.n)
        for tier in tiers:
            if self.rooms.fit(Story(x, (Stay(tier, start, stop),))):
                self.base[x] = tier
                return True
        return False

    def _pass(self, alternate: int) -> bool:
        """Assign tensors to one tier; whether all that must be there are."""
        problem, clock, options = self.problem, self._clock(), self.options
        room = self.rooms.of_tier[alternate]
        waiting = [
            x
            for x in self.used
            if self.base[x] > alternate and x not in self.assigned and int(problem.size[x]) <= room.usable
        ]
        worth = {x: self._worth(clock, x, alternate) for x in waiting}
        waiting.sort(key=lambda x: (bool(problem.tiers.direct[self.base[x]]), -worth[x], -int(problem.size[x]), x))
        must = [x for x in waiting if not problem.tiers.direct[self.base[x]] and problem.tiers.direct[alternate]]
        if problem.cyclic:
            self._make_resident(alternate, waiting, len(must))
        work = Pass(
            problem, room, alternate, clock, options.ratios, options.bandwidth_scaling, options.most_outstanding
        )
        for x in waiting:
            base = self.base[x]
            if base <= alternate or not problem.tiers.direct[alternate]:
                continue
            reachable = problem.links.between(base, alternate) != NO_LINK or problem.home[x] == NO_HOME
            if reachable:
                found = work.assign(self.visits[x], base, retries=options.retries, repacks=options.repacks)
                if found is not None and found.held:
                    self.assigned[x] = alternate, found
                    continue
            if x in must and alternate == self.direct[0]:
                return False
        return True

    def _make_resident(self, alternate: int, waiting: list[int], n_must: int) -> None:
        """Cross-program prefetch: tensors that exist lie in the alternate tier throughout, the largest worth first."""
        room = self.rooms.of_tier[alternate]
        share = self.options.resident if n_must == 0 else min(self.options.resident, 0.9)
        left = int(share * room.usable) - int(room.load.max(initial=0))
        for x in waiting:
            size = int(self.problem.size[x])
            if not self._circular(x) or size > left:
                continue
            before = self.rooms.remove(x)
            if self.rooms.fit(Story(x, (Stay(alternate, 0, self.n),))):
                self.base[x] = alternate
                left -= size
            else:
                self.rooms.fit(before)

    def _assemble(self) -> Plan:
        residencies: list[Residency] = []
        copies: list[Copy] = []
        for x in self.used:
            base, offset = self.base[x], self.rooms.fitted[x].offsets[0]
            stay = self.rooms.fitted[x].story.stays[0]
            if x not in self.assigned:
                residencies.append(Residency(x, base, offset, stay.start, stay.stop))
                continue
            alternate, found = self.assigned[x]
            residencies += [Residency(x, alternate, h.offset, h.start, h.stop) for h in found.held]
            spans = [(0, self.n)] if self._circular(x) else _base_spans(self.visits[x], found, base)
            residencies += [Residency(x, base, offset, start, stop) for start, stop in spans]
            copies += found.copies
        copies.sort(key=lambda copy: copy.done)
        taken = tuple(Taken(choice, 0) for choice in range(len(self.taken)))
        return Plan(tuple(residencies), tuple(copies), taken)


def _base_spans(visits: tuple[Visit, ...], found: Assignment, base: int) -> list[tuple[int, int]]:
    """When a tensor must lie in its base: while steps use it there, and while it is copied from and to there."""
    spans: list[tuple[int, int]] = []
    since: int | None = 0 if visits[0].before is not None else None
    until = 1
    copies = sorted(found.copies, key=lambda copy: copy.start)
    for visit, inside in zip(visits, found.in_alternate, strict=True):
        while copies and copies[0].start < visit.step:
            copy = copies.pop(0)
            if copy.target == base and since is None:
                since = copy.start
            until = max(until, copy.done)
        if visit.mode is Mode.PRODUCE and not inside:
            since = visit.step if since is None else since
        if visit.mode is not Mode.READ and inside:
            if since is not None:
                spans.append((since, max(until, since + 1)))
            since = None
        elif not inside:
            until = max(until, visit.step if visit.is_end else visit.step + 1)
    if since is not None:
        spans.append((since, max(until, since + 1)))
    return spans
