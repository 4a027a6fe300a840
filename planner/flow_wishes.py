"""What solved relaxations wish together for each tensor, in tiers of the problem."""

import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property

from tierplan.ir.problem import Keep
from tierplan.planner.flow_solve import Relaxation
from tierplan.planner.flow_tell import Wish
from tierplan.planner.flow_wish import value, wish
from tierplan.planner.visits import Visit

_BRIEF = 6  # steps
_MANY = 50  # small tensors, of which so many fit in tiers that no relaxation tells apart


class Wishes:
    """Wishes of several relaxations of one problem; where they differ, the first is heard first.

    One in which tiers are merged says in which group of tiers a tensor lies; another may tell the tiers of that group
    apart. Of tiers that none tells apart, the slowest is taken if the fastest of all is among them, else the fastest.
    """

    def __init__(self, relaxations: Sequence[Relaxation]) -> None:
        self.relaxations = tuple(relaxations)
        self.first = relaxations[0]
        self.problem = self.first.problem

    @property
    def n_tensors(self) -> int:
        """Of the problem."""
        return len(self.first.lp.places.of_tensor)

    def visits(self, x: int) -> list[Visit]:
        """The visits of a tensor."""
        return [place.visit for place in self.first.lp.places.of_tensor[x]]

    def wish(self, x: int, threshold: float, *, spread: bool = False) -> Wish:
        """What is wished for a tensor; see `flow_wish.wish`."""
        told = self.relaxations[:1] if self.first.is_whole else self.relaxations
        all_wish = [
            (found.groups, wish(found.lp, found.x, found.lp.places.of_tensor[x], threshold, spread=spread))
            for found in told
        ]
        if self.first.is_whole:
            return all_wish[0][1]
        tiers: list[int] = []
        kept: list[bool] = []
        for i in range(len(all_wish[0][1].tier)):
            low, high = self._narrowed([(groups, wanted.tier[i]) for groups, wanted in all_wish])
            k = self._serving(low, high)
            tiers.append(k)
            kept.append(next((w.kept[i] for groups, w in all_wish if _last(groups, k)), all_wish[0][1].kept[i]))
        return Wish(self._base(x, [(groups, wanted.base) for groups, wanted in all_wish]), tuple(tiers), tuple(kept))

    def hastened(self, x: int, wanted: Wish) -> Wish:
        """The wish with brief visits of small tensors in the fastest tier, if no relaxation tells it from the next."""
        slowest = self.untold
        if slowest == 0:
            return wanted
        tier = tuple(0 if k == slowest and soon else k for k, soon in zip(wanted.tier, self.brief(x), strict=True))
        return Wish(wanted.base, tier, wanted.kept)

    def fraction(self, x: int, wanted: Wish) -> float:
        """The least fraction of a tensor that the first relaxation has where it is wished, above its base."""
        groups = self.first.groups
        shares = [
            value(self.first.x, place.lies[groups[k]])
            for place, k in zip(self.first.lp.places.of_tensor[x], wanted.tier, strict=True)
            if k != wanted.base and groups[k] in place.lies
        ]
        return min(shares, default=1.0)

    @cached_property
    def untold(self) -> int:
        """The slowest tier that no relaxation tells from the fastest one."""
        return max(k for k in range(self.problem.n_tiers) if all(found.groups[k] == 0 for found in self.relaxations))

    def brief(self, x: int) -> list[bool]:
        """For each visit, whether it is of a small tensor that is visited shortly before or after."""
        visits = self.visits(x)
        room = sum(int(usable) for usable in self.problem.tiers.usable[: self.untold + 1])
        if int(self.problem.size[x]) * _MANY > room:
            return [False] * len(visits)
        gaps = [_BRIEF + 1, *(b.step - a.step for a, b in itertools.pairwise(visits)), _BRIEF + 1]
        return [min(before, after) <= _BRIEF for before, after in itertools.pairwise(gaps)]

    def _narrowed(self, wished: Sequence[tuple[tuple[int, ...], int]]) -> tuple[int, int]:
        """The fastest and the slowest tier that all agree on, as far as they do."""
        low, high = 0, self.problem.n_tiers - 1
        for groups, group in wished:
            among = [k for k in range(low, high + 1) if groups[k] == group]
            if among:
                low, high = among[0], among[-1]
        return low, high

    def _serving(self, low: int, high: int) -> int:
        """Of neighbouring tiers the one to use: one that steps can use, if there is any."""
        order = range(high, low - 1, -1) if low == 0 else range(low, high + 1)
        direct = self.problem.tiers.direct
        return next((k for k in order if direct[k]), order[0])

    def _base(self, x: int, wished: Sequence[tuple[tuple[int, ...], int]]) -> int:
        home, first = int(self.problem.home[x]), self.visits(x)[0]
        if self.problem.keep[x] == Keep.HOME and not self.problem.cyclic:
            return home
        if first.before is not None and first.before < 0:
            return home
        low, high = self._narrowed(wished)
        if low == 0:
            return high
        return home if low <= home <= high else low


def heard(solved: Iterable[Relaxation]) -> Wishes:
    """The wishes of solved relaxations: with flows before without, then those that tell most tiers apart first."""
    return Wishes(sorted(solved, key=lambda found: (len(found.lp.flows) == 0, -max(found.groups), -found.bound_s)))


def _last(groups: tuple[int, ...], k: int) -> bool:
    """Whether tier k is the slowest of its group: what stays in the group and faster ones stays up to k."""
    return k + 1 == len(groups) or groups[k] != groups[k + 1]
