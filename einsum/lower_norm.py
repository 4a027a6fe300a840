"""Norms of models, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_text import EPSILON, cascade, reads, rows, whole, writes
from tierplan.einsum.lower_values import NoLoweringError
from tierplan.ir.graph import Op, Tensor


class _Shape:
    """How the rows of a norm lie in its input: a row may be one of several heads of a token."""

    def __init__(self, op: Op, x: Tensor) -> None:
        lead, width = rows(x.shape[:-1]), whole(op, "width")
        if x.shape[-1] % width:
            raise NoLoweringError(f"rows of {width} in a tensor of shape {x.shape}")
        heads = x.shape[-1] // width
        self.row = lead.at if heads == 1 else f"{lead.at}, h"
        self.at = f"{lead.at}, n" if heads == 1 else f"{lead.at}, h*N + n"
        self.dims = f"{lead.dims}, N" if heads == 1 else f"{lead.dims}, H*N"
        self.ranks = {**lead.extents, **({} if heads == 1 else {"H": heads}), "N": width}


def lower_rms_norm(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """`Y = X / sqrt(mean(X * X)) * Scale`."""
    x, *parameters = reads(op, tensors)
    s = _Shape(op, x)
    body = f"""input X[{s.dims}]{", Scale[N]" if parameters else ""}
output Y
SS[{s.row}] = X[{s.at}] * X[{s.at}]
R[{s.row}] = rsqrt(SS[{s.row}] / N + {EPSILON})
Y[{s.at}] = X[{s.at}] * R[{s.row}]{" * Scale[n]" if parameters else ""}"""
    return cascade("rms_norm", s.ranks, body)


def lower_layer_norm(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """`Y = (X - mean) / sqrt(variance) * Scale + Shift`."""
    x, *parameters = reads(op, tensors)
    s = _Shape(op, x)
    body = f"""input X[{s.dims}]{", Scale[N], Shift[N]" if parameters else ""}
output Y
SX[{s.row}] = X[{s.at}]
MU[{s.row}] = SX[{s.row}] / N
C[{s.row}, n] = X[{s.at}] - MU[{s.row}]
SC[{s.row}] = C[{s.row}, n] * C[{s.row}, n]
R[{s.row}] = rsqrt(SC[{s.row}] / N + {EPSILON})
Y[{s.at}] = C[{s.row}, n] * R[{s.row}]{" * Scale[n] + Shift[n]" if parameters else ""}"""
    return cascade("layer_norm", s.ranks, body)


def lower_rms_norm_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The gradients of the input and of the scale."""
    _, x, *parameters = reads(op, tensors)
    s, affine = _Shape(op, x), len(writes(op, tensors)) > 1
    scale = " * Scale[n]" if parameters else ""
    body = f"""input G[{s.dims}], X[{s.dims}]{", Scale[N]" if parameters else ""}
output DX{", DScale" if affine else ""}
SS[{s.row}] = X[{s.at}] * X[{s.at}]
R[{s.row}] = rsqrt(SS[{s.row}] / N + {EPSILON})
GS[{s.row}, n] = G[{s.at}]{scale}
GX[{s.row}] = GS[{s.row}, n] * X[{s.at}]
DX[{s.at}] = R[{s.row}] * (GS[{s.row}, n] - X[{s.at}] * (GX[{s.row}] * R[{s.row}] * R[{s.row}] / N))
"""
    if affine:
        body += f"DScale[n] = G[{s.at}] * X[{s.at}] * R[{s.row}]"
    return cascade("rms_norm_grad", s.ranks, body)


def lower_layer_norm_grad(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The gradients of the input, of the scale and of the shift."""
    _, x, *parameters = reads(op, tensors)
    s, affine = _Shape(op, x), len(writes(op, tensors)) > 1
    body = f"""input G[{s.dims}], X[{s.dims}]{", Scale[N]" if parameters else ""}
output DX{", DScale, DShift" if affine else ""}
SX[{s.row}] = X[{s.at}]
MU[{s.row}] = SX[{s.row}] / N
C[{s.row}, n] = X[{s.at}] - MU[{s.row}]
SC[{s.row}] = C[{s.row}, n] * C[{s.row}, n]
R[{s.row}] = rsqrt(SC[{s.row}] / N + {EPSILON})
XN[{s.row}, n] = C[{s.row}, n] * R[{s.row}]
GS[{s.row}, n] = G[{s.at}]{" * Scale[n]" if parameters else ""}
SG[{s.row}] = GS[{s.row}, n]
GX[{s.row}] = GS[{s.row}, n] * XN[{s.row}, n]
DX[{s.at}] = R[{s.row}] * (GS[{s.row}, n] - SG[{s.row}] / N - XN[{s.row}, n] * (GX[{s.row}] / N))
"""
    if affine:
        body += f"DScale[n] = G[{s.at}] * XN[{s.row}, n]\nDShift[n] = G[{s.at}]"
    return cascade("layer_norm_grad", s.ranks, body)
