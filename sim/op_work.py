"""The kernel that an operation is, where its shape is known: a matrix product or an attention."""

import math
from typing import cast

from tierplan.ir.dtypes import BITS
from tierplan.ir.graph import Op
from tierplan.sim.workloads import Attention, Gemm

_LEAST_STREAMED = 0.9


def work_of(op: Op) -> Gemm | Attention | None:
    """The shapes of the kernel that runs `op`; None where they are not known.

    An operation that streams fewer bytes than its shape has is not known either: a weight that is stored in fewer bits,
    or of which only a part is read, is not what was measured.
    """
    work = _gemm(op) or _attention(op)
    streamed = sum(access.bytes for access in (*op.reads, *op.writes))
    return None if work is None or streamed < _LEAST_STREAMED * float(work.bytes) else work


def _gemm(op: Op) -> Gemm | None:
    at = op.attributes
    if op.kind == "matmul":
        return Gemm(_whole(at["m"]), _whole(at["n"]), _whole(at["k"]), op.dtype, _whole(at["batch"]))
    if op.kind == "head_matmul":
        return Gemm(_whole(at["m"]), _whole(at["n"]), _whole(at["k"]), op.dtype, _whole(at["heads"]))
    if op.kind != "dot_general" or len(op.reads) != 2 or len(op.writes) != 1 or not op.matrix_ops:
        return None
    return _from_sizes(op)


def _from_sizes(op: Op) -> Gemm | None:
    """The product whose operands have these sizes, if it is one product: m k, k n and m n elements tell m, n and k."""
    a, b = (access.bytes * 8 / BITS[op.dtype] for access in op.reads)
    multiplied = op.matrix_ops / 2
    c = op.writes[0].bytes * 8 / BITS[op.dtype]
    m, n, k = multiplied / b, multiplied / a, multiplied / c
    one_product = math.isclose(m * k, a, rel_tol=0.01) and math.isclose(k * n, b, rel_tol=0.01)
    return Gemm(m, n, k, op.dtype) if one_product and min(m, n, k) >= 1 else None


def _attention(op: Op) -> Attention | None:
    at = {name: _whole(value or 0) for name, value in op.attributes.items() if not isinstance(value, str | tuple)}
    if op.kind == "attention" and at["causal"] and not at["chunked"]:
        return Attention(
            at["batch"], at["queries"], at["keys"], at["heads"], at["kv_heads"], at["head_dim"], at["window"], op.dtype
        )
    if op.kind == "latent_attention" and at["causal"]:
        width = at["kv_rank"] + at["rotary"]
        return Attention(
            at["batch"], at["queries"], at["keys"], at["heads"], 1, width, 0, op.dtype, value_dim=at["kv_rank"]
        )
    return None


def _whole(value: object) -> int:
    return int(cast(int, value))
