"""How the experts of a layer may lie: caches in faster tiers over a home that has the rest, and what each way loads."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import Floats, Ints, Problem
from tierplan.sim.aside import copied, leads, n_loads, streamed, time_s
from tierplan.sim.replacement import Accesses, CacheRun, Policy, serve

_ALL_SIZES = 16  # experts up to which every cache size is tried; beyond, these shares of them
_SHARES = (0.0, 1 / 32, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)
_SHARES_BELOW = (0.0, 1 / 4, 1 / 2, 3 / 4, 7 / 8)  # of a cache below another


@dataclass(frozen=True, slots=True, eq=False)
class ExpertOption:
    """One way for the experts of a layer to lie.

    `places`: experts that each tier has room for; that of the home counts those that are not pinned above it.
    `found` and `loads` are means per turn: experts found in each tier, and bytes read and written per tier and moved
    per link. `time_s`: seconds of these loads alone.
    """

    name: str
    places: tuple[int, ...]
    n_pins: int
    reserved: tuple[int, ...]
    found: tuple[float, ...]
    loads: Floats
    time_s: float

    @property
    def hit_rate(self) -> float:
        """Share of the experts asked for that lay in the fastest tier that has places."""
        first = next(k for k, places in enumerate(self.places) if places)
        return self.found[first] / sum(self.found)


@dataclass(frozen=True, slots=True)
class ExpertBytes:
    """Bytes of one expert as it is read, and as it takes room in each tier."""

    read: int
    room: tuple[int, ...]


def expert_bytes(problem: Problem, sizes: Sequence[int]) -> ExpertBytes:
    """An expert made of tensors of these sizes."""
    room = [sum(-(-size // a) * a for size in sizes) for a in problem.tiers.alignment.tolist()]
    return ExpertBytes(sum(sizes), tuple(room))


def expert_options(
    problem: Problem, accesses: Accesses, expert: ExpertBytes, policy: Policy, last: int
) -> tuple[ExpertOption, ...]:
    """The ways worth considering for one layer, fastest first; tier `last` is the slowest that may be its home.

    A planned way may follow any policy that it stands for, and so may the clairvoyant: where several caches lie one
    below the other, or reading where experts lie spares a copy, what loads least need not be the fastest. Left out is
    what is neither faster than another way nor smaller in any tier.
    Assumes: what a turn copies moves while it computes, as streams do; latencies hide behind each other; a cache below
    another sees what that one misses, and keeps what it has passed on; experts that were never used count as misses.
    """
    found: list[ExpertOption] = []
    memo: dict[tuple[Policy, tuple[int, ...]], CacheRun] = {}
    for places, home in _ways(problem, accesses.n_items, expert, last):
        caching = [k for k in range(home) if places[k]]
        if not _usable(problem, [*caching, home]):
            continue
        for rule in _rules(policy, len(caching)):
            levels = [tuple(places[k] for k in caching[: i + 1]) for i in range(len(caching))]
            runs = [_run(memo, accesses, level, rule) for level in levels]
            found.append(_option(problem, accesses, expert, rule, caching, home, places, runs))
    return tuple(_worthwhile(found))


def _rules(policy: Policy, n_caches: int) -> tuple[Policy, ...]:
    """The policies that a way may follow.

    Of one cache, a policy's own rule loads least, but pins need no place in the home, and pinned experts no copies.
    """
    if n_caches > 1:
        return policy.stands_for
    kept = (policy, Policy.PLANNED, Policy.PINNED)
    return tuple(rule for rule in policy.stands_for if rule in kept) if n_caches else (policy,)


def _ways(problem: Problem, n: int, expert: ExpertBytes, last: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Places in each tier, and the home; caches grow from tier to tier."""
    usable = problem.tiers.usable.tolist()
    fits: list[list[int]] = []
    for k in range(problem.n_tiers):
        shares = _SHARES_BELOW if any(fits) else _SHARES
        sizes = list(range(n)) if n <= _ALL_SIZES else sorted({math.ceil(n * share) for share in shares})
        fits.append([size for size in sizes if size * expert.room[k] <= usable[k]])
    for home in range(last + 1):
        for caches in itertools.product(*fits[:home]):
            held = [size for size in caches if size]
            if all(a < b for a, b in itertools.pairwise(held)):
                yield (*caches, n, *[0] * (problem.n_tiers - home - 1)), home


def _usable(problem: Problem, tiers: Sequence[int]) -> bool:
    """Whether operations can read the fastest of these tiers, and each can be filled from the next."""
    return bool(problem.tiers.direct[tiers[0]]) and all(leads(problem, b, a) for a, b in itertools.pairwise(tiers))


def _run(
    memo: dict[tuple[Policy, tuple[int, ...]], CacheRun], accesses: Accesses, places: tuple[int, ...], policy: Policy
) -> CacheRun:
    """What the last of these caches does, one below the other."""
    if (policy, places) not in memo:
        asked = accesses if len(places) == 1 else _run(memo, accesses, places[:-1], policy).missed
        memo[policy, places] = serve(asked, places[-1], policy)
    return memo[policy, places]


def _option(
    problem: Problem, accesses: Accesses, expert: ExpertBytes, policy: Policy,
    caching: list[int], home: int, places: tuple[int, ...], runs: list[CacheRun],
) -> ExpertOption:  # fmt: skip
    pins = {item for run in runs for item in run.pins}
    held = list(places)
    held[home] -= len(pins)
    asked = [len(accesses.items), *(run.n_loads for run in runs)]
    counts = [before - after for before, after in itertools.pairwise([*asked, 0])]
    found, loads = [0.0] * problem.n_tiers, np.zeros(n_loads(problem))
    for level, count in enumerate(counts):
        tier = (*caching, home)[level]
        found[tier] = count / accesses.n_steps
        way = _way(problem, [*caching, home][: level + 1], streams=policy is Policy.PINNED)
        loads += way * (found[tier] * expert.read)
    tiers = problem.tiers.names
    parts = [f"{held[k]} in {tiers[k]}" for k in (*caching, home)]
    reserved = tuple(n * room for n, room in zip(held, expert.room, strict=True))
    name = ", ".join(parts) + (f" ({len(pins)} pinned)" if pins else "")
    return ExpertOption(name, tuple(held), len(pins), reserved, tuple(found), loads, time_s(problem, loads))


def _way(problem: Problem, tiers: list[int], *, streams: bool) -> Ints:
    """Loads of one byte that is found in the last of these tiers: copied from one to the next, and read."""
    loads = np.zeros(n_loads(problem), dtype=np.int64)
    at = tiers[-1]
    for target in reversed(tiers[:-1]):
        if streams and problem.tiers.direct[at]:
            break
        loads += copied(problem, at, target)
        at = target
    return loads + streamed(problem, at)


def _worthwhile(options: list[ExpertOption]) -> Iterator[ExpertOption]:
    kept: list[ExpertOption] = []
    for option in sorted(options, key=lambda o: (o.time_s, sum(o.reserved), o.reserved)):
        if not any(all(a <= b for a, b in zip(k.reserved, option.reserved, strict=True)) for k in kept):
            kept.append(option)
            yield option
