"""Where one tensor lies over time, and the room of all tiers that the stories of many tensors share."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tierplan.ir.plan import Copy, Lifespan, Plan, Residency, Taken
from tierplan.ir.problem import Ints, Problem

_GROWTH = 2


@dataclass(frozen=True, slots=True)
class Stay:
    """A tensor lies in a tier over steps `[start, stop)`; a stay may begin in the turn before (`start < 0`)."""

    tier: int
    start: int
    stop: int

    def lifespans(self, n_steps: int) -> list[Lifespan]:
        """The runs of steps within one turn."""
        if self.stop <= 0:
            return [Lifespan(self.start + n_steps, self.stop + n_steps)]
        if self.start < 0:
            return [Lifespan(self.start + n_steps, n_steps), Lifespan(0, self.stop)]
        return [Lifespan(self.start, self.stop)]


@dataclass(frozen=True, slots=True)
class Story:
    """All stays and copies of one tensor."""

    tensor: int
    stays: tuple[Stay, ...]
    copies: tuple[Copy, ...] = ()


@dataclass(slots=True)
class Room:
    """The bytes of one tier over the steps of a program: what is held, where, and what is free.

    What lies here throughout is held at the top, the rest by best fit.
    """

    usable: int
    alignment: int
    n_steps: int
    load: Ints = field(init=False)  # [S]: bytes held at each step
    _rows: Ints = field(init=False)  # [4, rows]: start, stop, offset, end; free rows are empty runs
    _free: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.load = np.zeros(self.n_steps, dtype=np.int64)
        self._rows = np.zeros((4, 64), dtype=np.int64)
        self._free = list(range(63, -1, -1))

    def find(self, spans: Sequence[Lifespan], size: int, *, at: int | None = None) -> int | None:
        """The offset of the tightest gap that is free over all of `spans`, or None; with `at` only that offset."""
        if size > self.usable or any(int(self.load[s.start : s.stop].max()) + size > self.usable for s in spans):
            return None
        begins, gaps = self._gaps(spans)
        if at is not None:
            return at if ((begins <= at) & (at + size <= begins + gaps)).any() else None
        fits = np.flatnonzero(gaps >= size)
        if not len(fits):
            return None
        best = fits[np.argmin(gaps[fits])]
        if any(s.stop - s.start == self.n_steps for s in spans):
            best = fits[-1]
            return int((begins[best] + gaps[best] - size) // self.alignment * self.alignment)
        return int(begins[best])

    def _gaps(self, spans: Sequence[Lifespan]) -> tuple[Ints, Ints]:
        """Aligned beginnings and sizes of what is free over all spans, lowest first; sizes may be negative."""
        start, stop, low, high = self._rows
        meets = np.zeros(len(low), dtype=np.bool_)
        for span in spans:
            meets |= (start < span.stop) & (stop > span.start)
        low, high = low[meets], high[meets]
        order = np.argsort(low, kind="stable")
        tops = np.maximum.accumulate(np.concatenate(([0], high[order])))
        begins = -(-tops // self.alignment) * self.alignment
        return begins, np.concatenate((low[order], [self.usable])) - begins

    def hold(self, spans: Sequence[Lifespan], offset: int, size: int) -> list[int]:
        """Take the bytes at `offset` over `spans`; returns a key for each."""
        keys: list[int] = []
        for span in spans:
            if not self._free:
                width = self._rows.shape[1]
                grown = np.zeros((4, width * _GROWTH), dtype=np.int64)
                grown[:, :width] = self._rows
                self._rows = grown
                self._free = list(range(width * _GROWTH - 1, width - 1, -1))
            key = self._free.pop()
            self._rows[:, key] = (span.start, span.stop, offset, offset + size)
            self.load[span.start : span.stop] += size
            keys.append(key)
        return keys

    def release(self, keys: Sequence[int]) -> None:
        """Give back what was taken under these keys."""
        for key in keys:
            start, stop, offset, end = self._rows[:, key].tolist()
            self.load[start:stop] -= end - offset
            self._rows[:, key] = 0
            self._free.append(key)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A story with the offset of each stay, and the keys under which rooms hold them."""

    story: Story
    offsets: tuple[int, ...]
    keys: tuple[tuple[int, ...], ...]


class Rooms:
    """The room of all tiers while stories are fitted into it one by one."""

    def __init__(self, problem: Problem, taken: Sequence[int]) -> None:
        self.problem, self.taken = problem, tuple(taken)
        chosen = [choice.alternatives[a].reserved for choice, a in zip(problem.choices, taken, strict=True)]
        usable = problem.tiers.usable - np.array([[0] * problem.n_tiers, *chosen], dtype=np.int64).sum(axis=0)
        alignments = problem.tiers.alignment.tolist()
        self.of_tier = [Room(max(0, u), a, problem.n_steps) for u, a in zip(usable.tolist(), alignments, strict=True)]
        self.fitted: dict[int, Fitted] = {}

    def fit(self, story: Story) -> bool:
        """Find an offset for each stay of a story and hold it, all or nothing; whether it went well."""
        return self.misfit(story) is None

    def misfit(self, story: Story) -> Stay | None:
        """As `fit`; the first stay for which there is no room, None if there is room for all."""
        n, size = self.problem.n_steps, int(self.problem.size[story.tensor])
        offsets: list[int] = []
        keys: list[tuple[int, ...]] = []
        for stay in story.stays:
            spans, room = stay.lifespans(n), self.of_tier[stay.tier]
            offset = room.find(spans, size)
            if offset is None:
                for held, of_stay in zip(keys, story.stays, strict=False):
                    self.of_tier[of_stay.tier].release(held)
                return stay
            offsets.append(offset)
            keys.append(tuple(room.hold(spans, offset, size)))
        self.fitted[story.tensor] = Fitted(story, tuple(offsets), tuple(keys))
        return None

    def remove(self, tensor: int) -> Story:
        """Take a story out again."""
        fitted = self.fitted.pop(tensor)
        for keys, stay in zip(fitted.keys, fitted.story.stays, strict=True):
            self.of_tier[stay.tier].release(keys)
        return fitted.story

    def plan(self) -> Plan:
        """The plan of all stories fitted so far; copies in order of the step at which they must be done."""
        n = self.problem.n_steps
        residencies = [
            Residency(fitted.story.tensor, stay.tier, offset, span.start, span.stop)
            for fitted in self.fitted.values()
            for stay, offset in zip(fitted.story.stays, fitted.offsets, strict=True)
            for span in stay.lifespans(n)
        ]
        copies = [copy for fitted in self.fitted.values() for copy in fitted.story.copies]
        copies.sort(key=lambda copy: copy.done)
        taken = tuple(Taken(choice, alternative) for choice, alternative in enumerate(self.taken))
        return Plan(tuple(residencies), tuple(copies), taken)


def copy_of(tensor: int, source: int, target: int, start: int, done: int, n_steps: int) -> Copy:
    """A copy whose start may lie in the turn before."""
    turn = n_steps if start < 0 else 0
    return Copy(tensor, source, target, start + turn, done + turn)
