"""Buffers that want an address, the addresses they were given, and the rules that addresses keep."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.outcome import Status

Ints = NDArray[np.int64]

NONE = -1
"""No fixed offset, no hint, no alias group, no capacity."""

LARGEST = 2**62
"""Every sum of sizes and every time stays below this, so that 64-bit sums cannot wrap."""


@dataclass(frozen=True, slots=True, eq=False)
class Gaps:
    """Runs of steps in which a buffer holds less than all of its bytes.

    Shapes: every array is `[g]`; gap k belongs to buffer `buffer[k]` and lasts `start[k] <= t < stop[k]`.
    Only the bytes `low[k] <= b < high[k]` of the buffer are held then; none where both are 0.
    """

    buffer: Ints
    start: Ints
    stop: Ints
    low: Ints
    high: Ints

    def __len__(self) -> int:
        return len(self.buffer)


def _empty() -> Ints:
    return np.empty(0, np.int64)


def no_gaps() -> Gaps:
    """A table without a gap."""
    return Gaps(_empty(), _empty(), _empty(), _empty(), _empty())


@dataclass(frozen=True, slots=True, eq=False)
class Buffers:
    """Buffers with half-open lifespans `start <= t < stop`, in steps, and sizes in bytes.

    Shapes: `start`, `stop`, `size`, `alignment`, `hint`, `fixed`, `alias` are `[n]`; `ids` has n names or none.
    `fixed` is an offset that must be kept, `hint` one that would be nice, `alias` a group of buffers that
    share one address; -1 means none.
    Raises: InvalidInputError: a size below 1, an empty lifespan, a repeated id, a sum past 2**62, a gap
        outside of its buffer, a fixed offset that is not aligned.
    """

    start: Ints
    stop: Ints
    size: Ints
    alignment: Ints
    hint: Ints
    fixed: Ints
    alias: Ints
    gaps: Gaps = field(default_factory=no_gaps)
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.size)
        for name in ("start", "stop", "alignment", "hint", "fixed", "alias"):
            if getattr(self, name).shape != (n,):
                raise InvalidInputError(f"{name} has shape {getattr(self, name).shape}; size has {n} entries")
        if self.ids and len(self.ids) != n:
            raise InvalidInputError(f"{len(self.ids)} ids for {n} buffers")
        if len(set(self.ids)) != len(self.ids):
            raise InvalidInputError(f"id '{_repeated(self.ids)}' is used twice; give each buffer its own id")
        self._refuse(self.size < 1, "size {size} must be at least 1 byte")
        self._refuse(self.start < 0, "start {start} must be at least 0")
        self._refuse(self.stop <= self.start, "lifespan [{start}, {stop}) is empty or reversed")
        self._refuse(self.stop > LARGEST, "stop {stop} is beyond 2**62 steps")
        self._refuse(self.alignment < 1, "alignment {alignment} must be at least 1 byte")
        self._refuse(self.fixed < NONE, "offset {fixed} must be at least 0 (or -1 for none)")
        self._refuse(
            (self.fixed >= 0) & (self.fixed % np.maximum(self.alignment, 1) != 0),
            "offset {fixed} is not a multiple of the alignment {alignment}",
        )
        room = self.size.astype(np.float64).sum() + self.alignment.astype(np.float64).sum()
        if n and room + float(self.fixed.max()) >= LARGEST:
            raise InvalidInputError("the sizes, alignments and offsets add up to more than 2**62 bytes")
        if len(self.gaps):
            self._check_gaps()

    def __len__(self) -> int:
        return len(self.size)

    def name(self, index: int) -> str:
        """What people call buffer `index`: its id, or its number where it has none."""
        return self.ids[index] if self.ids else str(index)

    def _refuse(self, wrong: NDArray[np.bool_], message: str) -> None:
        if wrong.any():
            i = int(wrong.argmax())
            fields = ("start", "stop", "size", "alignment", "fixed")
            told = message.format(**{f: int(getattr(self, f)[i]) for f in fields})
            raise InvalidInputError(f"buffer {self.name(i)}: {told}")

    def _check_gaps(self) -> None:
        g = self.gaps
        if int(g.buffer.min()) < 0 or int(g.buffer.max()) >= len(self):
            raise InvalidInputError(f"a gap names buffer {int(g.buffer.max())}; there are {len(self)}")
        outside = (g.start < self.start[g.buffer]) | (g.stop > self.stop[g.buffer]) | (g.start >= g.stop)
        if outside.any():
            k = int(outside.argmax())
            i = int(g.buffer[k])
            raise InvalidInputError(
                f"buffer {self.name(i)}: gap {g.start[k]}-{g.stop[k]} must be a run of steps inside "
                f"of [{self.start[i]}, {self.stop[i]})"
            )
        window = (g.low < 0) | (g.high > self.size[g.buffer]) | ((g.low >= g.high) & (g.high != 0))
        if window.any():
            k = int(window.argmax())
            i = int(g.buffer[k])
            raise InvalidInputError(
                f"buffer {self.name(i)}: window {g.low[k]}:{g.high[k]} must lie inside of its {self.size[i]} bytes"
            )
        order = np.lexsort((g.start, g.buffer))
        same = g.buffer[order][1:] == g.buffer[order][:-1]
        if (same & (g.start[order][1:] < g.stop[order][:-1])).any():
            k = int((same & (g.start[order][1:] < g.stop[order][:-1])).argmax())
            raise InvalidInputError(f"buffer {self.name(int(g.buffer[order][k]))}: two of its gaps overlap")


def _repeated(ids: tuple[str, ...]) -> str:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            return name
        seen.add(name)
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """Offsets for buffers, and what was proved about them.

    Shapes: `offset[n]`, bytes, -1 everywhere where no allocation was found.
    Units: `height` (top of the highest buffer), `capacity`, `lower_bound` in bytes; -1 for no capacity. Where nothing
    was found within the capacity, `height` is the lowest one that was found above it, or -1.
    `conflict` holds buffers that cannot fit together, where infeasibility was proved and they were asked for;
    `planner` names the search that found the allocation or the proof.
    """

    offset: Ints
    status: Status
    height: int
    lower_bound: int
    capacity: int = NONE
    planner: str = ""
    n_nodes: int = 0
    seconds: float = 0.0
    conflict: tuple[int, ...] = ()

    @property
    def gap(self) -> float:
        """How far the height may be from the best one: `height / lower_bound - 1`; infinite without a height."""
        if self.height < 0:
            return float("inf")
        return self.height / self.lower_bound - 1 if self.lower_bound > 0 else 0.0

    @property
    def found(self) -> bool:
        """Whether there are offsets."""
        return self.status in (Status.OPTIMAL, Status.FEASIBLE)


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule that an allocation breaks, with its evidence.

    `rule` is one of `overlap`, `capacity`, `alignment`, `fixed`, `alias`, `missing`; `buffers` are the culprits.
    """

    rule: str
    buffers: tuple[int, ...]
    told: str


