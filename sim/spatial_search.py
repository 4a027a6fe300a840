"""What a mapping leaves open, chosen: tile sizes, tensors on chip and loop orders that fit the buffer.

The search is exhaustive over divisors of the tiled ranks, subsets of the optional tensors (what does not fit does
not fit with more of them either), and orders. Within a tile and a subset, orders of an Einsum that another one beats
in cycles and in traffic are left out. It ends early at a choice whose latency and traffic no other could beat.
Where a specification lets tensors overflow, what exceeds the buffer by at most a sixteenth of them spills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, combinations, product
from math import inf, isqrt, prod

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.spatial_bind import BoundNest, Placed, bind, bind_ideal, place, rank_sizes
from tierplan.sim.spatial_cost import (
    EinsumCost,
    PhaseCost,
    SpatialCost,
    check_inputs,
    compute_cycles,
    einsum_cost,
    footprint,
    total_cost,
)
from tierplan.sim.spatial_energy import EnergyMode
from tierplan.sim.spatial_machine import SpatialMachine
from tierplan.sim.spatial_mapping import Choice, Phase, Specification

_MOST_SPILLED = 1 / 16
Key = Callable[[PhaseCost], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Mapped:
    """A cascade mapped: what was chosen for each phase, and what it costs."""

    choices: tuple[Choice, ...]
    cost: SpatialCost


def fastest(cost: PhaseCost) -> tuple[float, ...]:
    """Order by latency, then traffic, then bytes of the buffer."""
    return cost.latency_s, cost.dram_bytes, cost.buffer_s, cost.footprint


def least_traffic(limit_s: float) -> Key:
    """Order by traffic among those that meet the limit; those that do not come after, the nearest first."""

    def key(cost: PhaseCost) -> tuple[float, ...]:
        over = max(0.0, cost.latency_s - limit_s * (1 + 1e-12))
        return over, cost.dram_bytes, cost.latency_s, cost.buffer_s, cost.footprint

    return key


def smallest(limit_s: float) -> Key:
    """Order by bytes of the buffer among those that meet the limit."""

    def key(cost: PhaseCost) -> tuple[float, ...]:
        over = max(0.0, cost.latency_s - limit_s * (1 + 1e-12))
        return over, cost.footprint, cost.dram_bytes

    return key


def evaluate(
    spec: Specification,
    machine: SpatialMachine,
    sizes: Mapping[str, int],
    *,
    workload: str = "",
    choices: tuple[Choice, ...] | None = None,
    mode: EnergyMode = EnergyMode.ALL,
    key: Key = fastest,
) -> Mapped:
    """Cost a cascade under its specification; what neither `choices` nor the file gives is searched for.

    `sizes` has the shapes of the cascade's and the batch ranks. `workload` names a row of the file's choices;
    `choices` has one per phase, as an earlier result does.

    Raises: InvalidInputError: the mapping does not suit the shape or the machine, or nothing fits the buffer.
    """
    shape = rank_sizes(spec, machine, sizes)
    if choices is not None and len(choices) != len(spec.phases):
        raise InvalidInputError(f"{len(choices)} choices for {len(spec.phases)} phases; give one each")
    given = choices or (spec.given_choice(workload, sizes),) * len(spec.phases)
    pairs = zip(spec.phases, given, strict=True)
    found = [plan_phase(spec, phase, machine, shape, one, key) for phase, one in pairs]
    bounds = [einsum.bound for _, cost in found for einsum in cost.einsums]
    check_inputs(spec, bounds)
    return Mapped(tuple(c for c, _ in found), total_cost(spec, machine, tuple(p for _, p in found), mode))


def improve(
    spec: Specification, machine: SpatialMachine, sizes: Mapping[str, int], key: Key, mode: EnergyMode = EnergyMode.ALL
) -> Mapped:
    """The best mapping by `key` of all that the specification leaves open, the file's choices set aside."""
    return evaluate(replace(spec, given=()), machine, sizes, key=key, mode=mode)


