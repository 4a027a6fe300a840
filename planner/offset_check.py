"""Whether blocks overlap, quickly: a sweep over time that shares nothing with the searches."""

import numpy as np

from tierplan.ir.buffers import Ints
from tierplan.planner import _kernels as kernels
from tierplan.planner.offset_problem import Blocks


def legal(b: Blocks, offset: Ints) -> bool:
    """Whether `offset[n]`, in units, breaks no rule but, perhaps, a capacity."""
    if not len(offset):
        return True
    if (offset < 0).any() or (offset % b.align).any() or (offset != b.fixed)[b.fixed >= 0].any():
        return False
    at = offset if b.plain else np.repeat(offset, np.diff(b.first))
    slots, place = np.unique(np.concatenate((at + b.low, at + b.high)), return_inverse=True)
    m = len(at)
    times = np.concatenate((b.stop, b.start))
    order = np.argsort(times, kind="stable")  # closings come first at equal steps
    return bool(kernels.first_overlap(order % m, order >= m, place[:m], place[m:], len(slots)) < 0)
