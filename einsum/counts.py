"""How much a cascade computes, holds and must move: algebraic in the rank shapes, and as numbers.

Assumes: an Einsum computes its whole expression at every point of its iteration space, and every reduced
point is one accumulation, the first included; filters are not subtracted, so counts are upper bounds there.
Source: the Einsum's definition (an iteration space, and one computation per point), FuseMax (MICRO 2024),
section 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Affine, Apply, Expression, rank_of, walk
from tierplan.einsum.operators import MAPS, REDUCES
from tierplan.einsum.passes import Passes
from tierplan.einsum.shapes import signatures
from tierplan.einsum.statements import Einsum

Formula = Any  # a sympy expression; sympy has no types of its own

MULTIPLY_ACCUMULATE = "multiply-accumulate"


def formula(extent: Affine) -> Formula:
    """A shape as a sympy expression in positive whole-number symbols.

    >>> from tierplan.einsum.construct import index
    >>> formula(index("M1 + 1"))
    M1 + 1
    """
    total: Formula = _number(0)
    for term in extent.terms:
        product: Formula = _number(term.coefficient)
        for name in term.symbols:
            product = product * symbol(name)
        total = total + product
    return total


def _sympy() -> Any:
    return import_module("sympy")


def _number(value: int) -> Formula:
    return _sympy().Integer(value)


@cache
def symbol(rank: str) -> Formula:
    """The shape of a rank as a sympy symbol."""
    return _sympy().Symbol(rank, positive=True, integer=True)


def size_of(shape: tuple[Affine, ...]) -> Formula:
    """Elements of a tensor of that shape."""
    product: Formula = _number(1)
    for extent in shape:
        product = product * formula(extent)
    return product


def number(value: Formula, sizes: Mapping[str, int]) -> int | None:
    """A formula as a number; None while some rank has no shape."""
    found = value.subs({symbol(rank): size for rank, size in sizes.items()})
    return int(found) if found.is_Integer else None


@dataclass(frozen=True, slots=True)
class EinsumCounts:
    """What one Einsum computes: its iteration space, and operations by kind over all of it."""

    name: str
    iteration_space: Formula
    operations: Mapping[str, Formula]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a cascade computes, holds and must move.

    Units: operations and elements. `compulsory_traffic` reads every input once and writes every output once.
    """

    init: tuple[EinsumCounts, ...]
    einsums: tuple[EinsumCounts, ...]
    footprints: Mapping[str, Formula]
    compulsory_traffic: Formula

    @property
    def operations(self) -> Mapping[str, Formula]:
        """Operations by kind, all Einsums together."""
        total: dict[str, Formula] = {}
        for einsum in (*self.init, *self.einsums):
            for kind, n in einsum.operations.items():
                total[kind] = total.get(kind, _number(0)) + n
        return total


def per_point(cascade: Cascade, einsum: Einsum) -> Counter[str]:
    """Operations by kind at one point of the iteration space, reductions left out."""
    bodies = {o.name: o for o in cascade.operators}
    found: Counter[str] = Counter()

    def add(node: Expression) -> None:
        for part in walk(node):
            if not isinstance(part, Apply):
                continue
            own = bodies.get(part.operator)
            if own is None:
                found[MAPS[part.operator].kind] += 1
            elif own.body is None:
                found[own.name] += 1
            else:
                add(own.body)

    add(einsum.expression)
    for condition in einsum.filters:
        add(condition)
    return found


def count_einsum(cascade: Cascade, einsum: Einsum) -> EinsumCounts:
    """Operations of one Einsum.

    A sum whose expression is a product is counted in multiply-accumulates, any other reduction by its own
    kind. A later reduction works on what the ones inside it left.
    """
    space = _space(einsum.variables)
    found = {kind: n * space for kind, n in per_point(cascade, einsum).items()}
    left = list(einsum.variables)
    for place, reduction in enumerate(reversed(einsum.reductions)):
        points = _space(left)
        left = [v for v in left if v not in reduction.over]
        left += [reduction.into] if reduction.into else []
        operator = REDUCES.get(reduction.operator)
        kind = operator.kind if operator else reduction.operator
        product = isinstance(einsum.expression, Apply) and einsum.expression.operator == "multiply"
        if place == 0 and kind == "add" and product:
            found["multiply"] -= space
            kind = MULTIPLY_ACCUMULATE
        found[kind] = found.get(kind, _number(0)) + points
    return EinsumCounts(einsum.name, space, {kind: n for kind, n in found.items() if n != 0})


def _space(variables: tuple[str, ...] | list[str]) -> Formula:
    product: Formula = _number(1)
    for variable in variables:
        product = product * symbol(rank_of(variable))
    return product


def count(cascade: Cascade) -> Counts:
    """Operations, footprints and compulsory traffic of a cascade, algebraic in the rank shapes."""
    footprints = {tensor: size_of(shape) for tensor, shape in signatures(cascade).items()}
    traffic: Formula = _number(0)
    for tensor in (*cascade.inputs, *cascade.outputs):
        traffic = traffic + footprints[tensor]
    return Counts(
        tuple(count_einsum(cascade, einsum) for einsum in cascade.init),
        tuple(count_einsum(cascade, einsum) for einsum in cascade.einsums),
        footprints,
        traffic,
    )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lower bounds that hold for every mapping, along one rank.

    Units: elements. `live` is per barrier and per fiber. `traffic_buffered` keeps every fiber that is live
    across a barrier on chip; `traffic_unbuffered` keeps none: an input is read once per pass, an intermediate
    that is live across a barrier is written once and read once per later pass.
    Assumes: an intermediate is spilled, not computed again.
    """

    live: tuple[Formula, ...]
    traffic_buffered: Formula
    traffic_unbuffered: Formula
    reads: Mapping[str, int]


def bound(cascade: Cascade, passes: Passes) -> Bounds:
    """Footprint and traffic bounds of a cascade along the rank of `passes`."""
    counts = count(cascade)
    reads = dict.fromkeys(cascade.inputs, 1)
    spilled = counts.compulsory_traffic
    for touched in passes.live_across:
        extra = len(touched.levels) - 1
        if touched.tensor in reads:
            reads[touched.tensor] = len(touched.levels)
        elif touched.tensor not in cascade.outputs:
            extra += 1
        spilled = spilled + extra * counts.footprints[touched.tensor]
    live = tuple(formula(extent) for extent in passes.live_footprints)
    return Bounds(live, counts.compulsory_traffic, spilled, reads)
