"""The slow truth of a spatial mapping: walk every iteration, remember which values lie where, count what moves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tierplan.einsum.statements import Einsum
from tierplan.sim.spatial_mapping import Bound, Choice, Held, Order, Phase, Specification
from tierplan.sim.spatial_nest import Nest, Operand

Coordinates = frozenset[tuple[int, ...]]


@dataclass
class Walked:
    """What one Einsum did: steps of its array, elements at work, values by (tensor, level, what)."""

    steps: int = 0
    elements: int = 0
    moved: dict[tuple[str, str, str], int] = field(default_factory=dict[tuple[str, str, str], int])

    def add(self, tensor: str, level: str, what: str, n: int) -> None:
        key = (tensor, level, what)
        self.moved[key] = self.moved.get(key, 0) + n


@dataclass
class Place:
    """One level that holds part of a tensor, and where it gets it from."""

    level: str
    parent: str | None
    now: Coordinates | None = None
    seen: set[tuple[int, ...]] = field(default_factory=set[tuple[int, ...]])


def steps(
    order: Order, extents: Mapping[str, int], tile: Mapping[str, int], spread: Mapping[str, int]
) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Every pair of (position of the tile in the buffer, position inside it), in the order of the loops."""
    outer = [v for v in order.outer if v in extents]
    inner = [v for v in order.inner if v in extents]
    for o in itertools.product(*(range(extents[v] // tile[v]) for v in outer)):
        for i in itertools.product(*(range(tile[v] // spread[v]) for v in inner)):
            yield dict(zip(outer, o, strict=True)), dict(zip(inner, i, strict=True))


def walk(
    spec: Specification, bound: Bound, einsum: Einsum, shape: Mapping[str, int], choice: Choice, columns: int, rows: int
) -> Walked:
    """Walk one Einsum on an array of `columns` by `rows`."""
    order = bound.orders[choice.orders.get(bound.einsum, next(iter(bound.orders)))]
    batch = [rank.lower() for rank in spec.batch]
    extents = {v: shape[v.upper()] for v in (*batch, *einsum.variables)}
    side = {order.columns: columns, order.rows: rows}
    tile: dict[str, int] = {}
    for v, n in extents.items():
        around, inside = v in order.outer, v in order.inner
        tile[v] = choice.tiles.get(v, n) if around and inside else min(side.get(v, 1), n) if around else n
    spread = {v: min(side.get(v, 1), tile[v]) for v in extents}
    result = Walked()
    result.elements = 1
    for v in extents:
        result.elements *= spread[v]

    def held(level: str, tensors: tuple[Held, ...]) -> set[str]:
        on_chip = level == "buffer"
        return {each.tensor for each in tensors if not each.optional or (each.tensor in choice.on_chip) == on_chip}

    listed = {"dram": bound.dram, "buffer": bound.buffer, "edge": bound.edge}
    levels = {level: held(level, tensors) for level, tensors in listed.items()}
    operands = [(a.tensor, tuple(sorted({*a.variables, *batch})), False) for a in einsum.reads]
    operands = list(dict.fromkeys(operands))
    operands.append((einsum.name, tuple(sorted({*einsum.output.variables, *batch})), True))
    places: dict[tuple[str, bool], list[Place]] = {}
    for tensor, _, written in operands:
        chain = [level for level in ("dram", "buffer", "edge") if tensor in levels[level]] + ["registers"]
        places[tensor, written] = [Place(each, parent) for each, parent in zip(chain, [None, *chain], strict=False)]

    def cells(variables: tuple[str, ...], o: dict[str, int], i: dict[str, int] | None) -> Coordinates:
        spans: list[range] = []
        for v in variables:
            start = o.get(v, 0) * tile[v]
            if i is None:
                spans.append(range(start, start + tile[v]))
            else:
                start += i.get(v, 0) * spread[v]
                spans.append(range(start, start + spread[v]))
        return frozenset(itertools.product(*spans))

    def leave(tensor: str, place: Place) -> None:
        if place.now is not None and place.parent is not None:
            result.add(tensor, place.parent, "updates", len(place.now))
            place.seen |= place.now

    for o, i in steps(order, extents, tile, spread):
        result.steps += 1
        for tensor, variables, written in operands:
            for place in places[tensor, written]:
                if place.parent is None:
                    continue
                wanted = cells(variables, o, None if place.level == "buffer" else i)
                if place.now == wanted:
                    continue
                if written:
                    leave(tensor, place)
                    again = len(wanted & place.seen)
                    if again:
                        result.add(tensor, place.parent, "reads", again)
                        result.add(tensor, place.level, "fills", again)
                else:
                    result.add(tensor, place.parent, "reads", len(wanted))
                    result.add(tensor, place.level, "fills", len(wanted))
                place.now = wanted
    for tensor, _, written in operands:
        if written:
            for place in places[tensor, written]:
                leave(tensor, place)
    return result


def group_cycles(phase: Phase, cycles: Mapping[str, int], array: Mapping[str, str], drains: Mapping[str, int]) -> int:
    """Cycles of a phase: groups in turn, each as long as its busiest array; a drain waits."""
    total = 0
    for group in phase.groups:
        busy = {name: sum(cycles[e] for e in group.einsums if array[e] == name) for name in set(array.values())}
        total += max(busy.values()) + sum(drains[e] for e in group.drain)
    return total


def walk_registers(nest: Nest, operand: Operand) -> tuple[int, int, int]:
    """Reads, fills and writes of the registers of every element, each of which holds one value of the operand."""
    loops = (*nest.outer, *nest.inner)
    reads = fills = writes = 0
    for element in itertools.product(*(range(n) for _, n in nest.spatial)):
        now: tuple[int, ...] | None = None
        seen: set[tuple[int, ...]] = set()
        for step in itertools.product(*(range(n) for _, n in loops)):
            places = [*zip(loops, step, strict=True), *zip(nest.spatial, element, strict=True)]
            cell = tuple(at for (variable, _), at in places if variable in operand.variables)
            if operand.written:
                writes += 1
                reads += cell in seen
                fills += cell != now and cell in seen and bool(operand.levels)
            else:
                reads += 1
                fills += cell != now
            now = cell
            seen.add(cell)
    return reads, fills, writes
