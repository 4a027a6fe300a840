"""What links and tiers can still move in each step, while copies are booked one by one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import NO_LINK, Floats, Ints, Problem


@dataclass(frozen=True, slots=True)
class Booking:
    """Bytes of a copy between two tiers, moved during steps `[start, done)`; `start` may lie in the turn before."""

    source: int
    target: int
    size: int
    start: int
    done: int


def busy_s(problem: Problem, serves: Ints, taken: Sequence[int]) -> Floats:
    """Shape [K + L, S]: seconds for which steps keep tiers and links busy if tier `serves[a]` serves access a."""
    tiers, links = problem.tiers, problem.links
    busy = np.zeros((problem.n_tiers + len(links.names), problem.n_steps))
    step, read, write = problem.access_step, problem.access_read, problem.access_write
    np.add.at(busy, (serves, step), read / tiers.read_bandwidth[serves] + write / tiers.write_bandwidth[serves])
    for link_of, n_bytes in ((tiers.read_link[serves], read), (tiers.write_link[serves], write)):
        behind = link_of != NO_LINK
        np.add.at(
            busy, (problem.n_tiers + link_of[behind], step[behind]), n_bytes[behind] / links.bandwidth[link_of[behind]]
        )
    for choice, alternative in zip(problem.choices, taken, strict=True):
        for effect in choice.alternatives[alternative].effects:
            for n_bytes, rate, first in (
                (effect.tier_read, tiers.read_bandwidth, 0),
                (effect.tier_write, tiers.write_bandwidth, 0),
                (effect.link, links.bandwidth, problem.n_tiers),
            ):
                if n_bytes:
                    busy[first : first + len(n_bytes), effect.step] += np.array(n_bytes) / rate
    return busy


def own_s(problem: Problem, busy: Floats, taken: Sequence[int]) -> Floats:
    """Shape [S]: how long each step takes if nothing makes it wait."""
    compute = problem.compute_s.copy()
    for choice, alternative in zip(problem.choices, taken, strict=True):
        for effect in choice.alternatives[alternative].effects:
            compute[effect.step] += effect.compute_s
    return np.maximum(compute, busy.max(axis=0))


class Supply:
    """Spare time of each tier and link in each step.

    `step_s[t]`: how long step t takes. `busy_s[r, t]`: how long it keeps resource r busy itself; tier k is
    resource k, link j is resource K + j.
    """

    def __init__(self, problem: Problem, step_s: Floats, busy_s: Floats) -> None:
        self.problem, self.step_s = problem, step_s
        self.spare_s = np.maximum(0.0, step_s[None, :] - busy_s)

    def latest(self, source: int, target: int, size: int, opens: int, due: int, *, share: float = 1.0) -> int | None:
        """The latest step at which a copy can be issued so that spare time moves `share` of it by step `due`.

        None if there is no link, no step in between, or too little spare time since `opens`.
        """
        if opens >= due or self.problem.links.between(source, target) == NO_LINK:
            return None
        wanted, until, width = size * share, due, 32
        while until > opens:
            since = max(opens, until - width)
            moved = np.cumsum(self._bytes(source, target, size, since, until)[::-1])
            reached = int(np.searchsorted(moved, wanted * (1 - 1e-12)))
            if reached < len(moved):
                return until - 1 - reached
            wanted -= float(moved[-1])
            until, width = since, width * 4
        return None

    def earliest(self, source: int, target: int, size: int, opens: int, due: int, *, share: float = 1.0) -> int | None:
        """The earliest step, `due` at most, by which spare time moves a copy issued at `opens`; None if too late."""
        if opens >= due or self.problem.links.between(source, target) == NO_LINK:
            return None
        wanted, since, width = size * share, opens, 32
        while since < due:
            until = min(due, since + width)
            moved = np.cumsum(self._bytes(source, target, size, since, until))
            reached = int(np.searchsorted(moved, wanted * (1 - 1e-12)))
            if reached < len(moved):
                return since + reached + 1
            wanted -= float(moved[-1])
            since, width = until, width * 4
        return None

    def book(self, booking: Booking) -> None:
        """Take the bytes out of the spare time, latest steps first."""
        left, problem = float(booking.size), self.problem
        moved = self._bytes(booking.source, booking.target, booking.size, booking.start, booking.done)[::-1]
        taken = np.minimum(moved, np.maximum(0.0, left - (np.cumsum(moved) - moved)))[::-1]
        steps = np.arange(booking.start, booking.done) % problem.n_steps
        for resource, rate in self._rates(booking.source, booking.target):
            self.spare_s[resource, steps] = np.maximum(0.0, self.spare_s[resource, steps] - taken / rate)

    def _rates(self, source: int, target: int) -> list[tuple[int, float]]:
        """The resources that a copy passes, with their bytes per second."""
        tiers, links = self.problem.tiers, self.problem.links
        link = links.between(source, target)
        return [
            (source, float(tiers.read_bandwidth[source])),
            (target, float(tiers.write_bandwidth[target])),
            (self.problem.n_tiers + link, float(links.bandwidth[link])),
        ]

    def _bytes(self, source: int, target: int, size: int, since: int, until: int) -> Floats:
        """Bytes that a copy between two tiers could move in each of the steps; its latency counts as bytes."""
        steps = np.arange(since, until) % self.problem.n_steps
        rates = self._rates(source, target)
        moved = np.min([self.spare_s[resource, steps] * rate for resource, rate in rates], axis=0)
        curve = self.problem.tiers.read_curve[source]
        if curve:
            chunks, speeds = zip(*curve, strict=True)
            moved = np.minimum(moved, self.step_s[steps] * float(np.interp(size, chunks, speeds)))
        return moved
