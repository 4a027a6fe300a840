"""Run the feed-forward part of a decode from a file, token by token, in one of four ways, and take the time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from tierplan.ir.problem import Bools, Floats, Ints
from tierplan.measure_rows import one_thread
from tierplan.parallel_reader import ParallelReader
from tierplan.run_flash_file import LayerRows, NeuronFile, staging
from tierplan.scratch_file import ScratchFile
from tierplan.sim.flash_cache import WindowRun
from tierplan.sim.flash_store import NeuronStore, feed_forward
from tierplan.sim.flash_trace import ActivationTrace


class FlashWay(Enum):
    """Each adds one thing to the way before; the value is what tables call it."""

    NAIVE = "naive"  # everything is read for each token
    SPARSE = "+ sparsity"  # the neurons that the trace names
    WINDOW = "+ window"  # those of them that the last tokens did not use
    BUNDLED = "+ bundling"  # both rows of a neuron by one read


@dataclass(frozen=True, slots=True, eq=False)
class Spent:
    """Seconds of one term, by the clock and of the thread that computes. Shapes: [tokens, layers]."""

    wall_s: Floats
    cpu_s: Floats


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredWay:
    """What one way took. Shapes: `reads` [tokens]; `outputs` [tokens, hidden], of the last layer."""

    way: FlashWay
    read: Spent
    manage: Spent
    compute: Spent
    reads: Ints
    outputs: Floats


def run_way(
    way: FlashWay, scratch: ScratchFile, file: NeuronFile, trace: ActivationTrace, window: WindowRun, threads: int,
    inputs: Floats, advance: Callable[[int], None],
) -> MeasuredWay:  # fmt: skip
    """Run every token of a trace through all layers. `inputs` [tokens, hidden]; `advance(1)` after each token.

    A neuron that the trace does not name for a token adds nothing to it, as one whose input to ReLU is not positive.
    Assumes: a layer's input is what the layer before gave out, scaled to the size of a unit vector per element.
    """
    n = trace.n_tokens
    spent = np.zeros((3, 2, n, trace.n_layers))
    reads, outputs = np.zeros(n, dtype=np.int64), np.zeros_like(inputs)
    active = [trace.active(layer) for layer in range(trace.n_layers)]
    most = file.n_neurons if way is FlashWay.NAIVE else int(max(layer.sum(axis=1).max() for layer in active))
    room = staging(file, most)
    with ParallelReader(scratch, threads) as reader, one_thread():
        layers = [
            _Layer(way, LayerRows(file, reader, layer, way is FlashWay.BUNDLED, room), window, layer)
            for layer in range(trace.n_layers)
        ]
        for token in range(n):
            x = inputs[token]
            for k, layer in enumerate(layers):
                out, spent[:, :, token, k] = layer.run(x, active[k][token])
                x = (out / max(float(np.sqrt(np.mean(out**2))), 1e-6)).astype(inputs.dtype)
            outputs[token] = x
            reads[token] = sum(layer.rows.reads for layer in layers)
            advance(1)
    read, manage, compute = (Spent(wall, cpu) for wall, cpu in spent)
    return MeasuredWay(way, read, manage, compute, np.diff(reads, prepend=0), outputs)


class _Layer:
    """One layer, run in one way."""

    def __init__(self, way: FlashWay, rows: LayerRows, window: WindowRun, layer: int) -> None:
        self.way, self.rows = way, rows
        self.store: NeuronStore | None = None
        if way in (FlashWay.WINDOW, FlashWay.BUNDLED):
            n_rows = int(window.most_held[layer])
            bias = np.zeros(rows.shape[0], dtype=np.float32)
            self.store = NeuronStore(rows, bias, max(1, n_rows), window.window)  # pyright: ignore[reportArgumentType]
            self.store.matrix.fill(0)  # takes the pages now, not while the clock runs

    def run(self, x: Floats, firing: Bools) -> tuple[Floats, Floats]:
        """The layer's output for one token; seconds of I/O, memory management, compute, by both clocks [3, 2]."""
        before, began = np.array([self.rows.read_s, self.rows.cpu_s]), _clocks()
        if self.store is not None:
            self.store.advance(np.flatnonzero(firing))
            ready = _clocks()
            out = feed_forward(self.store, x, firing)
        elif self.way is FlashWay.SPARSE:
            rows = self.rows[np.flatnonzero(firing)]
            ready = _clocks()
            out = np.maximum(rows[:, : len(x)] @ x, 0) @ rows[:, len(x) :]
        else:
            up, down = self.rows.everything()
            ready = _clocks()
            out = (np.maximum(up @ x, 0) * firing) @ down
        done = _clocks()
        read = np.array([self.rows.read_s, self.rows.cpu_s]) - before
        return out, np.array([read, ready - began - read, done - ready])


def _clocks() -> Floats:
    """The clock, and the seconds that this thread has run."""
    return np.array([time.perf_counter(), time.thread_time()])
