"""The spatial accelerator: arrays of processing elements side by side on one buffer and one memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from typing import TYPE_CHECKING

from tierplan.hardware.load import load_hardware
from tierplan.ir.errors import InvalidInputError, unknown_name

if TYPE_CHECKING:
    from tierplan.hardware.spatial_schema import ArrayEntry, SpatialEntry


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory of the accelerator.

    Units: `access` is the bytes that one access carries; joules per access; `bandwidth` in bytes per second, reads
    and writes together.
    """

    access: int
    read_j: float
    write_j: float
    bandwidth: float = inf

    def __post_init__(self) -> None:
        if self.access < 1 or self.bandwidth <= 0:
            raise InvalidInputError(
                f"an access of {self.access} bytes, {self.bandwidth} bytes/s: need positive numbers"
            )


@dataclass(frozen=True, slots=True)
class Array:
    """A grid of processing elements, each with registers; one row makes it one-dimensional.

    `operations` says what one operation of an Einsum takes: an action, and how many of it, a cycle each.
    """

    name: str
    columns: int
    rows: int
    registers: int
    register: Memory
    operations: Mapping[str, tuple[str, int]]

    def __post_init__(self) -> None:
        if min(self.columns, self.rows, self.registers) < 1:
            raise InvalidInputError(f"array '{self.name}' needs at least one column, row and register")

    @property
    def n_elements(self) -> int:
        """Processing elements."""
        return self.columns * self.rows


@dataclass(frozen=True, slots=True)
class SpatialMachine:
    """Arrays that work side by side, the buffer that they share, and the memory behind it.

    Units: `clock` in cycles per second, `buffer_bytes` and `value_bytes` in bytes, `actions` in joules.
    """

    name: str
    clock: float
    value_bytes: int
    dram: Memory
    buffer: Memory
    buffer_bytes: int
    arrays: Mapping[str, Array]
    actions: Mapping[str, float]

    def __post_init__(self) -> None:
        if min(self.clock, self.value_bytes, self.buffer_bytes) <= 0:
            raise InvalidInputError(f"machine '{self.name}': clock, value and buffer must be positive")
        for array in self.arrays.values():
            for operation, (action, times) in array.operations.items():
                if action not in self.actions or times < 1:
                    raise InvalidInputError(f"array '{array.name}': '{operation}' takes {times} of action '{action}'")

    def array(self, name: str) -> Array:
        """The array of that name.

        Raises: InvalidInputError: there is none.
        """
        if name not in self.arrays:
            raise unknown_name("array", name, self.arrays)
        return self.arrays[name]

    def with_buffer(self, n_bytes: int) -> SpatialMachine:
        """The same machine with a buffer of another size; what an access costs stays as it is."""
        return replace(self, buffer_bytes=n_bytes)


def _array(entry: ArrayEntry, value_bytes: int) -> Array:
    return Array(
        entry.array,
        entry.columns,
        entry.rows,
        entry.registers,
        Memory(value_bytes, entry.register_read, entry.register_write),
        {operation.operation: (operation.action, operation.times) for operation in entry.operations},
    )


def spatial_machine(name: str, entry: SpatialEntry) -> SpatialMachine:
    """The machine that the `spatial` section of a hardware file describes."""
    memory, buffer = entry.memory, entry.buffer
    return SpatialMachine(
        name=name,
        clock=entry.clock,
        value_bytes=entry.value,
        dram=Memory(memory.access, memory.read, memory.write, memory.rate),
        buffer=Memory(buffer.access, buffer.read, buffer.write, buffer.rate),
        buffer_bytes=buffer.size,
        arrays={array.array: _array(array, entry.value) for array in entry.arrays},
        actions={action.action: action.energy for action in entry.actions},
    )


@cache
def load_spatial(name_or_path: str) -> SpatialMachine:
    """The spatial machine of that built-in hardware, or of a hardware file.

    >>> load_spatial("fusemax-cloud").array("2d").n_elements
    65536

    Raises: InvalidInputError: no such hardware, or it has no `spatial` section.
    """
    hardware = load_hardware(name_or_path)
    if hardware.spatial is None:
        raise InvalidInputError(
            f"{name_or_path}: has no 'spatial' section, so no arrays to map onto; fusemax-cloud and flat-cloud do"
        )
    return spatial_machine(hardware.machine.name, hardware.spatial)
