"""What a sparse decode from flash takes on a machine: bursts of reads, and work on rows in memory."""

import itertools
import math
from dataclasses import dataclass

from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Burst:
    """Random reads of `chunk` bytes by so many threads: (reads, seconds until the last of them has come) pairs.

    A burst begins when nothing is being read, so its time has the start of the threads and the wait for the last read.
    """

    chunk: int
    threads: int
    times: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        where = f"burst of {self.chunk} B by {self.threads} threads"
        if self.chunk < 1 or self.threads < 1 or not self.times:
            raise InvalidInputError(f"{where}: need 1 B and 1 thread or more, and a time or more")
        if any(reads < 1 or not (math.isfinite(seconds) and seconds > 0) for reads, seconds in self.times):
            raise InvalidInputError(f"{where}: need 1 read or more and a positive time in each pair")
        for (few, less), (many, more) in itertools.pairwise(self.times):
            if many <= few or more < less:
                raise InvalidInputError(f"{where}: reads must rise, and times must not fall with them")


@dataclass(frozen=True, slots=True)
class RowCost:
    """Processor time of a call that handles n rows: `call_s`, and for each row `row_s` and its bytes at `bandwidth`."""

    call_s: float
    row_s: float
    bandwidth: float

    def __post_init__(self) -> None:
        for what, seconds in (("call", self.call_s), ("row", self.row_s)):
            if not (math.isfinite(seconds) and seconds >= 0):
                raise InvalidInputError(f"time of a {what} is {seconds} s; need a finite time, 0 or more")
        if not (math.isfinite(self.bandwidth) and self.bandwidth > 0):
            raise InvalidInputError(f"bandwidth of rows is {self.bandwidth} B/s; need a positive number")

    def time_s(self, n_rows: float, n_bytes: int) -> float:
        """Seconds of one call with rows of `n_bytes`.

        >>> round(RowCost(1e-5, 1e-7, 1e10).time_s(100, 1000), 12)
        3e-05
        """
        return self.call_s + n_rows * (self.row_s + n_bytes / self.bandwidth)


@dataclass(frozen=True, slots=True)
class Execution:
    """Measured on one machine, undisturbed: bursts of its flash tier; one thread's work on float32 rows in memory.

    `product`: a layer's two matrix-vector products, per neuron. `store`: keeping a layer's neurons for a token, per
    neuron that comes from flash.
    """

    bursts: tuple[Burst, ...]
    product: RowCost
    store: RowCost

    def __post_init__(self) -> None:
        keys = [(burst.chunk, burst.threads) for burst in self.bursts]
        if not keys:
            raise InvalidInputError("an execution needs a burst or more")
        for chunk, threads in keys:
            if keys.count((chunk, threads)) > 1:
                raise InvalidInputError(f"two bursts of {chunk} B by {threads} threads")
