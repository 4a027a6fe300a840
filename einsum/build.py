"""What the parser makes of each rule of the grammar, innermost first, so that no recursion is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lark import Token, Transformer

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import (
    Access,
    Affine,
    Apply,
    Constant,
    Expression,
    Position,
    Symbol,
    affine_of,
    at,
    first_position,
    rewrite,
    walk,
)
from tierplan.einsum.operators import INFIX
from tierplan.einsum.statements import Declaration, Einsum, OperatorDefinition, RankShape, Reduction
from tierplan.ir.errors import InvalidInputError, unknown_name


@dataclass(frozen=True, slots=True)
class _Named:
    """A statement's kind, beside what it holds."""

    kind: str
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Index:
    """An index with the filter that was written beside it."""

    index: Affine
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class _Reduced:
    """A reduction and what it is written before."""

    reduction: Reduction
    body: Any


@dataclass(frozen=True, slots=True)
class Statements:
    """Everything that a text states, in its order."""

    items: tuple[object, ...]

    def _all(self, kind: str) -> Iterator[Any]:
        return (x for s in self.items if isinstance(s, _Named) and s.kind == kind for x in s.items)

    def cascade(self) -> Cascade:
        """The cascade, with bare names of scalar tensors told from those of ranks."""
        names = list(self._all("header"))
        if len(names) > 1:
            raise InvalidInputError(f"{at(names[1][1])}the cascade is named twice")
        einsums = tuple(s for s in self.items if isinstance(s, Einsum))
        init = tuple(self._all("init"))
        outputs: list[Declaration] = list(self._all("outputs"))
        declared = [*self._all("inputs"), *self._all("tensors")]
        declared += [o for o in outputs if o.shape or o.empty != 0]
        written = {e.name for e in (*init, *einsums)}
        for output in outputs:
            if output.name not in written:
                raise InvalidInputError(f"{at(output.position)}{unknown_name('output', output.name, written)}")
        ranks = tuple(self._all("ranks"))
        scalars = _scalars((*init, *einsums), declared, ranks)
        fix = _scalar_fixer(scalars)
        return Cascade(
            einsums=tuple(_fixed(e, fix) for e in einsums),
            init=tuple(_fixed(e, fix) for e in init),
            stops=tuple(rewrite(s, fix) for s in self._all("stop")),
            ranks=ranks,
            tensors=tuple(declared),
            operators=tuple(self._all("operator")),
            outputs=tuple(dict.fromkeys(o.name for o in outputs)),
            name=names[0][0] if names else "",
        )


def _scalars(einsums: tuple[Einsum, ...], declared: list[Declaration], ranks: tuple[RankShape, ...]) -> set[str]:
    scalars = {e.name for e in einsums if not e.output.indices}
    scalars |= {d.name for d in declared if not d.shape}
    scalars |= {a.tensor for e in einsums for a in e.reads if not a.indices}
    known = {r.name for r in ranks} | {s for d in declared for extent in d.shape for s in extent.symbols}
    for einsum in einsums:
        roots = (einsum.expression, *einsum.filters)
        for node in (n for root in roots for n in walk(root)):
            if isinstance(node, Symbol) and node.name in scalars and node.name in known:
                raise InvalidInputError(
                    f"{at(node.position)}{node.name} is both a scalar tensor and a rank; "
                    f"write {node.name}[] for the tensor, or rename one"
                )
    return scalars


def _scalar_fixer(scalars: set[str]) -> Callable[[Expression], Expression]:
    def fix(node: Expression) -> Expression:
        if isinstance(node, Symbol) and node.name in scalars:
            return Access(node.name, (), position=node.position)
        return node

    return fix


def _fixed(einsum: Einsum, fix: Callable[[Expression], Expression]) -> Einsum:
    return replace(
        einsum,
        expression=rewrite(einsum.expression, fix),
        filters=tuple(rewrite(condition, fix) for condition in einsum.filters),
    )


def _position(token: Token) -> Position:
    return Position(token.line or 1, token.column or 1)


def _number(token: Token) -> float:
    text = str(token)
    named: dict[str, float] = {"inf": float("inf"), "true": True, "false": False}
    if text in named:
        return named[text]
    if len(text) > 400:
        raise InvalidInputError(f"{at(_position(token))}a number of {len(text)} characters is too long")
    return int(text) if text.isdigit() else float(text)


def _affine(node: Expression) -> Affine:
    """The index that `node` spells; an error says where it begins."""
    try:
        return affine_of(node)
    except InvalidInputError as error:
        where = "" if str(error).startswith("line") else at(first_position(node))
        raise InvalidInputError(f"{where}{error}") from None


def _merge_name(merge: Token | None) -> str | None:
    return None if merge is None else str(merge)


