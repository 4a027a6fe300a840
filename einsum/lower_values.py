"""Arrays of a lowering, as functions of an index.

A view (a transposition, a slice, a broadcast) only changes the index, so that it costs no Einsum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tierplan.einsum.expressions import (
    Access,
    Affine,
    Apply,
    Constant,
    Expression,
    Term,
    apply,
    symbol,
)
from tierplan.ir.graph import Attribute

Shape = tuple[int, ...]

Index = tuple[Affine, ...]

Body = Callable[[Index, Index], Expression]

Points = Callable[[Index, Index], tuple[Expression, ...]]

Move = Callable[[Index], Index]

Join = Callable[[Sequence[Expression]], Expression]

Place = Callable[[Index, Index], Index]

ZERO = Affine(())

MAX_INLINE = 30


class NoLoweringError(Exception):
    """An operation has no lowering; the text says why."""


@dataclass(frozen=True, slots=True)
class Value:
    """An array of a lowering: its expression at every index.

    `tensor` is the name of the tensor that holds exactly this; `depth` counts operators that are not written as an
    Einsum yet, 0 for a view. `constant` is the number that it is everywhere.
    """

    shape: Shape
    dtype: str
    at: Callable[[Index], Expression]
    tensor: str = ""
    depth: int = 0
    constant: float | None = None

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating-point numbers."""
        return self.dtype.startswith(("float", "bfloat"))


def number(n: int) -> Affine:
    """A constant coordinate."""
    return Affine((Term(n),))


def scaled(index: Affine, by: int) -> Affine:
    """A multiple of an index."""
    return number(by) * index


def flipped(index: Affine, extent: int) -> Affine:
    """The index counted from the back of `extent` coordinates."""
    return number(extent - 1) + scaled(index, -1)


def literal(value: Attribute, dtype: str = "") -> Value:
    """A number written in the program.

    Raises: NoLoweringError: it is no number of the language.
    """
    if isinstance(value, bool):
        return Value((), "bool", lambda index: Constant(value), constant=value)
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise NoLoweringError(f"the number {value} does not fit into 64 bits")
        whole = int(value)
        return Value((), dtype or "int", lambda index: Constant(whole), constant=whole)
    if isinstance(value, float):
        real = float(value)
        if math.isnan(real):
            return Value((), dtype or "float", lambda index: not_a_number(), depth=1)
        return Value((), dtype or "float", lambda index: Constant(real), constant=real)
    raise NoLoweringError(f"the literal {value!r} is not a real number")


def not_a_number() -> Expression:
    """NaN, which the language has no constant for."""
    return Constant(math.inf) - math.inf


def view(value: Value, shape: Shape, move: Move) -> Value:
    """The same elements at other indices: `move` takes an index of the view to one of the value."""
    return Value(shape, value.dtype, lambda index: value.at(move(index)), "", value.depth, value.constant)


def elementwise(operator: Join, dtype: str, *operands: Value) -> Value:
    """`operator` on operands of one shape, and scalars; an axis of extent 1 goes with any other."""
    shaped = [operand.shape for operand in operands if operand.shape]
    shape = tuple(max(extents) for extents in zip(*shaped, strict=True))
    depth = 1 + max((operand.depth for operand in operands), default=0)

    def own(index: Index, operand: Value) -> Index:
        if operand.shape in (shape, ()):
            return index if operand.shape else ()
        return tuple(ZERO if n == 1 else i for i, n in zip(index, operand.shape, strict=True))

    def at(index: Index) -> Expression:
        return operator([operand.at(own(index, operand)) for operand in operands])

    return Value(shape, dtype, at, depth=depth)


def placeholders(shape: Shape) -> Index:
    """An index of plain rank variables, `o0` along the first axis, and so on."""
    return tuple(symbol(f"o{n}") for n in range(len(shape)))


def coordinate(at: Access | int) -> Affine:
    """A number or a scalar tensor as an index."""
    return number(at) if isinstance(at, int) else Affine((Term(of=at),))


def clamped(value: Expression, low: Expression | float, high: Expression | float) -> Apply:
    """`value`, but at least `low` and at most `high`."""
    return apply("min", apply("max", value, low), high)
