"""From measured throughputs, or from a tier of a hardware file, to the constants of a read model."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Tier
from tierplan.ir.problem import Floats
from tierplan.ir.units import show_bandwidth, show_bytes
from tierplan.sim.flash import ReadModel, read_bandwidth

NOISE = 0.05
"""Share by which a measured throughput may fall, where more bytes or threads should have raised it."""

_TURNS = 40
_HUBER = 0.03  # residuals beyond 3 % weigh less and less
_PLATEAU = 1e-4  # loss that a plateau must save to be believed: one point that is 1.4 % off


@dataclass(frozen=True, slots=True)
class ReadPoint:
    """One measurement: random reads of `chunk` bytes by `threads` threads reached `throughput` bytes per second."""

    chunk: int
    threads: int
    throughput: float

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.threads < 1:
            raise InvalidInputError(f"read point ({self.chunk} B, {self.threads} threads): need 1 or more of both")
        if not (math.isfinite(self.throughput) and self.throughput > 0):
            raise InvalidInputError(f"{_where(self)}: throughput {self.throughput} B/s; need a positive number")


@dataclass(frozen=True, slots=True)
class Fit:
    """The fitted model, and how far it is from the points: `residuals[i]` = fitted over measured, minus one."""

    model: ReadModel
    residuals: tuple[float, ...]

    @property
    def worst(self) -> float:
        """Largest distance from a point."""
        return max(abs(residual) for residual in self.residuals)


def fit_read_model(points: Sequence[ReadPoint], cap: float | None = None, queue_depth: int | None = None) -> Fit:
    """Latency, shared bandwidth and cap from measured throughputs.

    A read's share of the time is `chunk / throughput = latency / threads + chunk / bandwidth` below the cap. Which
    points lie on the cap is tried out: the split with the least error wins. Errors are relative, and points far off
    the line count less (Huber weights).
    `cap` is the largest throughput that the drive reaches if it is known, as from a long linear read; otherwise
    it is taken from the points that lie on a plateau, or is the bandwidth if none do.

    Raises: InvalidInputError: too few points, all of the same chunk and threads, or a throughput that falls by more
        than `NOISE` although chunk or threads grew.
    Source: Alizadeh et al., LLM in a flash, ACL 2024, section 2.2; Huber, Robust Estimation of a Location
        Parameter, 1964.

    >>> fit = fit_read_model([ReadPoint(8192, 32, 1.25e9), ReadPoint(16384, 32, 2.25e9)], cap=6.1e9)
    >>> round(fit.model.latency_s * 1e6, 1), round(fit.model.bandwidth / 1e9, 2)
    (186.4, 11.25)
    """
    least = 3 if cap is None else 2
    if len(points) < least:
        hint = "" if cap is not None else " (2 are enough if the cap is given)"
        raise InvalidInputError(f"{len(points)} read points; need {least} or more{hint}")
    if cap is not None and not (math.isfinite(cap) and cap > 0):
        raise InvalidInputError(f"cap of the read bandwidth is {cap} B/s; need a positive, finite number")
    _check_rising(points)
    depth = queue_depth or max(point.threads for point in points)
    ordered = sorted(points, key=lambda point: point.throughput)
    splits = [n for n in range(len(ordered), 1, -1) if _spans(ordered[:n])]
    if not splits:
        raise InvalidInputError(
            "the read points do not tell latency from bandwidth; measure two chunk sizes, or two thread counts"
        )
    fits = [_fit(ordered[:n], ordered[n:], points, cap, depth) for n in splits]
    return min(fits, key=lambda fit: _loss(fit) + (0 if fit is fits[0] else _PLATEAU))


def read_model_of(tier: Tier, page: int = 1) -> ReadModel:
    """The read model of a tier: fitted to its read curve, or its plain latency and bandwidth if it has none.

    >>> read_model_of(Tier("disk", 10**12, 3e9, 3e9, latency_s=1e-4, queue_depth=8)).latency_s
    0.0001
    """
    if not tier.read_curve:
        return ReadModel(tier.latency_s, tier.read_bandwidth, tier.read_bandwidth, tier.queue_depth, page)
    if len(tier.read_curve) < 2:
        raise InvalidInputError(f"read curve of tier '{tier.name}' has one point; need two or more")
    points = [ReadPoint(chunk, tier.queue_depth, rate) for chunk, rate in tier.read_curve]
    model = fit_read_model(points, tier.read_bandwidth, tier.queue_depth).model
    return ReadModel(model.latency_s, model.bandwidth, model.cap, model.queue_depth, page)


def _check_rising(points: Sequence[ReadPoint]) -> None:
    for a, b in itertools.permutations(points, 2):
        larger = b.chunk >= a.chunk and b.threads >= a.threads
        if larger and b.throughput < a.throughput * (1 - NOISE):
            raise InvalidInputError(
                f"{_where(b)}: {show_bandwidth(b.throughput)} is less than the {show_bandwidth(a.throughput)} of "
                f"{_where(a)}; throughput must not fall as chunks or threads grow"
            )


def _where(point: ReadPoint) -> str:
    return f"read point ({show_bytes(point.chunk)}, {point.threads} threads)"


def _spans(points: Sequence[ReadPoint]) -> bool:
    """Whether latency and bandwidth can be told apart: chunk x threads differs."""
    return len({point.chunk * point.threads for point in points}) > 1


def _fit(
    line: Sequence[ReadPoint], plateau: Sequence[ReadPoint], points: Sequence[ReadPoint], cap: float | None, depth: int
) -> Fit:
    """The model whose line runs through the first points and whose cap is that of the others."""
    terms = np.array([(1 / min(point.threads, depth), point.chunk) for point in line], dtype=np.float64)
    measured_s = np.array([point.chunk / point.throughput for point in line])
    latency, slope = _huber(terms / measured_s[:, None])
    bandwidth = 1 / slope
    if cap is None:
        cap = float(np.median([point.throughput for point in plateau])) if plateau else bandwidth
    model = ReadModel(latency, bandwidth, cap, depth)
    fitted = [read_bandwidth(model, point.chunk, point.threads) for point in points]
    return Fit(model, tuple(f / point.throughput - 1 for f, point in zip(fitted, points, strict=True)))


def _huber(terms: Floats) -> tuple[float, float]:
    """The two factors, not negative, that bring `terms` [n, 2] closest to one in each row."""
    weight = np.ones(len(terms))
    factors = np.zeros(2)
    for _ in range(_TURNS):
        factors = _least_squares(terms, weight)
        off = np.abs(terms @ factors - 1)
        weight = np.sqrt(np.minimum(1.0, _HUBER / np.maximum(off, 1e-12)))
    return float(factors[0]), float(factors[1])


def _least_squares(terms: Floats, weight: Floats) -> Floats:
    """Least squares with a latency of at least 0 and a finite bandwidth."""
    scale = np.abs(terms).max(axis=0)
    scaled = terms / scale * weight[:, None]
    factors: Floats = np.asarray(np.linalg.lstsq(scaled, weight, rcond=None)[0], dtype=np.float64) / scale
    if factors[0] < 0:
        column = terms[:, 1]
        factors = np.array([0.0, float((weight**2 * column).sum() / (weight**2 * column**2).sum())])
    least = 1e-9 / float(terms[:, 1].max())
    return np.array([factors[0], max(float(factors[1]), least)])


def _loss(fit: Fit) -> float:
    """Huber's loss of the relative errors, summed."""
    off = np.abs(np.array(fit.residuals))
    return float(np.where(off <= _HUBER, off**2 / 2, _HUBER * (off - _HUBER / 2)).sum())
