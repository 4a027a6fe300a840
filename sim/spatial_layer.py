"""Attention and matrix products of given shapes on a spatial machine, and a transformer layer made of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.spatial_energy import EnergyMode
from tierplan.sim.spatial_machine import SpatialMachine
from tierplan.sim.spatial_mapping import Specification
from tierplan.sim.spatial_read import load_specification
from tierplan.sim.spatial_search import evaluate


@dataclass(frozen=True, slots=True)
class Estimate:
    """What some work costs: seconds in all, seconds of the arrays alone, bytes that cross DRAM, joules."""

    latency_s: float
    compute_s: float
    dram_bytes: float
    energy_j: float

    def __add__(self, other: Estimate) -> Estimate:
        """One after the other."""
        return Estimate(
            self.latency_s + other.latency_s,
            self.compute_s + other.compute_s,
            self.dram_bytes + other.dram_bytes,
            self.energy_j + other.energy_j,
        )

    def __mul__(self, times: int) -> Estimate:
        """The same work several times."""
        return Estimate(self.latency_s * times, self.compute_s * times, self.dram_bytes * times, self.energy_j * times)


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer of a transformer encoder.

    `length` is both queries and keys, `head` the width of a head of Q, K and V, `hidden` that of the feed-forward
    layer. `model` is the width between layers.
    """

    name: str
    batch: int
    length: int
    model: int
    heads: int
    head: int
    hidden: int

    def __post_init__(self) -> None:
        if min(self.batch, self.length, self.model, self.heads, self.head, self.hidden) < 1:
            raise InvalidInputError(f"layer {self.name}: every size must be at least 1")

    @property
    def attention(self) -> Mapping[str, int]:
        """Shapes of the ranks of attention."""
        return {"B": self.batch, "H": self.heads, "E": self.head, "F": self.head, "M": self.length, "P": self.length}

    @property
    def products(self) -> tuple[tuple[str, Mapping[str, int]], ...]:
        """Matrix products of the layer: Q, K, V, the projection after attention, and two feed-forward ones."""
        inner, rows = self.heads * self.head, self.batch * self.length
        into = {"K": self.model, "M": rows, "N": inner}
        return (
            ("Q", into),
            ("K", into),
            ("V", into),
            ("Z", {"K": inner, "M": rows, "N": self.model}),
            ("FFN1", {"K": self.model, "M": rows, "N": self.hidden}),
            ("FFN2", {"K": self.hidden, "M": rows, "N": self.model}),
        )


@cache
def _matmul() -> Specification:
    return load_specification("matmul")


def attention_specification(machine: SpatialMachine) -> Specification:
    """The mapping of attention for a machine: FuseMax where the elements of its 2D array can, else FLAT.

    Raises: InvalidInputError: the machine lacks the arrays that both are bound to.
    """
    array = machine.array("2d")
    able = {"max", "exp", "add", "subtract"} <= set(array.operations)
    return load_specification("fusemax" if able else "flat")


def _up(size: int, unit: int) -> int:
    """`size`, or the next multiple of `unit` when it is larger than one."""
    return size if size <= unit else -(-size // unit) * unit


def products(machine: SpatialMachine, shape: LayerShape, mode: EnergyMode = EnergyMode.ALL) -> Estimate:
    """The matrix products of a layer, one after another."""
    done: dict[tuple[tuple[str, int], ...], Estimate] = {}
    total = Estimate(0.0, 0.0, 0.0, 0.0)
    for _, sizes in shape.products:
        key = tuple(sizes.items())
        if key not in done:
            done[key] = estimate(_matmul(), machine, sizes, mode=mode)
        total += done[key]
    return total


def estimate(
    spec: Specification,
    machine: SpatialMachine,
    sizes: Mapping[str, int],
    *,
    workload: str = "",
    mode: EnergyMode = EnergyMode.ALL,
) -> Estimate:
    """The cost of a specification as one number per quantity."""
    cost = evaluate(spec, machine, sizes, workload=workload, mode=mode).cost
    compute_s = sum(phase.compute_s for phase in cost.phases)
    return Estimate(cost.latency_s, compute_s, cost.dram_bytes, cost.energy_j)


def matmul(machine: SpatialMachine, m: int, k: int, n: int) -> Estimate:
    """A product of an m x k and a k x n matrix on the 2D array.

    Assumes: `m` and `n` are padded to whole rows and columns of the array.
    """
    array = machine.array("2d")
    sizes = {"K": k, "M": _up(m, array.columns), "N": _up(n, array.rows)}
    return estimate(_matmul(), machine, sizes)


def attention(
    machine: SpatialMachine,
    batch: int,
    heads: int,
    queries: int,
    keys: int,
    head: int,
    value_head: int | None = None,
    spec: Specification | None = None,
) -> Estimate:
    """Attention of `queries` over `keys`, per head of width `head`, mapped as `attention_specification` says.

    Assumes: queries and keys are padded to whole columns and rows of the array; no mask.
    """
    array = machine.array("2d")
    sizes = {
        "B": batch,
        "H": heads,
        "E": head,
        "F": head if value_head is None else value_head,
        "M": -(-keys // array.rows) * array.rows,
        "P": _up(queries, array.columns),
    }
    return estimate(spec or attention_specification(machine), machine, sizes)
