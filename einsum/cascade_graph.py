"""A cascade as a graph: one operation per Einsum, with its sizes, bytes and operation counts."""

from __future__ import annotations

from collections.abc import Mapping

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.counts import MULTIPLY_ACCUMULATE, count_einsum, number
from tierplan.einsum.dependence import dependence_order
from tierplan.einsum.shapes import signatures
from tierplan.einsum.sizes import evaluate, resolve
from tierplan.einsum.statements import Einsum
from tierplan.ir.graph import Access, Graph, Op, Tensor, TensorKind


def graph_of_cascade(cascade: Cascade, dtype: str, sizes: Mapping[str, int] | None = None) -> Graph:
    """The graph of a cascade whose ranks have these sizes, every tensor in one element type.

    A multiply-accumulate is two operations, anything else one. Einsums that accumulate run on the matrix unit.
    Assumes: each Einsum streams each of its operands once.

    Raises: InvalidInputError: a rank has no size.
    """
    known = resolve(cascade, sizes)
    outputs = set(cascade.outputs)

    def kind(name: str) -> TensorKind:
        if name in cascade.inputs:
            return TensorKind.INPUT
        return TensorKind.OUTPUT if name in outputs else TensorKind.ACTIVATION

    tensors = {
        name: Tensor(name, tuple(evaluate(extent, known) for extent in shape), dtype, kind(name))
        for name, shape in signatures(cascade).items()
    }

    def op(einsum: Einsum) -> Op:
        matrix = vector = 0
        for what, formula in count_einsum(cascade, einsum).operations.items():
            n = number(formula, known) or 0
            matrix, vector = (matrix + 2 * n, vector) if what == MULTIPLY_ACCUMULATE else (matrix, vector + n)
        reads = tuple(Access(name, tensors[name].size) for name in dict.fromkeys(a.tensor for a in einsum.reads))
        writes = (Access(einsum.name, tensors[einsum.name].size),)
        return Op(einsum.name, "einsum", reads, writes, matrix, vector, dtype)

    order = [*cascade.init, *dependence_order(cascade)]
    return Graph(cascade.name or "cascade", tuple(tensors.values()), tuple(op(einsum) for einsum in order))
