"""Regions of shapes by which errors are told: small and large, of each kind of kernel."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.units import show_bytes
from tierplan.sim.measurements import Rows
from tierplan.sim.workloads import Attention, Gemm, Moe

Region = tuple[str, NDArray[np.bool_]]


def regions(rows: Rows) -> list[Region]:
    """Name and rows of each region that has any; together they are all rows."""
    match rows.work:
        case Gemm():
            found = _between("m", np.asarray(rows.work.m), (64, 512, 4096))
        case Attention() if rows.kind == "prefill":
            found = _between("queries", np.asarray(rows.work.queries), (64, 512, 4096))
        case Attention():
            found = _between("context", np.asarray(rows.work.context), (128, 2048, 16384))
        case Moe():
            found = _between("tokens", np.asarray(rows.work.tokens), (16, 256, 4096))
        case _:
            found = _between("message", np.asarray(rows.work.bytes), (64 * 1024, 16 * 1024**2), in_bytes=True)
    return [(name, mask) for name, mask in found if mask.any()]


def _between(what: str, values: NDArray[np.float64], edges: Sequence[int], *, in_bytes: bool = False) -> list[Region]:
    shown = [show_bytes(edge) if in_bytes else str(edge) for edge in edges]
    found: list[Region] = [(f"{what} <= {shown[0]}", values <= edges[0])]
    found += [
        (f"{what} <= {shown[at]}", (values > edges[at - 1]) & (values <= edges[at])) for at in range(1, len(edges))
    ]
    found.append((f"{what} > {shown[-1]}", values > edges[-1]))
    return found
