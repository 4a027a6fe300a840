"""Which operations and weights of a graph belong to the experts of which layer."""

from collections.abc import Sequence
from dataclasses import dataclass

from tierplan.ir.graph import Graph, Op, Tensor, TensorKind


@dataclass(frozen=True, slots=True)
class ExpertLayer:
    """A layer with experts: the operations that read their weights, and the tensors that these are.

    `op_bytes`: bytes of weights that each of the operations reads in a turn, as the graph counts them. `parts`: bytes
    of each matrix of one expert.
    """

    name: str
    n_experts: int
    top_k: int
    ops: tuple[str, ...]
    op_bytes: tuple[int, ...]
    tensors: tuple[str, ...]
    parts: tuple[int, ...]


def expert_layers(graph: Graph) -> tuple[ExpertLayer, ...]:
    """The layers of a mixture of experts, in order; none for other models.

    Assumes: a `top_k` operation that says `experts` and `per_token` begins a layer. Its experts are what lies behind
    the outputs of a `dispatch`, one each; or operations that read what was chosen, and weights stacked by expert.
    """
    known = {tensor.name: tensor for tensor in graph.tensors}
    starts = [i for i, op in enumerate(graph.ops) if op.kind == "top_k" and "per_token" in op.attributes]
    ends = [*starts[1:], len(graph.ops)]
    found = [_layer(graph.ops[start:end], known) for start, end in zip(starts, ends, strict=False)]
    return tuple(layer for layer in found if layer is not None)


def expert_ops(graph: Graph) -> frozenset[int]:
    """Numbers of the operations from where tokens are routed to where the results of their experts are combined."""
    found = set[int]()
    first: int | None = None
    mine = {name for layer in expert_layers(graph) for name in layer.ops}
    for number, op in enumerate(graph.ops):
        if op.kind == "top_k" and "per_token" in op.attributes:
            first = number
        elif first is not None and (op.kind == "combine" or op.name in mine):
            found |= set(range(first, number + 1))
    return frozenset(found)


def _layer(ops: Sequence[Op], known: dict[str, Tensor]) -> ExpertLayer | None:
    n_experts, top_k = (int(str(ops[0].attributes[name])) for name in ("experts", "per_token"))
    chosen = {access.tensor for access in ops[0].writes}
    mine = set[str]()  # what experts work on and return
    readers: dict[str, int] = {}
    parts: dict[str, int] = {}
    for op in ops[1:]:
        reads = {access.tensor for access in op.reads}
        stacked = [x for x in reads if known[x].kind is TensorKind.WEIGHT and known[x].shape[:1] == (n_experts,)]
        if op.kind == "dispatch":
            mine |= {access.tensor for access in op.writes}
        elif op.kind == "combine":
            mine.clear()
        elif reads & mine or (stacked and reads & chosen):
            weights = [a for a in op.reads if known[a.tensor].kind is TensorKind.WEIGHT]
            parts |= {a.tensor: known[a.tensor].size for a in weights}
            if weights:
                readers[op.name] = sum(a.bytes for a in weights)
            mine |= {access.tensor for access in op.writes} if reads & mine else set()
    if not parts:
        return None
    each = _of_one(list(parts.items()), n_experts, stacked=any(known[x].shape[:1] == (n_experts,) for x in parts))
    name = ops[0].name.rsplit(".", 1)[0]
    return ExpertLayer(name, n_experts, top_k, tuple(readers), tuple(readers.values()), tuple(parts), each)


def _of_one(parts: Sequence[tuple[str, int]], n_experts: int, *, stacked: bool) -> tuple[int, ...]:
    """Bytes of each matrix of one expert: a share of each stack, or the first of as many as there are experts."""
    if stacked:
        return tuple(-(-size // n_experts) for _, size in parts)
    return tuple(size for _, size in parts[: len(parts) // n_experts])
