"""An axis of a sweep: a list of values, or a range between two of them, with or without a unit."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tierplan.ir import units
from tierplan.ir.errors import InvalidInputError

Scalar: TypeAlias = str | int | float | bool
_QUANTITIES = (
    units.SIZE, units.BANDWIDTH, units.DURATION, units.RATE, units.ENERGY_PER_BYTE, units.ENERGY_PER_OP, units.PRICE,
)  # fmt: skip
_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Values:
    """The values that an axis takes, in this order."""

    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise InvalidInputError("an empty list: there would be no point; give at least one value")
        if len(set(map(str, self.values))) < len(self.values):
            twice = next(v for n, v in enumerate(self.values) if str(v) in map(str, self.values[:n]))
            raise InvalidInputError(f"'{twice}' stands there twice")


@dataclass(frozen=True, slots=True)
class Range:
    """From one value to another: `steps` of them, or any in between. `unit` is written behind each."""

    low: float
    high: float
    unit: str = ""
    steps: int | None = None
    log: bool = False
    whole: bool = False

    def value(self, share: float) -> Scalar:
        """The value at a share of the way, from 0 to 1."""
        if self.log:
            number = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            number = self.low + share * (self.high - self.low)
        return self.written(self.low if share <= 0 else self.high if share >= 1 else number)

    def written(self, number: float) -> Scalar:
        """A number as it would stand in a file."""
        if self.unit:
            return f"{number:.{_DIGITS}g} {self.unit}"
        return round(number) if self.whole else number

    def stepped(self) -> Values:
        """The values of the steps; whole numbers that fall together count once.

        Raises: InvalidInputError: the range does not say how many.
        """
        if self.steps is None:
            raise InvalidInputError("a range needs 'steps: N', unless points are sampled or searched")
        last = max(1, self.steps - 1)
        return Values(tuple(dict.fromkeys(self.value(n / last) for n in range(self.steps))))


Axis: TypeAlias = Values | Range


def read_range(low: Scalar, high: Scalar, steps: int | None, log: bool) -> Range:
    """The range between two values as people write them.

    Raises: InvalidInputError: two kinds of quantity, nothing in between, or a logarithm of what has none.
    """
    (a, unit), (b, other) = _number(low), _number(high)
    whole = isinstance(low, int) and isinstance(high, int)
    if unit != other:
        scale = _same_quantity(str(low), str(high))
        if scale is None:
            raise InvalidInputError(f"a range from '{low}' to '{high}', which are not of one kind")
        b *= scale
    if not (math.isfinite(a) and math.isfinite(b)) or a >= b:
        raise InvalidInputError(f"an empty range from '{low}' to '{high}'; write the smaller value first")
    if log and a <= 0:
        raise InvalidInputError(f"a range from '{low}' has no logarithm; leave 'log' out, or start above 0")
    if steps is not None and steps < 2:
        raise InvalidInputError(f"a range of {steps} steps; need at least 2, or write the value itself")
    return Range(a, b, unit, steps, log, whole)


def base_number(value: Scalar) -> float | None:
    """A value in base units, to compare and plot; None for text.

    >>> base_number("1 kB"), base_number(3), base_number("hbm")
    (1000.0, 3.0, None)
    """
    if not isinstance(value, str):
        return float(value)
    for quantity in _QUANTITIES:
        try:
            return float(units.read(value, quantity))
        except InvalidInputError:
            continue
    return None


def _number(value: Scalar) -> tuple[float, str]:
    if isinstance(value, bool):
        raise InvalidInputError("a range needs numbers, with or without units")
    if not isinstance(value, str):
        return float(value), ""
    number, _, unit = value.strip().partition(" ")
    try:
        return float(number.replace("_", "")), unit.strip()
    except ValueError:
        raise InvalidInputError(f"'{value}' is not a number and a unit, like '16 GiB'") from None


def _same_quantity(low: str, high: str) -> float | None:
    """How many of the unit of `low` the unit of `high` is, if they measure the same."""
    first, second = _number(low)[1], _number(high)[1]
    scales: list[Callable[[str], float]] = [q.units.__getitem__ for q in _QUANTITIES if {first, second} <= set(q.units)]
    return scales[0](second) / scales[0](first) if scales else None
