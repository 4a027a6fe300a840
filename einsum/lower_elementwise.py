"""Elementwise primitives of traced programs as map operators.

Assumes: numbers are exact: conversions between floating types, and rounding to a narrower one, change nothing; whole
numbers do not overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from tierplan.einsum.expressions import Constant, Expression, Symbol, apply
from tierplan.einsum.lower_values import Join, NoLoweringError, Value, elementwise
from tierplan.einsum.lower_writer import Writer
from tierplan.einsum.statements import OperatorDefinition
from tierplan.ir.graph import Attribute

Parameters: TypeAlias = "Mapping[str, Attribute]"
Lower: TypeAlias = "Callable[[Writer, Parameters, Sequence[Value]], Sequence[Value]]"

_SAME_NAME = (
    "add", "max", "min", "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "tanh",
    "erf", "floor", "ceil", "sign",
)  # fmt: skip
_RENAMED = {
    "add_any": "add", "sub": "subtract", "mul": "multiply", "neg": "negate", "pow": "power",
    "atan2": "arctan2", "logistic": "sigmoid",
}  # fmt: skip
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
    "lt_to": "less", "le_to": "less_equal", "eq_to": "equal",
}  # fmt: skip

_a, _b = Symbol("a"), Symbol("b")
_QUOTIENT = OperatorDefinition(
    "quotient",
    ("a", "b"),
    apply("sign", _a) * apply("sign", _b) * apply("floor_divide", apply("abs", _a), apply("abs", _b)),
)
_REMAINDER = OperatorDefinition(
    "rest", ("a", "b"), apply("sign", _a) * apply("remainder", apply("abs", _a), apply("abs", _b))
)
_ROUND = OperatorDefinition("round_away", ("a",), apply("sign", _a) * apply("floor", apply("abs", _a) + 0.5))
LOG_ADD_EXP = OperatorDefinition(
    "log_add_exp",
    ("a", "b"),
    apply("max", _a, _b) + apply("log1p", apply("exp", apply("negate", apply("abs", _a - _b)))),
)

# Primitives that become operators of the same meaning without a body: `lower_functions` runs them.
_FUNCTIONS = (
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "cosh", "sinh", "erfc", "erf_inv", "lgamma", "digamma",
    "nextafter",
)  # fmt: skip
_BITWISE = {
    "and": "bit_and", "or": "bit_or", "xor": "bit_xor", "not": "bit_not", "shift_left": "shift_left",
    "shift_right_logical": "shift_right_logical", "shift_right_arithmetic": "shift_right_arithmetic",
    "population_count": "population_count", "clz": "leading_zeros",
}  # fmt: skip
_LOGICAL = {"and": "and", "or": "or", "not": "not", "xor": "not_equal"}


def _dtype(operands: Sequence[Value]) -> str:
    """The type of an operation on operands of one type; numbers written in the program take the others'."""
    kinds = [operand.dtype for operand in operands if operand.dtype not in ("int", "float")]
    return kinds[0] if kinds else operands[0].dtype


