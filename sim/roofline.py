"""Seconds of a kernel at the peak rates of a machine: what a data sheet alone can tell.

Source: Williams et al., CACM 2009; GenZ and LLM-Viewer compute the same.
Assumes: every byte is streamed once, from the fastest tier; arithmetic and streams overlap perfectly.
"""

import numpy as np

from tierplan.ir.machine import Machine
from tierplan.sim.workloads import Attention, Floats, Gemm, Moe


def kernel_s(work: Gemm | Attention | Moe, machine: Machine) -> Floats:
    """Seconds of each of the kernels that `work` lists."""
    memory = next(tier for tier in machine.tiers if tier.direct)
    return np.maximum(work.ops / machine.matrix.rate(work.dtype), work.bytes / memory.read_bandwidth)
