"""Losses and the optimizer of a training step."""

from __future__ import annotations

from collections.abc import Mapping

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_text import cascade, reads
from tierplan.einsum.lower_values import NoLoweringError
from tierplan.ir.graph import Op, Tensor


def lower_cross_entropy(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The mean over all tokens of log-sum-exp minus the logit of the label."""
    logits = reads(op, tensors)[0]
    body = """input Logits[B, T, V], Labels[B, T]
output Loss, L
GM[b, t] = max[v] Logits[b, t, v]
SN[b, t, v] = exp(Logits[b, t, v] - GM[b, t])
SD[b, t] = SN[b, t, v]
L[b, t] = log(SD[b, t]) + GM[b, t]
Total = L[b, t] - Logits[b, t, Labels[b, t]]
Loss = Total / (B*T)"""
    return cascade("cross_entropy", dict(zip("BTV", logits.shape, strict=True)), body)


def lower_cross_entropy_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """Softmax minus one at the label, over the number of tokens."""
    logits = reads(op, tensors)[0]
    body = """input Logits[B, T, V], Labels[B, T], L[B, T]
output DLogits
DLogits[b, t, v] = (exp(Logits[b, t, v] - L[b, t]) - where(v == Labels[b, t], 1, 0)) / (B*T)"""
    return cascade("cross_entropy_grad", dict(zip("BTV", logits.shape, strict=True)), body)


def _outputs(op: Op, tensors: Mapping[str, Tensor]) -> tuple[dict[str, int], list[str], list[str], int]:
    """Ranks, dimensions and indices of each output of an encoder, and the elements of all."""
    ranks: dict[str, int] = {}
    dims: list[str] = []
    at: list[str] = []
    found = reads(op, tensors)
    for n, tensor in enumerate(found):
        names = [f"D{n}{letter}" for letter in "ABCD"[: len(tensor.shape)]]
        ranks |= dict(zip(names, tensor.shape, strict=True))
        dims.append(", ".join(names))
        at.append(", ".join(names).lower())
    return ranks, dims, at, sum(tensor.n_elements for tensor in found)


def lower_loss(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The mean square of all outputs.

    Assumes: it stands for the loss of whatever task an encoder is trained on; a configuration holds none.
    """
    ranks, dims, at, n_elements = _outputs(op, tensors)
    sums = "\n".join(f"S{n}q = X{n}[{i}] * X{n}[{i}]" for n, i in enumerate(at))
    total = " + ".join(f"S{n}q" for n in range(len(at)))
    declared = ", ".join(f"X{n}[{d}]" for n, d in enumerate(dims))
    return cascade("loss", ranks, f"input {declared}\noutput Loss\n{sums}\nLoss = ({total}) / {n_elements}")


def lower_loss_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The gradient of the mean square."""
    ranks, dims, at, n_elements = _outputs(op, tensors)
    slopes = "\n".join(f"DX{n}[{i}] = X{n}[{i}] * 2 / {n_elements}" for n, i in enumerate(at))
    declared = ", ".join(f"X{n}[{d}]" for n, d in enumerate(dims))
    outputs = ", ".join(f"DX{n}" for n in range(len(at)))
    return cascade("loss_grad", ranks, f"input {declared}\noutput {outputs}\n{slopes}")


def lower_adamw(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """One step of AdamW; `Step` counts from 1.

    Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019, algorithm 2.
    Assumes: a learning rate of 0.001, decay 0.01, betas 0.9 and 0.999; a graph does not hold them.
    """
    shape = reads(op, tensors)[0].shape
    names = ["I", "J", "K", "L"][: len(shape)]
    if len(names) < len(shape):
        raise NoLoweringError(f"a weight of shape {shape}")
    dims, at = ", ".join(names), ", ".join(names).lower()
    master = len(op.writes) == 4
    weight = "Master" if master else "W"
    moved = f"{weight}[{at}] * 0.99999 - 0.001 * Q[{at}]"
    body = f"""input G[{dims}], M[{dims}], U[{dims}], {weight}[{dims}], Step
output NM, NU, {"NMaster, NW" if master else "NW"}
C1 = 1 / (1 - 0.9 ** Step)
C2 = 1 / (1 - 0.999 ** Step)
NM[{at}] = 0.9 * M[{at}] + 0.1 * G[{at}]
NU[{at}] = 0.999 * U[{at}] + 0.001 * G[{at}] * G[{at}]
Q[{at}] = NM[{at}] * C1 / (sqrt(NU[{at}] * C2) + 0.00000001)
"""
    body += f"NMaster[{at}] = {moved}\nNW[{at}] = NMaster[{at}]" if master else f"NW[{at}] = {moved}"
    return cascade("adamw", dict(zip(names, shape, strict=True)), body)
