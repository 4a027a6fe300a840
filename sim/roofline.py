"""Seconds of a kernel at the peak rates of a machine: what a data sheet alone can tell.

Source: Williams et al., CACM 2009; GenZ and LLM-Viewer compute the same.
Assumes: every byte is streamed once, from the fastest tier; arithmetic and streams overlap perfectly.
"""

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Machine
from tierplan.sim.device import memory_of
from tierplan.sim.workloads import Attention, Collective, Floats, Gemm, Moe


def roofline_s(work: Gemm | Attention | Moe | Collective, machine: Machine) -> Floats:
    """Seconds of each of the kernels that `work` lists.

    Raises: InvalidInputError: an exchange, on a machine that does not say how fast devices reach each other.
    """
    if isinstance(work, Collective):
        peer = machine.calibration.peer_bandwidth if machine.calibration is not None else 0.0
        if not peer:
            raise InvalidInputError(
                f"machine '{machine.name}' does not say how fast devices reach each other; "
                "add 'peer' to its 'calibration'"
            )
        return work.sent / peer
    return np.maximum(work.ops / machine.matrix.rate(work.dtype), work.bytes / memory_of(machine).read_bandwidth)