class Build(Transformer[Token, Any]):
    """One method per rule; children arrive built."""

    def start(self, items: list[Any]) -> Statements:
        return Statements(tuple(items))

    def just_einsum(self, items: list[Any]) -> Einsum:
        return items[0]

    def just_index(self, items: list[Any]) -> Expression:
        return items[0]

    def header(self, items: list[Any]) -> _Named:
        return _Named("header", ((str(items[0]), _position(items[0])),))

    def inputs(self, items: list[Any]) -> _Named:
        return _Named("inputs", tuple(replace(d, is_input=True) for d in items))

    def tensors(self, items: list[Any]) -> _Named:
        return _Named("tensors", tuple(items))

    def outputs(self, items: list[Any]) -> _Named:
        return _Named("outputs", tuple(items))

    def declaration(self, items: list[Any]) -> Declaration:
        name, shape, empty = items
        return Declaration(str(name), shape or (), empty=0 if empty is None else empty, position=_position(name))

    def shape(self, items: list[Any]) -> tuple[Affine, ...]:
        return tuple(_affine(item) for item in items if item is not None)

    def ranks(self, items: list[Any]) -> _Named:
        return _Named("ranks", tuple(items))

    def rank(self, items: list[Any]) -> RankShape:
        name, extent = items
        return RankShape(str(name), extent, _position(name))

    def operator(self, items: list[Any]) -> _Named:
        name, parameters, identity, body = items
        return _Named("operator", (OperatorDefinition(str(name), parameters, body, identity, _position(name)),))

    def parameters(self, items: list[Any]) -> tuple[str, ...]:
        return tuple(str(item) for item in items)

    def init(self, items: list[Any]) -> _Named:
        return _Named("init", tuple(item for item in items if item is not None))

    def stop(self, items: list[Any]) -> _Named:
        return _Named("stop", tuple(items))

    def einsum(self, items: list[Any]) -> Einsum:
        (output, beside), body, filters = items
        reductions: list[Reduction] = []
        while isinstance(body, _Reduced):
            reductions.append(body.reduction)
            body = body.body
        value, inner = _lift(body)
        lifted: list[Expression] = list(beside) + inner
        for condition in filters or ():
            plain, more = _lift(condition)
            lifted += [*more, plain]
        return Einsum(output, value, tuple(reductions), tuple(lifted), output.position)

    def output(self, items: list[Any]) -> tuple[Access, tuple[Expression, ...]]:
        name, indices = items
        found = tuple(indices or ())
        access = Access(str(name), tuple(i.index for i in found), position=_position(name))
        return access, tuple(i.condition for i in found if i.condition is not None)

    def reduced_body(self, items: list[Any]) -> _Reduced:
        return _Reduced(*items)

    def reduction(self, items: list[Any]) -> Reduction:
        name, over, into = items
        try:
            return Reduction(str(name), over, None if into is None else str(into))
        except InvalidInputError as error:
            raise InvalidInputError(f"{at(_position(name))}{error}") from None

    def reduced(self, items: list[Any]) -> tuple[str, ...]:
        return tuple(str(item) for item in items)

    def filters(self, items: list[Any]) -> tuple[Expression, ...]:
        return tuple(items)

    def infix(self, items: list[Any]) -> Apply:
        left, sign, merge, right = items
        return Apply(INFIX[str(sign)], (left, right), _merge_name(merge), _position(sign))

    def chain(self, items: list[Any]) -> Apply:
        links = [self.infix(items[n : n + 4]) for n in range(0, len(items) - 1, 3)]
        joined = links[0]
        for link in links[1:]:
            joined = Apply("and", (joined, link), None, link.position)
        return joined

    def prefix(self, items: list[Any]) -> Expression:
        sign, operand = items
        if str(sign) == "not":
            return Apply("not", (operand,), None, _position(sign))
        if isinstance(operand, Constant) and not isinstance(operand.value, bool):
            return Constant(operand.value if str(sign) == "+" else -operand.value, _position(sign))
        return operand if str(sign) == "+" else Apply("negate", (operand,), None, _position(sign))

    def number_literal(self, items: list[Any]) -> Constant:
        try:
            return Constant(_number(items[0]), _position(items[0]))
        except InvalidInputError as error:
            raise InvalidInputError(f"{at(_position(items[0]))}{error}") from None

    def number(self, items: list[Any]) -> float:
        value = _number(items[-1])
        return -value if len(items) == 2 and items[0] is not None and str(items[0]) == "-" else value

    def symbol(self, items: list[Any]) -> Symbol:
        return Symbol(str(items[0]), _position(items[0]))

    def call(self, items: list[Any]) -> Apply:
        name, merge, *operands = items
        return Apply(str(name), tuple(operands), _merge_name(merge), _position(name))

    def merge(self, items: list[Any]) -> Token:
        return items[0]

    def access(self, items: list[Any]) -> Expression:
        name, indices, outside = items
        access = Access(str(name), tuple(i.index for i in indices), outside, _position(name))
        conditions = tuple(i.condition for i in indices if i.condition is not None)
        return _Filtered(access, conditions) if conditions else access

    def indices(self, items: list[Any]) -> tuple[_Index, ...]:
        return tuple(item for item in items if item is not None)

    def index(self, items: list[Any]) -> _Index:
        return _Index(_affine(items[0]), items[1])


@dataclass(frozen=True, slots=True)
class _Filtered(Expression):
    """An access with filters in its brackets, until they are lifted to their Einsum."""

    access: Access
    conditions: tuple[Expression, ...]


def _lift(node: Expression) -> tuple[Expression, list[Expression]]:
    """`node` without filters in brackets, and those filters."""
    found: list[Expression] = []

    def change(part: Expression) -> Expression:
        if not isinstance(part, _Filtered):
            return part
        for condition in part.conditions:
            plain, more = _lift(condition)
            found.extend([*more, plain])
        return part.access

    return rewrite(node, change), found
