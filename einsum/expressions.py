"""Expressions of an extended Einsum: accesses to tensors, constants, rank symbols and map operators.

A *rank variable* is written in lower case (`m1`); the rank it walks, and that rank's shape, is the same
name in upper case (`M1`). An index is affine in rank variables, with shapes as coefficients (`m1*M0 + m0`),
or data-dependent (`Table[Ids[t], d]`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tierplan.einsum.operators import MERGES
from tierplan.ir.errors import InvalidInputError, unknown_name

MAX_DEPTH = 100
T = TypeVar("T")
_VARIABLE = re.compile(r"[a-z][a-z0-9_]*")
_RANK = re.compile(r"[A-Z][A-Z0-9_]*")
_RESERVED = frozenset({"and", "or", "not", "inf", "true", "false", "if"})
_TENSOR = re.compile(r"[A-Z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Position:
    """Line and column, from 1, of something in a text."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


def at(position: Position | None) -> str:
    """The beginning of a message about `position`; empty when it is unknown."""
    return f"{position}: " if position else ""


def is_variable(name: str) -> bool:
    """Whether `name` is written as a rank variable."""
    return _VARIABLE.fullmatch(name) is not None and name not in _RESERVED


def is_rank(name: str) -> bool:
    """Whether `name` is written as a rank."""
    return _RANK.fullmatch(name) is not None


def rank_of(variable: str) -> str:
    """The rank that a rank variable walks.

    >>> rank_of("m1")
    'M1'
    """
    return variable.upper()


class Expression:
    """A value per point of an iteration space; Python's arithmetic operators build larger ones."""

    __slots__ = ()

    @property
    def depth(self) -> int:
        """Height of the tree of operators."""
        return 1

    def __add__(self, other: Operand) -> Apply:
        return apply("add", self, other)

    def __radd__(self, other: Operand) -> Apply:
        return apply("add", other, self)

    def __sub__(self, other: Operand) -> Apply:
        return apply("subtract", self, other)

    def __rsub__(self, other: Operand) -> Apply:
        return apply("subtract", other, self)

    def __mul__(self, other: Operand) -> Apply:
        return apply("multiply", self, other)

    def __rmul__(self, other: Operand) -> Apply:
        return apply("multiply", other, self)

    def __truediv__(self, other: Operand) -> Apply:
        return apply("divide", self, other)

    def __rtruediv__(self, other: Operand) -> Apply:
        return apply("divide", other, self)

    def __pow__(self, other: Operand) -> Apply:
        return apply("power", self, other)

    def __neg__(self) -> Apply:
        return apply("negate", self)


@dataclass(frozen=True, slots=True)
class Constant(Expression):
    """A number or a truth value, the same at every point."""

    value: float
    position: Position | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if math.isnan(self.value):
            raise InvalidInputError("a constant cannot be NaN")
        if isinstance(self.value, int) and abs(self.value) >= 2**63:
            raise InvalidInputError("an integer constant must be smaller than 2**63")


