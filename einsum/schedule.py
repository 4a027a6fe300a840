"""The order in which a cascade is executed: single Einsums, and loops over iterative ranks.

All Einsums of one pass over an iterative rank run in one loop, so that what only they exchange is never
larger than one coordinate of that rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.dependence import dependence_order, is_previous, iterations, trip_limit
from tierplan.einsum.expressions import Expression, variables
from tierplan.einsum.passes import levels_along
from tierplan.einsum.statements import Einsum
from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Loop:
    """Steps that run once per coordinate of an iterative rank; `stop` ends it early when values say so."""

    variable: str
    steps: tuple[Step, ...]
    stop: Expression | None = None

    @property
    def einsums(self) -> Iterator[Einsum]:
        """Every Einsum inside, nested loops included."""
        for step in self.steps:
            if isinstance(step, Loop):
                yield from step.einsums
            else:
                yield step


Step = Einsum | Loop
Unit = tuple[str, int]


def schedule(cascade: Cascade) -> tuple[Step, ...]:
    """The steps after `init`, each after those that it depends on."""
    stops = {v: s for s in cascade.stops if trip_limit(s) is None for v in variables(s)}
    return tuple(_arrange(dependence_order(cascade), iterations(cascade), frozenset(), stops))


def loop_variables(einsums: list[Einsum], ahead: dict[str, dict[str, int]]) -> tuple[str, ...]:
    """Rank variables along which some Einsum needs what an earlier coordinate produced."""
    found: dict[str, None] = {}
    written = {einsum.name for einsum in einsums}
    for einsum in einsums:
        for access in einsum.reads:
            carried = ahead.get(access.tensor, {})
            if access.tensor in written:
                found.update((v, None) for v, d in carried.items() if is_previous(access, {v: d}))
    return tuple(found)


def _arrange(
    einsums: list[Einsum],
    ahead: dict[str, dict[str, int]],
    bound: frozenset[str],
    stops: dict[str, Expression],
) -> list[Step]:
    candidates = [v for v in loop_variables(einsums, ahead) if v not in bound]
    if not candidates:
        return list(einsums)
    for variable in candidates:
        unit = _units(variable, einsums, ahead)
        order = _ordered(einsums, unit, ahead, bound)
        if order is not None:
            break
    else:
        raise InvalidInputError(
            f"these Einsums cannot be put into one loop nest: {', '.join(einsum.name for einsum in einsums)}"
        )
    members: dict[Unit, list[Einsum]] = {}
    for name, einsum in zip(unit, einsums, strict=True):
        members.setdefault(name, []).append(einsum)
    steps: list[Step] = []
    for name in order:
        if name[0] == "einsum":
            steps.extend(members[name])
        else:
            inner = _arrange(members[name], ahead, bound | {variable}, stops)
            steps.append(Loop(variable, tuple(inner), stops.get(variable)))
    return steps


def _units(variable: str, einsums: list[Einsum], ahead: dict[str, dict[str, int]]) -> list[Unit]:
    """The unit of each Einsum: a loop, named by its level, or itself, named by its place."""
    levels = levels_along(variable, einsums, ahead)
    looped = {
        level
        for einsum, level in zip(einsums, levels, strict=True)
        if level is not None and variable in ahead.get(einsum.name, {})
    }
    return [
        ("loop", level) if level in looped and variable in einsum.output_variables else ("einsum", n)
        for n, (einsum, level) in enumerate(zip(einsums, levels, strict=True))
        for level in [-1 if level is None else level]
    ]


def _ordered(
    einsums: list[Einsum], unit: list[Unit], ahead: dict[str, dict[str, int]], bound: frozenset[str]
) -> list[Unit] | None:
    """Units, each after those it reads from; None when they need one another."""
    writer = {einsum.name: name for einsum, name in zip(einsums, unit, strict=True)}
    needs: dict[Unit, set[Unit]] = {name: set() for name in unit}
    for einsum, name in zip(einsums, unit, strict=True):
        for access in einsum.reads:
            source = writer.get(access.tensor)
            around = {v: d for v, d in ahead.get(access.tensor, {}).items() if v in bound}
            if source is not None and source != name and not is_previous(access, around):
                needs[name].add(source)
    order: list[Unit] = []
    while needs:
        ready = [name for name, sources in needs.items() if not sources & needs.keys()]
        if not ready:
            return None
        order.extend(ready)
        for name in ready:
            del needs[name]
    return order
