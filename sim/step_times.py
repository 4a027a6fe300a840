"""How long the steps of a server take, from tables of a few graphs each, so that a load is run in milliseconds."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.graph import Graph
from tierplan.ir.problem import Floats
from tierplan.sim.step_works import Kernel, Precision, Work, kernels

Price = Callable[[Sequence[Work]], Floats]
"""Seconds of kernels, all at once."""


@dataclass(frozen=True, slots=True)
class Model:
    """A language model on its devices: the graph of a turn of the layers that differ, and how many are like each.

    `graph(phase, batch, context)` is that of one device; `alike` counts the layers by the index of the one that stands
    for them.
    """

    graph: Callable[[str, int, int], Graph]
    alike: Mapping[int, int]
    precision: Precision


@dataclass(frozen=True, slots=True)
class Tables:
    """Seconds of the parts of steps: `writing` by sequences, `reading` by tokens, and attention.

    `attend_s` [sequences, positions] is that of sequences that are written, `read_s` that of a prompt from its
    beginning to a position. `n_kernels` is how many kernels a step starts.
    """

    sequences: list[float]
    writing_s: list[float]
    tokens: list[float]
    reading_s: list[float]
    positions: list[float]
    attend_s: list[list[float]]
    read_s: list[float]
    n_kernels: int


@dataclass(frozen=True, slots=True)
class Shapes:
    """The kernels of the parts of steps of a model, at the points of the tables."""

    sequences: list[int]
    tokens: list[int]
    positions: list[int]
    groups: list[list[Kernel]]
    alike: Mapping[int, int]


def shapes(model: Model, *, most_sequences: int, most_tokens: int, most_positions: int) -> Shapes:
    """The kernels of a model up to so many sequences, tokens in a step, and positions of a sequence."""
    sequences, tokens = _steps(1, most_sequences, 1.5), _steps(1, most_tokens, 1.5)
    positions = _steps(64, most_positions, 2.0)
    asked: list[tuple[str, int, int, bool]] = [("decode", n, 64, False) for n in sequences]
    asked += [("prefill", 1, t, False) for t in tokens]
    asked += [("decode", n, p, True) for n in sequences for p in positions]
    asked += [("prefill", 1, p, True) for p in positions]
    return Shapes(sequences, tokens, positions, [_kernels(model, *each) for each in asked], model.alike)


def tables(found: Shapes, price: Price) -> Tables:
    """The tables of a model at these prices."""
    n, t, p = len(found.sequences), len(found.tokens), len(found.positions)
    seconds = _totals(found.groups, found.alike, price)
    writing, reading, attend, read = np.split(seconds, [n, n + t, n + t + n * p])
    axes = [[float(point) for point in axis] for axis in (found.sequences, found.tokens, found.positions)]
    by_sequences = attend.reshape(n, p).tolist()
    step = [*found.groups[n], *found.groups[-1]]
    n_kernels = sum(_times(kernel, found.alike) * kernel.n_starts for kernel in step)
    return Tables(axes[0], writing.tolist(), axes[1], reading.tolist(), axes[2], by_sequences, read.tolist(), n_kernels)


def _steps(first: int, last: int, growth: float) -> list[int]:
    """Numbers from first to last, each so many times the one before."""
    found = [first]
    while found[-1] < last:
        found.append(min(last, max(found[-1] + 1, int(found[-1] * growth))))
    return found


def _kernels(model: Model, phase: str, batch: int, context: int, attends: bool) -> list[Kernel]:
    return [k for k in kernels(model.graph(phase, batch, context), model.precision) if k.attends == attends]


def _totals(groups: list[list[Kernel]], alike: Mapping[int, int], price: Price) -> Floats:
    """Seconds of each group of kernels, a layer counted as often as there are any like it."""
    seconds = price([kernel.work for group in groups for kernel in group])
    times = [_times(kernel, alike) for group in groups for kernel in group]
    group_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    counted = seconds * np.array(times, dtype=np.float64)
    return np.bincount(group_of, weights=counted, minlength=len(groups)).astype(np.float64)


def _times(kernel: Kernel, alike: Mapping[int, int]) -> int:
    return 1 if kernel.layer is None else alike[kernel.layer]


@dataclass(frozen=True, slots=True)
class Steps:
    """Times of steps out of tables, with so many seconds more a step, which the runtime takes on the host.

    `sequence_s` more pass for each sequence that is written: its token is chosen, turned into text and sent.
    `launch_s` is what the host takes to start one kernel of a step that reads prompts. Steps that write alone are
    recorded, so that their kernels start without it, as are those that read up to `recorded_tokens`. Others take as
    long as the host starts their kernels or the device runs them, whichever is longer.

    Assumes: times between the points of a table are straight lines; a prompt that is read in chunks takes as long to
    attend as one that is read at once; tokens that are written beside a prompt share the products of its step.
    """

    tables: Tables
    host_s: float = 0.0
    launch_s: float = 0.0
    sequence_s: float = 0.0
    recorded_tokens: int = 0

    def decode_s(self, writing: int, position: float) -> float:
        """A step in which that many sequences gain a token each."""
        found = self.tables
        return self._host(writing) + _at(found.sequences, found.writing_s, writing) + self._attend(writing, position)

    def mixed_s(self, chunks: list[tuple[int, int]], writing: int, position: float) -> float:
        """A step that also reads, of each of some prompts, the positions `[start, stop)`."""
        found = self.tables
        n_tokens = writing + sum(stop - start for start, stop in chunks)
        seconds = _at(found.tokens, found.reading_s, n_tokens)
        for start, stop in chunks:
            seconds += self._read(stop) - self._read(start)
        seconds += self._attend(writing, position) if writing else 0.0
        starting = 0.0 if n_tokens <= self.recorded_tokens else found.n_kernels * self.launch_s
        return self._host(writing) + max(seconds, starting)

    def _host(self, writing: int) -> float:
        return self.host_s + writing * self.sequence_s

    def _read(self, position: int) -> float:
        return _at(self.tables.positions, self.tables.read_s, position) if position else 0.0

    def _attend(self, writing: int, position: float) -> float:
        found = self.tables
        i, share = _between(found.sequences, writing)
        low = _at(found.positions, found.attend_s[i], position)
        return low if not share else low + share * (_at(found.positions, found.attend_s[i + 1], position) - low)


def _at(x: list[float], y: list[float], at: float) -> float:
    i, share = _between(x, at)
    return y[i] if not share else y[i] + share * (y[i + 1] - y[i])


def _between(x: list[float], at: float) -> tuple[int, float]:
    """The point of x before `at`, and how far it lies towards the next; the ends are held."""
    i = bisect_right(x, at) - 1
    if i < 0:
        return 0, 0.0
    return (i, 0.0) if i >= len(x) - 1 else (i, (at - x[i]) / (x[i + 1] - x[i]))
