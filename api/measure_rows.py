"""What one thread needs for rows in memory: a layer's products, and keeping its neurons. Processor time, not the clock's.

Time that others have the processor does not count, so these figures hold on a busy machine.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tierplan.ir.execution import RowCost
from tierplan.ir.problem import Floats, Ints
from tierplan.sim.flash_cache import run_window
from tierplan.sim.flash_generate import Activity, generate_trace
from tierplan.sim.flash_store import NeuronStore, feed_forward

_ELEMENT = 4
_WIDTHS = (512, 8192)  # elements of a neuron's rows: 2 KiB and 32 KiB
_ROWS = (32, 512)  # live in a layer, for products
_COLD = 128 * 2**20  # bytes that are used before the same come again: more than caches hold
_NEURONS, _TOKENS, _WINDOW, _LAYERS = 4096, 16, 4, 4
_ACTIVE = (0.01, 0.06)


@contextmanager
def one_thread() -> Iterator[None]:
    """Products of numpy by the calling thread alone, so that its clock has all of their time.

    One thread streams from memory nearly as fast as all do on small machines, and a library's idle threads, which
    spin for a while, take no processor from those that read.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def product_cost(repeats: int, cold: int = _COLD) -> RowCost:
    """Of `feed_forward` over rows that no cache holds."""
    points: list[tuple[float, int, float]] = []
    with one_thread():
        for width in _WIDTHS:
            matrix = np.full((cold // (width * _ELEMENT), width), 1e-3, dtype=np.float32)
            x: Floats = np.ones(width // 2, dtype=np.float32)  # pyright: ignore[reportAssignmentType]
            for n in _ROWS:
                stores = [_full(matrix[first : first + n]) for first in range(0, len(matrix) - n + 1, n)]
                firing = np.ones(n, dtype=np.bool_)
                spent = [_cpu_s(lambda s=s, f=firing: feed_forward(s, x, f)) for _ in range(repeats) for s in stores]
                points.append((n, width * _ELEMENT, float(np.median(spent))))
    return fit_row_cost(points)


def store_cost(repeats: int, cold: int = _COLD) -> RowCost:
    """Of a `NeuronStore` with a full window, per neuron that comes; what comes lies in memory, as if just read."""
    points: list[tuple[float, int, float]] = []
    for width in _WIDTHS:
        source = _Source(np.zeros((cold // (width * _ELEMENT), width), dtype=np.float32), _NEURONS)
        for active in _ACTIVE:
            trace = generate_trace(Activity(active, 0.6, 0.5), _TOKENS, _LAYERS, _NEURONS)
            window = run_window(trace, _WINDOW)
            times: list[float] = []
            loaded: list[int] = []
            for _ in range(repeats):
                stores = [
                    NeuronStore(source, np.zeros(_NEURONS, np.float32), int(n), _WINDOW)  # pyright: ignore[reportArgumentType]
                    for n in window.most_held
                ]
                for store in stores:
                    store.matrix.fill(0)
                for token in range(_TOKENS):
                    for layer, store in enumerate(stores):
                        firing = trace.active(layer)[token]
                        spent = _cpu_s(lambda s=store, f=firing: s.advance(np.flatnonzero(f)))
                        if token >= _WINDOW:
                            times.append(spent)
                            loaded.append(int(window.loaded[token, layer]))
            points.append((float(np.mean(loaded)), width * _ELEMENT, float(np.median(times))))
    return fit_row_cost(points)


@dataclass(slots=True)
class _Source:
    """Rows that come from the next place of a large buffer, without a copy, as from the buffer that reads fill."""

    buffer: Floats
    n_neurons: int
    at: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.n_neurons, self.buffer.shape[1]

    @property
    def dtype(self) -> "np.dtype[np.float32]":
        return np.dtype(np.float32)

    def __getitem__(self, neurons: Ints, /) -> Floats:
        if self.at + len(neurons) > len(self.buffer):
            self.at = 0
        self.at += len(neurons)
        return self.buffer[self.at - len(neurons) : self.at]


def _full(rows: Floats) -> NeuronStore:
    """A store all of whose rows are live."""
    n = len(rows)
    store = NeuronStore(rows[:1], np.zeros(1, np.float32), n, 1)  # pyright: ignore[reportArgumentType]
    store.matrix, store.pointer, store.num_used = rows, np.arange(n), n
    store.bias = np.zeros(n, np.float32)  # pyright: ignore[reportAttributeAccessIssue]
    return store


def _cpu_s(run: Callable[[], object]) -> float:
    began = time.thread_time()
    run()
    return time.thread_time() - began


def fit_row_cost(points: list[tuple[float, int, float]]) -> RowCost:
    """The cost from (rows, bytes of each, seconds), with the least relative errors; none of its parts is negative.

    >>> cost = RowCost(1e-5, 1e-7, 1e10)
    >>> fitted = fit_row_cost([(n, b, cost.time_s(n, b)) for n in (10, 500) for b in (1000, 30000)])
    >>> round(fitted.call_s * 1e6, 6), round(fitted.row_s * 1e9, 6), round(fitted.bandwidth / 1e9, 6)
    (10.0, 100.0, 10.0)
    """
    seconds = np.array([s for _, _, s in points])
    terms = np.array([(1.0, n, n * size) for n, size, _ in points]) / seconds[:, None]
    used = [0, 1, 2]
    while True:
        scale = np.abs(terms[:, used]).max(axis=0)
        factors = np.linalg.lstsq(terms[:, used] / scale, np.ones(len(points)), rcond=None)[0] / scale
        if (factors >= 0).all():
            break
        used.remove(used[int(np.argmin(factors * scale))])
    of = dict(zip(used, factors.tolist(), strict=True))
    slope = of.get(2, 0.0)
    return RowCost(of.get(0, 0.0), of.get(1, 0.0), 1 / slope if slope > 1e-18 else 1e18)
