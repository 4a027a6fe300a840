"""A key-value cache that is not in fast memory: is it faster to fetch it, or to read the text again?"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import Problem
from tierplan.sim.aside import copied, leads, time_s

_PRECISION = 1.02  # of a break-even length


@dataclass(frozen=True, slots=True)
class BreakEven:
    """A context from which on the one is faster that was slower below it."""

    context: int
    from_here: str


@dataclass(frozen=True, slots=True)
class Restoring:
    """Bringing the caches of all sequences from one tier to the fastest, beside reading the prompt again.

    `breaks`: where the faster of the two changes, over contexts from `least` to `most`; `below` is faster at first.
    """

    tier: str
    fetch_s: float
    recompute_s: float
    below: str
    breaks: tuple[BreakEven, ...]
    least: int
    most: int

    @property
    def faster(self) -> str:
        """What is faster for the prompt."""
        return _faster(self.fetch_s, self.recompute_s)


def fetch_s(problem: Problem, tier: int, n_bytes: float) -> float:
    """Seconds to copy so many bytes from a tier to the fastest that operations can use."""
    target = int(np.flatnonzero(problem.tiers.direct)[0])
    way = copied(problem, tier, target)
    links = np.flatnonzero(way[2 * problem.n_tiers :])
    latency = float(problem.tiers.latency_s[tier] + problem.links.latency_s[links].sum())
    return latency + time_s(problem, np.multiply(way, n_bytes, dtype=np.float64))


def restoring(
    problem: Problem, prompt: int, cache_bytes: Callable[[int], float], recompute_s: Callable[[int], float],
    lengths: tuple[int, ...],
) -> tuple[Restoring, ...]:  # fmt: skip
    """Fetching beside recomputing for each tier below the fastest.

    `lengths`: rising contexts that are compared; between two of them where the faster one differs, the break-even is
    found by bisection, within 2 %. `cache_bytes` and `recompute_s` tell bytes and seconds by context.
    Assumes: between two lengths the faster one changes once, at most.
    """
    target = int(np.flatnonzero(problem.tiers.direct)[0])
    rows: list[Restoring] = []
    for tier in range(target + 1, problem.n_tiers):
        if not leads(problem, tier, target):
            continue

        def winner(context: int, tier: int = tier) -> str:
            return _faster(fetch_s(problem, tier, cache_bytes(context)), recompute_s(context))

        breaks: list[BreakEven] = []
        for low, high in itertools.pairwise(lengths):
            if winner(low) != winner(high):
                breaks.append(BreakEven(_bisect(winner, low, high), winner(high)))
        fetch, again = fetch_s(problem, tier, cache_bytes(prompt)), recompute_s(prompt)
        name = problem.tiers.names[tier]
        rows.append(Restoring(name, fetch, again, winner(lengths[0]), tuple(breaks), lengths[0], lengths[-1]))
    return tuple(rows)


def _faster(fetch: float, again: float) -> str:
    return "fetch" if fetch <= again else "recompute"


def _bisect(winner: Callable[[int], str], low: int, high: int) -> int:
    """The least context, within the precision, at which the winner is that of `high`."""
    wanted = winner(high)
    while high - low > 1 and high / low > _PRECISION:
        middle = min(max(math.isqrt(low * high), low + 1), high - 1)
        low, high = (low, middle) if winner(middle) == wanted else (middle, high)
    return high
