"""The free room of one tier while a plan is built: offsets over time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tierplan.ir.plan import Lifespan
from tierplan.ir.problem import Ints

_GROWTH = 2
_BLOCK = 128  # steps: rows are looked up by the blocks of steps that they touch
_MANY_BLOCKS = 16


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
    _by_block: dict[int, list[int]] = field(init=False, default_factory=dict[int, list[int]])
    _long: list[int] = field(init=False, default_factory=list[int])  # rows that touch many blocks

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
        from tierplan.planner._kernels import tightest_gap

        spans = np.array([[span.start for span in lifespans], [span.stop for span in lifespans]], dtype=np.int64)
        offset = tightest_gap(self._rows, self._near(lifespans), spans, size, self.ceiling, self.alignment)
        return int(offset) if offset >= 0 else None

    def _near(self, lifespans: Sequence[Lifespan]) -> Ints:
        """Rows among which are all that share a step with one of `lifespans`."""
        blocks = [b for span in lifespans for b in _blocks(span)]
        if len(blocks) > _MANY_BLOCKS:
            return np.arange(self._n)
        rows = list(self._long)
        for b in blocks:
            rows += self._by_block.get(b, ())
        return np.array(rows, dtype=np.int64)

    def hold(self, lifespans: Sequence[Lifespan], offset: int, size: int) -> None:
        """Take the bytes at `offset` over `lifespans`."""
        for span in lifespans:
            if self._n == self._rows.shape[1]:
                grown = np.zeros((4, self._n * _GROWTH), dtype=np.int64)
                grown[:, : self._n] = self._rows
                self._rows = grown
            self._rows[:, self._n] = (span.start, span.stop, offset, offset + size)
            blocks = _blocks(span)
            if len(blocks) > _MANY_BLOCKS:
                self._long.append(self._n)
            else:
                for b in blocks:
                    self._by_block.setdefault(b, []).append(self._n)
            self._n += 1
        self.peak = max(self.peak, offset + size)

    def place(self, lifespans: Sequence[Lifespan], size: int) -> int | None:
        """Find an offset and hold it."""
        offset = self.find(lifespans, size)
        if offset is not None:
            self.hold(lifespans, offset, size)
        return offset


def _blocks(span: Lifespan) -> range:
    return range(span.start // _BLOCK, (span.stop - 1) // _BLOCK + 1)
