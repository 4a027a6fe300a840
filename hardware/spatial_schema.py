"""The `spatial` section of a hardware file: arrays of processing elements, their buffer, and what actions cost."""

import itertools
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from tierplan.ir import units
from tierplan.ir.errors import InvalidInputError

FREQUENCY = units.Quantity("a frequency", "940 MHz", {"kHz": 1e3, "MHz": 1e6, "GHz": 1e9}, 1e3, 1e12)
ENERGY = units.Quantity(
    "an energy", "17.1 pJ", {"nJ": 1e-9, "pJ": 1e-12, "fJ": 1e-15, "uJ": 1e-6, "J": 1.0}, 1e-18, 1e-3
)


def _refuse(message: str) -> PydanticCustomError:
    return PydanticCustomError("tierplan", "{message}", {"message": message})


def _reader(quantity: units.Quantity, read: Callable[[str], float]) -> Callable[[object], float]:
    def parse(value: object) -> float:
        if not isinstance(value, str):
            raise _refuse(f"need {quantity.what} with its unit, like '{quantity.example}'")
        try:
            return read(value)
        except InvalidInputError as error:
            raise _refuse(str(error)) from None

    return parse


def _json(quantity: units.Quantity) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": quantity.pattern, "examples": [quantity.example]})


def _quantity(quantity: units.Quantity) -> Any:
    return BeforeValidator(_reader(quantity, lambda text: units.read(text, quantity)))


Frequency = Annotated[float, _quantity(FREQUENCY), _json(FREQUENCY)]
Energy = Annotated[float, _quantity(ENERGY), _json(ENERGY)]
Bytes = Annotated[int, BeforeValidator(_reader(units.SIZE, units.read_bytes)), _json(units.SIZE)]
Rate = Annotated[float, BeforeValidator(_reader(units.BANDWIDTH, units.read_bandwidth)), _json(units.BANDWIDTH)]
Whole = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Word = Annotated[str, Field(strict=True, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MemoryEntry(_Entry):
    """A memory of the accelerator: what one access carries, and what it costs."""

    access: Bytes = Field(description="Bytes of one access: a word of DRAM, a line of the buffer.")
    read: Energy = Field(description="Energy of one read.")
    write: Energy = Field(description="Energy of one write.")
    rate: Rate = Field(description="Bandwidth, reads and writes together.")


class BufferEntry(MemoryEntry):
    """The buffer that all arrays share."""

    size: Bytes = Field(description="Bytes that fit in the buffer.")


class OperationEntry(_Entry):
    """What one operation of an Einsum takes: so many of one action, a cycle each."""

    operation: Word = Field(description="An operation as cascades count them: multiply-accumulate, exp, max, ...")
    action: Word = Field(description="The action that performs it, one per cycle and element.")
    times: Whole = Field(default=1, description="Actions per operation. Default: 1.")


class ArrayEntry(_Entry):
    """An array of processing elements; without rows it has one dimension."""

    array: Word = Field(description="What mappings call this array.")
    columns: Whole = Field(description="Elements of a row.")
    rows: Whole = Field(default=1, description="Rows; an array of one dimension has one. Default: 1.")
    registers: Whole = Field(description="Registers per element, one value each.")
    register_read: Energy = Field(description="Energy of reading a register.")
    register_write: Energy = Field(description="Energy of writing a register.")
    operations: list[OperationEntry] = Field(min_length=1, max_length=64, description="What an element can do.")


class ActionEntry(_Entry):
    """An action of a processing element."""

    action: Word = Field(description="What operations call this action.")
    energy: Energy = Field(description="Energy of one action.")


class SpatialEntry(_Entry):
    """A spatial accelerator: arrays that work side by side on one buffer and one memory."""

    clock: Frequency = Field(description="Cycles per second of the arrays.")
    value: Bytes = Field(description="Bytes of one value.")
    memory: MemoryEntry = Field(description="The memory behind the buffer.")
    buffer: BufferEntry = Field(description="The buffer that the arrays share.")
    arrays: list[ArrayEntry] = Field(min_length=1, max_length=8, description="Arrays of processing elements.")
    actions: list[ActionEntry] = Field(min_length=1, max_length=64, description="Actions and their energies.")

    @model_validator(mode="after")
    def _consistent(self) -> "SpatialEntry":
        for names, what in (
            ([a.array for a in self.arrays], "arrays"),
            ([a.action for a in self.actions], "actions"),
            *(([o.operation for o in a.operations], f"operations of array '{a.array}'") for a in self.arrays),
        ):
            for earlier, later in itertools.pairwise(sorted(names)):
                if earlier == later:
                    raise _refuse(f"two {what} are named '{later}'")
        known = {a.action for a in self.actions}
        for array in self.arrays:
            for operation in array.operations:
                if operation.action not in known:
                    wanted = f"operation '{operation.operation}' takes the unknown action '{operation.action}'"
                    raise _refuse(f"{wanted}; known: {', '.join(sorted(known))}")
        return self
