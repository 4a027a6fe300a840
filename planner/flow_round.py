"""From the fractions of the relaxation to plans: wishes tensor by tensor, fitted into real room."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Mode
from tierplan.planner.flow_solve import Relaxation
from tierplan.planner.flow_tell import Telling, Wish
from tierplan.planner.flow_wish import value, wish
from tierplan.planner.stories import Rooms
from tierplan.planner.supply import Supply, busy_s, own_s
from tierplan.planner.visits import Visit


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


def rounded(found: Relaxation, fixed: dict[int, Wish], style: Style, threshold: float = 0.5) -> Plan | None:
    """A plan near a solution of the relaxation, with what is `fixed` as it is; None if some tensor fits nowhere."""
    return _Rounding(found, fixed, style, threshold).plan()


class _Rounding:
    """Rounds a relaxation in one style."""

    def __init__(self, found: Relaxation, fixed: dict[int, Wish], style: Style, threshold: float) -> None:
        self.found, self.style, self.problem = found, style, found.lp.problem
        lp, x = found.lp, found.x
        self.taken = [int(np.argmax(x[group])) for group in lp.taken]
        self.wishes = {
            t: fixed.get(t) or wish(lp, x, places, threshold) for t, places in enumerate(lp.places.of_tensor) if places
        }
        self.supply = self._supply()
        self.rooms = Rooms(self.problem, self.taken)

    def plan(self) -> Plan | None:
        """The plan, or None if some tensor fits nowhere."""
        for x in self._order(list(self.wishes), self.wishes):
            if not self._fit(x, self.wishes[x]):
                return None
        return self.rooms.plan()

    def _supply(self) -> Supply:
        """What steps leave to copies if each access is served as is wished, or at the pace of the relaxation."""
        problem, lp, x = self.problem, self.found.lp, self.found.x
        if not self.style.own_pace:
            busy = lp.streams.fixed.copy()
            np.add.at(busy, (lp.streams.resource, lp.streams.step), lp.streams.value * x[lp.streams.column])
            return Supply(problem, np.diff(self.found.begin_s), busy)
        serves = np.zeros(len(problem.access_tensor), dtype=np.int64)
        for t, wanted in self.wishes.items():
            for place, tier in zip(lp.places.of_tensor[t], wanted.tier, strict=True):
                if not place.visit.is_end:
                    serves[place.visit.access] = tier
        busy = busy_s(problem, serves, self.taken)
        return Supply(problem, own_s(problem, busy, self.taken), busy)

    def _order(self, used: list[int], wishes: dict[int, Wish]) -> list[int]:
        """What lies throughout first, largest first; then what must lie somewhere by style."""
        problem, of_tensor = self.problem, self.found.lp.places.of_tensor
        size = problem.size

        def fraction(x: int) -> float:
            shares = [
                value(self.found.x, place.lies[k])
                for place, k in zip(of_tensor[x], wishes[x].tier, strict=True)
                if k != wishes[x].base and k in place.lies
            ]
            return min(shares, default=1.0)

        def key(x: int) -> tuple[float, ...]:
            places, wish = of_tensor[x], wishes[x]
            circular = places[0].visit.before is not None and places[0].visit.before >= 0
            static = circular and all(k == wish.base for k in wish.tier)
            if static:
                return (0.0, -float(size[x]))
            length = places[-1].visit.step - places[0].visit.step + 1
            n_bytes = sum(
                int(problem.access_read[p.visit.access] + problem.access_write[p.visit.access])
                for p in places
                if not p.visit.is_end
            )
            loads = [
                p.visit.step
                for p, k, kept in zip(places, wish.tier, wish.kept, strict=True)
                if k != wish.base and p.visit.before is not None and not kept
            ]
            if self.style.order == "due":  # from the end backwards: each copy in one go before the next begins
                return (2.0, -float(loads[0]), -float(size[x])) if loads else (1.0, -float(size[x]) * length)
            by = {
                "value": -n_bytes / (max(1, int(size[x])) * length),
                "size": -float(size[x]) * length,
                "fraction": -round(fraction(x), 3),
            }
            return (1.0, by[self.style.order], -float(size[x]))

        return sorted(used, key=key)

    def _fit(self, x: int, wish: Wish) -> bool:
        """Fit the story that is wished for, or one with fewer runs in fast tiers."""
        places = self.found.lp.places.of_tensor[x]
        visits = [place.visit for place in places]
        for modest in _ever_more_modest(self.problem.tiers.direct.tolist(), visits, wish):
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
