"""Bandwidth of main memory: reading, writing and copying, by threads."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from tierplan.ir.problem import Ints
from tierplan.measure_spread import Spread

READ, WRITE, COPY = "read", "write", "copy"
LEAST_ROUNDS = 2
_ELEMENT = 8


@dataclass(frozen=True, slots=True)
class MemoryRate:
    """Bytes per second by one way and number of threads; a copy counts what it reads and what it writes."""

    way: str
    threads: int
    rate: Spread


def memory_rates(
    n_bytes: int, threads: Sequence[int], repeats: int, advance: Callable[[int], None], until: float = math.inf
) -> tuple[MemoryRate, ...]:
    """Stream through two arrays of `n_bytes`, which must be much larger than the caches.

    Repetitions go round all ways and thread counts, so that a disturbance hits one repetition of several figures
    rather than all of one. `advance(1)` is called after each. On a machine so busy that the clock (`perf_counter`)
    passes `until`, two rounds have to do.
    """
    source, target = (np.ones(n_bytes // _ELEMENT, dtype=np.int64) for _ in range(2))
    found: dict[tuple[str, int], list[float]] = {(way, n): [] for n in threads for way in (READ, WRITE, COPY)}
    with ThreadPoolExecutor(max(threads)) as pool:
        _timed(pool, _parts(READ, source[:64], target[:64], 1) + _parts(WRITE, source[:64], target[:64], 1))
        _timed(pool, _parts(COPY, source[:64], target[:64], 1))  # compiled before the clock starts
        for turn in range(repeats):
            if turn >= LEAST_ROUNDS and time.perf_counter() > until:
                break
            for (way, n), rates in found.items():
                seconds = _timed(pool, _parts(way, source, target, n))
                rates.append((2 if way == COPY else 1) * source.nbytes / seconds)
                advance(1)
    return tuple(MemoryRate(way, n, Spread.of(rates)) for (way, n), rates in found.items())


def _parts(way: str, source: Ints, target: Ints, threads: int) -> list[Callable[[], object]]:
    """What each thread does: the same way on its own part."""
    from tierplan import _kernels

    pairs = zip(np.array_split(source, threads), np.array_split(target, threads), strict=True)
    if way == READ:
        return [partial(_kernels.total, part) for part, _ in pairs]
    if way == WRITE:
        return [partial(_kernels.fill, part, 3) for _, part in pairs]
    return [partial(_kernels.copy, there, here) for here, there in pairs]


def _timed(pool: ThreadPoolExecutor, parts: Sequence[Callable[[], object]]) -> float:
    began = time.perf_counter()
    for running in [pool.submit(part) for part in parts]:
        running.result()
    return time.perf_counter() - began
