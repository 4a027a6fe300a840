"""How a value scales when a reduction that it uses changes."""

from __future__ import annotations

from collections.abc import Mapping

from tierplan.einsum.expressions import Access, Apply, Constant, Expression, Symbol
from tierplan.einsum.statements import Einsum

# A value of degree d in (G, "exponential") is proportional to exp(d * G); in (G, "power"), to G ** d.
EXPONENTIAL = "exponential"
POWER = "power"
Degrees = dict[tuple[str, str], int]


def degrees_of(order: list[Einsum], parameters: Mapping[str, str], variable: str) -> dict[str, Degrees | None]:
    """The degrees of every tensor in the parameters that it uses along `variable`; None when it has none.

    A parameter itself is listed with the degrees of what it reduces.
    """
    found: dict[str, Degrees | None] = {}
    for e in order:
        along = variable in e.variables or variable in e.output_variables
        degrees = expression_degrees(e.expression, found, parameters) if along else {}
        if degrees and (e.filters or any(r.operator != "add" for r in e.reductions)):
            same = len(e.reductions) == 1 and e.name in parameters and not e.filters
            degrees = degrees if same else None
        found[e.name] = degrees
    return found


def expression_degrees(
    node: Expression, known: Mapping[str, Degrees | None], parameters: Mapping[str, str]
) -> Degrees | None:
    """Degrees of an expression; None when it does not scale by a factor."""
    match node:
        case Constant() | Symbol():
            return {}
        case Access():
            if any(_uses(inner, known, parameters) for inner in node.inner):
                return None
            return {(node.tensor, POWER): 1} if node.tensor in parameters else known.get(node.tensor, {})
        case Apply(operator="multiply", operands=(left, right), merge=None):
            return _sum(expression_degrees(left, known, parameters), expression_degrees(right, known, parameters), 1)
        case Apply(operator="divide", operands=(left, right), merge=None):
            return _sum(expression_degrees(left, known, parameters), expression_degrees(right, known, parameters), -1)
        case Apply(operator="negate", operands=(inner,)):
            return expression_degrees(inner, known, parameters)
        case Apply(operator="add" | "subtract", operands=(left, right), merge=None):
            first = expression_degrees(left, known, parameters)
            return first if first == expression_degrees(right, known, parameters) else None
        case Apply(operator="exp", operands=(inner,)):
            linear = _linear(inner, known, parameters)
            return None if linear is None else {(g, EXPONENTIAL): c for g, c in linear.items() if c}
        case Apply(operands=operands):
            parts = [expression_degrees(operand, known, parameters) for operand in operands]
            return {} if all(part == {} for part in parts) else None
        case _:
            return None


def _uses(access: Access, known: Mapping[str, Degrees | None], parameters: Mapping[str, str]) -> bool:
    return access.tensor in parameters or known.get(access.tensor, {}) != {}


def _sum(left: Degrees | None, right: Degrees | None, sign: int) -> Degrees | None:
    if left is None or right is None:
        return None
    total = dict(left)
    for key, degree in right.items():
        total[key] = total.get(key, 0) + sign * degree
    return {key: degree for key, degree in total.items() if degree}


def _linear(
    node: Expression, known: Mapping[str, Degrees | None], parameters: Mapping[str, str]
) -> dict[str, int] | None:
    """Coefficients c of `node` = c1*G1 + c2*G2 + ... + something that uses no parameter."""
    match node:
        case Access(tensor=tensor) if tensor in parameters and not node.inner:
            return {tensor: 1}
        case Apply(operator="negate", operands=(inner,)):
            found = _linear(inner, known, parameters)
            return None if found is None else {g: -c for g, c in found.items()}
        case Apply(operator="add" | "subtract", operands=(left, right), merge=None):
            a, b = _linear(left, known, parameters), _linear(right, known, parameters)
            if a is None or b is None:
                return None
            sign = 1 if node.operator == "add" else -1
            return {g: a.get(g, 0) + sign * b.get(g, 0) for g in {**a, **b}}
        case _:
            return {} if expression_degrees(node, known, parameters) == {} else None
