"""Where experts lie: a fast tier that runs them, slower ones below, each a cache of the next; the last holds all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats, Ints
from tierplan.ir.units import show_bytes
from tierplan.sim.replacement import Accesses, CacheRun, Policy, serve


@dataclass(frozen=True, slots=True)
class ExpertTier:
    """A tier with `capacity` bytes for experts; `bandwidth` and `latency_s` are those of a copy to the fastest tier."""

    name: str
    capacity: int
    bandwidth: float = math.inf
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise InvalidInputError(f"tier '{self.name}' has {self.capacity} B for experts; need 0 or more")
        if not self.bandwidth > 0 or not self.latency_s >= 0:
            raise InvalidInputError(f"tier '{self.name}': need a bandwidth above 0 and a latency of 0 or more")

    def places(self, expert: int) -> int:
        """Whole experts of that many bytes that fit.

        >>> ExpertTier("ddr", capacity=12 * 10**12).places(14 * 10**9)
        857
        """
        if expert < 1:
            raise InvalidInputError(f"an expert of {expert} B; need 1 or more")
        return self.capacity // expert

    def copy_s(self, expert: int) -> float:
        """Seconds to copy one expert of that many bytes from here to the fastest tier."""
        return self.latency_s + expert / self.bandwidth


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """Where each access found its expert.

    Shapes: `level` [A], 0 for the fastest tier. `runs`: what the cache of each tier but the last did.
    """

    accesses: Accesses
    level: Ints
    runs: tuple[CacheRun, ...]

    @property
    def hit_rate(self) -> float:
        """Share of the accesses that the fastest tier served."""
        return float((self.level == 0).mean()) if len(self.level) else 0.0

    def found(self, n_tiers: int) -> tuple[float, ...]:
        """Share of the accesses that each tier served."""
        counted = np.bincount(self.level, minlength=n_tiers)
        return tuple(float(count) / max(1, len(self.level)) for count in counted)

    def copy_s(self, tiers: Sequence[ExpertTier], expert: int) -> Floats:
        """Shape [S]: seconds of copies that each step waits for, one after another."""
        each = np.array([0.0] + [tier.copy_s(expert) for tier in tiers[1:]])
        before = np.concatenate(([0.0], np.cumsum(each[self.level])))
        return before[self.accesses.start[1:]] - before[self.accesses.start[:-1]]


def look_up(accesses: Accesses, tiers: Sequence[ExpertTier], expert: int, policy: Policy) -> Lookup:
    """Run the tiers' caches one below the other: each sees only what the ones above it missed.

    With one cache, all loads cost the same, and what loads least takes the least time. With several, a load saved in
    one may cost a slower one below: there `PLANNED` is the fastest of the policies that it stands for, and `BELADY` the
    fastest of those and its own rule, so that none of what they stand for takes less time to copy.

    Raises: InvalidInputError: not all experts fit the last tier; the message says how many do.
    """
    check_fit(tiers, expert, accesses.n_items)
    rules = policy.stands_for if len(tiers) > _ONE_CACHE else (policy,)
    found = [_look_up(accesses, tiers, expert, rule) for rule in rules]
    return min(found, key=lambda lookup: float(lookup.copy_s(tiers, expert).sum()))


def copy_bound_s(accesses: Accesses, tiers: Sequence[ExpertTier], expert: int) -> float:
    """Seconds of copies that no policy can beat: what tiers 0 to k miss together is at least what one cache of all
    their places would miss if it knew the future.

    Assumes: an expert enters a cache only when it is asked for.
    """
    cost = [tier.copy_s(expert) for tier in tiers]
    cost[0] = 0.0
    least = [min(cost[k:]) for k in range(len(cost))]
    total_s, places = 0.0, 0
    for k, tier in enumerate(tiers[:-1]):
        places = min(places + tier.places(expert), accesses.n_items)
        total_s += serve(accesses, places, Policy.BELADY).n_loads * (least[k + 1] - least[k])
    return total_s


_ONE_CACHE = 2  # tiers: the cache, and the one that holds all


def _look_up(accesses: Accesses, tiers: Sequence[ExpertTier], expert: int, policy: Policy) -> Lookup:
    level = np.zeros(len(accesses.items), dtype=np.int64)
    rest, runs = np.arange(len(level)), list[CacheRun]()
    asked = accesses
    for tier in tiers[:-1]:
        run = serve(asked, tier.places(expert), policy)
        rest = rest[run.loaded]
        level[rest] += 1
        asked = run.missed
        runs.append(run)
    return Lookup(accesses, level, tuple(runs))


def check_fit(tiers: Sequence[ExpertTier], expert: int, n_experts: int) -> None:
    """Refuse more experts than the last tier holds."""
    if not tiers:
        raise InvalidInputError("experts need at least one tier to lie in")
    last = tiers[-1]
    if last.places(expert) < n_experts:
        raise InvalidInputError(
            f"{n_experts} experts of {show_bytes(expert)} take {show_bytes(n_experts * expert)}; "
            f"tier '{last.name}' holds {last.places(expert)} in its {show_bytes(last.capacity)}"
        )
