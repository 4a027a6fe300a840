"""The operations of a language model on a spatial machine: attention by its mapping, the rest as matrix products."""

import math
from collections.abc import Callable
from functools import cache
from typing import cast

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Op
from tierplan.sim.spatial_layer import Estimate, attention, matmul
from tierplan.sim.spatial_machine import SpatialMachine

_SLACK = 1.05  # padding to whole rows and columns of an array moves a little more than the operands


def op_seconds(machine: SpatialMachine) -> Callable[[Op], float | None]:
    """A function that gives the seconds of an operation on the arrays of `machine`, None where arrays do not tell.

    It is the time of the arrays, where the mapping moves each operand over DRAM once, as a plan does too; where it
    moves some again, it is the time of the arrays and of DRAM side by side.
    Assumes: an attention with grouped keys costs as one with a key head for every head; its mask saves nothing.
    Operations on vectors are left to the peak rate of the machine's vector unit.
    """

    @cache
    def of_attention(batch: int, heads: int, queries: int, keys: int, head: int) -> Estimate:
        return attention(machine, batch, heads, queries, keys, head)

    @cache
    def of_matmul(m: int, k: int, n: int) -> Estimate:
        return matmul(machine, m, k, n)

    def estimate(op: Op) -> Estimate | None:
        a = op.attributes
        if op.kind == "attention":
            sizes = (cast("int", a[key]) for key in ("batch", "heads", "queries", "keys", "head_dim"))
            return of_attention(*sizes)
        if op.kind == "matmul":
            batch, m, n, k = (math.ceil(cast("float", a[key])) for key in ("batch", "m", "n", "k"))
            return of_matmul(m, k, n) * batch
        return None

    def seconds(op: Op) -> float | None:
        try:
            found = estimate(op)
        except InvalidInputError as error:
            raise InvalidInputError(f"operation '{op.name}' on {machine.name}: {error}") from None
        if found is None:
            return None
        once = sum(access.bytes for access in (*op.reads, *op.writes))
        return found.compute_s if found.dram_bytes <= once * _SLACK else found.latency_s

    return seconds