def held(buffers: Buffers, index: int) -> list[tuple[int, int, int, int]]:
    """What buffer `index` holds over time: `(start, stop, low, high)` runs, low and high in its own bytes."""
    runs: list[tuple[int, int, int, int]] = []
    now, stop, size = int(buffers.start[index]), int(buffers.stop[index]), int(buffers.size[index])
    g = buffers.gaps
    for k in sorted(np.flatnonzero(g.buffer == index), key=lambda k: int(g.start[k])):
        if now < g.start[k]:
            runs.append((now, int(g.start[k]), 0, size))
        if g.high[k] > 0:
            runs.append((int(g.start[k]), int(g.stop[k]), int(g.low[k]), int(g.high[k])))
        now = int(g.stop[k])
    if now < stop:
        runs.append((now, stop, 0, size))
    return runs


def broken(buffers: Buffers, offset: Ints, capacity: int | None = None) -> Iterator[Broken]:
    """Yield every rule that `offset` breaks; a legal allocation yields nothing.

    Slow and obvious on purpose: every pair of buffers is compared.
    """
    n = len(buffers)
    runs = [held(buffers, i) for i in range(n)]
    for i in range(n):
        o, name = int(offset[i]), buffers.name(i)
        if o < 0:
            yield Broken("missing", (i,), f"buffer {name} has no offset")
        if o % int(buffers.alignment[i]) != 0:
            yield Broken("alignment", (i,), f"buffer {name}: {o} is no multiple of {buffers.alignment[i]}")
        if buffers.fixed[i] >= 0 and o != buffers.fixed[i]:
            yield Broken("fixed", (i,), f"buffer {name} lies at {o}; it must lie at {buffers.fixed[i]}")
        if capacity is not None and o + int(buffers.size[i]) > capacity:
            yield Broken("capacity", (i,), f"buffer {name} ends at {o + int(buffers.size[i])} of {capacity}")
        for j in range(i):
            p, group = int(offset[j]), int(buffers.alias[i])
            if group >= 0 and group == buffers.alias[j]:
                if o != p:
                    yield Broken("alias", (j, i), f"{buffers.name(j)} at {p} and {name} at {o} share one address")
                continue
            for a0, a1, low, high in runs[i]:
                for b0, b1, under, over in runs[j]:
                    if max(a0, b0) < min(a1, b1) and max(o + low, p + under) < min(o + high, p + over):
                        yield Broken(
                            "overlap",
                            (j, i),
                            f"{buffers.name(j)} and {name} share bytes "
                            f"[{max(o + low, p + under)}, {min(o + high, p + over)}) "
                            f"over steps [{max(a0, b0)}, {min(a1, b1)})",
                        )