@lru_cache(maxsize=1024)
def divisors(n: int) -> tuple[int, ...]:
    """Divisors in rising order.

    >>> divisors(12)
    (1, 2, 3, 4, 6, 12)
    """
    low = [d for d in range(1, isqrt(n) + 1) if n % d == 0]
    return tuple(dict.fromkeys((*low, *(n // d for d in reversed(low)))))


def plan_phase(
    spec: Specification,
    phase: Phase,
    machine: SpatialMachine,
    shape: Mapping[str, int],
    given: Choice | None,
    key: Key,
) -> tuple[Choice, PhaseCost]:
    """The best choice by `key` for what `given` leaves open in one phase, and its cost.

    Raises: InvalidInputError: nothing fits, or the only choice does not suit the shape.
    """
    budget = min(machine.buffer_bytes, spec.fits_in or machine.buffer_bytes)
    best: tuple[Choice, PhaseCost] | None = None
    best_key: tuple[float, ...] = (inf,)
    least: int | None = None
    complaint: InvalidInputError | None = None
    placed = place(spec, phase, machine, shape)
    ideal = key(_ideal(phase, machine, placed))[:2]
    for tiles in _tilings(phase, shape, given):
        table = _Table(spec, machine, placed)
        too_large: list[frozenset[str]] = []
        for on_chip in _subsets(phase) if given is None else (given.on_chip,):
            if any(larger <= on_chip for larger in too_large):
                continue
            start = Choice(tiles, on_chip, given.orders if given else {}, given.spilled if given else 0.0)
            try:
                taken = footprint(spec, table.bounds(start), machine.value_bytes)
                least = taken if least is None else min(least, taken)
                if taken > budget and not start.spilled:
                    spilling = _spilling(spec, table, start, taken - budget, machine.value_bytes)
                    if spilling is None or given is not None:
                        too_large.append(on_chip)
                        continue
                    start = spilling
                options = table.combinations(start, fixed=given is not None)
            except InvalidInputError as error:
                complaint = complaint or error
                continue
            for einsums in options:
                cost = _combine(phase, machine, einsums, taken)
                rank = key(cost)
                if rank < best_key:
                    best, best_key = (_chosen(start, cost), cost), rank
            if best is not None and all(a <= b * (1 + 1e-12) for a, b in zip(best_key[:2], ideal, strict=True)):
                return best
    if best is None and least is not None:
        raise InvalidInputError(
            f"{phase.bound[0].where}does not fit: the tiles take at least {least:,} bytes, the buffer has {budget:,}"
        )
    if best is None:
        assert complaint is not None
        raise complaint
    return best


def _tilings(phase: Phase, shape: Mapping[str, int], given: Choice | None) -> Iterator[dict[str, int]]:
    fixed: Mapping[str, int] = given.tiles if given else Choice().tiles
    open_ = [v for v in phase.tiled if v not in fixed]
    grid = product(*(divisors(shape[v.upper()]) for v in open_))
    for sizes in sorted(grid, key=prod, reverse=True):
        yield {**fixed, **dict(zip(open_, sizes, strict=True))}


def _subsets(phase: Phase) -> Iterator[frozenset[str]]:
    optional = sorted(frozenset[str]().union(*(bound.optional for bound in phase.bound)))
    return (frozenset(s) for s in chain(*(combinations(optional, n) for n in range(len(optional) + 1))))


def _spilling(spec: Specification, table: _Table, start: Choice, excess: int, value_bytes: int) -> Choice | None:
    """The choice with the share spilled that does not fit; None where that is too much, or nothing may spill."""
    may = footprint(spec, table.bounds(start), value_bytes, of=spec.overflows) if spec.overflows else 0
    return replace(start, spilled=excess / may) if may and excess <= _MOST_SPILLED * may else None


class _Table:
    """Costs of the Einsums of a phase for one tiling, each computed once per order and own tensors on chip."""

    def __init__(self, spec: Specification, machine: SpatialMachine, placed: tuple[Placed, ...]) -> None:
        self._spec = spec
        self._machine = machine
        self._placed = placed
        self._nests: dict[tuple[str, str, frozenset[str]], BoundNest] = {}
        self._costs: dict[tuple[str, str, frozenset[str], float], EinsumCost] = {}
        self._front: dict[tuple[str, frozenset[str], float], list[EinsumCost]] = {}

    def _nest(self, placed: Placed, start: Choice, order: str | None) -> BoundNest:
        einsum = placed.bound.einsum
        key = (einsum, order or start.orders.get(einsum, ""), start.on_chip & placed.optional)
        found = self._nests.get(key)
        if found is None:
            found = self._nests[key] = bind(placed, key[1] or None, start.tiles, start.on_chip)
        return found

    def bounds(self, start: Choice) -> list[BoundNest]:
        """The nests in the orders that `start` names; where it names none, in the first that the ranks suit."""
        return [self._first(placed, start) for placed in self._placed]

    def _first(self, placed: Placed, start: Choice) -> BoundNest:
        if placed.bound.einsum in start.orders or len(placed.bound.orders) == 1:
            return self._nest(placed, start, None)
        complaint: InvalidInputError | None = None
        for name in placed.bound.orders:
            try:
                return self._nest(placed, start, name)
            except InvalidInputError as error:
                complaint = complaint or error
        assert complaint is not None
        raise complaint

    def _cost(self, placed: Placed, start: Choice, order: str | None) -> EinsumCost:
        nest = self._nest(placed, start, order)
        key = (placed.bound.einsum, nest.order, start.on_chip & placed.optional, start.spilled)
        found = self._costs.get(key)
        if found is None:
            found = self._costs[key] = einsum_cost(self._machine, nest, self._spec.overflows, start.spilled)
        return found

    def combinations(self, start: Choice, *, fixed: bool) -> Iterator[tuple[EinsumCost, ...]]:
        """Costs of every combination of orders that no other beats in cycles and traffic."""
        if fixed:
            return iter([tuple(self._cost(placed, start, None) for placed in self._placed)])
        return product(*(self._unbeaten(placed, start) for placed in self._placed))

    def _unbeaten(self, placed: Placed, start: Choice) -> list[EinsumCost]:
        key = (placed.bound.einsum, start.on_chip & placed.optional, start.spilled)
        if key not in self._front:
            costs: list[EinsumCost] = []
            for name in placed.bound.orders:
                with suppress(InvalidInputError):
                    costs.append(self._cost(placed, start, name))
            self._front[key] = [c for c in costs if not any(_beats(other, c) for other in costs)]
        return self._front[key]


def _ideal(phase: Phase, machine: SpatialMachine, placed: tuple[Placed, ...]) -> PhaseCost:
    """A cost that no choice beats: every element busy, every tensor that lies in DRAM moved once, no buffer."""
    einsums: list[EinsumCost] = []
    for each in placed:
        lying = {held.tensor for held in each.bound.dram if not held.optional}
        moved = {False: 0, True: 0}
        for name, over, written in each.touched:
            if name in lying:
                moved[written] += prod(each.extents[v] for v in over) * machine.value_bytes
        cycles = -(-prod(each.extents.values()) // each.array.n_elements) * each.cycles
        einsums.append(EinsumCost(bind_ideal(each), cycles, moved[False], moved[True], 0))
    return _combine(phase, machine, tuple(einsums), 0)


def _combine(phase: Phase, machine: SpatialMachine, einsums: tuple[EinsumCost, ...], taken: int) -> PhaseCost:
    memory_s = sum(einsum.dram_bytes for einsum in einsums) / machine.dram.bandwidth
    buffer_s = sum(einsum.buffer_bytes for einsum in einsums) / machine.buffer.bandwidth
    return PhaseCost(einsums, memory_s, buffer_s, compute_cycles(phase, einsums) / machine.clock, taken)


def _beats(one: EinsumCost, other: EinsumCost) -> bool:
    mine = one.cycles, one.dram_bytes, one.buffer_bytes
    others = other.cycles, other.dram_bytes, other.buffer_bytes
    return mine != others and all(a <= b for a, b in zip(mine, others, strict=True))


def _chosen(start: Choice, cost: PhaseCost) -> Choice:
    """The choice with the orders that the cost was computed for."""
    orders = {e.name: e.bound.order for e in cost.einsums if len(e.bound.bound.orders) > 1}
    return replace(start, orders=orders)
