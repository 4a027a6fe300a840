"""Energy of a mapped Einsum: actions, registers and buffer; as published, or with everything counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import Enum

from tierplan.sim.spatial_bind import BoundNest
from tierplan.sim.spatial_machine import SpatialMachine
from tierplan.sim.spatial_mapping import Specification
from tierplan.sim.spatial_nest import Level, Traffic, register_traffic, traffic

_WRAP = 2**64


class EnergyMode(Enum):
    """Which energy is counted.

    The published numbers count the registers of one processing element of each array, leave out what a
    specification lists as `uncounted`, and count reads of partial sums that never happen where the product of a
    tile and its tensor, in values, passes 64 bits in the tool that they come from.
    """

    ALL = "all-pes"
    COMPATIBLE = "compatible"


def first_visits(each: Traffic, mode: EnergyMode) -> int:
    """Reads that the first visits of an output save; the published tool computes them modulo 2**64 per tile."""
    if mode is EnergyMode.ALL or not each.first:
        return each.first
    return each.first * each.tile % _WRAP // each.tile


def _moved(spec: Specification, bound: BoundNest, compatible: bool) -> Iterator[Traffic]:
    for operand in bound.operands:
        merged = spec.accumulated.get(operand.tensor, ()) if compatible else ()
        counted = replace(operand, variables=operand.variables.difference(merged)) if merged else operand
        yield from traffic(bound.nest, counted)
        yield register_traffic(bound.nest, counted)


def energy(
    spec: Specification,
    machine: SpatialMachine,
    bound: BoundNest,
    mode: EnergyMode,
) -> float:
    """Joules of one Einsum, DRAM left out."""
    nest, array = bound.nest, bound.array
    compatible = mode is EnergyMode.COMPATIBLE
    skipped = spec.uncounted if compatible else frozenset[str]()
    points = nest.n_steps * nest.n_elements
    total = sum(points * n * machine.actions[action] for action, n in bound.actions.items() if action not in skipped)
    per_line = machine.buffer.access // machine.value_bytes
    for each in _moved(spec, bound, compatible):
        if each.level == Level.BUFFER:
            reads = each.reads + each.first - first_visits(each, mode)
            total += reads / per_line * machine.buffer.read_j
            total += (each.fills + each.updates) / per_line * machine.buffer.write_j
        elif each.level == Level.REGISTERS or (each.level == Level.EDGE and "edge" not in skipped):
            one = nest.n_elements if compatible and each.level == Level.REGISTERS else 1
            writes = each.fills + each.updates
            total += (each.reads * array.register.read_j + writes * array.register.write_j) / one
    return total
