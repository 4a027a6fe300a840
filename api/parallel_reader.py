"""Reads of many pieces of a file by several threads at once, past the page cache."""

import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Ints
from tierplan.scratch_file import BLOCK, ScratchFile


def aligned_bytes(n_bytes: int) -> NDArray[np.uint8]:
    """Zeros whose address is a multiple of a page, as direct reads need."""
    whole = max(BLOCK, -(-n_bytes // BLOCK) * BLOCK)
    return np.frombuffer(mmap.mmap(-1, whole), dtype=np.uint8)[:n_bytes]


class ParallelReader:
    """Threads that read one file. Thread i reads chunks i, i + n, i + 2 n, ... of each call, one after another."""

    def __init__(self, file: ScratchFile, threads: int) -> None:
        if threads < 1:
            raise InvalidInputError(f"{threads} reading threads; need 1 or more")
        self._file, self._threads = file, threads
        self._pool = ThreadPoolExecutor(threads)
        warm = aligned_bytes(BLOCK)
        for _ in range(2):  # compiles the loop, and starts the threads
            self.read(np.zeros(threads, dtype=np.int64), BLOCK, warm, np.zeros(threads, dtype=np.int64))

    def __enter__(self) -> "ParallelReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, offsets: Ints, chunk: int, into: NDArray[np.uint8], places: Ints | None = None) -> float:
        """Read `chunk` bytes at each offset to its place in `into`, by default one behind the other; seconds.

        Raises: InvalidInputError: the system refuses a read.
        """
        from tierplan import _kernels

        if places is None:
            places = np.arange(len(offsets), dtype=np.int64) * chunk
        if len(offsets) and int(places.max()) + chunk > len(into):
            raise InvalidInputError(f"{len(offsets)} reads of {chunk} B do not fit {len(into)} B")
        self._file.forget()
        file, address, n = self._file.descriptor, into.ctypes.data, min(self._threads, len(offsets))
        began = time.perf_counter()
        running = [
            self._pool.submit(_kernels.read_chunks, file, address, offsets, places, chunk, first, n)
            for first in range(n)
        ]
        failed = [found for found in (each.result() for each in running) if found >= 0]
        seconds = time.perf_counter() - began
        if failed:
            self._complain(int(offsets[failed[0]]), chunk)
        return seconds

    def _complain(self, offset: int, chunk: int) -> None:
        """Ask again in a way that tells why."""
        reason = "fewer bytes came than were asked for"
        try:
            with mmap.mmap(-1, max(BLOCK, chunk)) as target:
                os.preadv(self._file.descriptor, [memoryview(target)[:chunk]], offset)
        except OSError as error:
            reason = str(error.strerror)
        raise InvalidInputError(
            f"reading {chunk} B at {offset} of the scratch file ({self._file.past_cache}): {reason}; "
            f"reads must be multiples of what the disk takes, usually {BLOCK} B"
        )
