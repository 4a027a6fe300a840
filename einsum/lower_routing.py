"""Routing of tokens to experts, forward and backward.

The rows of an expert lie in its buffer in the order of their tokens; a row beyond the buffer's end is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_text import cascade, reads, whole, writes
from tierplan.einsum.lower_values import NoLoweringError
from tierplan.ir.graph import Op, Tensor

_SLOT = """Hit{e}[b, t] = max[j] where(Chosen[b, t, j] == {e}, 1, 0)
Before{e}[b, t] = Hit{e}[c, s] if c*T + s < b*T + t
Slot{e}[b, t] = min(Before{e}[b, t], R{e} - 1)
Kept{e}[b, t] = Hit{e}[b, t] == 1 and Before{e}[b, t] < R{e}
"""


def _slots(buffers: list[Tensor]) -> str:
    return "".join(_SLOT.format(e=e) for e in range(len(buffers)))


def _ranks(chosen: Tensor, buffers: list[Tensor]) -> dict[str, int]:
    batch, tokens, per_token = chosen.shape
    ranks = {"B": batch, "T": tokens, "J": per_token, "C": batch, "S": tokens, "D": buffers[0].shape[-1]}
    return ranks | {f"R{e}": buffer.shape[0] for e, buffer in enumerate(buffers)}


def lower_top_k(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Softmax over the experts, the best few, and their weights scaled to sum to 1.

    A correction per expert takes part in the choice, and not in the weights.
    """
    logits, *correction = reads(op, tensors)
    batch, tokens, experts = logits.shape
    ranks = {"B": batch, "T": tokens, "X": experts, "J": whole(op, "per_token")}
    chosen = "Best[b, t, j] = top[x:j] A[b, t, x]\nChosen[b, t, j] = argtop[x:j] A[b, t, x]"
    if correction:
        chosen = """Corrected[b, t, x] = A[b, t, x] + Correction[x]
Chosen[b, t, j] = argtop[x:j] Corrected[b, t, x]
Best[b, t, j] = A[b, t, Chosen[b, t, j]]"""
    body = f"""input Logits[B, T, X]{", Correction[X]" if correction else ""}
output Routing, Chosen
GM[b, t] = max[x] Logits[b, t, x]
SN[b, t, x] = exp(Logits[b, t, x] - GM[b, t])
SD[b, t] = SN[b, t, x]
A[b, t, x] = SN[b, t, x] / SD[b, t]
{chosen}
SB[b, t] = Best[b, t, j]
Routing[b, t, j] = Best[b, t, j] / SB[b, t]"""
    return cascade("top_k", ranks, body)


def lower_top_k_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The gradient of the logits: scaled to sum to 1, the weights are a softmax over the chosen experts alone."""
    _, logits, *_ = reads(op, tensors)
    if len(op.writes) > 1:
        raise NoLoweringError("the gradient of a corrected choice")
    batch, tokens, experts = logits.shape
    ranks = {"B": batch, "T": tokens, "X": experts, "J": whole(op, "per_token")}
    body = """input G[B, T, J], Logits[B, T, X]
tensor DLogits[B, T, X]
output DLogits
Best[b, t, j] = top[x:j] Logits[b, t, x]
Chosen[b, t, j] = argtop[x:j] Logits[b, t, x]
SN[b, t, j] = exp(Best[b, t, j] - Best[b, t, 0])
SD[b, t] = SN[b, t, j]
W[b, t, j] = SN[b, t, j] / SD[b, t]
GW[b, t] = G[b, t, j] * W[b, t, j]
DLogits[b, t, Chosen[b, t, j]] = W[b, t, j] * (G[b, t, j] - GW[b, t])"""
    return cascade("top_k_grad", ranks, body)


def lower_dispatch(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Send each token to the buffers of its experts."""
    _, chosen = reads(op, tensors)
    buffers = writes(op, tensors)
    names = [f"Y{e}" for e in range(len(buffers))]
    sent = "\n".join(f"Y{e}[Slot{e}[b, t], d] = X[b, t, d] if Kept{e}[b, t]" for e in range(len(buffers)))
    body = f"""input X[B, T, D], Chosen[B, T, J]
tensor {", ".join(f"Y{e}[R{e}, D]" for e in range(len(buffers)))}
output {", ".join(names)}
{_slots(buffers)}{sent}"""
    return cascade("dispatch", _ranks(chosen, buffers), body)


def lower_dispatch_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Bring the gradients of the buffers back to the tokens."""
    *buffers, chosen = reads(op, tensors)
    back = "\n".join(f"B{e}x[b, t, d] = G{e}[Slot{e}[b, t], d] if Kept{e}[b, t]" for e in range(len(buffers)))
    total = " + ".join(f"B{e}x[b, t, d]" for e in range(len(buffers)))
    body = f"""input {", ".join(f"G{e}[R{e}, D]" for e in range(len(buffers)))}, Chosen[B, T, J]
output DX
{_slots(buffers)}{back}
DX[b, t, d] = {total}"""
    return cascade("dispatch_grad", _ranks(chosen, buffers), body)


def lower_combine(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Add up, for each token, what its experts returned, each times its weight."""
    *buffers, _, chosen = reads(op, tensors)
    weights = "\n".join(
        f"W{e}x[b, t] = where(Chosen[b, t, j] == {e}, Routing[b, t, j], 0)\n"
        f"P{e}x[b, t, d] = W{e}x[b, t] * X{e}[Slot{e}[b, t], d] if Kept{e}[b, t]"
        for e in range(len(buffers))
    )
    total = " + ".join(f"P{e}x[b, t, d]" for e in range(len(buffers)))
    body = f"""input {", ".join(f"X{e}[R{e}, D]" for e in range(len(buffers)))}, Routing[B, T, J], Chosen[B, T, J]
output Y
{_slots(buffers)}{weights}
Y[b, t, d] = {total}"""
    return cascade("combine", _ranks(chosen, buffers), body)


def lower_combine_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The gradients of what the experts returned, and of their weights."""
    _, *buffers, _, chosen = reads(op, tensors)
    names = [f"DX{e}" for e in range(len(buffers))]
    parts = "\n".join(
        f"W{e}x[b, t] = where(Chosen[b, t, j] == {e}, Routing[b, t, j], 0)\n"
        f"DX{e}[Slot{e}[b, t], d] = W{e}x[b, t] * G[b, t, d] if Kept{e}[b, t]\n"
        f"Q{e}x[b, t] = G[b, t, d] * X{e}[Slot{e}[b, t], d] if Kept{e}[b, t]"
        for e in range(len(buffers))
    )
    total = " + ".join(f"where(Chosen[b, t, j] == {e}, Q{e}x[b, t], 0)" for e in range(len(buffers)))
    inputs = ", ".join(f"X{e}[R{e}, D]" for e in range(len(buffers)))
    body = f"""input G[B, T, D], {inputs}, Routing[B, T, J], Chosen[B, T, J]
tensor {", ".join(f"DX{e}[R{e}, D]" for e in range(len(buffers)))}
output {", ".join(names)}, DRouting
{_slots(buffers)}{parts}
DRouting[b, t, j] = {total}"""
    return cascade("combine_grad", _ranks(chosen, buffers), body)
