"""Sum the time of turns over a growing context: exactly, or from points with a bounded error."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Grown:
    """Seconds of all turns together, and by how much the sum may be off at most; `n_points` turns were simulated."""

    total_s: float
    error_s: float
    first_s: float
    last_s: float
    n_points: int


def grow(seconds: Callable[[int], float], first: int, last: int, *, error: float, most_points: int) -> Grown:
    """The sum of `seconds(c)` over contexts c from `first` to `last`, both included.

    Points are added where the error may be largest, until it is at most `error` of the sum, or there are
    `most_points`. If every context is a point, the sum is exact.
    Assumes: time does not fall with the context, so that between two points it lies between theirs: a straight line
    there is off by half of what it rises, at most, for each turn. Where points do fall, their distance counts as well.

    >>> grow(lambda c: 2.0 * c, 1, 1000, error=0.01, most_points=200).error_s < 0.01 * 1_001_000
    True
    """
    if not 0 < first <= last or most_points < 2:
        raise InvalidInputError(f"contexts {first} to {last} from {most_points} points; need 1 or more, and 2 points")
    at = {first: seconds(first), last: seconds(last)}
    spans = [_span(at, first, last)]

    def sums() -> tuple[float, float]:
        inner = sum(max(0, end - begin - 1) * (at[begin] + at[end]) / 2 for _, begin, end in spans)
        return sum(at.values()) + inner, sum(-worst for worst, _, _ in spans)

    total, off = sums()
    while off > error * total and len(at) < most_points and spans[0][0] < 0:
        _, begin, end = heapq.heappop(spans)
        middle = (begin + end) // 2
        at[middle] = seconds(middle)
        heapq.heappush(spans, _span(at, begin, middle))
        heapq.heappush(spans, _span(at, middle, end))
        total, off = sums()
    return Grown(total, off, at[first], at[last], len(at))


def _span(at: dict[int, float], begin: int, end: int) -> tuple[float, int, int]:
    """The most that a line over the turns strictly between two points may be off, negative; and the points."""
    return -max(0, end - begin - 1) * abs(at[end] - at[begin]) / 2, begin, end
