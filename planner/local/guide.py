"""What a solved relaxation wishes for each tensor, at several levels, for a walk to draw from."""

from collections.abc import Sequence

import numpy as np

from tierplan.planner.flow_solve import Relaxation
from tierplan.planner.flow_wish import wish
from tierplan.planner.local._kernels import Guide

_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


def guide_of(found: Relaxation, levels: Sequence[float] = _LEVELS, *, merged: int = 1) -> Guide:
    """Wishes near a solution of the relaxation, or of that in which the `merged` fastest tiers are one.

    What is wished in the merged tiers is wished in the slowest of them.

    A tensor that lies in a tier by half does so at the levels up to one half: drawn at random, wishes follow the
    fractions on average, and those of one level fit together.
    """
    of_tensor = found.lp.places.of_tensor
    n_visits = sum(len(places) for places in of_tensor)
    shape = len(levels), n_visits
    base = np.zeros((len(levels), len(of_tensor)), dtype=np.int64)
    tier, kept = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
    known = np.array([len(places) > 0 for places in of_tensor], dtype=np.bool_)
    first = 0
    for x, places in enumerate(of_tensor):
        visits = slice(first, first + len(places))
        first = visits.stop
        for i, level in enumerate(levels) if places else ():
            wanted = wish(found.lp, found.x, places, level, spread=True)
            base[i, x] = wanted.base
            tier[i, visits], kept[i, visits] = wanted.tier, wanted.kept
    return Guide(base + merged - 1, tier + merged - 1, kept, known)
