"""When a tensor's value is needed, and in which tiers it may lie: the grid of the exact model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tierplan.ir.problem import NO_HOME, NO_LINK, Keep, Mode, Problem


@dataclass(frozen=True, slots=True)
class Life:
    """One tensor on the grid of steps.

    `live[t]`: whether the value at the beginning of step t is needed later, before it is produced
    anew. A `circular` life has S entries and its end is its beginning; another has S + 1, the last
    one for the end of the program. Where a tensor is not live, no plan needs it to lie anywhere.
    `accesses` maps a step to the access of the tensor there.
    """

    tensor: int
    size: int
    circular: bool
    live: tuple[bool, ...]
    accesses: dict[int, int]
    modes: dict[int, Mode]
    tiers: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]

    @property
    def n_steps(self) -> int:
        """S."""
        return len(self.live) if self.circular else len(self.live) - 1

    def before(self, t: int) -> int | None:
        """The step before `t`; None before the first."""
        if self.circular:
            return (t - 1) % self.n_steps
        return t - 1 if t > 0 else None

    def writes(self, t: int) -> bool:
        """Whether step t updates or produces the tensor."""
        return self.modes.get(t, Mode.READ) is not Mode.READ

    def flies(self, t: int) -> bool:
        """Whether a copy of the tensor may be under way during step t: it is needed then and after, and not written."""
        if t >= self.n_steps or self.writes(t):
            return False
        after = (t + 1) % self.n_steps if self.circular else t + 1
        return self.live[t] and self.live[after]

    @property
    def n_cells(self) -> int:
        """Number of variables that the grid of this tensor needs, about."""
        n_live = sum(self.live) + len(self.accesses)
        return n_live * (len(self.tiers) + 1 + 3 * len(self.pairs))


def lives(problem: Problem) -> list[Life]:
    """The lives of all tensors that some plan needs to place."""
    accesses: list[dict[int, int]] = [{} for _ in range(problem.n_tensors)]
    for a, (step, tensor) in enumerate(zip(problem.access_step.tolist(), problem.access_tensor.tolist(), strict=True)):
        accesses[tensor][step] = a
    linked = [
        (s, d)
        for s in range(problem.n_tiers)
        for d in range(problem.n_tiers)
        if s != d and problem.links.between(s, d) != NO_LINK
    ]
    found: list[Life] = []
    for x in range(problem.n_tensors):
        if not accesses[x] and problem.keep[x] == Keep.NOTHING:
            continue
        size = int(problem.size[x])
        tiers = tuple(k for k in range(problem.n_tiers) if size <= int(problem.tiers.usable[k]))
        modes = {t: Mode(int(problem.access_mode[a])) for t, a in accesses[x].items()}
        circular, live = _liveness(problem, x, modes)
        pairs = tuple((s, d) for s, d in linked if s in tiers and d in tiers)
        found.append(Life(x, size, circular, live, accesses[x], modes, tiers, pairs))
    return found


def _liveness(problem: Problem, x: int, modes: dict[int, Mode]) -> tuple[bool, tuple[bool, ...]]:
    """Whether the life is circular, and at which steps the value is needed."""
    n = problem.n_steps
    kept = problem.keep[x] != Keep.NOTHING
    first = modes[min(modes)] if modes else None
    needed_at_first = kept if first is None else first is not Mode.PRODUCE
    circular = problem.cyclic and problem.home[x] != NO_HOME and needed_at_first
    needed = circular or kept
    live = [False] * n + [needed]
    for t in range(n - 1, -1, -1):
        mode = modes.get(t)
        needed = mode is not Mode.PRODUCE if mode is not None else needed
        live[t] = needed
    return circular, tuple(live[:n] if circular else live)


@dataclass(frozen=True, slots=True)
class Clock:
    """Whole ticks of `unit_s` seconds; rounding down, so that a sum of ticks never exceeds the seconds."""

    unit_s: float

    def ticks(self, seconds: float | Fraction) -> int:
        """Seconds in ticks, rounded down."""
        return math.floor(Fraction(seconds) / Fraction(self.unit_s))

    def stream(self, n_bytes: int, bandwidth: float) -> Fraction:
        """Seconds to move bytes at a bandwidth, exactly."""
        return Fraction(n_bytes) / Fraction(bandwidth)


@dataclass(frozen=True, slots=True)
class Move:
    """What a copy of one tensor over one pair of tiers takes: seconds on its link, alone, and of latency."""

    link: int
    link_s: Fraction
    alone_s: Fraction
    latency_s: Fraction


def move_of(problem: Problem, size: int, source: int, target: int) -> Move:
    """The least time of a copy, from the bandwidths of link and tiers and the read curve of the source.

    Source: docs/semantics.md, Time.
    """
    tiers, links = problem.tiers, problem.links
    link = links.between(source, target)
    cap = float(tiers.read_bandwidth[source])
    if tiers.read_curve[source]:
        cap = _interpolate(size, tiers.read_curve[source])
    bandwidth = float(links.bandwidth[link])
    rate = min(cap, bandwidth, float(tiers.read_bandwidth[source]), float(tiers.write_bandwidth[target]))
    latency = Fraction(float(links.latency_s[link])) + Fraction(float(tiers.latency_s[source]))
    return Move(link, Fraction(size) / Fraction(bandwidth), Fraction(size) / Fraction(rate), latency)


def _interpolate(size: int, curve: Sequence[tuple[int, float]]) -> float:
    import numpy as np

    chunks, rates = zip(*curve, strict=True)
    return float(np.interp(size, chunks, rates))
