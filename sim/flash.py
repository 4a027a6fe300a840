"""The flash tier: how long reading n chunks takes, by chunk size, threads, page and cap."""

import math
from dataclasses import dataclass

from tierplan.ir.errors import InvalidInputError

_MOST_READS = 2**53


@dataclass(frozen=True, slots=True)
class ReadModel:
    """What a flash drive needs for random reads of equal chunks.

    A read takes `latency_s` to its first byte, in which up to `queue_depth` reads overlap; its bytes then cross a
    path that all reads share, at `bandwidth`; and nothing is faster than `cap`. Reads move whole pages of `page`
    bytes: 1 where the constants were measured with the padding that the drive really does.

    Assumes: each thread waits for its read before it asks for the next, so that q threads keep q reads in flight;
    chunks begin on page boundaries.
    Units: seconds, bytes per second, bytes.
    Source: Alizadeh et al., LLM in a flash, ACL 2024, section 2.2 (latency to first byte, then bandwidth).
    """

    latency_s: float
    bandwidth: float
    cap: float
    queue_depth: int = 1
    page: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise InvalidInputError(f"read latency is {self.latency_s} s; need a finite time, 0 or more")
        for what, rate in (("read bandwidth", self.bandwidth), ("cap of the read bandwidth", self.cap)):
            if not (math.isfinite(rate) and rate > 0):
                raise InvalidInputError(f"{what} is {rate} B/s; need a positive, finite number")
        for what, count in (("queue depth", self.queue_depth), ("page", self.page)):
            if count < 1:
                raise InvalidInputError(f"{what} is {count}; need 1 or more")

    def in_flight(self, threads: int) -> int:
        """Reads that overlap with that many threads.

        >>> ReadModel(1e-4, 5e9, 5e9, queue_depth=32).in_flight(64)
        32
        """
        if threads < 1:
            raise InvalidInputError(f"{threads} I/O threads; need 1 or more")
        return min(threads, self.queue_depth)

    def padded(self, chunk: int) -> int:
        """Bytes that move for one chunk: whole pages.

        >>> ReadModel(1e-4, 5e9, 5e9, page=4096).padded(5000)
        8192
        """
        if chunk < 1:
            raise InvalidInputError(f"a chunk of {chunk} B; need 1 or more")
        return -(-chunk // self.page) * self.page


def read_bandwidth(model: ReadModel, chunk: int, threads: int) -> float:
    """Useful bytes per second in a long run of random reads of `chunk` bytes.

    >>> drive = ReadModel(latency_s=186.4e-6, bandwidth=11.25e9, cap=6.1e9, queue_depth=32)
    >>> round(read_bandwidth(drive, 32 * 1024, threads=32) / 1e9, 2)
    3.75
    """
    moved = model.padded(chunk)
    shared_s = model.latency_s / model.in_flight(threads) + moved / model.bandwidth
    return chunk / max(shared_s, moved / model.cap)


def read_s(model: ReadModel, n_chunks: int, chunk: int, threads: int) -> float:
    """Seconds to read `n_chunks` chunks: the first byte comes after the latency, the last when all are through.

    Assumes: threads take chunks in rounds, so that a last, partly filled round costs a whole latency.

    >>> drive = ReadModel(latency_s=1e-4, bandwidth=4e9, cap=4e9, queue_depth=8)
    >>> read_s(drive, 0, 4096, threads=8)
    0.0
    >>> round(read_s(drive, 9, 4000, threads=8) * 1e6)
    209
    """
    return read_runs_s(model, n_chunks, n_chunks * model.padded(chunk), threads)


def read_runs_s(model: ReadModel, n_reads: int, moved: int, threads: int) -> float:
    """Seconds for `n_reads` reads, of any sizes, that move `moved` bytes of whole pages altogether.

    Raises: InvalidInputError: a count is negative, or there are bytes and no reads.
    """
    if not 0 <= n_reads <= _MOST_READS or moved < n_reads:
        raise InvalidInputError(f"{n_reads} reads of {moved} B altogether; need 0 or more reads of 1 byte or more each")
    if n_reads == 0:
        return 0.0
    rounds = -(-n_reads // model.in_flight(threads))
    return max(rounds * model.latency_s + moved / model.bandwidth, model.latency_s + moved / model.cap)
