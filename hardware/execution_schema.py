"""The `execution` section of a hardware file: what `tierplan calibrate` measures for `tierplan run-flash`."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from tierplan.ir import units
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.execution import Burst, Execution, RowCost


def _quantity(quantity: units.Quantity) -> Any:
    def parse(value: object) -> float:
        if not isinstance(value, str):
            message = f"need {quantity.what} with its unit, like '{quantity.example}'"
            raise PydanticCustomError("tierplan", "{message}", {"message": message})
        try:
            return units.read(value, quantity)
        except InvalidInputError as error:
            raise PydanticCustomError("tierplan", "{message}", {"message": str(error)}) from None

    return BeforeValidator(parse)


def _json(quantity: units.Quantity) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": quantity.pattern, "examples": [quantity.example]})


Chunk = Annotated[int, _quantity(units.SIZE), _json(units.SIZE)]
Time = Annotated[float, _quantity(units.DURATION), _json(units.DURATION)]
Bandwidth = Annotated[float, _quantity(units.BANDWIDTH), _json(units.BANDWIDTH)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BurstEntry(_Entry):
    """Random reads of one size by a number of threads."""

    chunk: Chunk = Field(description="Bytes of one read.")
    threads: Count = Field(description="Threads that read; each waits for its read before the next.")
    times: dict[Count, Time] = Field(
        min_length=1, max_length=64, description="Seconds until the last has come, by the number of reads."
    )


class RowCostEntry(_Entry):
    """Processor time of one thread for a call that handles rows of float32 in memory."""

    call: Time = Field(description="Of a call, whatever it handles.")
    row: Time = Field(description="Of a row, whatever its bytes.")
    bandwidth: Bandwidth = Field(description="Bytes of rows per second, beyond that.")


class ExecutionEntry(_Entry):
    """How the machine executes a sparse decode from flash."""

    bursts: list[BurstEntry] = Field(min_length=1, max_length=1024, description="Of the first tier that is not direct.")
    product: RowCostEntry = Field(description="A layer's two matrix-vector products, per neuron.")
    store: RowCostEntry = Field(description="Keeping a layer's neurons for a token, per neuron that comes from flash.")


def execution_of(entry: ExecutionEntry) -> Execution:
    """The section as the constants that predictions take.

    Raises: InvalidInputError: times that fall with more reads, or a burst that is given twice.
    """
    return Execution(
        tuple(Burst(b.chunk, b.threads, tuple(sorted(b.times.items()))) for b in entry.bursts),
        *(RowCost(cost.call, cost.row, cost.bandwidth) for cost in (entry.product, entry.store)),
    )
