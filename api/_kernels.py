"""Loops that run without Python's lock: reads of a file, and streams through memory.

They run on several threads at once; `parallel_reader` and `measure_memory` start those.
"""

import ctypes
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numba import njit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from numpy.typing import NDArray

_F = TypeVar("_F", bound=Callable[..., object])


def _compiled(function: _F) -> _F:
    return njit(nogil=True, cache=True)(function)  # pyright: ignore[reportUnknownVariableType, reportReturnType, reportUnknownMemberType]


_pread = ctypes.CDLL(None).pread  # of the C library: a read that neither moves the file's position nor holds the lock
_pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_longlong]
_pread.restype = ctypes.c_ssize_t


@njit(nogil=True)  # pyright: ignore[reportUntypedFunctionDecorator] # not cached: it holds the address of `pread`
def read_chunks(
    descriptor: int, address: int, offsets: NDArray[np.int64], places: NDArray[np.int64], chunk: int, first: int,
    stride: int,
) -> int:  # fmt: skip
    """Read chunks `first`, `first + stride`, ... of `offsets` to `address + places`; the one that failed, or -1."""
    for i in range(first, len(offsets), stride):
        if _pread(descriptor, address + places[i], chunk, offsets[i]) != chunk:
            return i
    return -1


@_compiled
def total(source: NDArray[np.int64]) -> int:
    """Read everything once."""
    found = 0
    for value in source:
        found += value
    return found


@_compiled
def fill(target: NDArray[np.int64], value: int) -> None:
    """Write everything once."""
    for i in range(len(target)):
        target[i] = value


@_compiled
def copy(target: NDArray[np.int64], source: NDArray[np.int64]) -> None:
    """Read one array and write the other."""
    for i in range(len(target)):
        target[i] = source[i]


@_compiled
def multiply_add(block: NDArray[np.float32], turns: int) -> None:
    """Two operations per element and turn, on a block that fits the nearest cache."""
    factor, addend = np.float32(0.999), np.float32(0.001)
    for _ in range(turns):
        for i in range(len(block)):
            block[i] = block[i] * factor + addend
