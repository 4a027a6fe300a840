"""What makes a cascade well formed, checked when one is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tierplan.einsum.dependence import dependence_order, is_previous, iterations, trip_limit
from tierplan.einsum.expressions import (
    Access,
    Apply,
    Expression,
    Position,
    Symbol,
    accesses,
    at,
    first_position,
    is_variable,
    rank_of,
    variables,
    walk,
)
from tierplan.einsum.operators import MAPS, REDUCES
from tierplan.einsum.statements import Declaration, Einsum, OperatorDefinition, RankShape
from tierplan.ir.errors import InvalidInputError, unknown_name


class Cascade(Protocol):
    """What the checks read of a cascade."""

    @property
    def einsums(self) -> tuple[Einsum, ...]: ...
    @property
    def init(self) -> tuple[Einsum, ...]: ...
    @property
    def stops(self) -> tuple[Expression, ...]: ...
    @property
    def ranks(self) -> tuple[RankShape, ...]: ...
    @property
    def tensors(self) -> tuple[Declaration, ...]: ...
    @property
    def operators(self) -> tuple[OperatorDefinition, ...]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    def __iter__(self) -> Iterator[Einsum]: ...


MAX_EINSUMS = 20_000


def check(cascade: Cascade) -> None:
    """Raise InvalidInputError for the first thing that is wrong with `cascade`."""
    if not cascade.einsums:
        raise InvalidInputError("a cascade needs at least one Einsum, like Z[m, n] = A[k, m] * B[k, n]")
    if len(cascade.einsums) + len(cascade.init) > MAX_EINSUMS:
        raise InvalidInputError(f"a cascade has at most {MAX_EINSUMS} Einsums")
    _check_names(cascade)
    _check_operators(cascade)
    _check_single_assignment(cascade)
    _check_dimensions(cascade)
    _check_iterations(cascade)
    dependence_order(cascade)
    _check_ranks(cascade)


def _check_names(cascade: Cascade) -> None:
    written = {einsum.name for einsum in cascade}
    declared = {d.name: d for d in cascade.tensors}
    if len(declared) < len(cascade.tensors):
        twice = next(d for d in cascade.tensors if declared[d.name] is not d)
        raise InvalidInputError(f"{at(declared[twice.name].position)}{twice.name} is declared twice")
    for d in cascade.tensors:
        if d.is_input and d.name in written:
            raise InvalidInputError(f"{at(d.position)}{d.name} is declared as an input, yet an Einsum writes it")
        if not d.is_input and d.name not in written:
            raise InvalidInputError(f"{at(d.position)}{unknown_name('tensor', d.name, written)}")
    strict = any(d.is_input for d in cascade.tensors)
    known = written | {d.name for d in cascade.tensors}
    for access in _reads(cascade):
        if strict and access.tensor not in known:
            raise InvalidInputError(f"{at(access.position)}{unknown_name('tensor', access.tensor, known)}")
    for output in cascade.outputs:
        if output not in written:
            raise InvalidInputError(str(unknown_name("output", output, written)))


def _reads(cascade: Cascade) -> Iterator[Access]:
    for einsum in cascade:
        yield from einsum.reads
    for stop in cascade.stops:
        yield from accesses(stop)


def _expressions(cascade: Cascade) -> Iterator[tuple[Expression, Position | None]]:
    for einsum in cascade:
        yield einsum.expression, einsum.position
        for condition in einsum.filters:
            yield condition, einsum.position
    for stop in cascade.stops:
        yield stop, None
    for operator in cascade.operators:
        if operator.body is not None:
            yield operator.body, operator.position


def _check_operators(cascade: Cascade) -> None:
    own = {o.name: o for o in cascade.operators}
    if len(own) < len(cascade.operators):
        twice = next(o for o in cascade.operators if own[o.name] is not o)
        raise InvalidInputError(f"{at(own[twice.name].position)}operator '{twice.name}' is defined twice")
    for root, position in _expressions(cascade):
        for node in walk(root):
            if isinstance(node, Apply):
                _check_apply(node, own.get(node.operator), [*MAPS, *own], node.position or position)
    for einsum in cascade:
        for reduction in einsum.reductions:
            if reduction.operator in REDUCES:
                continue
            reducers = [*REDUCES, *(o.name for o in cascade.operators if o.identity is not None)]
            if reduction.operator not in reducers:
                raise InvalidInputError(
                    f"{at(einsum.position)}{unknown_name('reduction', reduction.operator, reducers)}"
                )
    _check_recursion(cascade)


def _check_apply(node: Apply, own: object, known: list[str], position: Position | None) -> None:
    if node.operator not in known:
        raise InvalidInputError(f"{at(position)}{unknown_name('operator', node.operator, known)}")
    arity = MAPS[node.operator].arity if node.operator in MAPS else len(getattr(own, "parameters", ()))
    if len(node.operands) != arity:
        raise InvalidInputError(
            f"{at(position)}operator '{node.operator}' takes {arity} operands, not {len(node.operands)}"
        )


def _check_recursion(cascade: Cascade) -> None:
    """A definition may use the operators defined before it, so that none can call itself."""
    own = {o.name for o in cascade.operators}
    seen: set[str] = set()
    for operator in cascade.operators:
        for node in walk(operator.body) if operator.body is not None else ():
            if isinstance(node, Apply) and node.operator in own and node.operator not in seen:
                raise InvalidInputError(
                    f"{at(operator.position)}operator '{operator.name}' uses '{node.operator}' before it is defined"
                )
        seen.add(operator.name)


def _check_single_assignment(cascade: Cascade) -> None:
    ahead = iterations(cascade)
    seen: set[str] = set()
    for einsum in cascade.einsums:
        if einsum.name in seen:
            raise InvalidInputError(f"{at(einsum.position)}{einsum.name} is written twice")
        seen.add(einsum.name)
    started: set[Access] = set()
    prepared = {einsum.name for einsum in cascade.init} - seen
    for einsum in cascade.init:
        for access in einsum.reads:
            if access.tensor in seen - prepared:
                raise InvalidInputError(f"{at(access.position)}init reads {access.tensor}, which is written after it")
        if einsum.output in started:
            raise InvalidInputError(f"{at(einsum.position)}{einsum.name} is written twice")
        started.add(einsum.output)
        if einsum.name not in seen:
            continue
        fixed = [einsum.output.indices[d].constant for d in ahead.get(einsum.name, {}).values()
                 if d < len(einsum.output.indices)]  # fmt: skip
        if not any(fixed):
            raise InvalidInputError(
                f"{at(einsum.position)}{einsum.name} is written here and again after init; "
                "init may give an iterative tensor its value at coordinate 0"
            )


def _check_dimensions(cascade: Cascade) -> None:
    n_ranks: dict[str, int] = {d.name: len(d.shape) for d in cascade.tensors}
    uses = [e.output for e in cascade] + list(_reads(cascade))
    for access in uses:
        expected = n_ranks.setdefault(access.tensor, len(access.indices))
        if len(access.indices) != expected:
            raise InvalidInputError(
                f"{at(access.position)}{access.tensor} has {expected} ranks, not {len(access.indices)}"
            )


def _check_iterations(cascade: Cascade) -> None:
    ahead = iterations(cascade)
    started = {einsum.name for einsum in cascade.init}
    for einsum in cascade.einsums:
        for access in einsum.reads:
            carried = ahead.get(access.tensor, {})
            if carried and is_previous(access, carried) and access.tensor not in started:
                raise InvalidInputError(
                    f"{at(access.position)}{access.tensor} is read at the previous coordinate, but has no "
                    "first value; write one in init, at coordinate 0"
                )
    iterative = {variable for tensor in ahead.values() for variable in tensor}
    for stop in cascade.stops:
        used = [v for v in variables(stop) if v in iterative]
        if len(used) != 1:
            known = ", ".join(sorted(iterative)) or "none in this cascade"
            raise InvalidInputError(
                f"{at(first_position(stop))}a stopping condition is about one iterative rank variable "
                f"(here: {known}), like <>: m1 >= M1"
            )


def _check_ranks(cascade: Cascade) -> None:
    declared = {r.name: r for r in cascade.ranks}
    if len(declared) < len(cascade.ranks):
        twice = next(r for r in cascade.ranks if declared[r.name] is not r)
        raise InvalidInputError(f"{at(declared[twice.name].position)}rank {twice.name} is declared twice")
    used = set(_used_ranks(cascade))
    for rank in cascade.ranks:
        if rank.name not in used:
            raise InvalidInputError(
                f"{at(rank.position)}rank {rank.name} is never used; known ranks: {', '.join(sorted(used))}"
            )
    bound = set(_bound_ranks(cascade))
    for einsum in cascade:
        for variable in dict.fromkeys((*einsum.variables, *einsum.output_variables)):
            if rank_of(variable) not in bound:
                raise InvalidInputError(
                    f"{at(einsum.position)}rank {rank_of(variable)} has no shape: no input is indexed by "
                    f"'{variable}' alone; declare it with `rank {rank_of(variable)}`"
                )
    for root, position in _expressions(cascade):
        for node in walk(root):
            if isinstance(node, Symbol) and not is_variable(node.name) and node.name not in bound:
                known = bound | {e.name for e in cascade}
                raise InvalidInputError(
                    f"{at(node.position or position)}{unknown_name('scalar or rank', node.name, known)}"
                )


def _used_ranks(cascade: Cascade) -> Iterator[str]:
    for access in (*(e.output for e in cascade), *_reads(cascade)):
        for index in access.indices:
            yield from (rank_of(v) for v in index.variables)
            yield from index.symbols
    for declaration in cascade.tensors:
        for extent in declaration.shape:
            yield from extent.symbols
    for root in (*(r.extent for r in cascade.ranks), *(e for e, _ in _expressions(cascade))):
        for node in walk(root) if root is not None else ():
            if isinstance(node, Symbol):
                yield rank_of(node.name)


def _bound_ranks(cascade: Cascade) -> Iterator[str]:
    """Ranks whose shape is declared, or follows from an input or from a stopping condition."""
    yield from (rank.name for rank in cascade.ranks)
    for declaration in cascade.tensors:
        for extent in declaration.shape:
            yield from extent.symbols
    inputs = set(cascade.inputs)
    for access in _reads(cascade):
        if access.tensor in inputs:
            yield from (rank_of(i.variable) for i in access.indices if i.variable is not None)
    for stop in cascade.stops:
        limit = trip_limit(stop)
        if limit is not None:
            yield rank_of(limit[0])
            yield from limit[1].symbols
