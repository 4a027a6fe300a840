"""The figures of LLM in a flash that its rows follow from, as printed, and at either end of their last digits."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tierplan.sim.flash import ReadModel
from tierplan.sim.flash_fit import ReadPoint, fit_read_model
from tierplan.sim.flash_sparsity import Sparsity, predicted_share, sparsity_from_figures

THREADS = 32
_SEQUENTIAL = 6.1e9
_SMALL, _LARGE, _RATE_ROUNDING = 1.25e9, 2.25e9, 0.005e9
_WINDOW = 4


@dataclass(frozen=True, slots=True)
class Printed:
    """A number with half a unit of its last digit.

    >>> round(Printed(0.07, 0.005).at(1), 3)
    0.075
    """

    value: float
    rounding: float

    def at(self, end: int) -> float:
        """The number as printed (0), or the least (-1) or the most (1) that is printed so."""
        return self.value + end * self.rounding


@dataclass(frozen=True, slots=True)
class _Figures:
    """What a model uses of its neurons. No errors of a predictor: it is as if it named the active ones."""

    active: Printed
    kept: Printed
    new: Printed
    missed: Printed | None = None
    false_alarms: Printed | None = None

    def sparsity(self, end: int) -> Sparsity:
        """With all figures at the end that makes a token read more (1), less (-1), or as printed (0)."""
        active = self.active.at(end)
        over = 1.0
        if self.missed is not None and self.false_alarms is not None:
            over = predicted_share(active, self.missed.at(-end), self.false_alarms.at(end)) / active
        return sparsity_from_figures(active, over, _WINDOW, self.kept.value, self.new.at(end))


_OPT = _Figures(
    active=Printed(0.033, 0.00005), kept=Printed(0.24, 0.005), new=Printed(0.024, 0.0005),
    missed=Printed(0.05, 0.005), false_alarms=Printed(0.07, 0.005),
)  # fmt: skip
_FALCON = _Figures(active=Printed(0.05, 0.005), kept=Printed(0.33, 0.005), new=Printed(0.031, 0.0005))


def drive(small: int = 0, large: int = 0) -> ReadModel:
    """The paper's drive: its linear reads as the cap, and the line through its two throughputs of random reads.

    `small`, `large`: at which end of their last digits the throughputs of 8 KiB and of 16 KiB are taken.
    """
    points = [
        ReadPoint(8192, THREADS, Printed(_SMALL, _RATE_ROUNDING).at(small)),
        ReadPoint(16384, THREADS, Printed(_LARGE, _RATE_ROUNDING).at(large)),
    ]
    return fit_read_model(points, cap=_SEQUENTIAL).model


def opt_sparsity(end: int = 0) -> Sparsity:
    """OPT 6.7B: 3.30 % active; the predictor misses 5 % of them and names 7 % of the others."""
    return _OPT.sparsity(end)


def falcon_sparsity(end: int = 0) -> Sparsity:
    """Falcon 7B, made to use ReLU; no over-prediction is printed, and none is needed with a window."""
    return _FALCON.sparsity(end)


def over_rounding(
    sparsity: Callable[[int], Sparsity], ours: Callable[[Sparsity, ReadModel], float]
) -> tuple[float, float]:
    """The least and the most of a number, over the ends of all figures that it follows from.

    Assumes: it rises or falls with each of them.
    """
    found = [ours(sparsity(end), read) for end, read in _ends()]
    return min(found), max(found)


def _ends() -> Iterator[tuple[int, ReadModel]]:
    for end, small, large in itertools.product((-1, 1), repeat=3):
        yield end, drive(small, large)
