"""Experts whose matrices are stacked, what gates their results, and what stands in front of an encoder."""

from __future__ import annotations

from collections.abc import Mapping

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_layers import formulas
from tierplan.einsum.lower_text import cascade, reads, rows, whole, writes
from tierplan.ir.graph import Op, Tensor


def lower_expert_matmul(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Each token, or each pair of a token and an expert, times the matrix of that expert."""
    x, chosen, stack = reads(op, tensors)
    batch, tokens, per_token = chosen.shape
    n, k = whole(op, "n"), whole(op, "k")
    ranks = {"B": batch, "T": tokens, "J": per_token, "E": stack.shape[0], "N": n, "K": k}
    dims, at = ("B, T, J, K", "b, t, j, k") if len(x.shape) == 4 else ("B, T, K", "b, t, k")
    matrix, index = ("E, N, K", "n, k") if stack.shape[1:] == (n, k) else ("E, K, N", "k, n")
    body = f"""input X[{dims}], Chosen[B, T, J], W[{matrix}]
Y[b, t, j, n] = X[{at}] * W[Chosen[b, t, j], {index}]"""
    return cascade("expert_matmul", ranks, body)


def lower_weighted_sum(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Add up what the experts of a token returned, each times its weight."""
    x, _ = reads(op, tensors)
    ranks = dict(zip("BTJD", x.shape, strict=True))
    body = "input X[B, T, J, D], Routing[B, T, J]\nY[b, t, d] = X[b, t, j, d] * Routing[b, t, j]"
    return cascade("weighted_sum", ranks, body)


def lower_gated_halves(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The function of the first half of each row times the second."""
    (x,) = reads(op, tensors)
    lead = rows(x.shape[:-1])
    width = x.shape[-1] // 2
    value, _ = formulas(op, f"{lead.at}, n", "X")
    body = f"""input X[{lead.dims}, M]
Y[{lead.at}, n] = {value} * X[{lead.at}, n + {width}]"""
    return cascade("gated_halves", {**lead.extents, "N": width, "M": 2 * width}, body)


def lower_gate_rows(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Each row times the sigmoid of its one number."""
    x, _ = reads(op, tensors)
    ranks = {**dict(zip("BTD", x.shape, strict=True)), "O": 1}
    return cascade("gate_rows", ranks, "input X[B, T, D], G[B, T, O]\nY[b, t, d] = X[b, t, d] * sigmoid(G[b, t, 0])")


def lower_conv1d(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """A convolution over three steps, with a zero before the first and after the last."""
    x, weight, _ = reads(op, tensors)
    (y,) = writes(op, tensors)
    stride = x.shape[1] // y.shape[1]
    ranks = {"B": x.shape[0], "U": x.shape[1], "C": x.shape[2], "T": y.shape[1], "N": y.shape[2], "S": weight.shape[2]}
    body = f"""input X[B, U, C], W[N, C, S], Bias[N]
output Y
P[b, t, n] = X[b, {stride}*t + s - 1, c | 0] * W[n, c, s]
Y[b, t, n] = P[b, t, n] + Bias[n]"""
    return cascade("conv1d", ranks, body)


def lower_prepend_and_add(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """One more row in front of the others, and positions added to all."""
    x, positions, _ = reads(op, tensors)
    ranks = {"B": x.shape[0], "U": x.shape[1], "T": positions.shape[1], "D": x.shape[2], "O": 1}
    body = """input X[B, U, D], Positions[O, T, D], First[O, O, D]
Y[b, t, d] = where(t == 0, First[0, 0, d], X[b, t - 1, d | 0]) + Positions[0, t, d]"""
    return cascade("prepend_and_add", ranks, body)
