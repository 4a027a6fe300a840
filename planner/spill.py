"""Spill: long gaps between uses are spent in slow tiers, short ones in fast tiers, tier by tier."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Floats, Ints, Problem
from tierplan.planner.contract import Cost
from tierplan.planner.spill_levels import Filling, Levels, Table
from tierplan.planner.spill_stretch import stretched
from tierplan.planner.spill_tell import Pace, Teller
from tierplan.planner.stories import Rooms, Stay
from tierplan.planner.supply import busy_s, own_s
from tierplan.planner.visits import visits_of

_FILLS = (1.0, 0.9, 0.75, 0.5)
_SHARES = (1.0, 0.4, 0.0)
_MOST_DEMOTED = 3
_MOST_REPAIRS = 12
_MOST_PACED = 3
_SMOOTH = 15  # steps to each side over which waits are spread when a plan is told anew


def candidates(problem: Problem, cost: Cost, *, until: float = math.inf) -> Iterator[Plan]:
    """Plans with ever more of the fast tiers kept free for what comes and goes; none are begun when the clock
    (`time.perf_counter`) says `until`.

    Assumes: the first alternative of every choice.
    """
    return _Spilling(problem, cost, until).candidates()


@dataclass(frozen=True, slots=True)
class _Told:
    """A plan, the levels from which it was told, and how long its steps take themselves."""

    plan: Plan
    levels: Levels
    own_s: Floats


class _Spilling:
    def __init__(self, problem: Problem, cost: Cost, until: float) -> None:
        self.problem, self.cost, self.until = problem, cost, until
        self.taken = [0] * len(problem.choices)
        self.visits = visits_of(problem)
        self.table = Table(problem, self.visits)
        self.usable = np.array([room.usable for room in Rooms(problem, self.taken).of_tier], dtype=np.int64)
        self.urgent = np.zeros(problem.n_tensors, dtype=np.int64)  # how often each tensor found no room

    def candidates(self) -> Iterator[Plan]:
        """Plans for each share of the room that is filled, each told anew at the pace that it has."""
        pace = self._own(np.full(len(self.problem.access_tensor), np.flatnonzero(self.problem.tiers.direct)[0]))[0]
        for fill in _FILLS:
            told = self._told(fill, pace, paced=False)
            for _ in range(_MOST_PACED):
                if told is None:
                    break
                yield told.plan
                yield stretched(self.problem, told.plan)
                elapsed = self.cost.follow(told.plan).elapsed_s[:-1]
                told = self._told(fill, told.own_s + _smooth(np.maximum(elapsed - told.own_s, 0.0)), paced=True)

    def _told(self, fill: float, pace: Floats, *, paced: bool) -> _Told | None:
        """A plan that fills a share of the room, at a pace of steps; what found no room goes first the next time."""
        room = self.usable.copy()
        room[:-1] = (room[:-1] * fill).astype(np.int64)
        room = np.repeat(room[:, None], self.problem.n_steps, axis=1)
        for _ in range(_MOST_REPAIRS):
            if self._is_over:
                return None
            levels = Filling(self.table, room, pace).levels()
            if levels is None:
                return None
            own, busy = self._load(levels)
            plan, failed = self._plan(levels, Pace(self.problem, np.maximum(own, pace) if paced else own, busy))
            if plan is not None:
                return _Told(plan, levels, own)
            pace = pace if paced else own
            for x, stay in failed:
                self.urgent[x] += 1
                if self.urgent[x] > 1:
                    for span in stay.lifespans(self.problem.n_steps):
                        room[stay.tier, span.start : span.stop] -= self.problem.size[x]
            np.maximum(room, 0, out=room)
        return None

    @property
    def _is_over(self) -> bool:
        return time.perf_counter() > self.until

    def _load(self, levels: Levels) -> tuple[Floats, Floats]:
        serves = np.zeros(len(self.problem.access_tensor), dtype=np.int64)
        real = ~self.table.is_end
        serves[self.table.access[real]] = levels.serve[real]
        return self._own(serves)

    def _own(self, serves: Ints) -> tuple[Floats, Floats]:
        busy = busy_s(self.problem, serves, self.taken)
        return own_s(self.problem, busy, self.taken), busy

    def _plan(self, levels: Levels, pace: Pace) -> tuple[Plan | None, list[tuple[int, Stay]]]:
        """A plan, or the stays for which no room was found."""
        rooms, failed = Rooms(self.problem, self.taken), list[tuple[int, Stay]]()
        for x in self._order(levels):
            if self._is_over:
                return None, failed
            stay = self._fit(x, levels, pace, rooms)
            if stay is not None:
                failed.append((x, stay))
        return None if failed else rooms.plan(), failed

    def _order(self, levels: Levels) -> list[int]:
        """What lies somewhere throughout first; then what found no room before, and by size and time."""
        table = self.table
        used = np.flatnonzero(np.diff(table.at) > 0)
        length = table.step[table.at[used + 1] - 1] - table.step[table.at[used]] + 1
        size, exists = self.problem.size[used], table.exists[used]
        return used[np.lexsort((-size * length, -size * exists, ~exists, -self.urgent[used]))].tolist()

    def _fit(self, x: int, levels: Levels, pace: Pace, rooms: Rooms) -> Stay | None:
        """Find room for a tensor at its levels, or at slower ones; the first stay that found none if that fails."""
        span = slice(int(self.table.at[x]), int(self.table.at[x + 1]))
        place = _Placed(int(levels.base[x]), levels.gap[span].tolist(), levels.serve[span].tolist())
        first: Stay | None = None
        for _ in range(_MOST_DEMOTED * self.problem.n_tiers):
            failed: Stay | None = None
            for share in _SHARES:
                told = Teller(self.problem, self.visits[x], place.base, pace, share=share).tell(
                    place.gaps, place.serves
                )
                if told is None:
                    continue
                failed = rooms.misfit(told.story)
                if failed is None:
                    for booking in told.bookings:
                        pace.supply.book(booking)
                    return None
            first = first or failed
            if not (self._promote(place) if failed is None else self._demote(x, failed, place)):
                break
        return first or Stay(0, 0, 1)

    def _promote(self, place: "_Placed") -> bool:
        """Let a tensor that cannot be copied in in time lie where steps can use it; whether that is another tier."""
        direct = np.flatnonzero(self.problem.tiers.direct).tolist()
        if place.base <= direct[-1] or not self.problem.cyclic:
            return False
        place.base = direct[-1]
        place.gaps = [min(gap, place.base) for gap in place.gaps]
        return True

    def _demote(self, x: int, failed: Stay, place: "_Placed") -> bool:
        """Let a tensor lie in a slower tier where it does not fit; whether there is one."""
        k, changed = failed.tier, False
        if k + 1 >= self.problem.n_tiers:
            return False
        if k == place.base:
            if not self.problem.cyclic:
                return False
            place.base, changed = k + 1, True
        direct = self.problem.tiers.direct
        slower = k + 1 + int(np.argmax(direct[k + 1 :])) if direct[k + 1 :].any() else k
        for i, visit in enumerate(self.visits[x]):
            if place.gaps[i] == k and visit.step >= failed.start and visit.since < failed.stop:
                place.gaps[i], changed = k + 1, True
            meets = failed.start <= visit.step < failed.stop
            if place.serves[i] == k and meets and slower > k and self._may_serve(slower, place):
                place.serves[i], changed = slower, True
        if not changed and slower > k:
            changed = self._around(x, failed, place, slower)
        if place.base >= 0:
            place.gaps = [min(gap, place.base) for gap in place.gaps]
        return changed

    def _around(self, x: int, failed: Stay, place: "_Placed", slower: int) -> bool:
        """Serve a tensor from a slower tier where it would pass one that is full; whether that changes anything."""
        changed = False
        for i, visit in enumerate(self.visits[x]):
            near = failed.start - 1 <= visit.step <= failed.stop
            passes = near and not visit.is_end and place.serves[i] < failed.tier
            if passes and self._may_serve(slower, place):
                place.serves[i], changed = slower, True
                for j in (i, i + 1):
                    if j < len(place.gaps) and 0 <= place.gaps[j] < slower:
                        place.gaps[j] = slower
        return changed

    def _may_serve(self, tier: int, place: "_Placed") -> bool:
        """Whether a tensor may be served from a tier: not where its base serves it faster."""
        return place.base < 0 or tier <= place.base or not self.problem.tiers.direct[place.base]


def _smooth(waits: Floats) -> Floats:
    """Waits spread evenly over the steps around them."""
    total = np.concatenate(([0.0], np.cumsum(waits)))
    steps = np.arange(len(waits))
    first, last = np.maximum(steps - _SMOOTH, 0), np.minimum(steps + _SMOOTH + 1, len(waits))
    return (total[last] - total[first]) / (2 * _SMOOTH + 1)


@dataclass(slots=True)
class _Placed:
    """The levels of one tensor."""

    base: int
    gaps: list[int]
    serves: list[int]
