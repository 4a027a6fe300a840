"""Cascades written Einsum by Einsum.

Rank variables follow the data: an axis that two tensors share is one rank in both, wherever one Einsum reads them
at the same variable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import (
    Access,
    Affine,
    Constant,
    Expression,
    Term,
    accesses,
    apply,
    rank_of,
    substitute,
    substitute_index,
    symbol,
    variables,
)
from tierplan.einsum.lower_values import Body, Index, NoLoweringError, Place, Points, Shape, Value, number, placeholders
from tierplan.einsum.statements import Declaration, Einsum, OperatorDefinition, RankShape, Reduction


class Writer:
    """A cascade while it is written.

    Inside a loop every tensor that is written has the loop's rank variable as its first index; `carried` inputs of
    the loop body are iterative tensors.
    """

    def __init__(self, loop: int | None = None) -> None:
        self.extents: dict[str, int] = {}
        self._dims: dict[str, list[str | None]] = {}
        self._shapes: dict[str, Shape] = {}
        self._inputs: list[str] = []
        self._tensors: dict[str, float] = {}
        self._init: list[Einsum] = []
        self._einsums: list[Einsum] = []
        self._operators: dict[str, OperatorDefinition] = {}
        self._named: dict[str, int] = {}
        self.turn: Affine | None = None
        if loop is not None:
            self.extents["T"] = loop
            self.turn = symbol("t")

    def name(self, wanted: str) -> str:
        """A tensor's name that is not taken: `wanted` with its words run together, and a number."""
        words = "".join(ch if ch.isalnum() else " " for ch in wanted).split()
        base = "".join(word[:1].upper() + word[1:] for word in words) or "V"
        base = base if base[0].isalpha() else f"V{base}"
        if len(base) == 1:
            base += "v"
        self._named[base] = self._named.get(base, -1) + 1
        return f"{base}{self._named[base]}"

    def read(self, name: str, shape: Shape, dtype: str) -> Value:
        """Declare an input."""
        if 0 in shape:
            raise NoLoweringError("an operand has no elements")
        if name not in self._dims:
            self._inputs.append(name)
            self._dims[name], self._shapes[name] = [None] * len(shape), shape
        return Value(shape, dtype, lambda index: Access(name, index), name)

    def defined(self, operator: OperatorDefinition) -> str:
        """Add a user-defined operator; returns its name."""
        self._operators[operator.name] = operator
        return operator.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Inputs so far, in order of declaration."""
        return tuple(self._inputs)

    def einsum(
        self,
        name: str,
        shape: Shape,
        dtype: str,
        body: Body,
        *,
        over: Shape = (),
        operator: str = "add",
        into: bool = False,
        filters: Points | None = None,
        place: Place | None = None,
        size: Shape | None = None,
        empty: float = 0,
        init: bool = False,
        turn: Affine | None = None,
    ) -> Value:
        """Write an Einsum over output axes of extents `shape` and reduced axes of extents `over`.

        `place` says where a point is written in a tensor of shape `size`; without it, at its own index. With `into`
        the last output axis is the one that the reduction populates. `turn` is the coordinate of the loop that is
        written, where it is not the present one.

        Raises: NoLoweringError: an extent is 0.
        """
        if 0 in (*shape, *over):
            raise NoLoweringError("the result has no elements")
        kept = [f"o{n}" for n in range(len(shape))]
        reduced = [f"r{n}" for n in range(len(over))]
        outs, ins = tuple(map(symbol, kept)), tuple(map(symbol, reduced))
        conditions = filters(outs, ins) if filters else ()
        written = outs if place is None else place(outs, ins)
        used = {v for index in written for access in index.accesses for v in variables(access)}
        used |= {v for condition in conditions for v in variables(condition)}
        expression, reduced = _over_all(body(outs, ins), dict(zip(reduced, over, strict=True)), operator, used)
        extents = dict(zip((*kept, *reduced), (*shape, *(over[int(r[1:])] for r in reduced)), strict=True))
        parts = (expression, *conditions, *(a for index in written for a in index.accesses))
        renamed = self._ranks(extents, [access for part in parts for access in accesses(part)])
        values = {old: symbol(new) for old, new in renamed.items()}
        prefix: Index = () if self.turn is None else (turn if turn is not None else self.turn,)
        output = Access(name, (*prefix, *(_renamed(index, values) for index in written)))
        reductions: tuple[Reduction, ...] = ()
        if reduced:
            last = renamed[kept[-1]] if into else None
            reductions = (Reduction(operator, tuple(renamed[r] for r in reduced), last),)
        result = Einsum(
            output, substitute(expression, values), reductions, tuple(substitute(c, values) for c in conditions)
        )
        (self._init if init else self._einsums).append(result)
        self._declare(name, output, shape if size is None else size, result, size is not None or empty != 0, empty)
        start = (self.turn,) if self.turn is not None else ()
        if turn is not None:
            start = (turn,)
        made = shape if size is None else size
        return Value(made, dtype, lambda index: Access(name, (*start, *index)), "" if start else name)

    def _ranks(self, extents: dict[str, int], reads: Sequence[Access]) -> dict[str, str]:
        """A rank variable for each placeholder: that of a dimension it walks, else a new one."""
        renamed: dict[str, str] = {}
        for access in reads:
            for dimension, index in enumerate(access.indices):
                known = self._dims.get(access.tensor, ())
                rank = known[dimension] if dimension < len(known) else None
                free = index.variable in extents and index.variable not in renamed
                if index.variable is None or rank is None or not free:
                    continue
                variable = rank.lower()
                if variable not in renamed.values() and self.extents[rank] == extents[index.variable]:
                    renamed[index.variable] = variable
        for placeholder, extent in extents.items():
            if placeholder not in renamed:
                rank = f"D{len(self.extents)}"
                self.extents[rank] = extent
                renamed[placeholder] = rank.lower()
        return renamed

    def _declare(self, name: str, output: Access, size: Shape, written: Einsum, declared: bool, empty: float) -> None:
        """Remember the tensor, and which rank walks each dimension that the Einsum touches."""
        if name not in self._dims:
            self._dims[name], self._shapes[name] = [None] * len(output.indices), size
        for access in (output, *written.reads):
            known = self._dims.get(access.tensor)
            if known is None:
                continue
            offset = len(known) - len(self._shapes[access.tensor])
            for dimension, index in enumerate(access.indices):
                variable = index.variable
                if variable is None or dimension < offset or known[dimension] is not None:
                    continue
                if self._shapes[access.tensor][dimension - offset] == self.extents[rank_of(variable)]:
                    known[dimension] = rank_of(variable)
        if declared:
            self._tensors[name] = empty

    def written(self, name: str, value: Value) -> Value:
        """The value in a tensor of its own."""
        return self.einsum(name, value.shape, value.dtype, lambda index, _: value.at(index))

    def solid(self, value: Value, name: str = "Copy") -> Value:
        """The value as accesses to one tensor with an axis per axis, so that it can be guarded at its edges."""
        found = value.at(placeholders(value.shape))
        if isinstance(found, Access):
            moving = [index.variable for index in found.indices if index.variables]
            if None not in moving and len(set(moving)) == len(value.shape):
                return value
        return self.written(self.name(name), value)

    def scalar(self, value: Value, name: str) -> Access | int:
        """A scalar as something that an index can hold: a number, or an access."""
        if value.constant is not None:
            return int(value.constant)
        found = value.at(())
        return found if isinstance(found, Access) else _access(self.written(self.name(name), value).at(()))

    def cascade(self, outputs: Sequence[str], name: str) -> Cascade:
        """The finished cascade."""
        declarations = tuple(self._declarations())
        return Cascade(
            einsums=tuple(self._einsums),
            init=tuple(self._init),
            ranks=tuple(RankShape(rank, Constant(extent)) for rank, extent in self._used_ranks(declarations)),
            tensors=declarations,
            operators=tuple(self._operators.values()),
            outputs=tuple(outputs),
            name=name,
        )

    def _used_ranks(self, declarations: Sequence[Declaration]) -> Iterator[tuple[str, int]]:
        used = {rank_of(v) for e in (*self._init, *self._einsums) for v in (*e.variables, *e.output_variables)}
        used |= {rank for d in declarations for extent in d.shape for rank in extent.symbols}
        return ((rank, extent) for rank, extent in self.extents.items() if rank in used)

    def _declarations(self) -> Iterator[Declaration]:
        for name in (*self._inputs, *self._tensors):
            is_input = name in self._inputs
            offset = len(self._dims[name]) - len(self._shapes[name])
            shape = tuple(
                symbol(rank or self._single()) if rank or extent == 1 else number(extent)
                for rank, extent in zip(self._dims[name][offset:], self._shapes[name], strict=True)
            )
            turns = (self._turns(name),) if offset else ()
            yield Declaration(name, (*turns, *shape), is_input, 0 if is_input else self._tensors[name])

    def _single(self) -> str:
        """A rank of extent 1 that nothing walks."""
        self.extents["ONE"] = 1
        return "ONE"

    def _turns(self, name: str) -> Affine:
        ahead = any(e.name == name and e.output.indices[0].shifted == ("t", 1) for e in self._einsums)
        return Affine((Term(1, ("T",)), Term(1))) if ahead else symbol("T")


def _over_all(
    expression: Expression, over: dict[str, int], operator: str, used: set[str]
) -> tuple[Expression, list[str]]:
    """The expression and the rank variables to reduce; over those that nothing moves with, it is reduced at once."""
    moving = used.union(variables(expression))
    still = [variable for variable in over if variable not in moving]
    times = math.prod(over[variable] for variable in still)
    if operator.startswith("arg") and still:
        return Constant(0), []
    if still and operator == "add":
        expression = expression * times
    elif still and operator == "multiply":
        expression = apply("power", expression, times)
    return expression, [variable for variable in over if variable in moving]


def _renamed(index: Affine, values: dict[str, Affine]) -> Affine:
    """An index with its placeholders replaced, those inside accesses included."""

    def of(term: Term) -> Term:
        return replace(term, of=substitute(term.of, values)) if isinstance(term.of, Access) else term

    return substitute_index(Affine(tuple(map(of, index.terms))), values)


def _access(expression: Expression) -> Access:
    assert isinstance(expression, Access)
    return expression
