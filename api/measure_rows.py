"""Processor time of one thread for rows in memory: a layer's products, and keeping its neurons.

Time that others have the processor does not count, so these figures hold on a busy machine.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.execution import RowCost
from tierplan.ir.problem import Bools, Floats
from tierplan.ir.units import show_bytes
from tierplan.parallel_reader import ParallelReader
from tierplan.run_flash_file import LayerRows, NeuronFile, staging
from tierplan.scratch_file import ScratchFile
from tierplan.sim.flash_cache import WindowRun, run_window
from tierplan.sim.flash_generate import Activity, generate_trace
from tierplan.sim.flash_store import NeuronStore, feed_forward
from tierplan.sim.flash_trace import ActivationTrace, counts

_ELEMENT = 4
_WIDTHS = (512, 8192)  # elements of a neuron's rows: 2 KiB and 32 KiB
_ROWS = (32, 512)  # live in a layer, for products
_COLD = 128 * 2**20  # bytes that are used before the same come again: more than caches hold
_HIDDEN = (256, 2048)  # neurons of 2 KiB and 16 KiB, in a store
_NEURONS, _TOKENS, _WINDOW, _LAYERS = 2048, 20, 6, 4
_ACTIVE = (0.03, 0.15)
_FEWEST = 16  # neurons of a layer


@contextmanager
def one_thread() -> Generator[None]:
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
            matrix: Floats = np.full((cold // (width * _ELEMENT), width), 1e-3, dtype=np.float32)  # pyright: ignore[reportAssignmentType]
            x: Floats = np.ones(width // 2, dtype=np.float32)  # pyright: ignore[reportAssignmentType]
            for n in _ROWS:
                stores = [_full(matrix[first : first + n]) for first in range(0, len(matrix) - n + 1, n)]
                firing = np.ones(n, dtype=np.bool_)
                spent = [_cpu_s(partial(feed_forward, store, x, firing)) for _ in range(repeats) for store in stores]
                points.append((n, width * _ELEMENT, float(np.median(spent))))
    return fit_row_cost(points)


def store_cost(file: ScratchFile, threads: int, repeats: int) -> RowCost:
    """Of a `NeuronStore` with a full window, per neuron that comes; what comes is read from the file, as in a decode.

    The reads themselves do not count. After them caches are as cold as they are in a decode, which costs rows dearly.

    Raises: InvalidInputError: a file of hardly any bytes.
    """
    points: list[tuple[float, int, float]] = []
    for hidden in _HIDDEN:
        fitting = file.n_bytes // NeuronFile(_LAYERS, 1, hidden).n_bytes
        if fitting < _FEWEST:
            raise InvalidInputError(
                f"weights of {show_bytes(file.n_bytes)} are too little to measure what a store of neurons costs; take "
                "more, or a hardware file with an 'execution', as 'tierplan calibrate -o FILE' writes it"
            )
        shape = NeuronFile(_LAYERS, min(_NEURONS, fitting), hidden)
        for active in _ACTIVE:
            trace = generate_trace(Activity(active, 0.6, 0.5), _TOKENS, _LAYERS, shape.n_neurons)
            window = run_window(trace, _WINDOW)
            times = [_kept_s(file, shape, threads, trace, window) for _ in range(repeats)]
            loaded = float(window.loaded[_WINDOW:].mean())
            points.append((loaded, shape.neuron, float(np.median(np.concatenate(times)))))
    return fit_row_cost(points)


def _kept_s(file: ScratchFile, shape: NeuronFile, threads: int, trace: ActivationTrace, window: WindowRun) -> Floats:
    """Processor seconds of each layer for each token with a full window."""
    found: list[float] = []
    room = staging(shape, int(counts(trace.words).max()))
    bias = np.zeros(shape.n_neurons, dtype=np.float32)
    with ParallelReader(file, threads) as reader:
        stores: list[tuple[LayerRows, NeuronStore]] = []
        for layer, n_rows in enumerate(window.most_held.tolist()):
            rows = LayerRows(shape, reader, layer, True, room)
            store = NeuronStore(rows, bias, max(1, n_rows), window.window)  # pyright: ignore[reportArgumentType]
            store.matrix.fill(0)
            stores.append((rows, store))
        for token in range(trace.n_tokens):
            for layer, (rows, store) in enumerate(stores):
                firing, before = trace.active(layer)[token], rows.cpu_s
                spent = _cpu_s(partial(_advance, store, firing)) - (rows.cpu_s - before)
                if token >= window.window:
                    found.append(spent)
    return np.array(found)


def _advance(store: NeuronStore, firing: Bools) -> None:
    store.advance(np.flatnonzero(firing))


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


def fit_row_cost(points: Sequence[tuple[float, int, float]]) -> RowCost:
    """The cost from (rows, bytes of each, seconds), with the least relative errors; none of its parts is negative.

    >>> cost = RowCost(1e-5, 1e-7, 1e10)
    >>> fitted = fit_row_cost([(n, b, cost.time_s(n, b)) for n in (10, 500) for b in (1000, 30000)])
    >>> round(fitted.call_s * 1e6, 6), round(fitted.row_s * 1e9, 6), round(fitted.bandwidth / 1e9, 6)
    (10.0, 100.0, 10.0)
    """
    terms = np.array([(1.0, n, n * size) for n, size, _ in points]) / np.array([[s] for _, _, s in points])
    scale: Floats = np.abs(terms).max(axis=0)
    used = [0, 1, 2]
    while True:
        ones = np.ones(len(points))
        found: Floats = np.asarray(np.linalg.lstsq(terms[:, used] / scale[used], ones, rcond=None)[0], dtype=np.float64)
        if (found >= 0).all():
            break
        del used[int(np.argmin(found))]
    factors = np.zeros(3)
    factors[used] = found / scale[used]
    call_s, row_s, byte_s = factors.tolist()
    return RowCost(call_s, row_s, 1 / byte_s if byte_s > 1e-18 else 1e18)
