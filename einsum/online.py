"""From several passes to one: reductions become running values, corrected as what they depend on changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.dependence import dependence_order, iterations, trip_limit
from tierplan.einsum.expressions import Access, Affine, Apply, Constant, Expression, Symbol, Term, rank_of, rewrite
from tierplan.einsum.homogeneity import EXPONENTIAL, Degrees, degrees_of
from tierplan.einsum.naming import Names
from tierplan.einsum.operators import REDUCES
from tierplan.einsum.partition import order_of
from tierplan.einsum.statements import Einsum
from tierplan.ir.errors import InvalidInputError, unknown_name

_STEPS = {"add", "multiply", "max", "min", "and", "or"}


@dataclass(slots=True)
class _Plan:
    """What is known while reductions over one rank variable are made running."""

    variable: str
    names: Names
    definitions: Mapping[str, Einsum]
    degrees: dict[str, Degrees | None]
    running: dict[str, Access] = field(default_factory=dict[str, Access])
    streams: dict[str, str] = field(default_factory=dict[str, str])
    factors: dict[tuple[str, str], Access] = field(default_factory=dict[tuple[str, str], Access])
    init: list[Einsum] = field(default_factory=list[Einsum])
    einsums: list[Einsum] = field(default_factory=list[Einsum])


def online(cascade: Cascade, variable: str) -> Cascade:
    """Make every reduction over `variable` a running value, so that one pass gathers them all.

    A sum whose summands scale with another reduction (by exp(-G), or by G itself) is corrected whenever that
    one changes: this is the step from three-pass softmax to FlashAttention. What cannot be corrected keeps
    reading the final value, in a later pass.

    Assumes: the first element gives a finite running maximum, and a running factor is not zero after it.
    Source: FuseMax (MICRO 2024), section 4.3; Milakov and Gimelshein, Online normalizer calculation (2018).
    Raises: InvalidInputError: nothing is reduced over `variable` alone, or a tensor is iterative along it.
    """
    known = {v for e in cascade for v in (*e.variables, *e.output_variables)}
    if variable not in known:
        raise InvalidInputError(str(unknown_name("rank variable", variable, known)))
    if any(variable in ahead for ahead in iterations(cascade).values()):
        raise InvalidInputError(f"a tensor is iterative along '{variable}' already")
    order = dependence_order(cascade)
    converted, degrees = _convertible(order, variable)
    if not converted:
        raise InvalidInputError(f"no Einsum reduces over '{variable}' alone in a way that can be made running")
    plan = _Plan(variable, Names.of(cascade), {e.name: e for e in order}, degrees)
    for e in order:
        if e.name in converted:
            _convert(e, converted, plan)
        else:
            plan.einsums.append(_with_final_values(e, plan))
    for output in cascade.outputs:
        if output in converted:
            old = plan.definitions[output].output
            plan.einsums.append(Einsum(old, _final(old, plan)))
    return _tidied(cascade, plan)


def _convertible(order: list[Einsum], variable: str) -> tuple[set[str], dict[str, Degrees | None]]:
    """Reductions that can be made running, and how every tensor scales with each of them."""
    operators = {
        e.name: e.reductions[0].operator
        for e in order
        if len(e.reductions) == 1
        and e.reductions[0].over == (variable,)
        and e.reductions[0].operator in _STEPS
        and not e.filters
        and all(index.variable is not None for index in e.output.indices)
    }
    while True:
        degrees = degrees_of(order, operators, variable)
        bad = [name for name in operators if not _correctable(operators[name], degrees[name], operators)]
        if not bad:
            return set(operators), degrees
        for name in bad:
            del operators[name]


def _correctable(operator: str, degrees: Degrees | None, operators: Mapping[str, str]) -> bool:
    """Whether a running value can follow a change of everything that it scales with."""
    if degrees is None or (degrees and operator != "add"):
        return False
    for (parameter, kind), degree in degrees.items():
        by = operators[parameter]
        if kind == EXPONENTIAL:
            # The first correction is exp(-inf), never exp(+inf), when the sign suits the initial value.
            if not ((by == "max" and degree < 0) or (by == "min" and degree > 0) or by == "add"):
                return False
        elif degree not in (1, -1):
            return False
    return True


def _convert(e: Einsum, converted: set[str], plan: _Plan) -> None:
    """Replace `T = reduce[r] X` by an initial value, corrections, and `R[r+1] = R[r] op X`."""
    operator = e.reductions[0].operator
    name = plan.names.fresh(plan.names.running(e.name))
    order = order_of(e, (*e.output_variables, plan.variable), plan.variable)
    r = Affine((Term(of=plan.variable),))

    def at(coordinate: Affine) -> Access:
        return Access(name, tuple(coordinate if v == plan.variable else Affine((Term(of=v),)) for v in order))

    plan.running[e.name] = at(r)
    summand = _streamed(e.expression, converted, plan)
    identity = REDUCES[operator].identity
    plan.init.append(Einsum(at(Affine(())), Constant(identity)))
    before: Expression = at(r)
    for (parameter, kind), degree in (plan.degrees[e.name] or {}).items():
        before = before * _factor(parameter, kind, degree, plan)
    if before != at(r):
        corrected = plan.names.fresh(f"{e.name[0]}P{e.name[1:]}")
        access = replace(at(r), tensor=corrected)
        plan.einsums.append(Einsum(access, before))
        before = access
    step = r + Affine((Term(1),))
    merged = Apply(operator, (summand, before) if before != at(r) else (before, summand))
    plan.einsums.append(Einsum(at(step), merged))


def _factor(parameter: str, kind: str, degree: int, plan: _Plan) -> Access:
    """What a value of that degree is multiplied by when the parameter moves from r to r + 1."""
    sign = "" if degree == (-1 if kind == EXPONENTIAL else 1) else f"{'N' if degree < 0 else 'P'}{abs(degree)}"
    key = (parameter, f"{kind}{degree}")
    if key not in plan.factors:
        old, new = plan.running[parameter], _next(plan.running[parameter], plan.variable)
        if kind == EXPONENTIAL:
            change: Expression = old - new if degree < 0 else new - old
            value: Expression = Apply("exp", (change if abs(degree) == 1 else abs(degree) * change,))
        else:
            value = Apply("divide", (new, old) if degree > 0 else (old, new), "intersect")
        name = plan.names.fresh(f"P{old.tensor}{sign}")
        plan.factors[key] = replace(old, tensor=name)
        plan.einsums.append(Einsum(plan.factors[key], value))
    return plan.factors[key]


def _next(access: Access, variable: str) -> Access:
    step = Affine((Term(of=variable), Term(1)))
    return replace(access, indices=tuple(step if i.variable == variable else i for i in access.indices))


def _renamed(access: Access, old: Access, new: Access, extra: Affine, variable: str) -> Access:
    """`new` at the indices that `access` gives to the variables of `old`, with `extra` for the iterative rank."""
    values = {o.variable: i for o, i in zip(old.indices, access.indices, strict=True)}
    return replace(new, indices=tuple(extra if i.variable == variable else values[i.variable] for i in new.indices))


def _streamed(node: Expression, converted: set[str], plan: _Plan) -> Expression:
    """`node` with running values for final ones, and with the tensors on the way to them streamed too."""
    ahead = Affine((Term(of=plan.variable), Term(1)))

    def change(part: Expression) -> Expression:
        if not isinstance(part, Access):
            return part
        if part.tensor in plan.running:
            old = plan.definitions[part.tensor].output
            return _renamed(part, old, plan.running[part.tensor], ahead, plan.variable)
        return replace(part, tensor=_stream(part.tensor, converted, plan))

    return rewrite(node, change)


def _stream(tensor: str, converted: set[str], plan: _Plan) -> str:
    """The name of the streamed version of a tensor; its own where nothing in it is a running value."""
    if not plan.degrees.get(tensor):
        return tensor
    if tensor not in plan.streams:
        definition = plan.definitions[tensor]
        value = _streamed(definition.expression, converted, plan)
        plan.streams[tensor] = plan.names.fresh(f"{tensor}S")
        output = replace(definition.output, tensor=plan.streams[tensor])
        plan.einsums.append(replace(definition, output=output, expression=value))
    return plan.streams[tensor]


def _final(access: Access, plan: _Plan) -> Access:
    last = Affine((Term(symbols=(rank_of(plan.variable),)),))
    old = plan.definitions[access.tensor].output
    return _renamed(access, old, plan.running[access.tensor], last, plan.variable)


def _with_final_values(e: Einsum, plan: _Plan) -> Einsum:
    def change(part: Expression) -> Expression:
        return _final(part, plan) if isinstance(part, Access) and part.tensor in plan.running else part

    return replace(e, expression=rewrite(e.expression, change), filters=tuple(rewrite(f, change) for f in e.filters))


def _tidied(cascade: Cascade, plan: _Plan) -> Cascade:
    """Without Einsums that nothing reads any more; a streamed version takes the name it has replaced."""
    einsums = list(plan.einsums)
    while True:
        read = {a.tensor for e in einsums for a in e.reads}
        kept = [e for e in einsums if e.name in read or e.name in cascade.outputs]
        if len(kept) == len(einsums):
            break
        einsums = kept
    alive = {e.name for e in einsums}
    names = {stream: old for old, stream in plan.streams.items() if old not in alive}

    def change(part: Expression) -> Expression:
        return replace(part, tensor=names.get(part.tensor, part.tensor)) if isinstance(part, Access) else part

    renamed = [
        replace(e, output=change(e.output), expression=rewrite(e.expression, change),
                filters=tuple(rewrite(f, change) for f in e.filters))
        for e in einsums
    ]  # fmt: skip
    rank = rank_of(plan.variable)
    stops = cascade.stops
    if not any((limit := trip_limit(stop)) and limit[0] == plan.variable for stop in stops):
        stops = (*stops, Apply("greater_equal", (Symbol(plan.variable), Symbol(rank))))
    written = {e.name for e in renamed} | {e.name for e in (*cascade.init, *plan.init)}
    return replace(
        cascade,
        init=(*cascade.init, *(e for e in plan.init if e.name in {x.name for x in renamed})),
        einsums=tuple(renamed),
        stops=stops,
        tensors=tuple(d for d in cascade.tensors if d.is_input or d.name in written),
    )
