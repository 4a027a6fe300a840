"""The `calibration` section of a hardware file: constants of kernels, fitted on measurements."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from tierplan.ir import units
from tierplan.ir.calibration import (
    COLLECTIVES,
    Calibration,
    CollectiveConstants,
    Constants,
    DecodeConstants,
    GemmConstants,
    MoeConstants,
    PrefillConstants,
    names_of,
)
from tierplan.ir.dtypes import dtype_name
from tierplan.ir.errors import InvalidInputError, unknown_name

_TRUTHS = {"groups_windows", "splits_heads"}


def key_of(name: str) -> str:
    """The key of a constant in a file: seconds have their unit beside the number."""
    return name.removesuffix("_s")


def _refuse(message: str) -> PydanticCustomError:
    return PydanticCustomError("tierplan", "{message}", {"message": message})


def _value(name: str, value: object) -> float | bool:
    if name in _TRUTHS:
        if not isinstance(value, bool):
            raise _refuse(f"'{name}' must be true or false")
        return value
    if name.endswith("_s"):
        if not isinstance(value, str):
            raise _refuse(f"'{key_of(name)}' needs a duration with its unit, like '2.5 us'")
        return units.read_seconds(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refuse(f"'{name}' must be a number without a unit")
    return float(value)


def _constants(kind: type[Constants]) -> Any:
    by_key = {key_of(name): name for name in names_of(kind)}

    def read(value: object) -> object:
        if not isinstance(value, dict):
            raise _refuse("need a mapping: one 'key: value' per line")
        found: dict[str, object] = {str(key): each for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        try:
            for key in found:
                if key not in by_key:
                    raise unknown_name("key", key, by_key)
            if missing := [key for key in by_key if key not in found]:
                raise _refuse(f"missing key '{missing[0]}'")
            return kind(**{name: _value(name, found[key]) for key, name in by_key.items()})
        except InvalidInputError as error:
            raise _refuse(str(error)) from None

    return BeforeValidator(read)


def _json(kind: type[Constants]) -> WithJsonSchema:
    def of(name: str) -> dict[str, Any]:
        if name in _TRUTHS:
            return {"type": "boolean"}
        if name.endswith("_s"):
            return {"type": "string", "pattern": units.DURATION.pattern, "examples": [units.DURATION.example]}
        return {"type": "number", "exclusiveMinimum": 0}

    names = names_of(kind)
    return WithJsonSchema(
        {
            "type": "object",
            "properties": {key_of(name): of(name) for name in names},
            "required": [key_of(name) for name in names],
            "additionalProperties": False,
        }
    )


def _dtype(name: str) -> str:
    try:
        return dtype_name(name)
    except InvalidInputError as error:
        raise _refuse(str(error)) from None


def _exchange(name: str) -> str:
    if name not in COLLECTIVES:
        raise _refuse(str(unknown_name("exchange", name, COLLECTIVES)))
    return name


def _quantity(quantity: units.Quantity, number: type[int] | type[float]) -> Any:
    def read(value: object) -> float:
        if not isinstance(value, str):
            raise _refuse(f"need {quantity.what} with its unit, like '{quantity.example}'")
        try:
            return number(units.read(value, quantity))
        except InvalidInputError as error:
            raise _refuse(str(error)) from None

    return BeforeValidator(read)


Dtype = Annotated[str, AfterValidator(_dtype)]
Exchange = Annotated[str, AfterValidator(_exchange)]
Gemm = Annotated[GemmConstants, _constants(GemmConstants), _json(GemmConstants)]
Prefill = Annotated[PrefillConstants, _constants(PrefillConstants), _json(PrefillConstants)]
Decode = Annotated[DecodeConstants, _constants(DecodeConstants), _json(DecodeConstants)]
Moe = Annotated[MoeConstants, _constants(MoeConstants), _json(MoeConstants)]
Collective = Annotated[CollectiveConstants, _constants(CollectiveConstants), _json(CollectiveConstants)]
Bytes = Annotated[int, _quantity(units.SIZE, int), WithJsonSchema({"type": "string", "examples": ["50 MB"]})]
Rate = Annotated[float, _quantity(units.BANDWIDTH, float), WithJsonSchema({"type": "string", "examples": ["450 GB/s"]})]


class CalibrationEntry(BaseModel):
    """Sizes of the device beside its peak rates, and the constants by kind of kernel and element type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Annotated[int, Field(strict=True, ge=1, le=100_000)] = Field(description="Multiprocessors.")
    cache: Bytes = Field(description="Bytes of the last cache before memory.")
    peer: Rate | None = Field(default=None, description="What a device sends to others, in one direction.")
    source: str = Field(default="", strict=True, description="What the constants were fitted on.")
    gemm: Mapping[Dtype, Gemm] = Field(default={}, description="Matrix products.")
    prefill: Mapping[Dtype, Prefill] = Field(default={}, description="Attention of many queries.")
    decode: Mapping[Dtype, Decode] = Field(default={}, description="Attention of one query over a cache.")
    moe: Mapping[Dtype, Moe] = Field(default={}, description="Experts of a mixture.")
    collective: Mapping[Exchange, Collective] = Field(default={}, description="Exchanges among devices.")


def calibration_of(entry: CalibrationEntry) -> Calibration:
    """The calibration that the section says."""
    return Calibration(
        entry.units, entry.cache, entry.peer or 0.0, " ".join(entry.source.split()),
        entry.gemm, entry.prefill, entry.decode, entry.moe, entry.collective,
    )  # fmt: skip
