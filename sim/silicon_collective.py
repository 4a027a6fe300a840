"""Seconds of an exchange among devices: a ring, or everything to everyone at once.

Source: Thakur et al., IJHPCA 2005, for the two; constants: `ir.calibration.CollectiveConstants`, fitted.
"""

import numpy as np

from tierplan.ir.calibration import CollectiveConstants
from tierplan.sim.workloads import Collective, Floats


def collective_s(work: Collective, c: CollectiveConstants, peer_bandwidth: float) -> Floats:
    """Seconds of each exchange; one device alone takes none."""
    n_bytes, ranks = np.asarray(work.bytes, np.float64), np.asarray(work.ranks, np.float64)
    ring_s = work.sent / (peer_bandwidth * c.ring_share)
    ring = c.ring_s + c.rank_s * (ranks - 1) + ring_s
    at_once = n_bytes * (ranks - 1) / (1 if work.kind == "all_reduce" else ranks)
    direct = c.direct_s + at_once / (peer_bandwidth * c.direct_share)
    seconds = np.minimum(ring, direct) + ring_s * c.ramp_bytes / (c.ramp_bytes + n_bytes)
    return np.where(ranks > 1, seconds, 0.0)
