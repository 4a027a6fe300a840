"""The hardware file: which keys it has, and what each may hold. `docs/hardware.md` explains them to users."""

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from tierplan.hardware.calibration_schema import CalibrationEntry
from tierplan.hardware.execution_schema import ExecutionEntry
from tierplan.hardware.spatial_schema import SpatialEntry
from tierplan.ir import units
from tierplan.ir.dtypes import BITS, dtype_name
from tierplan.ir.errors import InvalidInputError

_Number = TypeVar("_Number", int, float)


def _refuse(message: str) -> PydanticCustomError:
    return PydanticCustomError("tierplan", "{message}", {"message": message})


def _reader(quantity: units.Quantity, read: Callable[[str], _Number]) -> Callable[[object], _Number]:
    def parse(value: object) -> _Number:
        if isinstance(value, str):
            try:
                return read(value)
            except InvalidInputError as error:
                raise _refuse(str(error)) from None
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise _refuse(f"{str(value)[:40]} has no unit; write {quantity.what} like '{quantity.example}'")
        raise _refuse(f"need {quantity.what}, like '{quantity.example}'")

    return parse


def _json(quantity: units.Quantity) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": quantity.pattern, "examples": [quantity.example]})


def _dtype(name: str) -> str:
    try:
        return dtype_name(name)
    except InvalidInputError as error:
        raise PydanticCustomError("dtype", "{message}", {"message": str(error)}) from None


