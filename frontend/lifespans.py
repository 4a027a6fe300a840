"""Buffers with lifespans as a program: each is produced when it begins and read when it ends."""

import numpy as np

from tierplan.ir.buffers import Buffers
from tierplan.ir.graph import Access, Graph, Op, Tensor, TensorKind


def graph_of_buffers(buffers: Buffers, name: str) -> Graph:
    """A graph with one step for each moment at which a buffer begins or is last held.

    Assumes: a buffer is written once, whole, when it begins, and read once, whole, when it ends;
    nothing is computed; gaps and fixed offsets are not kept.
    """
    moments, index = np.unique(np.concatenate([buffers.start, buffers.stop - 1]), return_inverse=True)
    n = len(buffers.size)
    reads: list[list[Access]] = [[] for _ in moments]
    writes: list[list[Access]] = [[] for _ in moments]
    ids = buffers.ids or tuple(str(i) for i in range(n))
    for i, (buffer, size) in enumerate(zip(ids, buffers.size.tolist(), strict=True)):
        begin, end = int(index[i]), int(index[n + i])
        writes[begin].append(Access(buffer, size))
        if end > begin:
            reads[end].append(Access(buffer, size))
    ops = tuple(
        Op(f"t={moment}", "buffers", tuple(reads[t]), tuple(writes[t])) for t, moment in enumerate(moments.tolist())
    )
    sizes = zip(ids, buffers.size.tolist(), strict=True)
    tensors = tuple(Tensor(buffer, (size,), "uint8", TensorKind.ACTIVATION) for buffer, size in sizes)
    return Graph(name, tensors, ops)
