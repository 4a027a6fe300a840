"""Fit a device's constants to measured kernels, on a few of the rows, and tell the error on all others."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.calibration import KINDS, Constants
from tierplan.ir.errors import InvalidInputError, MissingDependencyError
from tierplan.sim.calibration_ranges import CHOICES, RANGES
from tierplan.sim.device import Device
from tierplan.sim.measurements import Rows
from tierplan.sim.silicon import seconds_of
from tierplan.sim.workloads import Floats

SHARE = 0.05
_STARTS = 2
_SPREAD = 0.4  # of the logarithm of a start, from one start to the next
_SOFT = 0.05  # relative error up to which a residual counts squared, beyond it about linearly
_EVALUATIONS = 40
_ROWS_PER_CONSTANT = 4
_WORST_MEDIAN = 0.5


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean, median and 90th percentile of the absolute relative error of so many rows."""

    n: int
    mape: float
    median: float
    p90: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The constants that were found for rows of one kind and type, and which of these rows they were fitted on."""

    constants: Constants
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def errors_of(predicted: Floats, measured: Floats) -> Errors:
    """How far predictions are from measurements."""
    off = np.abs(predicted / measured - 1)
    return Errors(len(off), float(off.mean()), float(np.median(off)), float(np.quantile(off, 0.9)))


def predicted_s(rows: Rows, constants: Constants, device: Device) -> Floats:
    """Seconds of each row under the conditions of the measurement."""
    return seconds_of(rows.work, constants, device, measured=True)


def fit(rows: Rows, device: Device, *, share: float = SHARE, seed: int = 0) -> Fit:
    """Fit the constants of the rows' kind on a random share of them.

    Assumes: relative errors, squared while small and linear beyond, so that outliers do not decide. A fit has converged
    if it misses half of the rows that it was fitted on by less than half of their time.
    Raises:
        InvalidInputError: too few rows, or a fit that does not converge.
        MissingDependencyError: scipy is not installed.
    """
    train, test = split(rows, share=share, seed=seed)
    return Fit(_best(KINDS[rows.kind], rows.part(train), device, seed), train, test)


def split(rows: Rows, *, share: float = SHARE, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the rows to fit on, and of all others.

    Raises: InvalidInputError: too few rows.
    """
    kind = KINDS[rows.kind]
    n_train = max(round(share * rows.n), _ROWS_PER_CONSTANT * len(RANGES[kind]))
    if rows.n < 2 * n_train:
        raise InvalidInputError(
            f"{rows.n} rows of {rows.kind} in {rows.dtype} are too few: {len(RANGES[kind])} constants need "
            f"{n_train} rows to be fitted on, and as many to be tested on"
        )
    order = np.random.default_rng(seed).permutation(rows.n)
    return np.sort(order[:n_train]), np.sort(order[n_train:])


def _best(kind: type[Constants], rows: Rows, device: Device, seed: int) -> Constants:
    """The constants with the least loss, over all combinations of choices and several starts."""
    choices = CHOICES.get(kind, {})
    combinations = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    if len(combinations) > 1:
        combinations = [min(combinations, key=lambda fixed: _search(kind, rows, device, fixed, seed, 1).loss)]
    found = _search(kind, rows, device, combinations[0], seed, _STARTS)
    median = errors_of(predicted_s(rows, found.constants, device), rows.seconds).median
    if not median <= _WORST_MEDIAN:
        raise InvalidInputError(
            f"the fit of {rows.n} rows of {rows.kind} in {rows.dtype} did not converge: the best constants miss half "
            f"of them by {median:.0%} or more; are latencies in milliseconds, and is this the right device?"
        )
    return found.constants


@dataclass(frozen=True, slots=True)
class _Found:
    constants: Constants
    loss: float


def _search(
    kind: type[Constants], rows: Rows, device: Device, fixed: Mapping[str, float | bool], seed: int, n_starts: int
) -> _Found:
    """Least squares in the logarithm of the constants, from several starts."""
    names = list(RANGES[kind])
    low, start, high = (np.log([RANGES[kind][name][at] for name in names]) for at in range(3))
    random = np.random.default_rng(seed)

    def constants(point: Floats) -> Constants:
        return kind(**dict(zip(names, np.exp(point).tolist(), strict=True)), **fixed)

    def misses(point: Floats) -> Floats:
        return np.clip(predicted_s(rows, constants(point), device) / rows.seconds - 1, -1, 100)

    best: _Found | None = None
    for number in range(n_starts):
        moved = start if number == 0 else start + random.normal(0, _SPREAD, len(names))
        result = _least_squares()(
            misses, np.clip(moved, low + 1e-3, high - 1e-3), bounds=(low, high), loss="soft_l1", f_scale=_SOFT,
            diff_step=1e-3, ftol=1e-4, max_nfev=_EVALUATIONS,
        )  # fmt: skip
        if best is None or result.cost < best.loss:
            best = _Found(constants(result.x), float(result.cost))
    assert best is not None
    return best


def _least_squares() -> Any:
    try:
        return import_module("scipy.optimize").least_squares
    except ImportError:
        raise MissingDependencyError("scipy", "calibration") from None