Size = Annotated[int, BeforeValidator(_reader(units.SIZE, units.read_bytes)), _json(units.SIZE)]
Bandwidth = Annotated[float, BeforeValidator(_reader(units.BANDWIDTH, units.read_bandwidth)), _json(units.BANDWIDTH)]
Duration = Annotated[float, BeforeValidator(_reader(units.DURATION, units.read_seconds)), _json(units.DURATION)]
Rate = Annotated[float, BeforeValidator(_reader(units.RATE, units.read_rate)), _json(units.RATE)]
EnergyPerByte = Annotated[
    float, BeforeValidator(_reader(units.ENERGY_PER_BYTE, units.read_energy_per_byte)), _json(units.ENERGY_PER_BYTE)
]
EnergyPerOp = Annotated[
    float, BeforeValidator(_reader(units.ENERGY_PER_OP, units.read_energy_per_op)), _json(units.ENERGY_PER_OP)
]
Price = Annotated[float, BeforeValidator(_reader(units.PRICE, units.read_price)), _json(units.PRICE)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:+/>-]*$")]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Flag = Annotated[bool, Field(strict=True)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComputeUnit(BaseModel):
    """Peak rate by element type (`bfloat16: 138 Tflop/s`); a multiply-accumulate counts as two operations."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        json_schema_extra={"propertyNames": {"enum": ["energy", *BITS]}, "minProperties": 1},
    )
    __pydantic_extra__: dict[Annotated[str, AfterValidator(_dtype)], Rate]  # pyright: ignore[reportIncompatibleVariableOverride]

    energy: EnergyPerOp | None = Field(default=None, description="Energy of one operation; leave out if not known.")

    @property
    def peak(self) -> Mapping[str, float]:
        """Operations per second by canonical element type."""
        return self.__pydantic_extra__

    @model_validator(mode="before")
    @classmethod
    def _rates(cls, value: Any) -> Any:
        if isinstance(value, dict):
            names: list[str] = [str(key) for key in value if key != "energy"]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            if not names:
                raise _refuse("need a peak rate for at least one element type, like 'bfloat16: 138 Tflop/s'")
            known = [dtype_name(name) for name in names if _is_dtype(name)]
            for name in known:
                if known.count(name) > 1:
                    raise _refuse(f"the rate of {name} is given twice, under two of its names")
        return value  # pyright: ignore[reportUnknownVariableType]


def _is_dtype(name: str) -> bool:
    try:
        dtype_name(name)
    except InvalidInputError:
        return False
    return True


class Compute(_Entry):
    """The compute units: one for matrix products, one for everything else."""

    matrix: ComputeUnit = Field(description="The unit that runs matrix products.")
    vector: ComputeUnit = Field(description="The unit that runs everything else.")


class CurvePoint(_Entry):
    """One point of a read-size curve."""

    chunk: Size = Field(description="Bytes of one read.")
    bandwidth: Bandwidth = Field(description="Bandwidth that reads of this size reach together.")


def _rising(points: list[CurvePoint]) -> list[CurvePoint]:
    for earlier, later in itertools.pairwise(points):
        if later.chunk <= earlier.chunk:
            raise _refuse(f"chunk sizes must rise: {later.chunk} B follows {earlier.chunk} B")
        if later.bandwidth < earlier.bandwidth:
            slow, fast = units.show_bandwidth(later.bandwidth), units.show_bandwidth(earlier.bandwidth)
            raise _refuse(f"bandwidth must not fall with the chunk size: {slow} follows {fast}")
    return points


class TierEntry(_Entry):
    """One level of memory."""

    name: Name = Field(description="What links, plans and reports call this tier.")
    capacity: Size = Field(description="Bytes that fit.")
    bandwidth: Bandwidth | None = Field(
        default=None, description="Bandwidth of reads and of writes; or give read_bandwidth and write_bandwidth."
    )
    read_bandwidth: Bandwidth | None = Field(default=None, description="Bandwidth of reads.")
    write_bandwidth: Bandwidth | None = Field(default=None, description="Bandwidth of writes.")
    latency: Duration = Field(default=0.0, description="Time to the first byte. Default: none.")
    alignment: Size = Field(default=1, description="Offsets are multiples of this. Default: 1 B.")
    scratch: Size = Field(default=0, description="Bytes kept for tiling, which plans may not occupy. Default: none.")
    direct: Flag = Field(default=True, description="Whether operations read and write this tier where it lies.")
    read_link: Name | None = Field(default=None, description="The link that direct reads cross.")
    write_link: Name | None = Field(default=None, description="The link that direct writes cross.")
    read_curve: Annotated[list[CurvePoint], AfterValidator(_rising)] = Field(
        default=[], max_length=256, description="Bandwidth by read size, smallest first, for flash."
    )
    queue_depth: Count = Field(default=1, description="Reads in flight at once. Default: 1.")
    read_energy: EnergyPerByte | None = Field(default=None, description="Energy of a read; leave out if not known.")
    write_energy: EnergyPerByte | None = Field(default=None, description="Energy of a write; leave out if not known.")
    price: Price | None = Field(default=None, description="Price of its capacity; leave out if not known.")

    @model_validator(mode="after")
    def _consistent(self) -> "TierEntry":
        one, two = self.bandwidth is not None, (self.read_bandwidth is not None, self.write_bandwidth is not None)
        if one and any(two):
            raise _refuse("give either 'bandwidth', or 'read_bandwidth' and 'write_bandwidth', not both")
        if not one and not all(two):
            raise _refuse("missing key 'bandwidth' (or both 'read_bandwidth' and 'write_bandwidth')")
        if not self.direct and (self.read_link or self.write_link):
            raise _refuse("'read_link' and 'write_link' are for direct tiers; this one has 'direct: false'")
        if self.alignment > self.capacity:
            raise _refuse(f"alignment is {self.alignment} B, more than the capacity")
        return self


class LinkEntry(_Entry):
    """A path for copies from one tier to another."""

    name: Name | None = Field(default=None, description="Default: 'FROM->TO'.")
    source: Name = Field(alias="from", description="The tier that is read.")
    target: Name = Field(alias="to", description="The tier that is written.")
    bandwidth: Bandwidth = Field(description="Bandwidth in this direction.")
    latency: Duration = Field(default=0.0, description="Time from the start of a copy to its first byte.")
    channels: Count = Field(default=1, description="Copies that run at once. Default: 1.")
    energy: EnergyPerByte | None = Field(default=None, description="Energy of a byte; leave out if not known.")
    duplex: Flag = Field(
        default=False, description="A second link like this one leads back, named 'TO->FROM'; excludes 'name'."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "LinkEntry":
        if self.duplex and self.name is not None:
            raise _refuse("a duplex link is two links, named 'FROM->TO' and 'TO->FROM'; leave 'name' out")
        if self.source == self.target:
            raise _refuse(f"the link leads from '{self.source}' to itself")
        return self


class NetworkEntry(_Entry):
    """What joins several such machines, each a device of its own."""

    name: Name = Field(description="What reports call it, like nvlink.")
    devices: Annotated[int, Field(strict=True, ge=2, le=1_000_000)] = Field(description="Devices that it joins.")
    bandwidth: Bandwidth = Field(description="Bandwidth of one device in one direction.")
    latency: Duration = Field(default=0.0, description="Time of one step of a collective beyond its bytes.")
    topology: Literal["switch", "ring"] = Field(default="switch", description="switch (default) or ring.")


class HardwareFile(_Entry):
    """A machine: compute units, tiers of memory fastest first, and the links between them."""

    version: Literal[1] = Field(alias="schema", description="Version of this format.")
    name: Name = Field(description="What plans and reports call this machine.")
    description: str = Field(default="", strict=True, description="One sentence for people.")
    home: Name = Field(description="The tier where inputs and weights of a program that runs once start.")
    compute: Compute
    launch: Duration = Field(default=0.0, description="Time to start one kernel. Default: none.")
    tiers: list[TierEntry] = Field(min_length=1, max_length=64, description="Fastest first.")
    links: list[LinkEntry] = Field(default=[], max_length=1024)
    interconnect: list[NetworkEntry] = Field(
        default=[], max_length=8, description="Networks that join several such machines, smallest first."
    )
    spatial: SpatialEntry | None = Field(default=None, description="Arrays of processing elements, if it has them.")
    calibration: CalibrationEntry | None = Field(default=None, description="Constants fitted on measured kernels.")
    execution: ExecutionEntry | None = Field(
        default=None, description="Bursts of reads and work on rows, as 'tierplan calibrate' measures them."
    )


def json_schema() -> str:
    """The JSON Schema of a hardware file, for editors that complete and check YAML."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **HardwareFile.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"
