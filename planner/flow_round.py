"""From the fractions of the relaxation to plans: wishes tensor by tensor, fitted into real room."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Mode
from tierplan.planner.flow_tell import Telling, Wish
from tierplan.planner.flow_wishes import Wishes
from tierplan.planner.stories import Rooms
from tierplan.planner.supply import Supply, busy_s, own_s
from tierplan.planner.visits import Visit

_FILLS = (1.0, 0.9, 0.7)  # shares of rooms for tensors that fit there, until all tensors fit


@dataclass(frozen=True, slots=True)
class Style:
    """How to round: how much of a copy spare time must be able to move, what is fitted first, and at which pace
    steps are taken to run: each at its own, or at that of the relaxation.
    """

    share: float
    order: str
    own_pace: bool


STYLES = tuple(
    Style(share, order, own_pace)
    for order in ("due", "size", "fraction", "value")
    for own_pace in (True, False)
    for share in (1.0, 0.5)
)


def rounded(wishes: Wishes, fixed: dict[int, Wish], style: Style, threshold: float = 0.5) -> Plan | None:
    """A plan near what relaxations wish, with what is `fixed` as it is; None if some tensor fits nowhere."""
    return _Rounding(wishes, fixed, style, threshold).plan()


class _Rounding:
    """Rounds a relaxation in one style."""

    def __init__(self, wishes: Wishes, fixed: dict[int, Wish], style: Style, threshold: float) -> None:
        self.of, self.style, self.problem = wishes, style, wishes.problem
        lp, x = wishes.first.lp, wishes.first.x
        self.taken = [int(np.argmax(x[group])) for group in lp.taken]
        self.visits = {t: visits for t in range(wishes.n_tensors) if (visits := wishes.visits(t))}
        self.wishes = {t: fixed.get(t) or wishes.wish(t, threshold) for t in self.visits}

    def plan(self) -> Plan | None:
        """The plan, or None if some tensor fits nowhere, even among the first, and if others leave room for it."""
        order, urgent = self._order(list(self.wishes), self.wishes), list[int]()
        for fill in _FILLS:
            self.supply, self.rooms = self._supply(), Rooms(self.problem, self.taken)
            missing = next((x for x in (*urgent, *order) if not self._fit_or_squeeze(x, fill)), None)
            if missing is None:
                return self.rooms.plan()
            if missing not in urgent:
                urgent.append(missing)
                order.remove(missing)
        return None

    def _fit_or_squeeze(self, x: int, fill: float) -> bool:
        """Fit a tensor where this share of each room is not exceeded, or else where it can be."""
        whole = [room.usable for room in self.rooms.of_tier]
        for room in self.rooms.of_tier:
            room.usable = int(room.usable * fill)
        fits = self._fit(x, self.wishes[x])
        for room, usable in zip(self.rooms.of_tier, whole, strict=True):
            room.usable = usable
        return fits or (fill < 1.0 and self._fit(x, self.wishes[x]))

    def _supply(self) -> Supply:
        """What steps leave to copies if each access is served as is wished, or at the pace of the relaxation."""
        problem, found = self.problem, self.of.first
        if not self.style.own_pace and found.is_whole:
            lp, x = found.lp, found.x
            busy = lp.streams.fixed.copy()
            np.add.at(busy, (lp.streams.resource, lp.streams.step), lp.streams.value * x[lp.streams.column])
            return Supply(problem, np.diff(found.begin_s), busy)
        serves = np.zeros(len(problem.access_tensor), dtype=np.int64)
        for t, wanted in self.wishes.items():
            for visit, tier in zip(self.visits[t], wanted.tier, strict=True):
                if not visit.is_end:
                    serves[visit.access] = tier
        busy = busy_s(problem, serves, self.taken)
        return Supply(problem, own_s(problem, busy, self.taken), busy)

    def _order(self, used: list[int], wishes: dict[int, Wish]) -> list[int]:
        """What lies throughout first, largest first; then what must lie somewhere by style."""
        problem, size = self.problem, self.problem.size

        def key(x: int) -> tuple[float, ...]:
            visits, wish = self.visits[x], wishes[x]
            circular = visits[0].before is not None and visits[0].before >= 0
            static = circular and all(k == wish.base for k in wish.tier)
            if static:
                return (0.0, -float(size[x]))
            length = visits[-1].step - visits[0].step + 1
            n_bytes = sum(
                int(problem.access_read[visit.access] + problem.access_write[visit.access])
                for visit in visits
                if not visit.is_end
            )
            loads = [
                visit.step
                for visit, k, kept in zip(visits, wish.tier, wish.kept, strict=True)
                if k != wish.base and visit.before is not None and not kept
            ]
            if self.style.order == "due":  # from the end backwards: each copy in one go before the next begins
                return (2.0, -float(loads[0]), -float(size[x])) if loads else (1.0, -float(size[x]) * length)
            by = {
                "value": -n_bytes / (max(1, int(size[x])) * length),
                "size": -float(size[x]) * length,
                "fraction": -round(self.of.fraction(x, wish), 3),
            }
            return (1.0, by[self.style.order], -float(size[x]))

        return sorted(used, key=key)

    def _fit(self, x: int, wish: Wish) -> bool:
        """Fit the story that is wished for, or one with fewer runs in fast tiers."""
        visits, modest_ones = (
            self.visits[x],
            _ever_more_modest(self.problem.tiers.direct.tolist(), self.visits[x], wish),
        )
        for modest in itertools.chain([self.of.hastened(x, wish)], modest_ones):
            for wraps in (True, False):
                telling = Telling(self.problem, visits, self.supply, share=self.style.share)
                story = telling.tell(modest, wraps=wraps)
                if story is None:
                    continue
                if self.rooms.fit(story):
                    for booking in telling.bookings:
                        self.supply.book(booking)
                    return True
                if not any(copy.done > self.problem.n_steps for copy in story.copies):
                    break
        return False


def _ever_more_modest(direct: list[bool], visits: list[Visit], wish: Wish) -> Iterator[Wish]:
    """The wish, then with its longest runs one after the other served from the base; then from other bases."""
    yield wish
    current = wish
    if direct[wish.base]:
        while True:
            runs = _runs(visits, current)
            if not runs:
                break
            first, last = max(runs, key=lambda run: visits[run[1]].step - visits[run[0]].step)
            tier = [current.base if first <= i <= last else k for i, k in enumerate(current.tier)]
            current = Wish(current.base, tuple(tier), current.kept)
            yield current
    direct_tiers = [k for k, is_direct in enumerate(direct) if is_direct]
    has_home = visits[0].before is not None and visits[0].before < 0
    for k in direct_tiers:
        yield Wish(wish.base, tuple(k for _ in visits), tuple(False for _ in visits))
        yield Wish(wish.base, tuple(k for _ in visits), tuple(True for _ in visits))
    if not has_home:
        for base in range(wish.base + 1, len(direct)):
            tier = tuple(base if k == wish.base and direct[base] else k for k in wish.tier)
            yield Wish(base, tier, wish.kept)
            yield Wish(base, tier, tuple(False for _ in visits))
        for base in range(len(direct)):
            for k in direct_tiers:
                yield Wish(base, tuple(base if direct[base] else k for _ in visits), tuple(False for _ in visits))


def _runs(visits: list[Visit], wish: Wish) -> list[tuple[int, int]]:
    """First and last visit of each run of visits that one tier other than the base serves."""
    runs: list[tuple[int, int]] = []
    for i, k in enumerate(wish.tier):
        if k == wish.base:
            continue
        fresh = visits[i].mode is Mode.PRODUCE or not wish.kept[i] or i == 0 or wish.tier[i - 1] != k
        if fresh or not runs:
            runs.append((i, i))
        else:
            runs[-1] = (runs[-1][0], i)
    return runs
