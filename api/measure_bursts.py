"""Bursts of reads as a decode makes them: how long until the last of n random chunks has come."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tierplan.ir.execution import Burst
from tierplan.measure_disk import CHUNKS, THREADS, enough_threads
from tierplan.measure_memory import LEAST_ROUNDS
from tierplan.parallel_reader import ParallelReader, aligned_bytes
from tierplan.scratch_file import ScratchFile

UNDISTURBED = 0.1
"""The quantile of many times that counts: others on the machine make a burst slower, never faster."""

READS = (1, 4, 16, 64, 256)
_MOST_BYTES = 64 * 2**20  # of one burst
_SHORT_S = 0.01  # bursts are repeated within a round: two times, or four while they take no longer than that


def bursts_of(
    file: ScratchFile, rounds: int, advance: Callable[[int], None], seed: int = 0, chunks: Sequence[int] = CHUNKS,
    threads: Sequence[int] = THREADS, until: float = math.inf,
) -> tuple[Burst, ...]:  # fmt: skip
    """Bursts of every chunk size by every number of threads; of each the 10th percentile of all rounds.

    As in a decode, the places rise within a burst, and what has come is copied elsewhere before the next one.
    Rounds go round all of them; no more than two once the clock (`perf_counter`) passes `until`. `advance(1)` is called
    after each number of threads.
    """
    cells = [(chunk, n, reads) for n in threads for chunk in chunks for reads in _counts(chunk, file.n_bytes)]
    found: dict[tuple[int, int, int], list[float]] = {cell: [] for cell in cells}
    random = np.random.default_rng(seed)
    buffer = aligned_bytes(max(chunk * reads for chunk, _, reads in cells))
    kept = np.zeros(len(buffer), dtype=np.uint8)
    for turn in range(rounds):
        if turn >= LEAST_ROUNDS and time.perf_counter() > until:
            break
        for n in threads:
            with ParallelReader(file, n) as reader:
                for chunk, _, reads in (cell for cell in cells if cell[1] == n):
                    enough = time.perf_counter() + _SHORT_S
                    for turned in range(4):
                        offsets = np.sort(random.integers(0, file.n_bytes // chunk, reads)) * chunk
                        found[chunk, n, reads].append(reader.read(offsets, chunk, buffer))
                        kept[: reads * chunk] = buffer[: reads * chunk]
                        if turned and time.perf_counter() > enough:
                            break
            advance(1)
    return undisturbed(found)


def _counts(chunk: int, n_bytes: int) -> tuple[int, ...]:
    return tuple(reads for reads in READS if reads * chunk <= min(_MOST_BYTES, n_bytes)) or (1,)


def undisturbed(found: Mapping[tuple[int, int, int], Sequence[float]]) -> tuple[Burst, ...]:
    """From seconds by (chunk, threads, reads) to bursts: of each the 10th percentile, made to rise.

    What more reads or larger ones did, by as many threads, can be done no slower with fewer or smaller ones: where it
    was measured so, something else ran meanwhile.
    """
    of = {cell: float(np.quantile(times, UNDISTURBED)) for cell, times in found.items()}
    bursts: list[Burst] = []
    for chunk, threads in dict.fromkeys((chunk, threads) for chunk, threads, _ in of):
        counts = sorted(reads for c, n, reads in of if (c, n) == (chunk, threads))
        times = (
            min(s for (c, n, r), s in of.items() if n == threads and c >= chunk and r >= reads) for reads in counts
        )
        bursts.append(Burst(chunk, threads, tuple(zip(counts, times, strict=True))))
    return tuple(bursts)


def threads_for(bursts: Sequence[Burst]) -> int:
    """The fewest threads that read the largest bursts nearly as fast as more do."""
    rates: dict[tuple[int, int], float] = {}
    for burst in bursts:
        reads, seconds = burst.times[-1]
        rates[burst.chunk, burst.threads] = reads * burst.chunk / seconds
    return enough_threads(rates)
