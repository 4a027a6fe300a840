"""What a mapped cascade costs on a spatial machine: latency, DRAM traffic, utilization and energy.

Assumes: traffic of DRAM and of the buffer overlaps computation within a phase; the arrays work side by side
within a group; groups, and phases, follow one another. Initial Einsums (views, values at coordinate 0) cost nothing.
Source: FuseMax (MICRO 2024), section 6, and its artifact; the loop-nest analysis is Timeloop's (ISPASS 2019).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tierplan.einsum.passes import views_of
from tierplan.ir.errors import InvalidInputError
from tierplan.sim.spatial_bind import BoundNest
from tierplan.sim.spatial_energy import EnergyMode, energy
from tierplan.sim.spatial_machine import SpatialMachine
from tierplan.sim.spatial_mapping import Phase, Specification
from tierplan.sim.spatial_nest import Level, traffic


@dataclass(frozen=True, slots=True)
class EinsumCost:
    """What one Einsum does.

    Units: `cycles` of its array; bytes that cross DRAM, fractional where a share spills; bytes read from the
    buffer or written to it.
    """

    bound: BoundNest
    cycles: int
    read_bytes: float
    written_bytes: float
    buffer_bytes: int

    @property
    def dram_bytes(self) -> float:
        """Bytes that cross the memory behind the buffer."""
        return self.read_bytes + self.written_bytes

    @property
    def name(self) -> str:
        """The Einsum."""
        return self.bound.bound.einsum

    @property
    def busy(self) -> float:
        """Cycles, weighted by the share of the array's elements that work."""
        return self.cycles * self.bound.nest.n_elements / self.bound.array.n_elements


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """What a phase costs. Units: seconds; bytes of the buffer that its tiles occupy."""

    einsums: tuple[EinsumCost, ...]
    memory_s: float
    buffer_s: float
    compute_s: float
    footprint: int

    @property
    def latency_s(self) -> float:
        """Traffic and computation overlap; the slowest decides."""
        return max(self.memory_s, self.buffer_s, self.compute_s)

    @property
    def dram_bytes(self) -> float:
        """Bytes that cross the memory behind the buffer."""
        return sum(einsum.dram_bytes for einsum in self.einsums)


@dataclass(frozen=True, slots=True)
class SpatialCost:
    """What a mapped cascade costs.

    Units: seconds, bytes, joules. `utilization` is per array, `active` per Einsum: the share of the latency, times
    the share of the elements. `phases` keep the parts.
    """

    phases: tuple[PhaseCost, ...]
    energy_j: float

    @property
    def latency_s(self) -> float:
        """Phases follow one another."""
        return sum(phase.latency_s for phase in self.phases)

    @property
    def dram_bytes(self) -> float:
        """Bytes that cross the memory behind the buffer."""
        return sum(phase.dram_bytes for phase in self.phases)

    @property
    def footprint(self) -> int:
        """Bytes of the buffer that the largest phase occupies."""
        return max(phase.footprint for phase in self.phases)

    def active(self, machine: SpatialMachine) -> dict[str, float]:
        """Share of the latency that each Einsum keeps its array busy."""
        per_s = machine.clock * self.latency_s
        return {einsum.name: einsum.busy / per_s for phase in self.phases for einsum in phase.einsums}

    def utilization(self, machine: SpatialMachine) -> dict[str, float]:
        """Share of the latency that each array is busy."""
        active = self.active(machine)
        total = dict.fromkeys(machine.arrays, 0.0)
        for phase in self.phases:
            for einsum in phase.einsums:
                total[einsum.bound.array.name] += active[einsum.name]
        return total


def einsum_cost(
    machine: SpatialMachine, bound: BoundNest, overflows: frozenset[str] = frozenset(), spilled: float = 0.0
) -> EinsumCost:
    """Count one Einsum's traffic and cycles.

    Of a tensor that overflows the buffer, a share of every buffer access goes to DRAM instead, and that share
    is not brought into the buffer first.
    """
    moved = tuple(each for operand in bound.operands for each in traffic(bound.nest, operand))
    spilling = {operand.tensor for operand in bound.operands if Level.BUFFER in operand.levels} & overflows
    read: float = 0
    written: float = 0
    for each in moved:
        share: float = 0
        if each.level == Level.DRAM:
            share = 1 - spilled if spilled and each.tensor in spilling else 1
        elif each.level == Level.BUFFER and each.tensor in spilling:
            share = spilled
        if share:
            read += each.reads * share
            written += each.updates * share
    n_bytes = machine.value_bytes
    buffered = sum(t.reads + t.fills + t.updates for t in moved if t.level == Level.BUFFER)
    cycles = bound.nest.n_steps * bound.cycles
    return EinsumCost(bound, cycles, read * n_bytes, written * n_bytes, buffered * n_bytes)


def compute_cycles(phase: Phase, einsums: Iterable[EinsumCost]) -> int:
    """Cycles of the groups one after another; within a group the busiest array decides.

    An array drains in as many cycles as it has rows, once per step of the Einsum that drains.
    """
    costs = {einsum.name: einsum for einsum in einsums}
    total = 0
    for group in phase.groups:
        per_array: dict[str, int] = {}
        for name in group.einsums:
            array = costs[name].bound.array.name
            per_array[array] = per_array.get(array, 0) + costs[name].cycles
        total += max(per_array.values(), default=0)
        total += sum(costs[name].bound.nest.n_steps * costs[name].bound.array.rows for name in group.drain)
    return total


def footprint(
    spec: Specification, bounds: Iterable[BoundNest], value_bytes: int, of: frozenset[str] | None = None
) -> int:
    """Bytes of the buffer that the tiles of a phase occupy; tensors that overwrite one another count once.

    With `of`, the bytes of those tensors only.
    """
    tiles: dict[str, int] = {}
    shares = {tensor: chain[0] for chain in spec.in_place for tensor in chain}
    for bound in bounds:
        for tensor, volume in bound.held.items():
            if of is None or tensor in of:
                key = shares.get(tensor, tensor)
                tiles[key] = max(tiles.get(key, 0), volume)
    return sum(tiles.values()) * value_bytes


def total_cost(
    spec: Specification, machine: SpatialMachine, phases: tuple[PhaseCost, ...], mode: EnergyMode = EnergyMode.ALL
) -> SpatialCost:
    """The cost of all phases together, with the energy counted in `mode`."""
    joules = sum(
        energy(spec, machine, each.bound, mode)
        + each.read_bytes / machine.dram.access * machine.dram.read_j
        + each.written_bytes / machine.dram.access * machine.dram.write_j
        for phase in phases
        for each in phase.einsums
    )
    return SpatialCost(phases, joules)


def check_inputs(spec: Specification, bounds: Iterable[BoundNest]) -> None:
    """Refuse a mapping that reads an input from nowhere, or keeps a result from DRAM.

    Raises: InvalidInputError: an input (or a view of one) that an Einsum reads, or an output, lies in DRAM for none.
    """
    operands = [operand for bound in bounds for operand in bound.operands]
    found = {operand.tensor for operand in operands if Level.DRAM in operand.levels}
    views = views_of(spec.cascade)
    inputs = {*spec.cascade.inputs, *views}
    for operand in operands:
        what = "input" if operand.tensor in inputs else "output" if operand.tensor in spec.cascade.outputs else ""
        if what and operand.tensor not in found:
            message = f"{what} {operand.tensor} lies in DRAM for no Einsum; add it to a 'dram' list"
            raise InvalidInputError(f"{spec.where}{message}")
