"""Where a reader puts its steps, and the copies that it needs for loops and results."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tierplan.frontend.jaxpr_block import (
    Kernel,
    Literal,
    Node,
    Operand,
    Source,
    Step,
    Value,
    results_of,
    whole,
)
from tierplan.frontend.jaxpr_counts import count
from tierplan.ir.graph import Attribute


@dataclass(slots=True)
class Region:
    """Where steps are put: the nodes so far, what they make, and the values that decide about loops and branches."""

    nodes: list[Node] = field(default_factory=list[Node])
    controls: list[Operand] = field(default_factory=list[Operand])
    made: set[Value] = field(default_factory=set[Value])

    def put(self, node: Node) -> None:
        """Add a node at the end."""
        self.nodes.append(node)
        self.made |= results_of(node)


def copied(source: Source, region: Region, notes: Mapping[str, Attribute]) -> Operand:
    """The same content in bytes of its own, made by a step in `region`."""
    primitive = "broadcast_in_dim" if isinstance(source, Literal) else "copy"
    attributes: dict[str, Attribute] = {"shape": (), "broadcast_dimensions": ()} if primitive != "copy" else {}
    made = Value(source.shape, source.dtype)
    counted = count(primitive, (source,), (made,), attributes)
    region.put(Kernel((Step(primitive, (source,), (made,), attributes, counted, notes),)))
    return whole(made)


def stored(source: Source, region: Region, notes: Mapping[str, Attribute]) -> Operand:
    """The source itself when all of it lies in memory as it is, else a copy of it that does."""
    if isinstance(source, Operand) and source.is_whole:
        return source
    return copied(source, region, notes)


def made_here(source: Source, body: Region, taken: set[Value], notes: Mapping[str, Attribute]) -> Operand:
    """The source, when a step of this body makes it for nobody else; else a copy."""
    if isinstance(source, Operand) and source.is_whole and source.value in body.made and source.value not in taken:
        taken.add(source.value)
        return source
    made = copied(source, body, notes)
    taken.add(made.value)
    return made
