"""Throughput of a disk: random reads by chunk size and threads, past the page cache."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.measure_memory import LEAST_ROUNDS
from tierplan.measure_spread import Spread
from tierplan.parallel_reader import ParallelReader, aligned_bytes
from tierplan.scratch_file import ScratchFile
from tierplan.sim.flash_fit import Fit, ReadPoint, fit_read_model

CHUNKS = (4096, 8192, 16384, 32768, 65536, 131072, 262144, 1048576)
THREADS = (1, 4, 8, 16, 32)
_CALL_BYTES = 4 * 2**20  # read by one call, at least so many
_PIECE = 4 * 2**20
_CALL_READS = 256  # and at most so many at once, as a layer's neurons are
_ENOUGH = 0.95  # of the best throughput: more threads than reach it are not worth having


@dataclass(frozen=True, slots=True)
class DiskRate:
    """Bytes per second of random reads of one chunk size by a number of threads."""

    chunk: int
    threads: int
    rate: Spread


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """What a disk was measured to do. `curve`: (chunk, bytes/s) with `queue_depth` threads, never falling.

    `fit`: the read model of that curve; `latency_s`: what one thread alone waits for the first byte of a read. One
    model of all thread counts would be wrong where the processor, not the drive, limits many small reads.
    """

    past_cache: str
    rates: tuple[DiskRate, ...]
    write: Spread
    fit: Fit
    latency_s: float
    queue_depth: int
    curve: tuple[tuple[int, float], ...]


def random_pieces(n_bytes: int, seed: int = 0) -> Iterator[bytes]:
    """So many bytes that no drive can compress."""
    random = np.random.default_rng(seed)
    for begin in range(0, n_bytes, _PIECE):
        yield random.bytes(min(_PIECE, n_bytes - begin))


def disk_rates(
    file: ScratchFile, repeats: int, sample_s: float, advance: Callable[[int], None], seed: int = 0,
    chunks: Sequence[int] = CHUNKS, threads: Sequence[int] = THREADS, until: float = math.inf,
) -> tuple[DiskRate, ...]:  # fmt: skip
    """Random reads of every chunk size by every number of threads, for `sample_s` seconds each, `repeats` times.

    Repetitions go round all of them, at least twice; no more once the clock (`perf_counter`) passes `until`.
    `advance(1)` is called after each.
    """
    random = np.random.default_rng(seed)
    found: dict[tuple[int, int], list[float]] = {(chunk, n): [] for n in threads for chunk in chunks}
    buffer = aligned_bytes(max(min(_CALL_READS, max(n, _CALL_BYTES // c)) * c for c, n in found))
    for turn in range(repeats):
        if turn >= LEAST_ROUNDS and time.perf_counter() > until:
            break
        for n in threads:
            with ParallelReader(file, n) as reader:
                for chunk in chunks:
                    n_reads = min(_CALL_READS, max(n, _CALL_BYTES // chunk))
                    moved, seconds = 0, 0.0
                    enough = time.perf_counter() + sample_s
                    while not moved or time.perf_counter() < enough:
                        offsets = random.integers(0, file.n_bytes // chunk, n_reads) * chunk
                        seconds += reader.read(offsets, chunk, buffer)
                        moved += n_reads * chunk
                    found[chunk, n].append(moved / seconds)
                    advance(1)
    return tuple(DiskRate(chunk, n, Spread.of(rates)) for (chunk, n), rates in found.items())


def disk_figures(rates: Sequence[DiskRate], write: Spread, past_cache: str, threads: int | None = None) -> DiskFigures:
    """From rates to what a hardware file says of a disk; `threads` is its queue depth, by default as the rates say."""
    level = levelled(rates)
    depth = threads or enough_threads(level)
    curve = tuple((chunk, rate) for (chunk, n), rate in sorted(level.items()) if n == depth)
    fewest = min(n for _, n in level)
    fit, alone = (
        fit_read_model([ReadPoint(chunk, n, rate) for (chunk, m), rate in level.items() if m == n], queue_depth=n)
        for n in (depth, fewest)
    )
    return DiskFigures(past_cache, tuple(rates), write, fit, alone.model.latency_s / fewest, depth, curve)


def levelled(rates: Sequence[DiskRate]) -> dict[tuple[int, int], float]:
    """Median rates by chunk and threads, made to rise with both.

    A drive that is left alone reads no slower with more in flight; where a median falls it is noise, or threads that
    wait for the processor. Half-way between the largest of all smaller points and the smallest of all larger ones
    is a surface that never falls.
    """
    of = {(rate.chunk, rate.threads): rate.rate.median for rate in rates}

    def level(chunk: int, threads: int) -> float:
        before = max(rate for (c, n), rate in of.items() if c <= chunk and n <= threads)
        after = min(rate for (c, n), rate in of.items() if c >= chunk and n >= threads)
        return (before + after) / 2

    return {point: level(*point) for point in of}


def enough_threads(level: dict[tuple[int, int], float]) -> int:
    """The fewest threads that reach nearly the throughput of more, on (geometric) average over the chunks."""
    means = {
        n: float(np.exp(np.mean([np.log(rate) for (_, m), rate in level.items() if m == n])))
        for n in sorted({n for _, n in level})
    }
    return next(n for n, mean in means.items() if mean >= _ENOUGH * max(means.values()))
