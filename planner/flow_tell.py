"""From what is wished for one tensor - which tier serves each visit, and where it is kept - to a story."""

from collections.abc import Sequence
from dataclasses import dataclass

from tierplan.ir.plan import Copy
from tierplan.ir.problem import NO_LINK, Keep, Mode, Problem
from tierplan.planner.stories import Stay, Story, copy_of
from tierplan.planner.supply import Booking, Supply
from tierplan.planner.visits import Visit


@dataclass(frozen=True, slots=True)
class Wish:
    """For each visit of a tensor: the tier that serves it, and whether the tensor is kept there since the visit before.

    `base` is where the tensor lies when no faster tier holds it.
    """

    base: int
    tier: tuple[int, ...]
    kept: tuple[bool, ...]


@dataclass(slots=True)
class _Run:
    """The tensor lies in a tier other than its base."""

    tier: int
    start: int
    stop: int
    ready: int  # the first step at which it may be copied away


class Telling:
    """Tells the story of one tensor; where a wish cannot be met in time, the tensor is served from where it lies."""

    def __init__(self, problem: Problem, visits: Sequence[Visit], supply: Supply, *, share: float) -> None:
        self.problem, self.visits, self.supply, self.share = problem, visits, supply, share
        self.x, self.n = visits[0].tensor, problem.n_steps
        self.size = int(problem.size[self.x])
        self.stays: list[Stay] = []
        self.copies: list[Copy] = []
        self.bookings: list[Booking] = []
        self.run: _Run | None = None
        self.left: dict[int, int] = {}  # by tier, the step at which the last stay there ended

    def tell(self, wish: Wish, *, wraps: bool = True) -> Story | None:
        """The story, or None if there is none of this kind; `wraps`: copies may be issued in the turn before."""
        first = self.visits[0]
        self.base, self.circular = wish.base, first.before is not None and first.before >= 0
        self.base_valid = first.before is not None
        self.base_from: int | None = 0 if self.base_valid else None
        self.base_until = 1
        self.base_ready = -self.n if self.circular else 0
        wraps = wraps and all(v.mode is Mode.READ for v in self.visits)
        for visit, tier, kept in zip(self.visits, wish.tier, wish.kept, strict=True):
            opens = visit.opens if wraps else max(visit.opens, 0)
            if visit.mode is Mode.PRODUCE:
                self._produce(visit.step, tier)
            elif not self._reach(visit, tier, kept, opens):
                return None
            if visit.mode is Mode.UPDATE:
                self._update(visit.step)
        return self._end()

    def _produce(self, t: int, tier: int) -> None:
        self._close()
        if self.circular and tier > self.base:
            tier = self.base
        if not self.circular:
            self._leave_base()
        self.base_valid = tier == self.base
        if self.base_valid:
            self.base_from = t if self.base_from is None else self.base_from
            self.base_until, self.base_ready = t + 1, t
        else:
            self.run = _Run(tier, t, t + 1, t + 1)

    def _update(self, t: int) -> None:
        if self.run is None:
            return
        self.base_valid = False
        if not self.circular:
            self._leave_base()

    def _reach(self, visit: Visit, tier: int, kept: bool, opens: int) -> bool:
        """Make the tensor lie in `tier` when `visit` takes place, or else where it can; whether it lies anywhere."""
        t = visit.step
        if visit.is_end and self.problem.keep[self.x] == Keep.HOME:
            return self.base == self.problem.home[self.x] and self._serve_from_base(t, opens)
        if self.base_valid and tier > self.base and self.problem.tiers.direct[self.base]:
            tier = self.base
        if self.run is not None and self.run.tier == tier and kept:
            self._stay_to(t)
            return True
        moved = self._serve_from_base(t, opens) if tier == self.base else self._move(tier, t, opens)
        if moved:
            return True
        if self.run is not None and (visit.is_end or self.problem.tiers.direct[self.run.tier]):
            self._stay_to(t)
            return True
        return self._serve_from_base(t, opens) and (visit.is_end or bool(self.problem.tiers.direct[self.base]))

    def _stay_to(self, t: int) -> None:
        assert self.run is not None
        self.run.stop = max(self.run.stop, min(t + 1, self.n))

    def _serve_from_base(self, t: int, opens: int) -> bool:
        if not self.base_valid and not self._evict(opens, t):
            return False
        self._close()
        self.base_until = max(self.base_until, min(t + 1, self.n))
        return True

    def _evict(self, opens: int, due: int) -> bool:
        """Copy the only valid copy back to the base."""
        run = self.run
        if run is None:
            return False
        opens = max(opens, run.ready, 0)
        done = self.supply.earliest(run.tier, self.base, self.size, opens, due, share=self.share)
        if done is None:
            return False
        self._copy(run.tier, self.base, opens, done)
        run.stop = max(run.stop, done)
        if self.base_from is None:
            self.base_from = opens
        self.base_valid, self.base_ready = True, done
        self.base_until = max(self.base_until, done)
        return True

    def _move(self, tier: int, t: int, opens: int) -> bool:
        """Bring the tensor into `tier` by step t: from the base, or from where it lies."""
        run = self.run
        if run is not None and run.tier != tier and not self.base_valid:
            since = max(opens, run.ready, self.left.get(tier, opens))
            start = self.supply.latest(run.tier, tier, self.size, since, t, share=self.share)
            if start is not None:
                self._copy(run.tier, tier, start, t)
                run.stop = max(run.stop, t)
                self._close()
                self.run = _Run(tier, start, min(t + 1, self.n), t)
                return True
        if not self.base_valid and not self._evict(opens, t - 1):
            return False
        return self._load(tier, t, max(opens, self.base_ready))

    def _load(self, tier: int, t: int, opens: int) -> bool:
        """Copy the tensor from the base into `tier` over the shortest way, to be done by step t."""
        route = _route(self.problem, self.base, tier)
        if self.run is not None and self.run.tier in route:
            opens = max(opens, self.run.stop)
        opens = max([opens, *(self.left.get(k, opens) for k in route[1:])])
        due, hops = t, list[tuple[int, int, int, int]]()
        for source, target in zip(reversed(route[:-1]), reversed(route[1:]), strict=True):
            start = self.supply.latest(source, target, self.size, opens, due, share=self.share)
            if start is None:
                return False
            hops.append((source, target, start, due))
            due = start
        if not hops:
            return False
        self._close()
        for source, target, start, done in hops:
            self._copy(source, target, start, done)
            if source != self.base:
                self.stays.append(Stay(source, next(h[2] for h in hops if h[1] == source), done))
                self.left[source] = done
            else:
                self.base_until = max(self.base_until, done)
        self.run = _Run(tier, hops[0][2], min(t + 1, self.n), t)
        return True

    def _copy(self, source: int, target: int, start: int, done: int) -> None:
        self.copies.append(copy_of(self.x, source, target, start, done, self.n))
        self.bookings.append(Booking(source, target, self.size, start, done))

    def _close(self) -> None:
        if self.run is not None:
            self.stays.append(Stay(self.run.tier, self.run.start, self.run.stop))
            self.left[self.run.tier] = self.run.stop
        self.run = None

    def _leave_base(self) -> None:
        if self.base_from is not None:
            self.stays.append(Stay(self.base, self.base_from, max(self.base_until, self.base_from + 1)))
        self.base_from = None

    def _end(self) -> Story | None:
        """What is written must be back in its base when a turn ends."""
        if self.circular and not self.base_valid:
            written = max(v.step for v in self.visits if v.mode is not Mode.READ)
            if not self._evict(written + 1, self.n):
                return None
        self._close()
        if self.circular:
            self.base_until = self.n
        self._leave_base()
        return None if self._meets_itself() else Story(self.x, tuple(self.stays), tuple(self.copies))

    def _meets_itself(self) -> bool:
        """Whether the last stay in a tier has not ended when the first, in the next turn, begins."""
        return any(
            max(s.stop for s in self.stays if s.tier == tier)
            > min(s.start for s in self.stays if s.tier == tier) + self.n
            for tier in {s.tier for s in self.stays}
        )


def _route(problem: Problem, source: int, target: int) -> list[int]:
    """The shortest way over links from one tier to another, both ends included; empty if there is none."""
    routes, seen = [[source]], {source}
    while routes:
        longer: list[list[int]] = []
        for route in routes:
            if route[-1] == target:
                return route
            for tier in range(problem.n_tiers):
                if tier not in seen and problem.links.between(route[-1], tier) != NO_LINK:
                    seen.add(tier)
                    longer.append([*route, tier])
        routes = longer
    return []
