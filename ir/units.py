"""Quantities as people write them: `520 MiB`, `1.8 TB/s`, `2 us`, `7 pJ/bit`.

Each reader takes a string with a unit and returns a plain number in base units:
bytes, bytes per second, seconds, operations per second, joules per byte, joules per operation, dollars per byte.
Decimal prefixes (`GB` = 1e9) and binary ones (`GiB` = 2**30) are kept apart.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from tierplan.ir.errors import InvalidInputError, nearest

_DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SMALL = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_OPS = ("flop/s", "op/s", "FLOP/s", "OP/s", "FLOPS", "OPS")

_BYTES: dict[str, float] = {f"{p}B": s for p, s in {**_DECIMAL, **_BINARY}.items()}
_BITS_PER_SECOND = {f"{p}bit/s": s / 8 for p, s in _DECIMAL.items()}

_NUMBER = r"[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_QUANTITY = re.compile(rf"\s*([-+]?{_NUMBER}|[-+]?\.?[a-zA-Z]+)\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of quantity: the units it is written in, and the range that makes sense, in base units."""

    what: str
    example: str
    units: Mapping[str, float]
    smallest: float
    largest: float

    @property
    def pattern(self) -> str:
        """A regular expression for what people may write, for JSON Schema."""
        return rf"^\s*{_NUMBER}\s*({'|'.join(self.units)})\s*$"


SIZE = Quantity("a size", "16 GiB", _BYTES, 1, 1e18)
BANDWIDTH = Quantity(
    "a bandwidth", "256 GB/s", {**{f"{u}/s": s for u, s in _BYTES.items()}, **_BITS_PER_SECOND}, 1, 1e18
)
DURATION = Quantity("a duration", "2 us", {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}, 1e-15, 1e6)
RATE = Quantity("a rate", "138 Tflop/s", {f"{p}{u}": float(s) for p, s in _DECIMAL.items() for u in _OPS}, 1, 1e21)
ENERGY_PER_BYTE = Quantity(
    "an energy",
    "7 pJ/bit",
    {f"{p}J/{per}": s * bits for p, s in _SMALL.items() for per, bits in (("bit", 8.0), ("B", 1.0))},
    1e-21,
    1.0,
)
PRICE = Quantity("a price", "12 USD/GB", {f"USD/{u}": 1 / s for u, s in _BYTES.items()}, 1e-15, 1.0)
SHARE = Quantity("a share", "1 %", {"%": 0.01, "": 1.0}, 1e-9, 100.0)
ENERGY_PER_OP = Quantity(
    "an energy", "0.5 pJ/op", {f"{p}J/{per}": s for p, s in _SMALL.items() for per in ("op", "flop")}, 1e-21, 1.0
)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def read(text: str, quantity: Quantity) -> float:
    """The plain number, in base units, of a quantity as people write it.

    >>> read("2 us", DURATION)
    2e-06
    """
    match = _QUANTITY.fullmatch(text)
    number, unit = (match.group(1), match.group(2)) if match else ("", "")
    shown, what, example = _short(text), quantity.what, quantity.example
    try:
        value = float(number)
    except ValueError:
        raise InvalidInputError(f"{shown} is not {what}; write a number and a unit, like '{example}'") from None
    if not unit:
        raise InvalidInputError(f"{shown} has no unit; write {what} like '{example}'")
    if unit not in quantity.units:
        same = (known for known in quantity.units if known.lower() == unit.lower())
        guess = next(same, None) or nearest(unit[:20], quantity.units)
        hint = f"did you mean '{guess}'?" if guess else f"write {what} like '{example}'"
        raise InvalidInputError(f"unknown unit {_short(unit)} in {shown}; {hint}")
    scaled = value
    if math.isfinite(value):  # in decimal, so that 16.312 TB/s is 16312000000000.0 and not a little more
        scaled = float(Decimal(number) * Decimal(str(quantity.units[unit])))
    if not math.isfinite(scaled) or scaled <= 0:
        raise InvalidInputError(f"{shown} must be a positive, finite {what.split(' ', 1)[-1]}")
    if not quantity.smallest <= scaled <= quantity.largest:
        size = "large" if scaled > quantity.largest else "small"
        raise InvalidInputError(f"{shown} is absurdly {size} for {what}; check the unit")
    return scaled


def read_bytes(text: str) -> int:
    """Whole bytes of a size; a size of over 1 MB is rounded to the nearest byte.

    >>> read_bytes("520 MiB"), read_bytes("1.5 kB"), read_bytes("15.9 GiB")
    (545259520, 1500, 17072495002)
    """
    value = read(text, SIZE)
    if abs(value - round(value)) > 1e-6 * value:
        raise InvalidInputError(f"{_short(text)} is not a whole number of bytes")
    return round(value)


def read_bandwidth(text: str) -> float:
    """Bytes per second.

    >>> read_bandwidth("614 GB/s")
    614000000000.0
    """
    return read(text, BANDWIDTH)


def read_seconds(text: str) -> float:
    """Seconds of a duration.

    >>> read_seconds("2 us")
    2e-06
    """
    return read(text, DURATION)


def read_share(text: str) -> float:
    """A share, in percent or as a plain number.

    >>> read_share("1%")
    0.01
    """
    return read(text, SHARE)


def read_rate(text: str) -> float:
    """Operations per second.

    >>> read_rate("138 Tflop/s")
    138000000000000.0
    """
    return read(text, RATE)


def read_energy_per_byte(text: str) -> float:
    """Joules per byte.

    >>> read_energy_per_byte("7 pJ/B")
    7e-12
    """
    return read(text, ENERGY_PER_BYTE)


def read_energy_per_op(text: str) -> float:
    """Joules per operation.

    >>> read_energy_per_op("0.5 pJ/op")
    5e-13
    """
    return read(text, ENERGY_PER_OP)


def read_price(text: str) -> float:
    """US dollars per byte.

    >>> read_price("12 USD/GB")
    1.2e-08
    """
    return read(text, PRICE)


def _scaled(value: float, steps: list[tuple[float, str]], unit: str) -> str:
    for scale, prefix in steps:
        if abs(value) >= scale:
            return f"{value / scale:.4g} {prefix}{unit}"
    scale, prefix = steps[-1]
    return f"{value / scale:.4g} {prefix}{unit}"


def show_bytes(value: float) -> str:
    """A size for people, in decimal units.

    >>> show_bytes(13_476_831_232), show_bytes(0)
    ('13.48 GB', '0 B')
    """
    return _scaled(value, [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")], "B")


def show_bandwidth(value: float) -> str:
    """A bandwidth for people.

    >>> show_bandwidth(2.56e11)
    '256 GB/s'
    """
    return show_bytes(value) + "/s"


def show_rate(value: float) -> str:
    """A rate of operations for people.

    >>> show_rate(1.38e14)
    '138 Top/s'
    """
    return _scaled(value, [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")], "op/s")


def show_seconds(value: float) -> str:
    """A duration for people.

    >>> show_seconds(0.00458), show_seconds(0)
    ('4.58 ms', '0 s')
    """
    if value == 0:
        return "0 s"
    return _scaled(value, [(1, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n")], "s")


def show_joules(value: float) -> str:
    """An energy for people.

    >>> show_joules(0.012)
    '12 mJ'
    """
    if value == 0:
        return "0 J"
    return _scaled(value, [(1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n")], "J")


def show_price(value: float) -> str:
    """An amount of money for people, in US dollars.

    >>> show_price(1234.5), show_price(0.5)
    ('1,234 USD', '0.5 USD')
    """
    return f"{value:,.0f} USD" if value >= 1000 else f"{value:.4g} USD"
