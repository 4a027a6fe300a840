"""Operations of a graph as cascades of Einsums.

Every kind of operation that the frontends produce stands in a table here, with the function that lowers it. A cascade
names its inputs in the order of the operation's reads, and its outputs in the order of its writes; inputs beyond the
reads are scalars that the graph does not hold (the turn of a loop, the position of the first token, the number of the
step). An output that the operation writes in part only holds the empty value elsewhere.

Assumes: arithmetic is exact; element types and the rounding that they bring are no part of a cascade.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_kernel import is_traced, lower_traced
from tierplan.einsum.lower_model import MODEL
from tierplan.einsum.lower_values import NoLoweringError
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Attribute, Graph, Op, Tensor


@dataclass(frozen=True, slots=True)
class LoweredOp:
    """An operation with its cascade; without one, `reason` says why only its `bytes` are known."""

    op: Op
    cascade: Cascade | None
    bytes: int
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.cascade is None) != bool(self.reason):
            raise InvalidInputError(f"op '{self.op.name}' needs either a cascade or the reason why it has none")


@dataclass(frozen=True, slots=True)
class Covered:
    """How many operations of one kind have a cascade, and how many are only streamed."""

    lowered: int = 0
    streamed: int = 0


_Key = tuple[object, ...]
_OWN = frozenset(("scope", "layer", "branch", "n_branches", "trips_assumed"))


def lower_op(op: Op, tensors: Mapping[str, Tensor]) -> Cascade | None:
    """The cascade of an operation; None when it has none, and only its bytes are known."""
    return _lower(op, tensors, {}).cascade


def lower_graph(graph: Graph) -> list[LoweredOp]:
    """Every operation of a graph with its cascade, or with the reason why it has none.

    Operations of one kind, shapes and attributes share one cascade.
    """
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    known: dict[_Key, Cascade | str] = {}
    return [_lower(op, tensors, known) for op in graph.ops]


def coverage(graph: Graph | Iterable[LoweredOp]) -> dict[str, Covered]:
    """Operations with a cascade, and without one, by kind."""
    lowered = lower_graph(graph) if isinstance(graph, Graph) else graph
    counts = Counter((entry.op.kind, entry.cascade is not None) for entry in lowered)
    return {kind: Covered(counts[kind, True], counts[kind, False]) for kind in sorted({kind for kind, _ in counts})}


def _lower(op: Op, tensors: Mapping[str, Tensor], known: dict[_Key, Cascade | str]) -> LoweredOp:
    key = _signature(op, tensors)
    if key not in known:
        known[key] = _found(op, tensors)
    found = known[key]
    moved = sum(access.bytes for access in (*op.reads, *op.writes))
    return LoweredOp(op, None, moved, found) if isinstance(found, str) else LoweredOp(op, found, moved)


def _signature(op: Op, tensors: Mapping[str, Tensor]) -> _Key:
    """All that the cascade depends on; not the operation's name, except for the role that it ends in."""
    accesses = tuple(
        (tensors[a.tensor].shape, tensors[a.tensor].dtype, tensors[a.tensor].kind, a.bytes)
        for a in (*op.reads, *op.writes)
    )
    attributes: tuple[tuple[str, Attribute], ...] = tuple(
        (name, value) for name, value in op.attributes.items() if name not in _OWN
    )
    return (op.kind, op.name.rpartition(".")[2], len(op.reads), accesses, attributes, repr(attributes))


def _found(op: Op, tensors: Mapping[str, Tensor]) -> Cascade | str:
    try:
        if is_traced(op):
            return lower_traced(op, tensors)
        if op.kind in MODEL:
            return MODEL[op.kind](op, tensors)
    except NoLoweringError as reason:
        return str(reason)
    return f"'{op.kind}' has no lowering"
