"""Which Einsum needs which: iterative tensors, loop-carried reads, and the order of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import NoReturn, Protocol

from tierplan.einsum.expressions import Access, Affine, Apply, Expression, Symbol, affine_of, at, is_variable
from tierplan.einsum.statements import Einsum
from tierplan.ir.errors import InvalidInputError


class HasEinsums(Protocol):
    """Anything with the Einsums that run after the initial ones."""

    @property
    def einsums(self) -> tuple[Einsum, ...]: ...


def iterations(cascade: HasEinsums) -> dict[str, dict[str, int]]:
    """Iterative tensors: for each, the iterative rank variables and the dimension that each advances."""
    found: dict[str, dict[str, int]] = {}
    for einsum in cascade.einsums:
        for dimension, index in enumerate(einsum.output.indices):
            shifted = index.shifted
            if shifted and shifted[1] == 1:
                found.setdefault(einsum.name, {})[shifted[0]] = dimension
    return found


def is_previous(access: Access, ahead: dict[str, int]) -> bool:
    """Whether `access` reads an iterative tensor at a coordinate that an earlier iteration wrote."""
    for variable, dimension in ahead.items():
        if dimension < len(access.indices):
            shifted = access.indices[dimension].shifted
            if shifted and shifted[0] == variable and shifted[1] <= 0:
                return True
    return False


def dependences(cascade: HasEinsums) -> Iterator[tuple[int, int]]:
    """Pairs (earlier, later) of Einsum numbers, loop-carried reads left out."""
    ahead = iterations(cascade)
    writers: dict[str, int] = {}
    for number, einsum in enumerate(cascade.einsums):
        writers[einsum.name] = number
    for number, einsum in enumerate(cascade.einsums):
        for access in einsum.reads:
            writer = writers.get(access.tensor)
            if writer is not None and not is_previous(access, ahead.get(access.tensor, {})):
                yield writer, number


def dependence_order(cascade: HasEinsums) -> list[Einsum]:
    """The Einsums after `init`, each after those whose results it reads; file order among the free ones.

    Raises: InvalidInputError: they read one another in a circle that no iterative rank breaks.
    """
    later: dict[int, set[int]] = {n: set() for n in range(len(cascade.einsums))}
    waiting: dict[int, int] = dict.fromkeys(later, 0)
    for source, target in dependences(cascade):
        if target not in later[source]:
            later[source].add(target)
            waiting[target] += 1
    ready = [n for n, count in waiting.items() if not count]
    heapify(ready)
    order: list[int] = []
    while ready:
        number = heappop(ready)
        order.append(number)
        for target in later[number]:
            waiting[target] -= 1
            if not waiting[target]:
                heappush(ready, target)
    if len(order) < len(cascade.einsums):
        done = set(order)
        stuck = [n for n in later if n not in done]
        _raise_cycle(cascade, stuck, later)
    return [cascade.einsums[number] for number in order]


def _raise_cycle(cascade: HasEinsums, stuck: list[int], later: dict[int, set[int]]) -> NoReturn:
    """Walk back from an Einsum that waits for others; the walk must meet itself."""
    earlier: dict[int, int] = {}
    for source in stuck:
        for target in later[source]:
            earlier[target] = source
    path = [stuck[0]]
    met = {stuck[0]: 0}
    while earlier[path[-1]] not in met:
        met[earlier[path[-1]]] = len(path)
        path.append(earlier[path[-1]])
    cycle = path[met[earlier[path[-1]]] :][::-1]
    start = cycle.index(min(cycle))
    names = [cascade.einsums[n].name for n in cycle[start:] + cycle[:start]]
    raise InvalidInputError(
        f"{at(cascade.einsums[min(cycle)].position)}{' -> '.join([*names, names[0]])} is a cycle that no "
        "iterative rank breaks; write the next value at a coordinate i+1 and read the previous one at i"
    )


def trip_limit(stop: Expression) -> tuple[str, Affine] | None:
    """(`r`, N) when the condition is `r >= N` with a fixed N; None when it depends on values."""
    if isinstance(stop, Apply) and stop.operator == "greater_equal" and isinstance(stop.operands[0], Symbol):
        try:
            limit = affine_of(stop.operands[1])
        except InvalidInputError:
            return None
        if limit.constant and is_variable(stop.operands[0].name):
            return stop.operands[0].name, limit
    return None
