"""Shapes as XLA writes them: `f32[8,128]{1,0:T(8,128)}`, tuples of them, tokens."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError, nearest

_DTYPES = {
    "pred": "bool", "token": "bool", "opaque": "bool",
    "s2": "int2", "s4": "int4", "s8": "int8", "s16": "int16", "s32": "int32", "s64": "int64",
    "u2": "uint2", "u4": "uint4", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
    "s1": "int2", "u1": "uint2",
    "bf16": "bfloat16", "f16": "float16", "f32": "float32", "f64": "float64", "c64": "complex64", "c128": "complex128",
    "f4e2m1fn": "float4_e2m1fn", "f8e5m2": "float8_e5m2", "f8e5m2fnuz": "float8_e5m2",
    "f8e4m3fn": "float8_e4m3fn", "f8e4m3": "float8_e4m3fn", "f8e4m3b11fnuz": "float8_e4m3fn",
    "f8e4m3fnuz": "float8_e4m3fn", "f8e3m4": "float8_e4m3fn", "f8e8m0fnu": "float8_e4m3fn",
}  # fmt: skip
"""Element types. A variant of the same width stands for those that the planner does not tell apart."""

_EMPTY = frozenset(("token", "opaque"))
_MOST_BYTES = 2**62
_DEEPEST = 64
_TIDY = re.compile(r"([a-z][a-z0-9]*)\[([0-9,<=? ]*)\](?:\{([^{}]*)\})?")
_PACKED = re.compile(r"E\((\d+)\)")


@dataclass(frozen=True, slots=True)
class HloShape:
    """An array with its extents and its axes from the fastest to the slowest, or a tuple of shapes.

    `dtype` is empty for a tuple. `bits` is the width of one element in memory, where a sub-byte type may be packed.
    """

    dtype: str
    extents: tuple[int, ...] = ()
    minor_to_major: tuple[int, ...] = ()
    bits: int = 0
    elements: "tuple[HloShape, ...]" = ()

    @property
    def is_tuple(self) -> bool:
        """Whether it is a tuple."""
        return not self.dtype

    @property
    def n_elements(self) -> int:
        """Number of elements of an array."""
        return math.prod(self.extents)

    @property
    def n_bytes(self) -> int:
        """Bytes of the array, or of the table of pointers that a tuple is."""
        return 8 * len(self.elements) if self.is_tuple else -(-self.n_elements * self.bits // 8)

    @property
    def is_nothing(self) -> bool:
        """Whether it takes no memory: a token."""
        return not self.is_tuple and self.bits == 0

    def leaves(self, index: tuple[int, ...] = ()) -> "Iterator[tuple[tuple[int, ...], HloShape]]":
        """Yield the arrays inside, each with its path."""
        if not self.is_tuple:
            yield index, self
        for i, element in enumerate(self.elements):
            yield from element.leaves((*index, i))

    def places(self, index: tuple[int, ...] = ()) -> "Iterator[tuple[tuple[int, ...], HloShape]]":
        """Yield the arrays and the tuples inside, each with its path, outermost first."""
        yield index, self
        for i, element in enumerate(self.elements):
            yield from element.places((*index, i))


def read_shape(text: str, start: int = 0, depth: int = 0) -> tuple[HloShape, int]:
    """The shape that begins at `start`, and where the text goes on.

    >>> read_shape("(f32[2,3]{1,0}, s32[])")[0].elements[0].extents
    (2, 3)

    Raises: InvalidInputError: it is none, or names an element type or a size that cannot be.
    """
    if text.startswith("(", start):
        return _tuple(text, start, depth)
    found = _TIDY.match(text, start)
    if found is None:
        raise InvalidInputError(f"expected a shape like f32[8,128], found '{text[start : start + 40]}'")
    name, extents, layout = found.groups()
    if name not in _DTYPES:
        guess = nearest(name, _DTYPES)
        raise InvalidInputError(f"unknown element type '{name}'" + (f"; did you mean '{guess}'?" if guess else ""))
    return _array(name, extents, layout or ""), found.end()


def _tuple(text: str, start: int, depth: int) -> tuple[HloShape, int]:
    if depth >= _DEEPEST:
        raise InvalidInputError(f"tuples are nested more than {_DEEPEST} deep")
    elements: list[HloShape] = []
    place = start + 1
    while True:
        while text.startswith((" ", ","), place):
            place += 1
        if text.startswith(")", place):
            return HloShape("", elements=tuple(elements)), place + 1
        element, place = read_shape(text, place, depth + 1)
        elements.append(element)


def _array(name: str, extents: str, layout: str) -> HloShape:
    try:
        sizes = tuple(int(extent.strip(" <=")) for extent in extents.split(",")) if extents.strip() else ()
    except ValueError:
        raise InvalidInputError(f"shape {name}[{extents[:60]}] has an extent that is not a number") from None
    order, _, tiling = layout.partition(":")
    try:
        axes = tuple(int(axis) for axis in order.split(",")) if order.strip() else tuple(reversed(range(len(sizes))))
    except ValueError:
        axes = ()
    if sorted(axes) != list(range(len(sizes))):
        raise InvalidInputError(f"layout {{{layout[:60]}}} does not order the {len(sizes)} axes of {name}[{extents}]")
    dtype = _DTYPES[name]
    packed = _PACKED.search(tiling) if "E(" in tiling else None
    bits = int(packed.group(1)) if packed else max(8, BITS[dtype])
    if name in _EMPTY:
        bits = 0
    if bits > 128 or math.prod(sizes) * max(bits, 8) // 8 >= _MOST_BYTES:
        raise InvalidInputError(f"shape {name}[{extents[:60]}] takes more than 2**62 bytes")
    return HloShape(dtype, sizes, axes, bits)
