"""Reading more than is needed on purpose: near chunks in one read, when that is faster than one read each."""

from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Ints
from tierplan.sim.flash import ReadModel, read_bandwidth, read_runs_s


@dataclass(frozen=True, slots=True)
class OverRead:
    """How wanted chunks are read; `gap` is the most unwanted chunks that are read along between two wanted ones.

    Units: `moved` and `wanted` in bytes.
    """

    gap: int
    n_reads: int
    wanted: int
    moved: int
    time_s: float

    @property
    def overhead(self) -> float:
        """Bytes that nobody wanted, per byte that was."""
        return self.moved / self.wanted - 1 if self.wanted else 0.0


def over_read(model: ReadModel, indices: Ints, chunk: int, threads: int, most_gap: int | None = None) -> OverRead:
    """The fastest way to read the chunks at `indices` of a file of equal chunks.

    Shapes: `indices` [n], rising. `most_gap` limits the unwanted chunks between two wanted ones: 0 reads
    only what is wanted (adjacent chunks still share a read).
    The result is optimal: for each number of reads, joining across the smallest gaps moves the fewest bytes.
    Source: Alizadeh et al., LLM in a flash, ACL 2024, section 3.2 (deliberately reading more than needed).

    >>> drive = ReadModel(latency_s=1e-4, bandwidth=4e9, cap=4e9)
    >>> over_read(drive, np.array([0, 2, 9]), 4096, threads=1)
    OverRead(gap=6, n_reads=1, wanted=12288, moved=40960, time_s=0.00011024)
    """
    if len(indices) == 0:
        return OverRead(0, 0, 0, 0, 0.0)
    gaps = np.diff(indices) - 1
    if indices[0] < 0 or (gaps < 0).any():
        raise InvalidInputError("indices of chunks must be 0 or more, rising, each once")
    moved_one = model.padded(chunk)
    joinable = np.sort(gaps if most_gap is None else gaps[gaps <= most_gap])
    n_joined = np.arange(int((gaps == 0).sum()), len(joinable) + 1)
    n_chunks = len(indices) + np.concatenate(([0], np.cumsum(joinable)))[n_joined]
    rounds = -(-(len(indices) - n_joined) // model.in_flight(threads))
    moved = n_chunks * moved_one
    times = np.maximum(rounds * model.latency_s + moved / model.bandwidth, model.latency_s + moved / model.cap)
    best = int(times.argmin())
    joined = int(n_joined[best])
    return OverRead(
        gap=int(joinable[joined - 1]) if joined else 0,
        n_reads=len(indices) - joined,
        wanted=len(indices) * chunk,
        moved=int(moved[best]),
        time_s=float(times[best]),
    )


def expected_over_read(model: ReadModel, n_chunks: int, share: float, chunk: int, threads: int, gap: int) -> OverRead:
    """What reading across gaps of up to `gap` costs when each of `n_chunks` chunks is wanted with chance `share`.

    Assumes: chunks are wanted independently, so that gaps are geometric; counts are expected values, rounded.

    >>> drive = ReadModel(latency_s=1e-4, bandwidth=4e9, cap=4e9)
    >>> [expected_over_read(drive, 10_000, 0.5, 4096, 1, gap).n_reads for gap in (0, 1, 2)]
    [2500, 1250, 625]
    """
    if not 0 <= share <= 1:
        raise InvalidInputError(f"share of wanted chunks is {share}; need 0 to 1")
    if n_chunks < 1 or gap < 0:
        raise InvalidInputError(f"{n_chunks} chunks, gaps of up to {gap}; need 1 or more chunks and gaps of 0 or more")
    if share == 0:
        return OverRead(gap, 0, 0, 0, 0.0)
    wanted = n_chunks * share
    lengths = np.arange(gap + 1)
    chance = share * (1 - share) ** lengths
    read_along = wanted * float((lengths * chance).sum())
    n_reads = max(1, round(wanted * (1 - share) ** (gap + 1)))
    n_moved = min(n_chunks, max(n_reads, round(wanted + read_along)))
    moved = n_moved * model.padded(chunk)
    return OverRead(gap, n_reads, round(wanted) * chunk, moved, read_runs_s(model, n_reads, moved, threads))


def expected_blocks(model: ReadModel, n_chunks: int, share: float, chunk: int, threads: int, per_read: int) -> OverRead:
    """What reading aligned blocks of `per_read` chunks costs when each of `n_chunks` chunks is wanted with that chance.

    A block is read if any of its chunks is wanted. The result's `gap` is what a block holds beside one wanted chunk.
    Assumes: chunks are wanted independently; a long run of reads, so that `read_bandwidth` holds.

    >>> drive = ReadModel(latency_s=1e-4, bandwidth=4e9, cap=4e9)
    >>> [expected_blocks(drive, 10_000, 0.5, 4096, 1, n).n_reads for n in (1, 2, 4)]
    [5000, 3750, 2344]
    """
    if not 0 <= share <= 1:
        raise InvalidInputError(f"share of wanted chunks is {share}; need 0 to 1")
    if n_chunks < 1 or per_read < 1:
        raise InvalidInputError(f"{n_chunks} chunks, {per_read} per read; need 1 or more of both")
    reads = n_chunks / per_read * (1 - (1 - share) ** per_read)
    block = per_read * chunk
    moved = round(reads * model.padded(block))
    time_s = reads * block / read_bandwidth(model, block, threads)
    return OverRead(per_read - 1, round(reads), round(n_chunks * share * chunk), moved, time_s)
