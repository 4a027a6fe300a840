"""The backward pass: the operations of a tape in reverse, each followed by its derivative.

A gradient has the shape and element type of its tensor. Where several operations read a tensor, their parts are added
up once all are there. The derivative of an addition is no operation: the terms share the gradient of the sum.

Assumes: a matrix multiplication costs as much again for each of its two derivatives, of its input and of its matrix;
a fused attention 2.5 times its forward pass, because it computes the scores again; an element-wise operation twice
its forward pass. Activations that a derivative reads are kept from the forward pass, none is computed again.
Source: Dao, FlashAttention-2, 2023, section 4.1 (attention).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction

from tierplan.frontend.tape import Tape
from tierplan.ir.graph import Access, Op, TensorKind

_ATTENTIONS = ("attention", "biased_attention", "expanded_attention", "latent_attention")
_ATTENTION_FACTOR = Fraction(5, 2)
_PLAIN_FACTOR = Fraction(2)
_VECTOR_FACTOR = 2

_SAVED: dict[str, tuple[int, ...]] = {
    "rms_norm": (0, 1),
    "layer_norm": (0, 1),
    "rotary": (),
    "attention": (0, 1, 2),
    "gate_rows": (0, 1),
    "prepend_and_add": (),
    "top_k": (0,),
    "dispatch": (1,),
}
"""Positions of the operands that the derivative of each kind reads; of kinds that are not here, all."""


class _Backward:
    """The gradients found so far: `parts` of each tensor, one per operation that read it."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.parts: dict[str, list[str]] = {}
        self.readers = Counter(access.tensor for op in tape.ops for access in op.reads)

    def differentiable(self, accesses: Iterable[Access]) -> list[str]:
        """The tensors among these that have gradients."""
        tensors = (self.tape.tensors[access.tensor] for access in accesses)
        without = (TensorKind.INPUT, TensorKind.CONSTANT)
        return [t.name for t in tensors if t.kind not in without and not t.dtype.startswith(("int", "uint"))]

    def part(self, name: str) -> str:
        """Declare one more part of the gradient of a tensor."""
        parts = self.parts.setdefault(name, [])
        weight = self.tape.tensors[name].kind is TensorKind.WEIGHT
        suffix = "grad" if weight or self.readers[name] == 1 else f"grad.{len(parts)}"
        tensor = self.tape.tensors[name]
        parts.append(self.tape.tensor(f"{name}.{suffix}", tensor.shape, dtype=tensor.dtype))
        return parts[-1]

    def total(self, name: str) -> str:
        """The gradient of a tensor; its parts are added up first where there are several."""
        parts = self.parts[name]
        if len(parts) > 1:
            tensor = self.tape.tensors[name]
            result = self.tape.tensor(f"{name}.grad", tensor.shape, dtype=tensor.dtype)
            self.tape.op(result, "add", parts, [result], vector_ops=(len(parts) - 1) * tensor.n_elements)
            self.parts[name] = [result]
        return self.parts[name][0]


def backward(tape: Tape, start: Mapping[str, str]) -> dict[str, str]:
    """Write down the backward pass of all operations on the tape; returns the gradient of each weight.

    `start` maps the tensors that the loss reads to their gradients. The operations of the loss itself are skipped.
    """
    state = _Backward(tape)
    for tensor, gradient in start.items():
        state.parts[tensor] = [gradient]
    for op in reversed(list(tape.ops)):
        results = [name for name in state.differentiable(op.writes) if name in state.parts]
        if results:
            _differentiate(state, op, [state.total(name) for name in results])
    weights = (name for name, tensor in tape.tensors.items() if tensor.kind is TensorKind.WEIGHT)
    return {name: state.parts[name][0] for name in weights}


def _differentiate(state: _Backward, op: Op, gradients: list[str]) -> None:
    if op.kind == "add":
        for access in op.reads:
            state.parts.setdefault(access.tensor, []).append(gradients[0])
    elif op.kind == "matmul":
        _matmul(state, op, gradients)
    elif op.kind == "embedding":
        _embedding(state, op, gradients[0])
    elif op.kind == "add_positions":
        _add_positions(state, op, gradients[0])
    else:
        _other(state, op, gradients)


def _matmul(state: _Backward, op: Op, gradients: list[str]) -> None:
    x, matrix, *bias = op.reads
    rows, n, k = op.attributes["m"], op.attributes["n"], op.attributes["k"]
    common = {"batch": 1, "share": op.attributes["share"], "layer": op.attributes["layer"]}
    of_weights = [state.part(access.tensor) for access in (matrix, *bias)]
    state.tape.op(
        f"{op.name}.grad_weight",
        "matmul",
        [x, *gradients],
        of_weights,
        matrix_ops=op.matrix_ops,
        vector_ops=op.vector_ops,
        attributes={**common, "m": n, "n": k, "k": rows},
    )
    if not state.differentiable([x]):
        return
    state.tape.op(
        f"{op.name}.grad_input",
        "matmul",
        [*gradients, matrix],
        [state.part(x.tensor)],
        matrix_ops=op.matrix_ops,
        attributes={**common, "m": rows, "n": k, "k": n},
    )


def _embedding(state: _Backward, op: Op, gradient: str) -> None:
    """Scatter the gradient of the rows into that of the table.

    Assumes: the gradient of a table is dense. A table that the head shares has the head's gradient already,
        and only the rows of this batch are added to; any other gradient is zeroed and written whole.
    """
    ids, table = op.reads
    reads: list[str | Access] = [gradient, ids]
    tensor = state.tape.tensors[gradient]
    if table.tensor in state.parts:
        rows = Access(state.parts[table.tensor][0], table.bytes)
        reads.append(rows)
        write: str | Access = rows
    else:
        write = state.part(table.tensor)
    name = f"{op.name}.grad"
    state.tape.op(name, "embedding_grad", reads, [write], vector_ops=tensor.n_elements, attributes=op.attributes)


def _add_positions(state: _Backward, op: Op, gradient: str) -> None:
    x, *tables = op.reads
    state.parts.setdefault(x.tensor, []).append(gradient)
    writes = [state.part(access.tensor) for access in tables]
    n_elements = state.tape.tensors[gradient].n_elements
    state.tape.op(
        f"{op.name}.grad",
        "add_positions_grad",
        [gradient],
        writes,
        vector_ops=len(tables) * n_elements,
        attributes=op.attributes,
    )


def _other(state: _Backward, op: Op, gradients: list[str]) -> None:
    saved = [op.reads[index] for index in _SAVED.get(op.kind, range(len(op.reads))) if index < len(op.reads)]
    if op.kind in _ATTENTIONS:
        saved += op.writes
    writes = [state.part(name) for name in state.differentiable(op.reads)]
    state.tape.op(
        f"{op.name}.grad",
        f"{op.kind}_grad",
        [*gradients, *saved],
        writes,
        matrix_ops=int((_ATTENTION_FACTOR if op.kind in _ATTENTIONS else _PLAIN_FACTOR) * op.matrix_ops),
        vector_ops=_VECTOR_FACTOR * op.vector_ops,
        attributes=op.attributes,
    )
