"""What a cache of equal places loads when steps ask for sets of items: pinned, LRU, LFU, Belady and planned."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.problem import Bools, Ints

_MOST_RANKS = 2**62


class Policy(Enum):
    """Which item gives up its place when another needs one."""

    PINNED = "the most used items stay for good; every other is loaded for its step and dropped after it"
    LRU = "the one whose last use is longest ago"
    LFU = "the one used in the fewest steps so far; of those, the one whose last use is longest ago"
    BELADY = "the one whose next use is farthest ahead: loads the fewest items possible, and must know the future"
    PLANNED = "some of the most used items stay for good, and LRU or LFU serves the rest: what serves this trace best"

    @classmethod
    def of(cls, name: str) -> "Policy":
        """The policy of that name.

        >>> Policy.of("lru")
        <Policy.LRU: 'the one whose last use is longest ago'>
        """
        known = {policy.name.lower(): policy for policy in cls}
        if name.lower() not in known:
            raise unknown_name("cache policy", name, known)
        return known[name.lower()]

    @property
    def stands_for(self) -> "tuple[Policy, ...]":
        """The policies of which it is the best where loads differ in cost: itself first."""
        tried = (Policy.LRU, Policy.LFU, Policy.PINNED)
        return {Policy.PLANNED: (self, *tried), Policy.BELADY: (self, Policy.PLANNED, *tried)}.get(self, (self,))


@dataclass(frozen=True, slots=True, eq=False)
class Accesses:
    """Which items each step needs, all at once: `items[start[t] : start[t + 1]]`, rising.

    Shapes: `start` [S + 1], `items` [A]. Items are numbered from 0 to `n_items` - 1.
    """

    n_items: int
    start: Ints
    items: Ints

    def __post_init__(self) -> None:
        if len(self.start) == 0 or self.start[0] != 0 or self.start[-1] != len(self.items):
            raise InvalidInputError("accesses: 'start' must begin with 0 and end with the number of items")
        if (np.diff(self.start) < 0).any():
            raise InvalidInputError("accesses: 'start' must not fall")
        if len(self.items) and not (self.items.min() >= 0 and self.items.max() < self.n_items):
            raise InvalidInputError(f"accesses name an item outside 0 to {self.n_items - 1}")
        rises = np.diff(self.items) > 0
        rises[self.start[(self.start > 0) & (self.start < len(self.items))] - 1] = True
        if not rises.all():
            raise InvalidInputError("accesses of one step must name each item once, in rising order")

    @classmethod
    def of(cls, steps: Iterable[Iterable[int]], n_items: int) -> "Accesses":
        """Accesses from the items of each step, in any order.

        >>> Accesses.of([[2, 0], [2]], n_items=3).items
        array([0, 2, 2])
        """
        sets = [sorted(set(step)) for step in steps]
        items = np.array([item for step in sets for item in step], dtype=np.int64)
        return cls(n_items, np.cumsum([0] + [len(step) for step in sets], dtype=np.int64), items)

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.start) - 1

    @property
    def uses(self) -> Ints:
        """Shape [n_items]: steps that need each item."""
        return np.bincount(self.items, minlength=self.n_items).astype(np.int64)

    @property
    def ranking(self) -> Ints:
        """Shape [n_items]: items from the most used to the least; of equals the lower number first."""
        return np.argsort(-self.uses, kind="stable").astype(np.int64)

    @property
    def largest(self) -> int:
        """Most items that one step needs."""
        return int(np.diff(self.start).max(initial=0))


@dataclass(frozen=True, slots=True, eq=False)
class CacheRun:
    """What a cache did.

    Shapes: `loaded` [A], whether each access found its item absent. `pins`: the items that stayed for good.
    `cold` counts the first loads of items, which no cache that starts empty avoids.
    """

    policy: Policy
    capacity: int
    accesses: Accesses
    loaded: Bools
    pins: tuple[int, ...] = ()

    @property
    def n_loads(self) -> int:
        """Items loaded, over all steps."""
        return int(self.loaded.sum())

    @property
    def cold(self) -> int:
        """Loads of items that were never used before."""
        return int((self.accesses.uses > 0).sum())

    @property
    def hit_rate(self) -> float:
        """Share of the accesses that found their item present; 0 if there are none."""
        return 1 - self.n_loads / len(self.loaded) if len(self.loaded) else 0.0

    @property
    def loads_per_step(self) -> Ints:
        """Shape [S]: items that each step loads."""
        before = np.concatenate(([0], np.cumsum(self.loaded)))
        return (before[self.accesses.start[1:]] - before[self.accesses.start[:-1]]).astype(np.int64)

    @property
    def missed(self) -> Accesses:
        """What this cache asks of the tier below it, step by step."""
        start = np.concatenate(([0], np.cumsum(self.loads_per_step))).astype(np.int64)
        return Accesses(self.accesses.n_items, start, self.accesses.items[self.loaded])


def serve(accesses: Accesses, capacity: int, policy: Policy, pins: Sequence[int] | None = None) -> CacheRun:
    """Run a cache of `capacity` places that starts empty.

    The items of a step lie in the cache together while it runs, so what else may stay is what they leave room for.
    A step that needs more items than there are places streams the surplus. `pins` are the items that stay for good
    once loaded (of `PLANNED`, LRU then serves the rest); without them, `PINNED` takes as many of the most used as
    leave room for any step, and `PLANNED` tries several numbers, none among them, beside LRU and beside LFU, and
    keeps what loads least: it never loses to either on the trace that it is planned for.

    Assumes: loads of all items cost the same, so that `BELADY` is optimal.
    Raises: InvalidInputError: a negative capacity, or pins that leave no room for the largest step.
    Source: Belady, A study of replacement algorithms for a virtual-storage computer, IBM Systems Journal, 1966.

    >>> turns = Accesses.of([[0], [1], [2]] * 4, n_items=3)
    >>> [serve(turns, 2, policy).n_loads for policy in (Policy.LRU, Policy.PLANNED, Policy.BELADY)]
    [12, 9, 7]
    """
    if capacity < 0:
        raise InvalidInputError(f"a cache of {capacity} places; need 0 or more")
    if pins is not None:
        _check_pins(accesses, capacity, pins)
    if policy is Policy.PINNED and pins is None:
        pins = [int(item) for item in accesses.ranking[: _most_pins(accesses, capacity)]]
    if policy is Policy.PLANNED and pins is None:
        return _planned(accesses, capacity)
    return _run(accesses, capacity, policy, tuple(pins or ()))


def next_uses(accesses: Accesses) -> Ints:
    """Shape [A]: the step of each item's next use, `n_steps` if there is none.

    >>> next_uses(Accesses.of([[0, 1], [1], [0]], n_items=2))
    array([2, 1, 3, 3])
    """
    narrow = accesses.items.astype(np.uint16) if accesses.n_items <= 2**16 else accesses.items  # sorted by radix
    order = np.argsort(narrow, kind="stable")
    step = np.repeat(np.arange(accesses.n_steps), np.diff(accesses.start))
    following = np.full(len(order), accesses.n_steps, dtype=np.int64)
    same = accesses.items[order[1:]] == accesses.items[order[:-1]]
    following[order[:-1][same]] = step[order[1:][same]]
    return following


def _check_pins(accesses: Accesses, capacity: int, pins: Sequence[int]) -> None:
    if len(set(pins)) != len(pins) or not all(0 <= item < accesses.n_items for item in pins):
        raise InvalidInputError(f"pins must be different items from 0 to {accesses.n_items - 1}")
    room = capacity - _largest_without(accesses, pins)
    if len(pins) > max(0, room):
        raise InvalidInputError(
            f"{len(pins)} pins in a cache of {capacity} places leave no room for the largest step; "
            f"pin at most {max(0, room)}"
        )


def _largest_without(accesses: Accesses, pins: Sequence[int] | Ints) -> int:
    """Most items that one step needs beside the pinned ones."""
    free = np.ones(accesses.n_items, dtype=np.bool_)
    free[np.asarray(pins, dtype=np.int64)] = False
    before = np.concatenate(([0], np.cumsum(free[accesses.items])))
    return int((before[accesses.start[1:]] - before[accesses.start[:-1]]).max(initial=0))


def _most_pins(accesses: Accesses, capacity: int) -> int:
    """The largest number of the most used items that leaves room for every step."""
    ranking = accesses.ranking
    low, high = 0, min(capacity, accesses.n_items)
    while low < high:
        middle = (low + high + 1) // 2
        if middle + _largest_without(accesses, ranking[:middle]) <= capacity:
            low = middle
        else:
            high = middle - 1
    return low


def _planned(accesses: Accesses, capacity: int) -> CacheRun:
    """The best of LRU and LFU, alone and beside eighths of the most pins possible."""
    most = _most_pins(accesses, capacity)
    ranking = accesses.ranking
    counts = sorted({most * eighth // 8 for eighth in range(9)})
    pins = [tuple(int(i) for i in ranking[:n]) for n in counts]
    runs = [_run(accesses, capacity, rest, stay) for rest in (Policy.LRU, Policy.LFU) for stay in pins]
    return replace(min(runs, key=lambda run: run.n_loads), policy=Policy.PLANNED)


def _run(accesses: Accesses, capacity: int, policy: Policy, pins: tuple[int, ...]) -> CacheRun:
    from tierplan.sim import _kernels

    if accesses.n_steps**2 * accesses.n_items >= _MOST_RANKS:
        raise InvalidInputError(f"{accesses.n_steps} steps over {accesses.n_items} items are too many to rank")
    pinned = np.zeros(accesses.n_items, dtype=np.bool_)
    pinned[list(pins)] = True
    ahead = next_uses(accesses) if policy is Policy.BELADY else np.zeros(0, dtype=np.int64)
    loaded = _kernels.cache_loads(
        accesses.n_items, accesses.start, accesses.items, ahead, capacity, pinned,
        policy is Policy.PINNED, policy is Policy.LFU, policy is Policy.BELADY,
    )  # fmt: skip
    return CacheRun(policy, capacity, accesses, loaded, pins)