@dataclass(frozen=True, slots=True)
class Symbol(Expression):
    """A rank variable as a number (its coordinate), or a rank as a number (its shape)."""

    name: str
    position: Position | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of an index: `coefficient * product(symbols) * of`.

    `of` is a rank variable, an access whose value is the coordinate, or None for a constant coordinate.
    """

    coefficient: int = 1
    symbols: tuple[str, ...] = ()
    of: str | Access | None = None

    def __post_init__(self) -> None:
        if tuple(sorted(self.symbols)) != self.symbols:
            object.__setattr__(self, "symbols", tuple(sorted(self.symbols)))

    @property
    def sort(self) -> int:
        """Rank variables first, then data-dependent terms, shapes, and plain numbers."""
        if self.of is None:
            return 2 if self.symbols else 3
        return 0 if isinstance(self.of, str) else 1


@dataclass(frozen=True, slots=True)
class Affine:
    """A sum of terms in canonical form: like terms merged, zeros dropped; an index, or a shape."""

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        merged: dict[tuple[str | Access | None, tuple[str, ...]], int] = {}
        for term in self.terms:
            key = (term.of, term.symbols)
            merged[key] = merged.get(key, 0) + term.coefficient
        kept = [Term(c, symbols, of) for (of, symbols), c in merged.items() if c]
        object.__setattr__(self, "terms", tuple(sorted(kept, key=lambda term: term.sort)))

    @property
    def variables(self) -> tuple[str, ...]:
        """Rank variables of the affine part, those inside data-dependent terms left out."""
        return _unique(term.of for term in self.terms if isinstance(term.of, str))

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Accesses whose values are part of the coordinate."""
        return tuple(term.of for term in self.terms if isinstance(term.of, Access))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Ranks whose shapes occur in it."""
        return _unique(symbol for term in self.terms for symbol in term.symbols)

    @property
    def variable(self) -> str | None:
        """The rank variable when the index is one and nothing else."""
        shifted = self.shifted
        return shifted[0] if shifted and shifted[1] == 0 else None

    @property
    def shifted(self) -> tuple[str, int] | None:
        """(`r`, c) when the index is `r + c`."""
        first, *rest = self.terms or (Term(),)
        if not isinstance(first.of, str) or first.coefficient != 1 or first.symbols or len(rest) > 1:
            return None
        if rest and rest[0].sort != 3:
            return None
        return first.of, rest[0].coefficient if rest else 0

    @property
    def constant(self) -> bool:
        """Whether no rank variable and no access occurs in it."""
        return all(term.of is None for term in self.terms)

    def coefficient(self, variable: str) -> int:
        """Sum of the numeric coefficients of `variable`; only its sign matters when shapes multiply it."""
        return sum(term.coefficient for term in self.terms if term.of == variable)

    def __add__(self, other: Affine) -> Affine:
        return Affine(self.terms + other.terms)

    def __mul__(self, other: Affine) -> Affine:
        """Product; at most one side may hold a rank variable or an access."""
        if not self.constant and not other.constant:
            raise InvalidInputError("an index must be affine: it multiplies two rank variables")
        return Affine(
            tuple(
                Term(a.coefficient * b.coefficient, a.symbols + b.symbols, a.of if a.of is not None else b.of)
                for a in self.terms
                for b in other.terms
            )
        )


@dataclass(frozen=True, slots=True)
class Access(Expression):
    """A tensor at an index per dimension; `outside` is its value beyond the tensor's edges.

    Without `outside`, an index that can leave the tensor is an error.
    """

    tensor: str
    indices: tuple[Affine, ...] = ()
    outside: float | None = None
    position: Position | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not _TENSOR.fullmatch(self.tensor):
            raise InvalidInputError(
                f"{at(self.position)}'{self.tensor}' cannot name a tensor; "
                "begin with an upper-case letter, then letters, digits and _"
            )
        if self.depth > MAX_DEPTH:
            raise InvalidInputError(f"{at(self.position)}indices are nested deeper than {MAX_DEPTH} levels")

    @property
    def depth(self) -> int:
        return 1 + max((inner.depth for inner in self.inner), default=0)

    @property
    def inner(self) -> tuple[Access, ...]:
        """Accesses inside its indices."""
        return tuple(access for index in self.indices for access in index.accesses)

    @property
    def variables(self) -> tuple[str, ...]:
        """Rank variables of its affine indices."""
        return _unique(variable for index in self.indices for variable in index.variables)

    def carries(self, variable: str) -> bool:
        """Whether an affine index moves with `variable`."""
        return any(variable in index.variables for index in self.indices)


@dataclass(frozen=True, slots=True)
class Apply(Expression):
    """A map operator on operands, with a merge operator where only some points are to be touched."""

    operator: str
    operands: tuple[Expression, ...]
    merge: str | None = None
    position: Position | None = field(default=None, compare=False, repr=False)
    _depth: int = field(init=False, compare=False, repr=False, default=1)

    def __post_init__(self) -> None:
        if not _VARIABLE.fullmatch(self.operator):
            raise InvalidInputError(f"{at(self.position)}'{self.operator}' cannot name an operator")
        if not self.operands:
            raise InvalidInputError(f"{at(self.position)}operator '{self.operator}' has no operands")
        if self.merge is not None and self.merge not in MERGES:
            raise InvalidInputError(f"{at(self.position)}{unknown_name('merge operator', self.merge, MERGES)}")
        if self.merge is not None and len(self.operands) != 2:
            raise InvalidInputError(
                f"{at(self.position)}merge operator '{self.merge}' joins two operands, not {len(self.operands)}"
            )
        depth = 1 + max(operand.depth for operand in self.operands)
        if depth > MAX_DEPTH:
            raise InvalidInputError(
                f"{at(self.position)}the expression is nested deeper than {MAX_DEPTH} operators; split it"
            )
        object.__setattr__(self, "_depth", depth)

    @property
    def depth(self) -> int:
        return self._depth


Operand = Expression | float


def expression(value: Operand) -> Expression:
    """`value` as an expression; numbers become constants."""
    return value if isinstance(value, Expression) else Constant(value)


def apply(operator: str, *operands: Operand, merge: str | None = None) -> Apply:
    """`operator` on `operands`.

    >>> apply("exp", Access("A") - 1.0).operator
    'exp'
    """
    return Apply(operator, tuple(expression(operand) for operand in operands), merge)


def symbol(name: str) -> Affine:
    """The index that one name spells: a rank variable, or a rank as a coordinate."""
    if is_variable(name):
        return Affine((Term(of=name),))
    if is_rank(name):
        return Affine((Term(symbols=(name,)),))
    raise InvalidInputError(f"'{name}' is neither a rank variable (lower case) nor a rank (upper case)")


def _unique(items: Iterator[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(items))


def children(node: Expression) -> tuple[Expression, ...]:
    """Direct parts: operands of an operator, data-dependent indices of an access."""
    if isinstance(node, Apply):
        return node.operands
    return node.inner if isinstance(node, Access) else ()


def walk(node: Expression) -> Iterator[Expression]:
    """`node` and everything inside it, parents first, left to right."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(reversed(children(top)))


