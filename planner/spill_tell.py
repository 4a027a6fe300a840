"""From the levels of one tensor to its story: where it lies, copied over as many links as it takes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tierplan.ir.plan import Copy
from tierplan.ir.problem import NO_LINK, Floats, Keep, Mode, Problem
from tierplan.planner.stories import Stay, Story, copy_of
from tierplan.planner.supply import Booking, Supply
from tierplan.planner.visits import Visit

_SMALL = 0.02  # of the tier that it leaves
_PATIENCE = 4.0  # a copy may take so many times as long as alone: then the steps wait for it


@dataclass(slots=True)
class Told:
    """A story and the link time that its copies ask for."""

    story: Story
    bookings: list[Booking] = field(default_factory=list[Booking])


class Routes:
    """The shortest way over links between any two tiers, both ends included; empty if there is none."""

    def __init__(self, problem: Problem) -> None:
        n = problem.n_tiers
        linked = [[problem.links.between(j, k) != NO_LINK for k in range(n)] for j in range(n)]
        self.ways = [[_way(linked, j, k) for k in range(n)] for j in range(n)]


def _way(linked: list[list[bool]], source: int, target: int) -> list[int]:
    ways, seen = [[source]], {source}
    while ways:
        longer: list[list[int]] = []
        for way in ways:
            if way[-1] == target:
                return way
            for k, is_linked in enumerate(linked[way[-1]]):
                if is_linked and k not in seen:
                    seen.add(k)
                    longer.append([*way, k])
        ways = longer
    return []


class Pace:
    """What copies can count on: the spare time of links, and when steps begin in this turn and the one before."""

    def __init__(self, problem: Problem, step_s: Floats, busy_s: Floats) -> None:
        self.supply, self.routes, self.n = Supply(problem, step_s, busy_s), Routes(problem), problem.n_steps
        ahead: Floats = np.cumsum(np.concatenate((step_s, step_s)))
        self._begin: Floats = np.concatenate(([0.0], ahead)) - float(step_s.sum())
        self._small = (_SMALL * problem.tiers.usable).tolist()  # what is smaller may as well wait for its turn
        self.alone_s = [[_alone_s(problem, j, k) for k in range(problem.n_tiers)] for j in range(problem.n_tiers)]

    def latest(self, copy: tuple[int, int], size: int, opens: int, due: int, share: float) -> int:
        """The latest good step from which a copy between two tiers is done by step `due`."""
        if share == 0.0:
            return due - 1
        start = self.supply.latest(*copy, size, opens, due, share=share)
        wanted = self._begin[due + self.n] - self._longest_s(copy, size)
        furthest = min(due - 1, _place(self._begin, wanted, "right") - 1 - self.n)
        return max(opens, furthest if start is None else max(start, furthest))

    def earliest(self, copy: tuple[int, int], size: int, opens: int, due: int, share: float) -> int:
        """The earliest good step by which a copy issued at `opens` is done."""
        if share == 0.0:
            return opens + 1
        done = self.supply.earliest(*copy, size, opens, due, share=share)
        wanted = self._begin[opens + self.n] + self._longest_s(copy, size)
        furthest = max(opens + 1, _place(self._begin, wanted, "left") - self.n)
        return min(due, furthest if done is None else min(done, furthest))

    def _longest_s(self, copy: tuple[int, int], size: int) -> float:
        latency_s, rate = self.alone_s[copy[0]][copy[1]]
        return _PATIENCE * (latency_s + max(size, self._small[copy[0]]) / rate)


def _place(begin: Floats, wanted: float, side: Literal["left", "right"]) -> int:
    return int(np.searchsorted(begin, np.float64(wanted), side=side))


def _alone_s(problem: Problem, source: int, target: int) -> tuple[float, float]:
    """Latency and bytes per second of a copy that nothing slows down."""
    tiers, links, link = problem.tiers, problem.links, problem.links.between(source, target)
    if link == NO_LINK:
        return 0.0, 1.0
    rate = min(tiers.read_bandwidth[source], tiers.write_bandwidth[target], links.bandwidth[link])
    return float(links.latency_s[link] + tiers.latency_s[source]), float(rate)


class Teller:
    """Tells one story. `share`: of a copy, that must fit into spare time; 0: copies take a step."""

    def __init__(self, problem: Problem, visits: Sequence[Visit], base: int, pace: Pace, *, share: float) -> None:
        self.problem, self.visits, self.base, self.pace, self.routes = problem, visits, base, pace, pace.routes
        self.share, self.x, self.n = share, visits[0].tensor, problem.n_steps
        self.size = int(problem.size[self.x])
        self.direct = problem.tiers.direct
        first = visits[0]
        self.circular = first.before is not None and first.before >= 0
        self.returns = Keep(int(problem.keep[self.x])) is Keep.HOME and not problem.cyclic
        if self.returns:
            self.base = int(problem.home[self.x])
        self.stays: list[Stay] = []
        self.copies: list[Copy] = []
        self.bookings: list[Booking] = []
        self.open: dict[int, list[int]] = {}  # by tier: start, stop so far, step from which the copy there is valid
        self.left: dict[int, int] = {}  # by tier, the step at which the last stay there ended
        self.base_from: int | None = None
        if first.before is not None:
            self.open[self.base] = [0, 1, 0]
            self.base_from = 0
        self.written = -1
        self.wraps = self.circular and all(v.mode is Mode.READ for v in visits)  # may be copied in the turn before

    def tell(self, gaps: Sequence[int], serves: Sequence[int]) -> Told | None:
        """The story with the tensor in tier `gaps[i]` before visit i, which `serves[i]` serves; None if none."""
        for i, visit in enumerate(self.visits):
            if visit.mode is Mode.PRODUCE:
                if not self._produce(visit.step, serves[i]):
                    return None
            elif not self._reach(i, visit, gaps, serves):
                return None
            if visit.mode is not Mode.READ:
                self.written = visit.step
        if self.circular and self.base not in self.open and not self._down(self.base, self.n):
            return None
        for tier in list(self.open):
            self._close(tier)
        if self.circular:
            self.stays = [s for s in self.stays if s.tier != self.base]
            self.stays.append(Stay(self.base, 0, self.n))
        return Told(Story(self.x, tuple(self.stays), tuple(self.copies)), self.bookings)

    def _produce(self, t: int, tier: int) -> bool:
        for k in list(self.open):
            self._close(k)
        if self.circular and tier > self.base:
            tier = self.base
        if self.left.get(tier, -1) > t:
            return False
        self._open(tier, t, t + 1, t)
        return True

    def _reach(self, i: int, visit: Visit, gaps: Sequence[int], serves: Sequence[int]) -> bool:
        """Let the tensor lie in the tier of the gap, and then where the visit is served; whether it can."""
        t, level = visit.step, gaps[i]
        if visit.is_end and self.returns:
            level = self.base
        if level not in self.open and not self._down(level, t - (0 if visit.is_end else self._hops(level, serves[i]))):
            if visit.is_end and self.returns:
                return False
            level = min(self.open)
        serve = level if visit.is_end else serves[i]
        for k in [k for k in self.open if k != level]:
            if not (k == self.base and self.base_from is not None and self._needs_base(i, gaps)):
                self._close(k)
        if serve != level and (serve < level or not self.direct[level]) and self._up(level, serve, t):
            held = self._held(i, level, gaps)
            self._hold(serve, t)
            if visit.mode is Mode.UPDATE or not held:
                self._close(level)
        elif visit.is_end or self.direct[level]:
            serve = level
            self._hold(level, t)
        else:
            return False
        if visit.mode is Mode.UPDATE:
            for k in [k for k in self.open if k != serve]:
                self._close(k)
            self.open[serve][2] = t + 1
        return True

    def _needs_base(self, i: int, gaps: Sequence[int]) -> bool:
        return self._held(i, self.base, gaps)

    def _held(self, i: int, level: int, gaps: Sequence[int]) -> bool:
        """Whether a later gap before the next write wants the tensor in this tier again."""
        for j in range(i + 1, len(self.visits)):
            if self.visits[j - 1].mode is not Mode.READ or self.visits[j].before is None:
                return False
            if gaps[j] == level or (self.visits[j].is_end and self.returns and level == self.base):
                return True
        return self.circular and level == self.base

    def _hops(self, source: int, target: int) -> int:
        return max(0, len(self.routes.ways[source][target]) - 1) if target < source else 0

    def _hold(self, tier: int, t: int) -> None:
        self.open[tier][1] = max(self.open[tier][1], min(t + 1, self.n))

    def _open(self, tier: int, start: int, stop: int, ready: int) -> None:
        self.open[tier] = [start, stop, ready]
        if tier == self.base and self.base_from is None:
            self.base_from = start

    def _close(self, tier: int) -> None:
        start, stop, _ = self.open.pop(tier)
        self.stays.append(Stay(tier, start, stop))
        self.left[tier] = stop

    def _down(self, target: int, due: int) -> bool:
        """Copy a written tensor away to a slower tier, as early as spare time allows."""
        source = min(self.open, key=lambda k: (len(self.routes.ways[k][target]) or 99, k))
        way = self.routes.ways[source][target]
        if not way:
            return False
        opens = max(self.written + 1, self.open[source][2])
        opens = max([opens, *(self.left.get(k, 0) for k in way[1:])])
        if opens + len(way) - 1 > due:
            return False
        hops = list[tuple[int, int, int, int]]()
        for a, b in itertools.pairwise(way):
            latest = due - (len(way) - 2 - len(hops))
            done = self.pace.earliest((a, b), self.size, opens, latest, self.share)
            hops.append((a, b, opens, done))
            opens = done
        self._go(hops, stop=None)
        return True

    def _up(self, source: int, target: int, t: int) -> bool:
        """Copy a tensor to a faster tier by step t, as late as spare time allows."""
        way = self.routes.ways[source][target]
        if not way or any(k in self.open for k in way[1:]):
            return False
        last = max((v.step for v in self.visits if v.step < t), default=-1)
        opens = max([self.written + 1, self.open[source][2], *(self.left.get(k, 0) for k in way[1:])])
        if len(way) > 2:
            opens = max(opens, last + 1)  # what lies on the way would serve the visit before
        if last < 0 and self.wraps and source == self.base:
            opens = self.visits[-1].step + 1 - self.n
        if opens + len(way) - 1 > t:
            return False
        hops = list[tuple[int, int, int, int]]()
        due = t
        for a, b in reversed(list(itertools.pairwise(way))):
            first = opens + (len(way) - 2 - len(hops))
            start = self.pace.latest((a, b), self.size, first, due, self.share)
            hops.append((a, b, start, due))
            due = start
        self._go(hops[::-1], stop=t)
        return True

    def _go(self, hops: list[tuple[int, int, int, int]], *, stop: int | None) -> None:
        """Write down copies one after another; the tensor stays where the last one leads."""
        for place, (a, b, start, done) in enumerate(hops):
            self.copies.append(copy_of(self.x, a, b, start, done, self.n))
            self.bookings.append(Booking(a, b, self.size, start, done))
            self.open[a][1] = max(self.open[a][1], done)
            if place > 0:
                self._close(a)
            self._open(b, start, done if stop is None else max(done, min(stop + 1, self.n)), done)
