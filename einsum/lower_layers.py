"""Embeddings, additions and activation functions of models, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_text import cascade, reads, rows
from tierplan.einsum.lower_values import NoLoweringError
from tierplan.ir.errors import nearest
from tierplan.ir.graph import Op, Tensor

_ROOT = "0.7978845608028654"  # sqrt(2 / pi)
_INNER = f"tanh({_ROOT} * (X + 0.044715 * X**3))"

_GELU = ("X * (1 + erf(X * 0.7071067811865476)) / 2",
         "(1 + erf(X * 0.7071067811865476)) / 2 + X * exp(X**2 / (-2)) * 0.3989422804014327")  # fmt: skip
_GELU_TANH = (f"0.5 * X * (1 + {_INNER})",
              f"0.5 * (1 + {_INNER}) + 0.5 * X * (1 - {_INNER}**2) * {_ROOT} * (1 + 0.134145 * X**2)")  # fmt: skip
_SILU = ("X * sigmoid(X)", "sigmoid(X) * (1 + X * (1 - sigmoid(X)))")

FORMULAS: Mapping[str, tuple[str, str]] = {
    "relu": ("max(X, 0)", "where(X > 0, 1, 0)"),
    "relu2": ("max(X, 0) ** 2", "2 * max(X, 0)"),
    "tanh": ("tanh(X)", "1 - tanh(X) ** 2"),
    "sigmoid": ("sigmoid(X)", "sigmoid(X) * (1 - sigmoid(X))"),
    "silu": _SILU,
    "swish": _SILU,
    "quick_gelu": ("X * sigmoid(1.702 * X)", "sigmoid(1.702 * X) * (1 + 1.702 * X * (1 - sigmoid(1.702 * X)))"),
    "gelu": _GELU,
    "gelu_python": _GELU,
    "gelu_new": _GELU_TANH,
    "gelu_fast": _GELU_TANH,
    "gelu_pytorch_tanh": _GELU_TANH,
}
"""Each activation function of `X` and its derivative, by the names that configurations use.

Source: Hendrycks and Gimpel, Gaussian error linear units, 2016 (both forms of gelu, and quick_gelu).
"""


def formulas(op: Op, at: str, x: str) -> tuple[str, str]:
    """The activation function of an operation and its derivative, of tensor `x` at an index."""
    function = str(op.attributes["function"])
    if function not in FORMULAS:
        raise NoLoweringError(f"activation function '{function}' (nearest: {nearest(function, FORMULAS)})")
    value, slope = (formula.replace("X", f"{x}[{at}]") for formula in FORMULAS[function])
    return value, slope


def lower_activation(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The function of one tensor or, gated, the function of the first times the second."""
    x = reads(op, tensors)[0]
    lead = rows(x.shape[:-1])
    at, dims = f"{lead.at}, n", f"{lead.dims}, N"
    gated = len(op.reads) == 2
    value, _ = formulas(op, at, "X")
    body = f"""input X[{dims}]{f", U[{dims}]" if gated else ""}
output Y
Y[{at}] = {f"{value} * U[{at}]" if gated else value}"""
    return cascade(op.kind, {**lead.extents, "N": x.shape[-1]}, body)


def lower_activation_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The gradients of what `lower_activation` reads."""
    x = reads(op, tensors)[1]
    lead = rows(x.shape[:-1])
    at, dims = f"{lead.at}, n", f"{lead.dims}, N"
    gated = len(op.reads) == 3
    value, slope = formulas(op, at, "X")
    body = f"""input G[{dims}], X[{dims}]{f", U[{dims}]" if gated else ""}
output DX{", DU" if gated else ""}
DX[{at}] = G[{at}] * {f"U[{at}] * " if gated else ""}({slope})
"""
    if gated:
        body += f"DU[{at}] = G[{at}] * ({value})"
    return cascade(op.kind, {**lead.extents, "N": x.shape[-1]}, body)


def lower_add(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The sum of tensors of one shape."""
    terms = reads(op, tensors)
    names = ["I", "J", "K", "L"][: len(terms[0].shape)]
    if len(names) < len(terms[0].shape):
        raise NoLoweringError(f"a sum of tensors of shape {terms[0].shape}")
    dims, at = ", ".join(names), ", ".join(names).lower()
    declared = ", ".join(f"X{n}[{dims}]" for n in range(len(terms)))
    total = " + ".join(f"X{n}[{at}]" for n in range(len(terms)))
    return cascade("add", dict(zip(names, terms[0].shape, strict=True)), f"input {declared}\nY[{at}] = {total}")


def lower_embedding(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """One row of the table per token."""
    ids, table = reads(op, tensors)
    ranks = {"B": ids.shape[0], "T": ids.shape[1], "V": table.shape[0], "D": table.shape[1]}
    return cascade("embedding", ranks, "input Ids[B, T], Table[V, D]\nY[b, t, d] = Table[Ids[b, t], d]")


def lower_embedding_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Add up the gradients of the rows of each token; onto another gradient, where the table has one already."""
    gradient, _, *old = reads(op, tensors)
    table = tensors[op.writes[0].tensor]
    ranks = {"B": gradient.shape[0], "T": gradient.shape[1], "V": table.shape[0], "D": table.shape[1]}
    rows_of = "DRows" if old else "DTable"
    body = f"""input G[B, T, D], Ids[B, T]{", Old[V, D]" if old else ""}
tensor {rows_of}[V, D]
output DTable
{rows_of}[Ids[b, t], d] = G[b, t, d]
{"DTable[v, d] = Old[v, d] + DRows[v, d]" if old else ""}"""
    return cascade("embedding_grad", ranks, body)


def lower_add_positions(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Add the rows of the positions, from row `First` on, and of the token type.

    Assumes: all tokens are of type 0.
    """
    x, *tables = reads(op, tensors)
    ranks = {"B": x.shape[0], "T": x.shape[1], "D": x.shape[2], "V": tables[0].shape[0]}
    typed = len(tables) == 2
    if typed:
        ranks["W"] = tables[1].shape[0]
    body = f"""input X[B, T, D], Positions[V, D]{", Types[W, D]" if typed else ""}, First
Y[b, t, d] = X[b, t, d] + Positions[First[] + t, d]{" + Types[0, d]" if typed else ""}"""
    return cascade("add_positions", ranks, body)


def lower_add_positions_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The gradients of the tables."""
    (gradient,) = reads(op, tensors)
    tables = [tensors[access.tensor] for access in op.writes]
    batch, tokens, width = gradient.shape
    typed = len(tables) == 2
    ranks = {"B": batch, "T": tokens, "D": width, "V": tables[0].shape[0]}
    if typed:
        ranks["W"] = tables[1].shape[0]
    body = f"""input G[B, T, D], First
tensor DPositions[V, D]{", DTypes[W, D]" if typed else ""}
output DPositions{", DTypes" if typed else ""}
DPositions[First[] + t, d] = G[b, t, d]
{"DTypes[0, d] = G[b, t, d]" if typed else ""}"""
    return cascade("add_positions_grad", ranks, body)
