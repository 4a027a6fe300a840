"""One measured figure, repeated: its median, and how far the repetitions lie apart."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of `n` repetitions.

    >>> Spread.of([4.0, 1.0, 3.0, 2.0, 5.0])
    Spread(median=3.0, low=2.0, high=4.0, n=5)
    """

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raises: InvalidInputError: no value, or one that is no positive number."""
        if not values or not all(math.isfinite(value) and value > 0 for value in values):
            raise InvalidInputError(f"measured {list(values)}; need positive numbers")
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(middle, low, high, len(values))

    @property
    def width(self) -> float:
        """Distance of the quartiles, over the median."""
        return (self.high - self.low) / self.median

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {"median": self.median, "low": self.low, "high": self.high, "n": self.n}


def best(spreads: Iterable[Spread]) -> Spread:
    """The one of the highest median."""
    return max(spreads, key=lambda spread: spread.median)