def _map(operator: str) -> Lower:
    def lower(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
        return [elementwise(lambda parts: apply(operator, *parts), _dtype(operands), *operands)]

    return lower


def _compare(operator: str) -> Lower:
    def lower(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
        return [elementwise(lambda parts: apply(operator, *parts), "bool", *operands)]

    return lower


def _function(name: str) -> Lower:
    def lower(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
        own = writer.defined(OperatorDefinition(name, ("a", "b")[: len(operands)]))
        return [elementwise(lambda parts: apply(own, *parts), _dtype(operands), *operands)]

    return lower


def _own(definition: OperatorDefinition) -> Lower:
    def lower(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
        own = writer.defined(definition)
        return [elementwise(lambda parts: apply(own, *parts), _dtype(operands), *operands)]

    return lower


def _bits(primitive: str) -> Lower:
    """Truth values are joined by logic, whole numbers bit by bit."""

    def lower(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
        dtype = _dtype(operands)
        if dtype == "bool" and primitive in _LOGICAL:
            return _map(_LOGICAL[primitive])(writer, parameters, operands)
        if not dtype.startswith(("int", "uint")):
            raise NoLoweringError(f"{primitive} on {dtype}")
        own = writer.defined(OperatorDefinition(_BITWISE[primitive], ("a", "b")[: len(operands)]))
        return [elementwise(lambda parts: apply("int", apply(own, *parts)), dtype, *operands)]

    return lower


def _divide(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    dtype = _dtype(operands)
    whole = dtype.startswith(("int", "uint"))
    return (_own(_QUOTIENT) if whole else _map("divide"))(writer, parameters, operands)


def _round(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    even = parameters.get("rounding_method") == "TO_NEAREST_EVEN"
    return (_map("round") if even else _own(_ROUND))(writer, parameters, operands)


def _power(exponent: float) -> Join:
    return lambda parts: apply("power", parts[0], exponent)


def _integer_pow(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    exponent = parameters["y"]
    assert isinstance(exponent, int)
    return [elementwise(_power(int(exponent)), operands[0].dtype, *operands)]


def _square(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    return [elementwise(_power(2), operands[0].dtype, *operands)]


def _exp2(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    return [elementwise(lambda parts: apply("power", 2.0, *parts), operands[0].dtype, *operands)]


def _is_finite(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    return [elementwise(lambda parts: apply("less", apply("abs", *parts), math.inf), "bool", *operands)]


def _clamp(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    low, x, high = operands
    value = elementwise(lambda parts: apply("max", parts[0], apply("min", *parts[1:])), x.dtype, low, x, high)
    return [Value(x.shape, x.dtype, value.at, depth=value.depth)]


def _select(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    which, *cases = operands
    dtype = _dtype(cases)

    def choose(given: Sequence[Expression]) -> Expression:
        at, *parts = given
        if which.dtype == "bool":
            return apply("where", at, parts[1], parts[0])
        chosen = parts[-1]
        for number in reversed(range(len(parts) - 1)):
            chosen = apply("where", apply("equal", at, number), parts[number], chosen)
        return chosen

    value = elementwise(choose, dtype, which, *cases)
    return [Value(cases[0].shape, dtype, value.at, depth=value.depth)]


def _convert(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    (value,) = operands
    target = str(parameters["new_dtype"])
    if "complex" in (target[:7], value.dtype[:7]):
        raise NoLoweringError("complex numbers")
    if target == "bool" and value.dtype != "bool":
        return [elementwise(lambda parts: apply("not_equal", *parts, 0), target, value)]
    to_float = target.startswith(("float", "bfloat"))
    if (to_float == value.is_float and value.dtype != "bool") or value.dtype == target:
        return [Value(value.shape, target, value.at, value.tensor, value.depth, value.constant)]
    if value.constant is not None:
        constant = float(value.constant) if to_float else int(value.constant)
        return [Value(value.shape, target, lambda index: Constant(constant), constant=constant)]
    return [elementwise(lambda parts: apply("float" if to_float else "int", *parts), target, value)]


def _same(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    return [operands[0]]


ELEMENTWISE: dict[str, Lower] = {
    **{name: _map(name) for name in _SAME_NAME},
    **{name: _map(operator) for name, operator in _RENAMED.items()},
    **{name: _compare(operator) for name, operator in _COMPARISONS.items()},
    **{name: _function(name) for name in _FUNCTIONS},
    **{name: _bits(name) for name in _BITWISE},
    "div": _divide,
    "rem": _own(_REMAINDER),
    "round": _round,
    "integer_pow": _integer_pow,
    "square": _square,
    "exp2": _exp2,
    "is_finite": _is_finite,
    "clamp": _clamp,
    "select_n": _select,
    "convert_element_type": _convert,
    "reduce_precision": _same,
    "copy": _same,
    "copy_p": _same,
}
"""How each elementwise primitive is lowered."""