def first_position(node: Expression) -> Position | None:
    """Where `node` begins in its text."""
    found = [
        part.position for part in walk(node) if isinstance(part, (Access, Apply, Constant, Symbol)) and part.position
    ]
    return min(found, key=lambda p: (p.line, p.column), default=None)


def accesses(node: Expression) -> Iterator[Access]:
    """Every access in `node`, those inside indices included."""
    return (part for part in walk(node) if isinstance(part, Access))


def variables(node: Expression) -> tuple[str, ...]:
    """Rank variables of `node` in order of appearance, those inside indices included."""

    def names() -> Iterator[str]:
        for part in walk(node):
            if isinstance(part, Symbol) and is_variable(part.name):
                yield part.name
            elif isinstance(part, Access):
                yield from part.variables

    return _unique(names())


def rewrite(node: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """`node` with `change` applied to every part, innermost first."""
    if isinstance(node, Apply):
        operands = tuple(rewrite(operand, change) for operand in node.operands)
        return change(node if operands == node.operands else replace(node, operands=operands))
    if isinstance(node, Access) and node.inner:
        return change(replace(node, indices=tuple(_rewrite_index(i, change) for i in node.indices)))
    return change(node)


def _rewrite_index(index: Affine, change: Callable[[Expression], Expression]) -> Affine:
    def changed(term: Term) -> Term:
        if not isinstance(term.of, Access):
            return term
        inner = rewrite(term.of, change)
        if not isinstance(inner, Access):
            raise InvalidInputError(f"the index {term.of.tensor}[...] must stay an access to a tensor")
        return replace(term, of=inner)

    return Affine(tuple(changed(term) for term in index.terms))


def substitute(node: Expression, values: dict[str, Affine]) -> Expression:
    """`node` with rank variables replaced inside every index; bare coordinates become sums."""

    def change(part: Expression) -> Expression:
        if isinstance(part, Access):
            return replace(part, indices=tuple(substitute_index(i, values) for i in part.indices))
        if isinstance(part, Symbol) and part.name in values:
            return affine_expression(values[part.name])
        return part

    return rewrite(node, change)


def substitute_index(index: Affine, values: dict[str, Affine]) -> Affine:
    """`index` with rank variables replaced; data-dependent terms are left as they are."""
    total = Affine(())
    for term in index.terms:
        if isinstance(term.of, str) and term.of in values:
            total += Affine((Term(term.coefficient, term.symbols),)) * values[term.of]
        else:
            total += Affine((term,))
    return total


def affine_expression(index: Affine) -> Expression:
    """An index as an expression of numbers, coordinates and shapes."""
    total: Expression | None = None
    for term in index.terms:
        factors: list[Expression] = [Symbol(symbol) for symbol in term.symbols]
        if term.of is not None:
            factors.append(Symbol(term.of) if isinstance(term.of, str) else term.of)
        if term.coefficient != 1 or not factors:
            factors.insert(0, Constant(term.coefficient))
        product = factors[0]
        for factor in factors[1:]:
            product = product * factor
        total = product if total is None else total + product
    return Constant(0) if total is None else total


def affine_of(node: Expression) -> Affine:
    """The index that an expression spells.

    Raises: InvalidInputError: it is not affine.
    """
    match node:
        case Constant(value=int(value)) if not isinstance(value, bool):
            return Affine((Term(value),))
        case Symbol(name=name):
            return symbol(name)
        case Access():
            return Affine((Term(of=node),))
        case Apply(operator="negate", operands=(inner,)):
            return Affine((Term(-1),)) * affine_of(inner)
        case Apply(operator="add", operands=(left, right), merge=None):
            return affine_of(left) + affine_of(right)
        case Apply(operator="subtract", operands=(left, right), merge=None):
            return affine_of(left) + Affine((Term(-1),)) * affine_of(right)
        case Apply(operator="multiply", operands=(left, right), merge=None):
            return affine_of(left) * affine_of(right)
        case _:
            position = getattr(node, "position", None)
            raise InvalidInputError(
                f"{at(position)}an index must be affine, like 2*x + r - 1 or m1*M0 + m0, or an access"
            )
