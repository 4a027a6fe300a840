"""A plan under construction: each tensor is placed, prefetched, or parked and streamed."""

from collections.abc import Sequence

import numpy as np

from tierplan.ir.plan import Copy, Lifespan, Plan, Residency, Taken
from tierplan.ir.problem import NO_LINK, Problem
from tierplan.planner.space import Space
from tierplan.planner.uses import Uses, stream_s

_WINDOWS = (64, 32, 16, 8, 4, 3, 2, 1)  # steps by which a streamed tensor is copied ahead of its use
_FURTHEST_WRAP = 2  # steps of the turn before that a copy may begin in: room there is short for what is used there
_PATIENCE = (64, 8, 1)  # steps that the copy back of a written tensor may take
_SAME_VISIT = 8  # uses of a streamed tensor at most this many steps apart share a copy


class Placing:
    """Places tensors in a given order; `plan` is legal once `run` has returned True."""

    def __init__(self, problem: Problem, uses: Uses, *, prefetch: bool = True) -> None:
        self.problem = problem
        self.uses = uses
        self.prefetch = prefetch
        self.n = problem.n_steps
        reserved = np.array([choice.alternatives[0].reserved for choice in problem.choices], dtype=np.int64)
        usable = problem.tiers.usable - (reserved.sum(axis=0) if len(reserved) else 0)
        pairs = zip(usable.tolist(), problem.tiers.alignment.tolist(), strict=True)
        self.spaces = [Space(max(0, u), a) for u, a in pairs]
        self.direct: list[int] = np.flatnonzero(problem.tiers.direct).tolist()
        self.parking: list[int] = np.flatnonzero(~problem.tiers.direct).tolist()
        self.residencies: list[Residency] = []
        self.copies: list[Copy] = []
        self.is_streaming = False
        self.free_from: dict[int, int] = {}  # step from which a streamed tensor may be copied in again
        self.free_until: dict[int, int] = {}  # step at which its first visit, begun in the turn before, begins
        fastest = self.direct[0]
        busy = np.bincount(problem.access_step, stream_s(problem, fastest), minlength=self.n)
        step_s = np.maximum(problem.compute_s, busy)
        self.link_free_s = np.repeat(step_s[None, :], max(1, len(problem.links.names)), axis=0)

    def plan(self) -> Plan:
        """What has been placed so far."""
        taken = tuple(Taken(index, 0) for index in range(len(self.problem.choices)))
        return Plan(tuple(self.residencies), tuple(self.copies), taken)

    def run(self, order: Sequence[int], *, spare: int) -> bool:
        """Place all tensors of `order`, keeping `spare` bytes free for streaming; whether it went well."""
        exists = self.uses.exists
        if self.problem.cyclic:
            parked: list[tuple[int, int]] = []
            for x in order:
                if not exists[x]:
                    if not self._produce(x):
                        return False
                elif not self._settle(x, self.direct, spare):
                    tier = self._settle_in(x, self.parking)
                    if tier is None:
                        return False
                    parked.append((x, tier))
            return self._stream_all(parked)
        return self._run_once(order)

    def _run_once(self, order: Sequence[int]) -> bool:
        """What exists lies in its home from the start; it is prefetched, or streamed if it must be."""
        existing = [x for x in order if self.uses.exists[x]]
        parked: list[tuple[int, int]] = []
        for x in existing:
            home = int(self.problem.home[x])
            span = Lifespan(0, self.n if self.uses.kept[x] else int(self.uses.stop[x]))
            if not self._reside(x, home, [span]):
                return False
            if not self.problem.tiers.direct[home]:
                parked.append((x, home))
        for x in order:
            if not self.uses.exists[x]:
                if not self._produce(x):
                    return False
            elif self.prefetch and self.problem.tiers.direct[self.problem.home[x]]:
                self._prefetch(x)
        return self._stream_all(parked)

    def _reside(self, x: int, tier: int, spans: Sequence[Lifespan]) -> bool:
        offset = self.spaces[tier].place(spans, int(self.problem.size[x]))
        if offset is None:
            return False
        self.residencies += [Residency(x, tier, offset, span.start, span.stop) for span in spans]
        return True

    def _produce(self, x: int) -> bool:
        span = Lifespan(int(self.uses.start[x]), int(self.uses.stop[x]))
        return any(self._reside(x, tier, [span]) for tier in self.direct)

    def _settle(self, x: int, tiers: Sequence[int], spare: int) -> bool:
        """Let an existing tensor lie in one of `tiers` throughout."""
        staged = self._staging_tiers() if spare else ()
        for tier in tiers:
            kept = spare if tier in staged else 0
            offset = self.spaces[tier].place_throughout(int(self.problem.size[x]), spare=kept)
            if offset is not None:
                self.residencies.append(Residency(x, tier, offset, 0, self.n))
                return True
        return False

    def _settle_in(self, x: int, tiers: Sequence[int]) -> int | None:
        return next((tier for tier in tiers if self._settle(x, [tier], 0)), None)

    def _staging_tiers(self) -> set[int]:
        """Tiers that what is parked passes through on its way to compute."""
        routes = [self._route(tier) for tier in self.parking]
        return {tier for route in routes for tier in route[1:]}

    def _route(self, parked: int) -> list[int]:
        """The shortest way over links from a tier to a direct one, both ends included."""
        routes = [[parked]]
        seen = {parked}
        while routes:
            longer: list[list[int]] = []
            for route in routes:
                if self.problem.tiers.direct[route[-1]]:
                    return route
                for tier in range(self.problem.n_tiers):
                    if tier not in seen and self.problem.links.between(route[-1], tier) != NO_LINK:
                        seen.add(tier)
                        longer.append([*route, tier])
            routes = longer
        return []

    def _prefetch(self, x: int) -> None:
        """Copy a tensor from its direct home to a faster tier ahead of its uses, if the link has time to spare."""
        home, steps = int(self.problem.home[x]), self.uses.steps(x)
        if self.uses.writes(x):
            return
        groups = [[steps[0], steps[-1]]] if len(steps) == 1 else [[steps[0], steps[-1]], *([s, s] for s in steps)]
        for tier in (k for k in self.direct if k < home):
            link = self.problem.links.between(home, tier)
            if link == NO_LINK:
                continue
            done_to = -1
            for first, last in groups:
                if first <= done_to:
                    continue
                issue = self._issue_before(x, link, home, first)
                if issue is None or issue <= done_to:
                    continue
                if self._reside(x, tier, [Lifespan(issue, last + 1)]):
                    self._book(x, link, home, issue, first)
                    self.copies.append(Copy(x, home, tier, issue, first))
                    done_to = last
            if done_to >= 0:
                return

    def _copy_s(self, x: int, link: int, source: int) -> float:
        tiers, links = self.problem.tiers, self.problem.links
        rate = min(float(links.bandwidth[link]), float(tiers.read_bandwidth[source]))
        return float(links.latency_s[link] + tiers.latency_s[source]) + int(self.problem.size[x]) / rate

    def _issue_before(self, x: int, link: int, source: int, first: int) -> int | None:
        """The latest step at which a copy can be issued so that spare time of the link completes it by `first`."""
        needed = self._copy_s(x, link, source)
        for issue in range(first - 1, -1, -1):
            needed -= self.link_free_s[link, issue]
            if needed <= 0:
                return issue
        return None

    def _book(self, x: int, link: int, source: int, issue: int, first: int) -> None:
        needed = self._copy_s(x, link, source)
        for step in range(issue, first):
            used = min(needed, float(self.link_free_s[link, step]))
            self.link_free_s[link, step] -= used
            needed -= used

    def _stream_all(self, parked: list[tuple[int, int]]) -> bool:
        """Copy what is parked in ahead of its uses, in order of use, and back after writes."""
        self.is_streaming = bool(parked)
        visits = [(visit, x, tier) for x, tier in parked for visit in self._visits(x)]
        return all(self._visit(x, tier, visit[0], visit[-1]) for visit, x, tier in sorted(visits))

    def _visits(self, x: int) -> list[list[int]]:
        visits: list[list[int]] = []
        for step in self.uses.steps(x):
            if visits and step - visits[-1][-1] <= _SAME_VISIT:
                visits[-1].append(step)
            else:
                visits.append([step])
        return visits

    def _visit(self, x: int, parked: int, first: int, last: int) -> bool:
        """Copy a tensor in ahead of steps `first` to `last`, as early as there is room, and back if it is written."""
        route = self._route(parked)
        writes = [step for step in self.uses.writes(x) if first <= step <= last]
        for patience in _PATIENCE if writes else (0,):
            back = self._write_back(x, route, max(writes), last, patience) if writes else []
            if back is not None and self._copy_in(x, route, first, max([last + 1, *(c.done for c in back)])):
                self.copies += back
                return True
        return False

    def _copy_in(self, x: int, route: list[int], first: int, stay: int) -> bool:
        """Stage a tensor over `route` for step `first`, to lie at its end until `stay`."""
        n_hops = len(route) - 1
        if stay > self.free_until.get(x, self.n):
            return False
        for window in (w for w in _WINDOWS if w >= n_hops):
            issue = [first - window + hop * window // n_hops for hop in range(n_hops)] + [first]
            wraps = -issue[0]
            if wraps > 0 and not (self.problem.cyclic and wraps <= _FURTHEST_WRAP and stay <= self.n - wraps):
                continue
            if wraps <= 0 and issue[0] < self.free_from.get(x, 0):
                continue
            if self._stage(x, route, issue, stay):
                self.free_from[x] = stay
                if wraps > 0:
                    self.free_until[x] = self.n - wraps
                return True
        return False

    def _stage(self, x: int, route: list[int], issue: list[int], stay: int) -> bool:
        """Reserve room in each tier of the route and issue the copies, all or nothing."""
        size = int(self.problem.size[x])
        held: list[tuple[int, list[Lifespan], int]] = []
        for hop, tier in enumerate(route[1:]):
            stop = stay if hop == len(route) - 2 else issue[hop + 2]
            spans = self._wrapped(issue[hop], stop)
            offset = self.spaces[tier].find(spans, size)
            if offset is None:
                return False
            held.append((tier, spans, offset))
        for tier, spans, offset in held:
            self.spaces[tier].hold(spans, offset, size)
            self.residencies += [Residency(x, tier, offset, span.start, span.stop) for span in spans]
        for hop in range(len(route) - 1):
            start, done = issue[hop], issue[hop + 1]
            if start < 0:
                start, done = start + self.n, done + self.n
            self.copies.append(Copy(x, route[hop], route[hop + 1], start, done))
        return True

    def _wrapped(self, start: int, stop: int) -> list[Lifespan]:
        """A run of steps that may begin in the turn before."""
        if start >= 0:
            return [Lifespan(start, stop)]
        if stop <= 0:
            return [Lifespan(start + self.n, stop + self.n)]
        return [Lifespan(start + self.n, self.n), Lifespan(0, stop)]

    def _write_back(self, x: int, route: list[int], written: int, last: int, patience: int) -> list[Copy] | None:
        """The copy that brings what was written back to where it is parked; None if there is no time or link."""
        source, target = route[-1], route[0]
        if len(route) != 2 or self.problem.links.between(source, target) == NO_LINK or written + 1 >= self.n:
            return None
        later = [step for step in self.uses.steps(x) if step > last]
        limit = later[0] - _SAME_VISIT // 2 if later else self.n
        done = min(limit, written + 1 + patience)
        return [Copy(x, source, target, written + 1, done)] if done > written + 1 else None
