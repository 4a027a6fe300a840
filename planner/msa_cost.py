"""What XLA's memory-space assignment believes about time: benefits, prefetch windows, copies in flight."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tierplan.ir.problem import Floats, Ints, Problem
from tierplan.planner.supply import busy_s, own_s
from tierplan.planner.uses import stream_s


@dataclass(frozen=True, slots=True)
class Ratios:
    """How long a prefetch should take, as multiples of the time of its copy; `most` limits residence without a copy.

    Source: xla/service/memory_space_assignment/prefetch_interval_picker, min, preferred and max overlap ratios.
    """

    least: float
    preferred: float
    most: float


class Clock:
    """Seconds that pass between steps if every access is served from where it lies now.

    Shapes: `own[S]`: of each step; `mean_s[A, K]`: that each access streams if served from each tier.
    """

    def __init__(self, problem: Problem, serves: Ints, taken: list[int]) -> None:
        self.problem, self.serves = problem, serves
        self.own: Floats = own_s(problem, busy_s(problem, serves, taken), taken)
        self.before: Floats = np.concatenate(([0.0], np.cumsum(self.own)))
        self.stream: Floats = np.stack([stream_s(problem, k) for k in range(problem.n_tiers)], axis=1)
        rows = np.arange(len(serves))
        self.memory: Floats = np.bincount(
            problem.access_step, self.stream[rows, serves], minlength=problem.n_steps
        ).astype(np.float64)

    def elapsed(self, after: int, until: int) -> float:
        """Seconds of the steps strictly between two."""
        return float(self.before[max(until, 0)] - self.before[min(max(after + 1, 0), max(until, 0))])

    def benefit(self, access: int, tier: int) -> float:
        """Seconds that a step gains if `tier` serves one access; negative, and how far, if compute bounds the step."""
        step = int(self.problem.access_step[access])
        memory, compute = float(self.memory[step]), float(self.problem.compute_s[step])
        saved = float(self.stream[access, self.serves[access]] - self.stream[access, tier])
        return saved if memory > compute else memory - compute

    def gain(self, access: int, tier: int) -> float:
        """Seconds by which a step is shorter if one access is served from `tier`."""
        step = int(self.problem.access_step[access])
        memory, compute = float(self.memory[step]), float(self.problem.compute_s[step])
        saved = float(self.stream[access, self.serves[access]] - self.stream[access, tier])
        return max(compute, memory) - max(compute, memory - saved)

    def boundedness(self, accesses: list[int], tier: int, size: int) -> float:
        """How much a tensor is worth in `tier`: benefits are added while positive, over the square root of its size."""
        total = self.benefit(accesses[0], tier)
        for access in accesses[1:]:
            more = self.benefit(access, tier)
            total = total + more if total > 0 and more > 0 else max(total, more)
        return total / max(size, 1) ** 0.5


@dataclass(slots=True)
class Channel:
    """Copies in one direction, first in first out: each takes its seconds of the time of the steps it spans.

    Source: xla/service/memory_space_assignment, AsynchronousCopyResource.
    """

    clock: Clock
    most: int | None = None
    starts: list[int] = field(default_factory=list[int])
    copies: list[tuple[int, int, float]] = field(default_factory=list[tuple[int, int, float]])

    def fits(self, start: int, done: int, seconds: float) -> bool:
        """Whether a copy issued at step `start` and done by step `done` delays no other beyond its end."""
        if self.most is not None and sum(s < done and start < d for s, d, _ in self.copies) >= self.most:
            return False
        before = self.clock.before
        place = bisect_right(self.starts, start)
        reached = self._reached(place)
        for s, d, need in [(start, done, seconds), *self.copies[place:]]:
            begins = max(float(before[s]), reached)
            if s > start and begins > reached:
                return True
            reached = begins + need
            if reached > float(before[d]) * (1 + 1e-9):
                return False
        return True

    def _reached(self, place: int) -> float:
        """When the copies before `place` are done."""
        first = place
        while first > 0 and place - first < 64:
            first -= 1
        reached = 0.0
        for s, _, need in self.copies[first:place]:
            reached = max(float(self.clock.before[s]), reached) + need
        return reached

    def add(self, start: int, done: int, seconds: float) -> None:
        """Book a copy."""
        place = bisect_right(self.starts, start)
        self.starts.insert(place, start)
        self.copies.insert(place, (start, done, seconds))

    def remove(self, start: int, done: int, seconds: float) -> None:
        """Take a booked copy back."""
        place = self.copies.index((start, done, seconds))
        del self.starts[place], self.copies[place]


@dataclass(frozen=True, slots=True)
class Picker:
    """Windows for prefetches, by how much of the program runs beside them.

    `longest_s`: seconds beyond which nothing is kept or prefetched: the copy of a whole tier, times `ratios.most`.
    Source: xla/service/memory_space_assignment, CostAnalysisPrefetchIntervalPicker.
    """

    clock: Clock
    ratios: Ratios
    longest_s: float

    def may_stay(self, since: int, until: int) -> bool:
        """Whether a tensor may stay from one use to the next without a copy."""
        return self.clock.elapsed(since, until) < self.longest_s

    def starts(self, opens: int, use: int, copy_s: float, gain_s: float) -> Iterator[int]:
        """First steps of prefetches for a use, the preferred one first, then later and earlier ones in turn."""
        before = self.clock.before
        end = float(before[use])
        bound = end + gain_s - self.ratios.least * copy_s
        latest = int(np.searchsorted(before[:use], bound, side="right")) - 1
        earliest = max(opens, int(np.searchsorted(before[: use + 1], end - self.longest_s)))
        latest = min(latest, use - 1)
        if latest < earliest:
            return
        wanted = end - self.ratios.preferred * copy_s
        preferred = min(max(int(np.searchsorted(before[: use + 1], wanted, side="right")) - 1, earliest), latest)
        yield preferred
        for distance in range(1, max(latest - preferred, preferred - earliest) + 1):
            if preferred + distance <= latest:
                yield preferred + distance
            if preferred - distance >= earliest and (preferred + distance <= latest or distance <= 100):
                yield preferred - distance

    def eviction_ends(self, start: int, limit: int, copy_s: float, retry: int) -> Iterator[int]:
        """Ends of an eviction that begins at `start`: the preferred one, then shorter ones."""
        before = self.clock.before
        wanted = float(before[start]) + (1 + 2 * retry) * self.ratios.preferred * copy_s
        preferred = min(limit, max(start + 1, int(np.searchsorted(before, wanted))))
        yield from range(preferred, start, -1)
