"""Widen the windows of copies into room that is free: loads begin earlier, what is copied away stays for longer."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tierplan.ir.plan import Copy, Plan, Residency
from tierplan.ir.problem import Mode, Problem


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """The residencies of each tier, to find what room is free around one of them."""

    problem: Problem
    lying: list[dict[Residency, None]]

    def free_since(self, r: Residency) -> int:
        """The first step from which the bytes of a residency are free until it begins."""
        return max((q.stop for q in self._beside(r) if q.stop <= r.start), default=0)

    def free_until(self, r: Residency) -> int:
        """The step until which the bytes of a residency stay free after it ends."""
        return min((q.start for q in self._beside(r) if q.start >= r.stop), default=self.problem.n_steps)

    def _beside(self, r: Residency) -> Iterable[Residency]:
        size = self.problem.size
        low, high = r.offset, r.offset + int(size[r.tensor])
        for q in self.lying[r.tier]:
            if q is not r and ((q.offset < high and low < q.offset + int(size[q.tensor])) or q.tensor == r.tensor):
                yield q

    def change(self, old: Residency, new: Residency) -> None:
        """Put a residency in the place of another."""
        del self.lying[old.tier][old]
        self.lying[new.tier][new] = None


def stretched(problem: Problem, plan: Plan) -> Plan:
    """The plan with loads issued as early, in the order in which they are needed, and ends of evictions as late as room
    allows; it is legal if `plan` is.
    """
    return _Stretching(problem, plan).plan()


class _Stretching:
    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.taken, self.n = problem, plan.taken, problem.n_steps
        self.near = _Neighbours(problem, [{} for _ in range(problem.n_tiers)])
        self.of: defaultdict[int, list[Residency]] = defaultdict(list)
        for r in plan.residencies:
            self.near.lying[r.tier][r] = None
            self.of[r.tensor].append(r)
        self.copies: defaultdict[int, list[Copy]] = defaultdict(list)
        for c in plan.copies:
            self.copies[c.tensor].append(c)
        self.steps: defaultdict[int, list[tuple[int, bool]]] = defaultdict(list)
        rows = zip(
            problem.access_tensor.tolist(), problem.access_step.tolist(), problem.access_mode.tolist(), strict=True
        )
        for x, step, mode in rows:
            self.steps[x].append((step, mode != Mode.READ))

    def plan(self) -> Plan:
        """The stretched plan."""
        moves = [c for of_tensor in self.copies.values() for c in of_tensor if c.done <= self.n]
        for copy in sorted((c for c in moves if c.target > c.source), key=lambda c: -c.start):
            self._stay_longer(copy)
        latest: defaultdict[tuple[int, int], int] = defaultdict(int)
        for copy in sorted((c for c in moves if c.target < c.source), key=lambda c: (c.done, c.start)):
            pair = copy.source, copy.target
            latest[pair] = max(latest[pair], self._load_earlier(copy, latest[pair]))
        copies = sorted((c for of_tensor in self.copies.values() for c in of_tensor), key=lambda c: (c.done, c.start))
        residencies = [r for lying in self.near.lying for r in lying]
        return Plan(tuple(residencies), tuple(copies), self.taken)

    def _at(self, x: int, tier: int, step: int) -> Residency | None:
        return next((r for r in self.of[x] if r.tier == tier and r.start <= step < r.stop), None)

    def _set(self, old: Residency, new: Residency) -> None:
        self.near.change(old, new)
        self.of[old.tensor][self.of[old.tensor].index(old)] = new

    def _swap(self, old: Copy, new: Copy) -> None:
        self.copies[old.tensor][self.copies[old.tensor].index(old)] = new

    def _load_earlier(self, copy: Copy, least: int) -> int:
        """Issue a load as early as there is room, but not before `least`; the step at which it is issued now."""
        x = copy.tensor
        there, source = self._at(x, copy.target, copy.start), self._at(x, copy.source, copy.start)
        if there is None or source is None or there.start != copy.start:
            return copy.start
        before = [t + 1 for t, writes in self.steps[x] if t < copy.start and (writes or self._passes(copy))]
        arrivals = [c.done if c.done <= self.n else c.done - self.n for c in self.copies[x] if c.target == copy.source]
        arrived = [done for done in arrivals if done <= copy.start]
        start = max([least, self.near.free_since(there), source.start, *before, *arrived])
        start = min(start, copy.done - 1)
        if any(t == there.start and writes for t, writes in self.steps[x]):
            return copy.start
        self._set(there, replace(there, start=start))
        self._swap(copy, replace(copy, start=start))
        return start

    def _passes(self, copy: Copy) -> bool:
        """Whether the tensor goes on from where this copy brings it."""
        return any(c.source == copy.target and c.start == copy.done for c in self.copies[copy.tensor])

    def _stay_longer(self, copy: Copy) -> None:
        """Let what is copied away stay until its room is needed, but for its next load."""
        x = copy.tensor
        here = self._at(x, copy.source, copy.start)
        if here is None or here.stop != copy.done:
            return
        later = [c.start for c in self.copies[x] if c != copy and c.start >= copy.done]
        later += [t for t, _ in self.steps[x] if t >= copy.done]
        done = min([self.near.free_until(here), self.n, *later])
        there = self._at(x, copy.target, copy.start)
        if done <= copy.done or there is None or there.stop < done:
            return
        self._set(here, replace(here, stop=done))
        self._swap(copy, replace(copy, done=done))
