"""The slow truth about caches: policies by their definitions, and the least loads of any cache by trying all."""

import itertools
from collections.abc import Sequence

from tierplan.sim.replacement import Policy


def slow_loads(steps: Sequence[set[int]], capacity: int, policy: Policy, pins: set[int] = frozenset()) -> list[int]:
    """Items that each step loads."""
    cached: set[int] = set()
    last: dict[int, int] = {}
    count: dict[int, int] = {}
    loads = []
    for t, step in enumerate(steps):
        loads.append(len(step - cached))

        def worth(item: int, now: int = t) -> tuple[float, ...]:
            if policy is Policy.BELADY:
                ahead = (u for u in range(now + 1, len(steps)) if item in steps[u])
                return (-next(ahead, len(steps)), item)
            if policy is Policy.LFU:
                return (count[item], last[item], item)
            return (last[item], item)

        old = cached - step
        while len(old) + len(step) > capacity and old - pins:
            old.remove(min(old - pins, key=worth))
        for item in step:
            count[item] = count.get(item, 0) + 1
            last[item] = t
        cached = old | step
        if policy is Policy.PINNED:
            cached &= pins
        while len(cached) > capacity:
            cached.remove(min(cached - pins, key=worth))
    return loads


def least_loads(steps: Sequence[set[int]], capacity: int) -> int:
    """The fewest loads of any cache, over all that it might keep after each step."""
    best: dict[frozenset[int], int] = {frozenset(): 0}
    for step in steps:
        after: dict[frozenset[int], int] = {}
        for cached, loads in best.items():
            total = loads + len(step - cached)
            old = sorted(cached - step)
            room = max(0, capacity - len(step))
            for n_old in range(min(room, len(old)) + 1):
                for kept in itertools.combinations(old, n_old):
                    for n_new in range(min(len(step), capacity - n_old) + 1):
                        for new in itertools.combinations(sorted(step), n_new):
                            state = frozenset(kept) | frozenset(new)
                            after[state] = min(after.get(state, total), total)
        best = after
    return min(best.values())
