"""What a visit is worth: how much shorter its step is if the fastest tier serves it."""

import numpy as np

from tierplan.ir.problem import Floats
from tierplan.rl.program import Program


def earns(program: Program) -> Floats:
    """Shape [V]: seconds by which a step is shorter if this one of its accesses alone is served by the fastest tier."""
    visits, tiers, k = program.visits, program.tiers, len(program.tiers)
    step = visits["step"]
    base = tiers["load"][program.tensors["base"][visits["tensor"]]]
    used = program.used[step].copy()
    rows = np.arange(len(visits))
    for tier, sign in ((base, -1.0), (np.zeros_like(base), 1.0)):
        busy = visits["read"] / tiers["read_rate"][tier] + visits["write"] / tiers["write_rate"][tier]
        used[rows, tier] += sign * busy
        for link, moved in ((tiers["read_link"][tier], visits["read"]), (tiers["write_link"][tier], visits["write"])):
            behind = link >= 0
            used[rows[behind], k + link[behind]] += sign * moved[behind] / program.link_rate[link[behind]]
    own = np.maximum(program.compute_s[step], used.max(axis=1))
    return np.maximum(program.own_s[step] - own, 0.0)
