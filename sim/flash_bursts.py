"""Seconds of a burst of reads, between the bursts that were measured."""

import bisect
import math
from collections.abc import Sequence
from typing import TypeVar

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.execution import Burst

_N = TypeVar("_N", int, float)


def burst_s(bursts: Sequence[Burst], n_reads: int, chunk: int, threads: int) -> float:
    """Seconds of `n_reads` random reads of `chunk` bytes by so many threads, from a moment when nothing is in flight.

    Between measured numbers of reads linear, beyond the largest with the slope before it: there the drive is busy all
    the time. Between chunks and threads linear in logarithms. A chunk beyond the measured ones moves its bytes at the
    rate of the largest; one below them costs as much as the smallest, as do fewer threads or more.

    >>> line = Burst(4096, 8, ((1, 1e-4), (101, 1.1e-3)))
    >>> round(burst_s([line], 51, 4096, 8) * 1e6), round(burst_s([line], 201, 4096, 8) * 1e6)
    (600, 2100)
    """
    if n_reads < 0 or chunk < 1 or threads < 1:
        raise InvalidInputError(f"{n_reads} reads of {chunk} B by {threads} threads; need 0, 1, 1 or more")
    if not n_reads:
        return 0.0
    found: dict[int, float] = {}
    for count in _around(sorted({burst.threads for burst in bursts}), threads):
        of_count = {burst.chunk: _line(burst, n_reads) for burst in bursts if burst.threads == count}
        largest = max(of_count)
        if chunk > largest:
            found[count] = of_count[largest] * chunk / largest
        else:
            found[count] = _between(of_count, chunk)
    return _between(found, threads)


def _line(burst: Burst, n_reads: int) -> float:
    times = burst.times
    if len(times) == 1:
        reads, seconds = times[0]
        return seconds * max(1.0, n_reads / reads)
    at = min(max(bisect.bisect_left([reads for reads, _ in times], n_reads), 1), len(times) - 1)
    (few, less), (many, more) = times[at - 1], times[at]
    return less + (more - less) * (n_reads - few) / (many - few) if n_reads >= times[0][0] else times[0][1]


def _around(known: Sequence[_N], value: float) -> list[_N]:
    """The known numbers next to a value: one if it is known or beyond them, else two."""
    at = bisect.bisect_left(known, value)
    if at == len(known):
        return [known[-1]]
    return [known[at]] if at == 0 or known[at] == value else [known[at - 1], known[at]]


def _between(of: dict[int, float], value: int) -> float:
    ends = _around(sorted(of), value)
    if len(ends) == 1:
        return of[ends[0]]
    below, above = ends
    share = math.log(value / below) / math.log(above / below)
    return of[below] ** (1 - share) * of[above] ** share
