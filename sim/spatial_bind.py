"""From a mapping with its choices to loop nests: the sizes of tiles, and which tensors an Einsum touches where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.counts import MULTIPLY_ACCUMULATE, per_point
from tierplan.einsum.expressions import Apply
from tierplan.einsum.operators import REDUCES
from tierplan.einsum.sizes import resolve
from tierplan.einsum.statements import Einsum
from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.sim.spatial_machine import Array, SpatialMachine
from tierplan.sim.spatial_mapping import Bound, Order, Phase, Specification
from tierplan.sim.spatial_nest import Level, Loop, Nest, Operand


@dataclass(frozen=True, slots=True)
class BoundNest:
    """One Einsum as a loop nest on an array.

    `cycles` is per point of the iteration space and element; `actions` are per point. `held` is the values of a
    tile, for each tensor in the buffer.
    """

    bound: Bound
    order: str
    array: Array
    nest: Nest
    operands: tuple[Operand, ...]
    cycles: int
    actions: Mapping[str, int]
    held: Mapping[str, int]


@lru_cache(maxsize=1024)
def _resolved(cascade: Cascade, given: tuple[tuple[str, int], ...]) -> dict[str, int]:
    return resolve(cascade, dict(given))


def rank_sizes(spec: Specification, machine: SpatialMachine, sizes: Mapping[str, int]) -> dict[str, int]:
    """The shape of every rank: those given, those that the array sets, and what follows from both.

    Raises: InvalidInputError: a shape is missing, or a rank is not divided evenly.
    """
    given = dict(sizes)
    for rank, (array, side) in spec.ranks.items():
        try:
            found = machine.array(array)
        except InvalidInputError as error:
            raise InvalidInputError(f"{spec.where}ranks.{rank}: {error}") from None
        given[rank] = found.rows if side == "rows" else found.columns
    batch: dict[str, int] = {}
    for rank in spec.batch:
        if rank not in given:
            raise InvalidInputError(f"rank {rank} has no shape; give one, like {rank}=64")
        batch[rank] = given.pop(rank)
    try:
        return batch | _resolved(spec.cascade, tuple(sorted(given.items())))
    except InvalidInputError as error:
        raise InvalidInputError(f"{spec.where}{error}") from None


def operations(cascade: Cascade, einsum: Einsum) -> Mapping[str, int]:
    """Operations by kind at one point of the iteration space, reductions included.

    Assumes: every point is accumulated once, however many reductions there are.
    """
    found: Counter[str] = Counter(per_point(cascade, einsum))
    if einsum.reductions:
        operator = REDUCES.get(einsum.reductions[-1].operator)
        kind = operator.kind if operator else einsum.reductions[-1].operator
        if kind == "add" and isinstance(einsum.expression, Apply) and einsum.expression.operator == "multiply":
            found["multiply"] -= 1
            kind = MULTIPLY_ACCUMULATE
        found[kind] += 1
    return {kind: n for kind, n in found.items() if n}


def _work(cascade: Cascade, einsum: Einsum, bound: Bound, array: Array) -> tuple[int, Mapping[str, int]]:
    actions: Counter[str] = Counter()
    cycles: list[int] = [1]
    for kind, n in operations(cascade, einsum).items():
        if kind not in array.operations:
            problem = unknown_name("operation", kind, array.operations)
            raise InvalidInputError(f"{bound.where}{einsum.name} on array '{array.name}': {problem}")
        action, times = array.operations[kind]
        actions[action] += n * times
        cycles.append(n * times)
    return (max(cycles) if bound.pipelined else max(1, sum(cycles[1:]))), dict(actions)


Touched = tuple[str, frozenset[str], bool]


@dataclass(frozen=True, slots=True)
class Placed:
    """One Einsum on its array, before tiles and orders are chosen: what does not depend on the choice.

    `extents` are the shapes of its rank variables; `touched` its tensors, the variables that each moves with, and
    whether it is written, equal reads once.
    """

    bound: Bound
    array: Array
    extents: Mapping[str, int]
    touched: tuple[Touched, ...]
    cycles: int
    actions: Mapping[str, int]
    optional: frozenset[str]

    def operands(self, on_chip: frozenset[str]) -> tuple[Operand, ...]:
        """What the Einsum reads and writes, and the levels at which each lies."""
        lying: dict[str, list[Level]] = {}
        bound = self.bound
        for level, helds in ((Level.DRAM, bound.dram), (Level.BUFFER, bound.buffer), (Level.EDGE, bound.edge)):
            for held in helds:
                if not held.optional or (held.tensor in on_chip) == (level == Level.BUFFER):
                    lying.setdefault(held.tensor, []).append(level)
        return tuple(Operand(name, over, tuple(lying.get(name, ())), out) for name, over, out in self.touched)


def place(spec: Specification, phase: Phase, machine: SpatialMachine, shape: Mapping[str, int]) -> tuple[Placed, ...]:
    """The Einsums of a phase on their arrays; `shape` has every rank.

    Raises: InvalidInputError: an array, an operation or a tensor is unknown.
    """
    einsums = {einsum.name: einsum for einsum in spec.cascade.einsums}
    batch = tuple(rank.lower() for rank in spec.batch)
    found: list[Placed] = []
    for bound in phase.bound:
        einsum = einsums[bound.einsum]
        try:
            array = machine.array(bound.array)
        except InvalidInputError as error:
            raise InvalidInputError(f"{bound.where}{error}") from None
        extents = {variable: shape[variable.upper()] for variable in (*batch, *einsum.variables)}
        reads = {(access.tensor, frozenset((*access.variables, *batch)), False): None for access in einsum.reads}
        touched = (*reads, (einsum.name, frozenset((*einsum.output.variables, *batch)), True))
        names = [name for name, _, _ in touched]
        for held in (*bound.dram, *bound.buffer, *bound.edge):
            if held.tensor not in names:
                raise InvalidInputError(f"{bound.where}{unknown_name('tensor', held.tensor, names)}")
        cycles, actions = _work(spec.cascade, einsum, bound, array)
        found.append(Placed(bound, array, extents, touched, cycles, actions, bound.optional))
    return tuple(found)


def tile_of(variable: str, order: Order, array: Array, extent: int, tiles: Mapping[str, int]) -> int:
    """How much of a rank one residence in the buffer holds.

    A variable that is looped both around and inside has the tile of the choice; one that is only around has
    what the array holds of it; one that is only inside is whole.
    """
    if variable not in order.outer:
        return extent
    if variable in order.inner:
        return tiles.get(variable, extent)
    width = {order.columns: array.columns, order.rows: array.rows}.get(variable, 1)
    return min(width, extent)


def make_nest(bound: Bound, order: Order, array: Array, extents: Mapping[str, int], tiles: Mapping[str, int]) -> Nest:
    """The loops of one Einsum; loops over variables that it lacks are left out.

    Raises: InvalidInputError: a rank is not divided evenly, has no loop, or the array lacks the rows.
    """
    for variable in extents:
        if variable not in order.variables:
            raise InvalidInputError(f"{bound.where}no loop walks rank variable '{variable}' of Einsum {bound.einsum}")
    if order.rows in extents and array.rows == 1:
        problem = f"array '{array.name}' has one row; it cannot spread '{order.rows}' over rows"
        raise InvalidInputError(f"{bound.where}{problem}")
    width = {order.columns: array.columns, order.rows: array.rows}
    outer: dict[str, int] = {}
    inner: dict[str, int] = {}
    spatial: list[Loop] = []
    for variable, extent in extents.items():
        tile = tile_of(variable, order, array, extent, tiles)
        spread = min(width.get(variable, 1), tile)
        if extent % tile or tile % spread:
            whole, part = (extent, tile) if extent % tile else (tile, spread)
            problem = f"{whole} of rank {variable.upper()} is not a multiple of {part}"
            raise InvalidInputError(f"{bound.where}Einsum {bound.einsum}: {problem}")
        outer[variable], inner[variable] = extent // tile, tile // spread
        if spread > 1 or variable in width:
            spatial.append((variable, spread))
    return Nest(
        tuple((v, outer[v]) for v in order.outer if v in outer),
        tuple((v, inner[v]) for v in order.inner if v in inner),
        tuple(spatial),
    )


def bind(placed: Placed, order: str | None, tiles: Mapping[str, int], on_chip: frozenset[str]) -> BoundNest:
    """The loop nest of one Einsum, in the loop order of that name or its first one.

    Raises: InvalidInputError: a rank is not divided evenly, or the order is unknown.
    """
    bound = placed.bound
    name = order or next(iter(bound.orders))
    if name not in bound.orders:
        raise InvalidInputError(f"{bound.where}{unknown_name('order', name, bound.orders)}")
    nest = make_nest(bound, bound.orders[name], placed.array, placed.extents, tiles)
    operands = placed.operands(on_chip)
    swept = nest.below(Level.BUFFER)
    held = {operand.tensor: operand.volume(swept) for operand in operands if Level.BUFFER in operand.levels}
    return BoundNest(bound, name, placed.array, nest, operands, placed.cycles, placed.actions, held)


def bind_ideal(placed: Placed) -> BoundNest:
    """The Einsum on its array without loops: a stand-in where only the array matters."""
    nest = Nest((), (), ())
    return BoundNest(placed.bound, "", placed.array, nest, (), placed.cycles, placed.actions, {})
