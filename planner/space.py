"""The free room of one tier while a plan is built: offsets over time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tierplan.ir.plan import Lifespan
from tierplan.ir.problem import Ints

_GROWTH = 2


@dataclass(slots=True)
class Space:
    """Room in a tier over the steps of a program.

    What lies there throughout is stacked from the top (`ceiling` falls); what comes and goes is
    placed below by best fit.
    """

    usable: int
    alignment: int
    ceiling: int = field(init=False)
    peak: int = field(init=False, default=0)
    _n: int = field(init=False, default=0)
    _rows: Ints = field(init=False)  # [4, capacity]: start, stop, offset, end

    def __post_init__(self) -> None:
        self.ceiling = self.usable
        self._rows = np.zeros((4, 64), dtype=np.int64)

    def place_throughout(self, size: int, *, spare: int = 0) -> int | None:
        """An offset for a tensor that lies here throughout, leaving `spare` bytes above the peak; None if none fits."""
        offset = (self.ceiling - size) // self.alignment * self.alignment
        if offset < self.peak + spare:
            return None
        self.ceiling = offset
        return offset

    def find(self, lifespans: Sequence[Lifespan], size: int) -> int | None:
        """The offset of the tightest gap that is free over all of `lifespans`; None if there is none."""
        start, stop, low, high = self._rows[:, : self._n]
        meets = np.zeros(self._n, dtype=np.bool_)
        for span in lifespans:
            meets |= (start < span.stop) & (stop > span.start)
        order = np.argsort(low[meets], kind="stable")
        tops = np.maximum.accumulate(np.concatenate(([0], high[meets][order])))
        begins = -(-tops // self.alignment) * self.alignment
        gaps = np.concatenate((low[meets][order], [self.ceiling])) - begins
        fits = np.flatnonzero(gaps >= size)
        return int(begins[fits[np.argmin(gaps[fits])]]) if len(fits) else None

    def hold(self, lifespans: Sequence[Lifespan], offset: int, size: int) -> None:
        """Take the bytes at `offset` over `lifespans`."""
        for span in lifespans:
            if self._n == self._rows.shape[1]:
                grown = np.zeros((4, self._n * _GROWTH), dtype=np.int64)
                grown[:, : self._n] = self._rows
                self._rows = grown
            self._rows[:, self._n] = (span.start, span.stop, offset, offset + size)
            self._n += 1
        self.peak = max(self.peak, offset + size)

    def place(self, lifespans: Sequence[Lifespan], size: int) -> int | None:
        """Find an offset and hold it."""
        offset = self.find(lifespans, size)
        if offset is not None:
            self.hold(lifespans, offset, size)
        return offset
