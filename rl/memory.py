"""The arrays of a play in one piece of memory, and the frame that tells the kernels where they lie.

A play in one piece is copied in one go, and many plays are rows of one array.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.problem import Ints
from tierplan.rl.program import Program
from tierplan.rl.tables import FIXED, N_COPIES, N_COUNTERS, N_OF_ROOM, N_RECTS, OF_PLAY, Rows

_LINE = 64  # bytes
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Part:
    """Where an array of a play lies in its memory."""

    start: int
    shape: tuple[int, ...]
    dtype: Any

    def of(self, memory: Bytes) -> Rows:
        """The array itself."""
        return np.ndarray(self.shape, self.dtype, memory, self.start)


class Layout:
    """How plays of a program lie in memory: `parts` by name, in `size` bytes; and the tables of the program."""

    def __init__(self, program: Program) -> None:
        fixed = _arrays_of_a_program(program)
        self._fixed = [np.ascontiguousarray(fixed[name]) for name in FIXED]
        shapes = _shapes_of_a_play(program)
        self.parts: dict[str, Part] = {}
        self.size = 0
        for name, (dtype, _) in OF_PLAY.items():
            self.parts[name] = Part(self.size, shapes[name], dtype)
            n_bytes = int(np.prod(shapes[name])) * dtype.itemsize
            self.size += -(-n_bytes // _LINE) * _LINE
        rows = [(array.ctypes.data, *_extent(array.shape)) for array in self._fixed]
        rows += [(part.start, *_extent(part.shape)) for part in self.parts.values()]
        self._frame = np.array(rows, dtype=np.int64)

    def frame(self, memory: Bytes) -> Ints:
        """The frame of a play in that memory: address, rows and columns of every array."""
        frame = self._frame.copy()
        frame[len(self._fixed) :, 0] += memory.ctypes.data
        return frame


def _extent(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], shape[1] if len(shape) > 1 else 1


def _arrays_of_a_program(program: Program) -> dict[str, Rows]:
    rules = program.rules
    return {
        "rules": np.array([rules.window, int(rules.fit == "best"), int(program.waits)], dtype=np.int64),
        "visits": program.visits,
        "tensors": program.tensors,
        "tiers": program.tiers,
        "pairs": program.pairs,
        "base_loads": program.loads,
        "base_rates": program.rates,
        "base_own": program.own_s,
        "compute": program.compute_s,
        "promised": program.promised,
        "cap": program.rate_cap,
        "link_rate": program.link_rate,
    }


def _shapes_of_a_play(program: Program) -> dict[str, tuple[int, ...]]:
    v, n, k = program.n_visits, len(program.tensors), len(program.tiers)
    s, hops = len(program.own_s), max(1, k - 1)
    return {
        "head": (N_COUNTERS,),
        "total": (1,),
        "moves": (v,),
        "served": (v,),
        "placed": (n,),
        "steps": (s + 1,),
        "loads": program.loads.shape,
        "rates": program.rates.shape,
        "live": (k, program.rules.slots),
        "room": (k, N_OF_ROOM),
        "queue": (program.rules.pending,),
        "options": (program.n_actions,),
        "way": (k * k, 3),
        "busy": (program.used.shape[1],),
        "rects": (v * hops + 8,),
        "copies": (v * (hops + 1) + 8,),
    }


class Memory:
    """One play in memory. `where` is the address of its frame, as kernels take it; `head` its counters."""

    __slots__ = ("_bytes", "_frame", "_layout", "_total", "head", "where")

    def __init__(self, layout: Layout, memory: Bytes) -> None:
        self._layout, self._bytes = layout, memory
        self._frame = layout.frame(memory)
        self.where = int(self._frame.ctypes.data)
        self.head: Ints = layout.parts["head"].of(memory)
        self._total: Rows = layout.parts["total"].of(memory)

    @classmethod
    def blank(cls, layout: Layout) -> "Memory":
        """A play that no kernel has begun yet."""
        return cls(layout, np.zeros(layout.size, dtype=np.uint8))

    @property
    def total_s(self) -> float:
        """Seconds saved so far."""
        return self._total.item()

    def add_s(self, saved: float) -> None:
        """Count more seconds as saved."""
        self._total[0] += saved

    def array(self, name: str) -> Rows:
        """An array of the play; see `Play` in _kernels/frame.py."""
        return self._layout.parts[name].of(self._bytes)

    def copy(self) -> "Memory":
        """A second play at the same point; of its lists, only what is in use is copied."""
        memory = np.empty_like(self._bytes)
        rects, copies = self._layout.parts["rects"], self._layout.parts["copies"]
        memory[: rects.start] = self._bytes[: rects.start]
        for part, n in ((rects, self.head.item(N_RECTS)), (copies, self.head.item(N_COPIES))):
            stop = part.start + n * part.dtype.itemsize
            memory[part.start : stop] = self._bytes[part.start : stop]
        return Memory(self._layout, memory)
