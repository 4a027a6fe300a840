"""Einsums written in Python: short constructors for accesses and Einsums.

>>> z = einsum(access("Z", "m", "n"), access("A", "k", "m") * access("B", "k", "n"))
>>> z.reduced_variables
('k',)
"""

from __future__ import annotations

from tierplan.einsum.expressions import (
    Access,
    Affine,
    Expression,
    Operand,
    Term,
    expression,
    is_rank,
    is_variable,
    symbol,
)
from tierplan.einsum.parse import parse_index
from tierplan.einsum.statements import Declaration, Einsum, Reduction


def index(value: str | int | Affine | Access) -> Affine:
    """An index from text, a number (a constant coordinate) or an access (a data-dependent one).

    >>> index("m").variable, index("m1*M0 + m0").variables, index(3).constant
    ('m', ('m1', 'm0'), True)
    """
    if isinstance(value, Affine):
        return value
    if isinstance(value, Access):
        return Affine((Term(of=value),))
    if isinstance(value, int):
        return Affine((Term(value),))
    return symbol(value) if is_variable(value) or is_rank(value) else parse_index(value)


def access(tensor: str, *indices: str | int | Affine | Access, outside: float | None = None) -> Access:
    """`tensor` at `indices`.

    >>> access("E", access("Ids", "t"), "d").variables
    ('d',)
    """
    return Access(tensor, tuple(index(value) for value in indices), outside)


def declare(tensor: str, *shape: str | int | Affine, empty: float = 0, is_input: bool = True) -> Declaration:
    """A declaration, of an input unless said otherwise.

    >>> declare("K", "E", "M1*M0").is_input
    True
    """
    return Declaration(tensor, tuple(index(extent) for extent in shape), is_input, empty)


def einsum(output: Access, value: Operand, reduce: str = "add", filters: tuple[Expression, ...] = ()) -> Einsum:
    """An Einsum whose missing rank variables are all reduced by one operator.

    >>> einsum(access("GM", "p"), access("QK", "m", "p"), reduce="max").reductions
    (Reduction(operator='max', over=('m',), into=None),)
    """
    body = expression(value)
    plain = Einsum(output, body, (), filters)
    over = plain.reduced_variables
    return Einsum(output, body, (Reduction(reduce, over),), filters) if over else plain
