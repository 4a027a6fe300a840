"""The nouns of a TeAAL specification: Einsums, mapping, formats, architecture and bindings.

Source: TeAAL (MICRO 2023), the format of its compiler's specifications.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tierplan.einsum.yamltext import Node
from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class IndexTerm:
    """One summand of an index: a rank variable, scaled by a number or by a named stride."""

    variable: str
    scale: int | str = 1


@dataclass(frozen=True, slots=True)
class Factor:
    """A tensor at indices, or a scalar (no brackets: `indices` is None)."""

    name: str
    indices: tuple[tuple[IndexTerm, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """Factors multiplied, or, with `take`, the one of that number wherever all of them hold something."""

    factors: tuple[Factor, ...]
    take: int | None = None

    def __post_init__(self) -> None:
        if self.take is not None and not 0 <= self.take < len(self.factors):
            raise InvalidInputError(f"take(...) has {len(self.factors)} operands, none of number {self.take}")


@dataclass(frozen=True, slots=True)
class Equation:
    """`Z[m, n] = A[k, m] * B[k, n] + ...`."""

    output: Factor
    terms: tuple[Product, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """One way to partition a rank: its kind, a size (a number or a name), a leader tensor."""

    kind: str
    size: int | str | None = None
    leader: str | None = None


@dataclass(frozen=True, slots=True)
class Stamp:
    """A rank in space or time, by position or by coordinate."""

    rank: str
    by: str | None = None


@dataclass(frozen=True, slots=True)
class SpaceTime:
    """Which ranks of an Einsum are spread over hardware, and which run one after another."""

    space: tuple[Stamp, ...]
    time: tuple[Stamp, ...]
    options: Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Plan:
    """How Einsums are executed: rank orders, partitioning, loop orders, space and time.

    A part that the file leaves out is None; one that it leaves empty is empty.
    """

    rank_order: Mapping[str, tuple[str, ...]] | None = None
    partitioning: Mapping[str, Mapping[tuple[str, ...], tuple[Split, ...]]] | None = None
    loop_order: Mapping[str, tuple[str, ...]] | None = None
    spacetime: Mapping[str, SpaceTime] | None = None
    others: Mapping[str, Node] | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """How a tensor is stored: its order of ranks, and per rank the attributes of its fibers."""

    rank_order: tuple[str, ...]
    ranks: Mapping[str, Mapping[str, Node]]


@dataclass(frozen=True, slots=True)
class Component:
    """A piece of hardware at one level: a memory, a compute unit, an intersector, ..."""

    name: str
    class_: str
    attributes: Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Level:
    """A level of the hardware's tree, with how many instances it has; `indexed` if the file says so."""

    name: str
    n_instances: int
    indexed: bool
    attributes: Mapping[str, Node]
    local: tuple[Component, ...]
    subtree: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """What one component does for one Einsum."""

    component: str
    uses: tuple[Mapping[str, Node], ...]


@dataclass(frozen=True, slots=True)
class EinsumBindings:
    """The hardware configuration of an Einsum and the bindings to its components."""

    config: str | None
    prefix: str | None
    components: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Specification:
    """A TeAAL file; the sections that it leaves out are None."""

    declaration: Mapping[str, tuple[str, ...]] | None = None
    expressions: tuple[Equation, ...] = ()
    mapping: Plan | None = None
    format: Mapping[str, Mapping[str, Format]] | None = None
    architecture: Mapping[str, tuple[Level, ...]] | None = None
    bindings: Mapping[str, EinsumBindings] | None = None
    others: Mapping[str, Node] | None = None
