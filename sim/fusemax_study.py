"""FuseMax's evaluation (MICRO 2024, section 6): four models, six lengths, five configurations, and our own mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from tierplan.sim.spatial_cost import SpatialCost
from tierplan.sim.spatial_energy import EnergyMode
from tierplan.sim.spatial_layer import Estimate, LayerShape, products
from tierplan.sim.spatial_machine import SpatialMachine, load_spatial
from tierplan.sim.spatial_mapping import Choice, Specification
from tierplan.sim.spatial_read import load_specification
from tierplan.sim.spatial_search import Key, Mapped, evaluate, fastest, improve, least_traffic, smallest

BATCH = 64
LENGTHS = tuple(1024 * 4**n for n in range(6))
_MODELS = {
    "BERT": (768, 12, 64, 3072),
    "TrXL": (1024, 16, 64, 4096),
    "T5": (512, 8, 64, 2048),
    "XLM": (2048, 16, 128, 8192),
}
MODELS = tuple(_MODELS)
CONFIGURATIONS = ("unfused", "flat", "cascade", "architecture", "fusemax")
"""Specifications of the paper's five configurations; `fusemax` is +Binding."""


def layer(model: str, length: int) -> LayerShape:
    """One encoder layer of a model at a length.

    Source: FuseMax, section 6.1; width, heads, width of a head, feed-forward width.
    """
    width, heads, head, hidden = _MODELS[model]
    return LayerShape(model, BATCH, length, width, heads, head, hidden)


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration on one model at one length: attention, and the matrix products of the layer."""

    model: str
    length: int
    configuration: str
    machine: SpatialMachine
    mapped: Mapped
    products: Estimate

    @property
    def attention(self) -> SpatialCost:
        """The cost of attention."""
        return self.mapped.cost

    def latency_s(self, scope: str) -> float:
        """Seconds of attention, or of the whole layer."""
        return self.attention.latency_s + (self.products.latency_s if scope == "layer" else 0.0)

    def energy_j(self, scope: str) -> float:
        """Joules of attention, or of the whole layer."""
        return self.attention.energy_j + (self.products.energy_j if scope == "layer" else 0.0)


class Study:
    """Evaluates points; mappings are searched once per shape of a head, as batch and heads only repeat them."""

    def __init__(self, mode: EnergyMode) -> None:
        self._mode = mode
        self._specs: dict[str, Specification] = {}
        self._chosen: dict[tuple[object, ...], tuple[Choice, ...]] = {}
        self._products: dict[tuple[str, str, int], Estimate] = {}

    def _spec(self, name: str) -> Specification:
        if name not in self._specs:
            self._specs[name] = load_specification(name)
        return self._specs[name]

    def point(self, model: str, length: int, configuration: str) -> Point:
        """One of the paper's configurations, with the choices that its file gives."""
        spec, shape = self._spec(configuration), layer(model, length)
        machine = load_spatial(spec.hardware)
        given = spec.given_choice(model, shape.attention)
        if given is not None:
            mapped = evaluate(spec, machine, shape.attention, workload=model, mode=self._mode)
        else:
            mapped = self._searched(spec, machine, shape, fastest, "fastest")
        return Point(model, length, configuration, machine, mapped, self._layer_products(machine, shape))

    def planned(self, model: str, length: int, configuration: str, limit_s: float | None = None) -> Point:
        """Our own mapping in the space of a specification: the fastest, or the least traffic within a limit."""
        spec, shape = self._spec(configuration), layer(model, length)
        machine = load_spatial(spec.hardware)
        if limit_s is None:
            mapped = self._searched(spec, machine, shape, fastest, "fastest", given=False)
        else:
            goal = f"traffic within {_per_head(limit_s, spec, shape)}"
            mapped = self._searched(spec, machine, shape, least_traffic(limit_s), goal, given=False)
        return Point(model, length, configuration, machine, mapped, self._layer_products(machine, shape))

    def smallest_buffer(self, model: str, length: int, configuration: str, limit_s: float) -> Point:
        """The mapping that occupies the least of the buffer within a latency."""
        spec, shape = self._spec(configuration), layer(model, length)
        machine = load_spatial(spec.hardware)
        goal = f"smallest within {_per_head(limit_s, spec, shape)}"
        mapped = self._searched(spec, machine, shape, smallest(limit_s), goal, given=False)
        return Point(model, length, configuration, machine, mapped, self._layer_products(machine, shape))

    def points(self) -> Iterator[Point]:
        """All points of the paper."""
        for model in MODELS:
            for length in LENGTHS:
                for configuration in CONFIGURATIONS:
                    yield self.point(model, length, configuration)

    def _searched(
        self,
        spec: Specification,
        machine: SpatialMachine,
        shape: LayerShape,
        key: Key,
        goal: str,
        *,
        given: bool = True,
    ) -> Mapped:
        memo = (spec.name, goal, given, *_head(spec, shape.attention))
        if memo not in self._chosen:
            search = evaluate if given else improve
            self._chosen[memo] = search(spec, machine, shape.attention, key=key).choices
        return evaluate(spec, machine, shape.attention, choices=self._chosen[memo], mode=self._mode)

    def _layer_products(self, machine: SpatialMachine, shape: LayerShape) -> Estimate:
        memo = (machine.name, shape.name, shape.length)
        if memo not in self._products:
            self._products[memo] = products(machine, shape, self._mode)
        return self._products[memo]


def _per_head(limit_s: float, spec: Specification, shape: LayerShape) -> str:
    repeats = prod(size for rank, size in shape.attention.items() if rank in spec.batch)
    return f"{limit_s / repeats:.9e} s per head"


def _head(spec: Specification, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Shapes of the ranks that are not batch ranks."""
    return tuple(size for rank, size in sizes.items() if rank not in spec.batch)
