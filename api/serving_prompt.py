"""How a service reads its prompt: in turns, with room for their activations, and what it fetches of a cache instead."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph
from tierplan.ir.problem import NO_HOME, Alternative, Choice, Effect, Floats, Problem
from tierplan.planner.offsets import allocate
from tierplan.sim.aside import copied, leads, n_loads, time_s
from tierplan.sim.grow import grow
from tierplan.sim.held import held_s
from tierplan.sim.paged import PAGE, Paged

ROOM = "room for the prompt's activations"
_ERROR = 0.002
_MOST_TURNS = 64  # simulated, of those that read whole chunks
_NODES = 200
_SHARES = 8  # in so many steps a cached prefix is fetched

Shares = Callable[[Problem], Floats]


@dataclass(frozen=True, slots=True)
class Cached:
    """The first `positions` of a prompt, whose keys and values lie in a tier from an earlier turn."""

    positions: int
    tier: str

    @classmethod
    def of(cls, text: str) -> "Cached":
        """What `--cached` says.

        >>> Cached.of("800:ddr")
        Cached(positions=800, tier='ddr')
        """
        count, colon, tier = text.partition(":")
        if not (colon and tier and count.strip().isdecimal()):
            raise InvalidInputError(f"--cached is '{text}'; write positions and the tier they lie in, like 800:ddr")
        return cls(int(count), tier.strip())


@dataclass(frozen=True)
class Turns:
    """The turns that read a prompt: at most `chunk` positions each; None: one turn reads all.

    `graph(context, n)`: the program that reads the last n of `context` positions; `lowered` makes a problem of it.
    """

    graph: Callable[[int, int], Graph]
    lowered: Callable[[Graph], Problem]
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.chunk is not None and self.chunk < 1:
            raise InvalidInputError(f"--prompt-chunk is {self.chunk}; write the most positions of a turn, 1 or more")

    @cached_property
    def _known(self) -> dict[tuple[int, int], tuple[Problem, tuple[bool, ...]]]:
        return {}

    def turn(self, context: int, n: int) -> Problem:
        """The turn that reads the last n of `context` positions."""
        return self._made(context, n)[0]

    def _made(self, context: int, n: int) -> tuple[Problem, tuple[bool, ...]]:
        """A turn, and which of its steps come before the model's head."""
        if (context, n) not in self._known:
            graph = self.graph(context, n)
            problem = self.lowered(graph)
            layered = {op.name for op in graph.ops if op.attributes.get("layer") is not None}
            last = max((t for t, name in enumerate(problem.step_names) if name in layered), default=problem.n_steps)
            self._known[context, n] = problem, tuple(t <= last for t in range(problem.n_steps))
        return self._known[context, n]

    def split(self, start: int, end: int) -> tuple[int, int, int]:
        """Whole chunks before the last turn, positions of each, and positions of the last turn."""
        n = end - start
        chunk = min(self.chunk or n, n)
        whole, rest = divmod(n, chunk)
        return (whole, chunk, rest) if rest else (whole - 1, chunk, chunk)

    def largest(self, start: int, end: int) -> Problem:
        """The turn that needs most room for activations."""
        whole, chunk, _ = self.split(start, end)
        return self.turn(start + whole * chunk, chunk) if whole else self.turn(end, chunk)

    def seconds(self, start: int, end: int, shares: Shares) -> float:
        """Time to read positions `start` to `end` of a prompt, where tensors lie as `shares` says.

        Assumes: only the last turn runs the head; later chunks do not take less time than earlier ones.
        """
        whole, chunk, rest = self.split(start, end)

        def of_turn(context: int, n: int, *, ends: bool) -> float:
            problem, before = self._made(context, n)
            each = held_s(problem, shares(problem))
            return float(each.sum() if ends else each[np.array(before)].sum())

        total_s = of_turn(end, rest, ends=True)
        if whole:
            total_s += grow(
                lambda i: of_turn(start + i * chunk, chunk, ends=False), 1, whole, error=_ERROR, most_points=_MOST_TURNS
            ).total_s
        return total_s


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to have the prompt in the caches: the first `fetched` positions come from where they lie, and the others
    are read with activations of `height` bytes in `tier`."""

    tier: int
    fetched: int
    height: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """Seconds of one way, under a plan. `height`: bytes of activations, for which the plan may not keep room."""

    fetched: int
    fetch_s: float
    read_s: float
    height: int
    fits: bool

    @property
    def total_s(self) -> float:
        """Time to the first token."""
        return self.fetch_s + self.read_s


def readings(turns: Turns, pages: Paged, cached: Cached | None) -> tuple[Reading, ...]:
    """The ways to have a prompt in the caches.

    Raises: InvalidInputError: activations that no tier holds, or a cached prefix that cannot be fetched.
    """
    problem, prompt = pages.problem, pages.growth.prompt
    direct = np.flatnonzero(problem.tiers.direct).tolist()
    found: list[Reading] = []
    least = 0
    for fetched in _prefixes(problem, prompt, cached):
        height, _, _ = _activations(turns.largest(fetched, prompt))
        least = height if not found else min(least, height)
        found += [Reading(k, fetched, height) for k in direct if height <= problem.tiers.usable[k]]
    if not found:
        largest = max(int(problem.tiers.usable[k]) for k in direct)
        raise InvalidInputError(
            f"the activations of the prompt take {least:,} B at once, more than any tier that operations use "
            f"({largest:,} B); write a smaller --prompt-chunk, --prompt or --batch"
        )
    return tuple(found)


def room(turns: Turns, pages: Paged, cached: Cached | None, ways: tuple[Reading, ...]) -> Choice:
    """The ways as a choice of the plan; what one takes longer than the fastest counts for the turns that follow.

    Assumes: weights and caches fill the fastest tiers; the plan that is made tells them exactly afterwards.
    """
    problem, growth = pages.problem, pages.growth
    filled = _filled(problem)
    streamed: dict[int, tuple[int, int]] = {}
    read_s: dict[int, float] = {}
    seconds: list[float] = []
    for way in ways:
        if way.fetched not in read_s:
            read_s[way.fetched] = turns.seconds(way.fetched, growth.prompt, filled) if cached is not None else 0.0
            whole, _, _ = turns.split(way.fetched, growth.prompt)
            _, reads, writes = _activations(turns.largest(way.fetched, growth.prompt))
            streamed[way.fetched] = reads * (whole + 1), writes * (whole + 1)
        reads, writes = streamed[way.fetched]
        tiers = problem.tiers
        activations_s = reads / tiers.read_bandwidth[way.tier] + writes / tiers.write_bandwidth[way.tier]
        fetch = 0.0 if cached is None else fetch_s(pages, cached, way.fetched, lambda _name: filled(problem)[0])
        seconds.append(fetch + read_s[way.fetched] + float(activations_s))
    alternatives = [
        Alternative(
            problem.tiers.names[way.tier] + (f", {way.fetched} positions fetched" if cached is not None else ""),
            tuple(way.height if tier == way.tier else 0 for tier in range(problem.n_tiers)),
            (Effect(0, (time - min(seconds)) / (growth.new - 1)),),
        )
        for way, time in zip(ways, seconds, strict=True)
    ]
    return Choice(ROOM, tuple(alternatives))


def fetch_s(pages: Paged, cached: Cached, positions: int, share_of: Callable[[str], Floats]) -> float:
    """Seconds to bring the first positions of all caches from where they are cached to where the plan has them.

    What the plan has in that tier stays there.
    """
    problem = pages.problem
    source = problem.tiers.names.index(cached.tier)
    loads = np.zeros(n_loads(problem))
    latency = 0.0
    for name, part in pages.parts.items():
        for target, share in enumerate(share_of(name)):
            n_bytes = share * part.bytes_at(positions)
            if target != source and n_bytes:
                if not leads(problem, source, target):
                    return math.inf
                way = copied(problem, source, target)
                loads += way * n_bytes
                links = np.flatnonzero(way[2 * problem.n_tiers :])
                latency = max(latency, float(problem.tiers.latency_s[source] + problem.links.latency_s[links].sum()))
    return latency + time_s(problem, loads)


def _prefixes(problem: Problem, prompt: int, cached: Cached | None) -> list[int]:
    """How many positions may be fetched: none, all that are cached, and eighths between, in whole pages."""
    if cached is None:
        return [0]
    names = problem.tiers.names
    if cached.tier not in names:
        raise InvalidInputError(f"--cached names the tier '{cached.tier}'; this machine has {', '.join(names)}")
    if not 1 <= cached.positions < prompt:
        raise InvalidInputError(
            f"--cached has {cached.positions} positions of a prompt of {prompt}; need 1 to {prompt - 1}: the last one "
            "is read to get the first token"
        )
    target = int(np.flatnonzero(problem.tiers.direct)[0])
    source = names.index(cached.tier)
    if not leads(problem, source, target):
        raise InvalidInputError(f"no chain of links leads from '{cached.tier}' to '{names[target]}'; name another tier")
    cuts = np.rint(np.linspace(0, cached.positions / PAGE, _SHARES + 1)).astype(np.int64) * PAGE
    return sorted({0, cached.positions, *(n for n in cuts.tolist() if n < cached.positions)})


def _activations(prompt: Problem) -> tuple[int, int, int]:
    """Bytes that the activations of a turn take at once, and that they are read and written."""
    start, stop = prompt.lifespans()
    passing = np.flatnonzero((prompt.home == NO_HOME) & (stop > start))
    align = int(prompt.tiers.alignment.max())
    found = allocate(start[passing], stop[passing], prompt.size[passing], alignment=align, max_nodes=_NODES, budget=5.0)
    of_passing = np.isin(prompt.access_tensor, passing)
    return int(found.height), int(prompt.access_read[of_passing].sum()), int(prompt.access_write[of_passing].sum())


def _filled(problem: Problem) -> Shares:
    """All tensors spread alike over the tiers that those of the service fill, the fastest that operations use first."""
    left, direct = int(problem.size.sum()), problem.tiers.direct
    order = [*np.flatnonzero(direct).tolist(), *np.flatnonzero(~direct).tolist()]
    held = np.zeros(problem.n_tiers)
    for tier in order:
        held[tier] = min(left, int(problem.tiers.usable[tier]))
        left -= int(held[tier])
    held[order[-1]] += left
    share = held / held.sum()
    return lambda of: np.tile(share, (of.n_tensors, 1))
