"""The trip count of a counting `while`, where the program itself gives start, bound and step."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any

from jax.extend import core

from tierplan.frontend.jaxpr_block import Literal, Source

_COMPARISONS = {"lt", "le", "gt", "ge"}
_MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


def constant_trips(
    condition: Any, body: Any, consts: Sequence[Source], n_body: int, initial: Sequence[Source]
) -> int | None:
    """Turns of `while (counter < bound) counter += step` with literal numbers; None where it is anything else."""
    if len(condition.eqns) != 1 or condition.eqns[0].primitive.name not in _COMPARISONS:
        return None
    test = condition.eqns[0]
    if list(condition.outvars) != list(test.outvars):
        return None
    kind, (left, right) = test.primitive.name, test.invars
    if _fixed(left, condition, body, consts, n_body, initial) is not None:
        kind, left, right = _MIRRORED[kind], right, left
    bound = _fixed(right, condition, body, consts, n_body, initial)
    if bound is None or isinstance(left, core.Literal):
        return None
    position = condition.invars.index(left) - len(consts)
    if position < 0:
        return None
    start, step = _number(initial[position]), _step(body, n_body + position, position)
    if start is None or step is None:
        return None
    if kind in ("gt", "ge"):
        start, bound, step = -start, -bound, -step
    distance = bound - start + (kind in ("le", "ge"))
    if distance <= 0:
        return 0
    return -(-distance // step) if step > 0 else None


def _number(source: Source) -> int | None:
    value = source.value if isinstance(source, Literal) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _integer(number: Any) -> int | None:
    kind = getattr(getattr(number, "dtype", None), "kind", "i" if isinstance(number, int) else "")
    return int(number) if kind in ("i", "u") and not getattr(number, "shape", ()) else None


def _fixed(
    atom: Any, condition: Any, body: Any, consts: Sequence[Source], n_body: int, initial: Sequence[Source]
) -> int | None:
    """The number that an operand of the test has in every turn."""
    if isinstance(atom, core.Literal):
        return _integer(atom.val)
    if atom not in condition.invars:
        return None
    position = condition.invars.index(atom) - len(consts)
    if position < 0:
        return _number(consts[position + len(consts)])
    passed_on = body.outvars[position] is body.invars[n_body + position]
    return _number(initial[position]) if passed_on else None


def _step(body: Any, place_in: int, place_out: int) -> int | None:
    counter = body.invars[place_in]
    for equation in body.eqns:
        if body.outvars[place_out] not in equation.outvars or equation.primitive.name not in ("add", "sub"):
            continue
        left, right = equation.invars
        if equation.primitive.name == "add" and right is counter:
            left, right = right, left
        if left is counter and isinstance(right, core.Literal):
            by = _integer(right.val)
            return by if by is None or equation.primitive.name == "add" else -by
    return None
