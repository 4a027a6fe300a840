"""What solved relaxations wish for each tensor, at several levels, for a walk to draw from."""

from collections.abc import Sequence

import numpy as np

from tierplan.planner.flow_wishes import Wishes
from tierplan.planner.local._kernels import Guide

_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


def guide_of(wishes: Wishes, levels: Sequence[float] = _LEVELS) -> Guide:
    """Wishes near a solution of relaxations.

    A tensor that lies in a tier by half does so at the levels up to one half: drawn at random, wishes follow the
    fractions on average, and those of one level fit together. Where the fastest tiers are not told apart, there are as
    many levels more with brief visits of small tensors in the fastest.
    """
    visits = [wishes.visits(x) for x in range(wishes.n_tensors)]
    shape = len(levels), sum(map(len, visits))
    base = np.zeros((len(levels), len(visits)), dtype=np.int64)
    tier, kept = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
    known = np.array([len(found) > 0 for found in visits], dtype=np.bool_)
    first = 0
    for x, found in enumerate(visits):
        mine = slice(first, first + len(found))
        first = mine.stop
        for i, level in enumerate(levels) if found else ():
            wanted = wishes.wish(x, level, spread=True)
            base[i, x] = wanted.base
            tier[i, mine], kept[i, mine] = wanted.tier, wanted.kept
    if wishes.untold == 0:
        return Guide(base, tier, kept, known)
    soon = np.array([is_soon for x in range(len(visits)) for is_soon in wishes.brief(x)], dtype=np.bool_)
    fast = np.where((tier == wishes.untold) & soon, 0, tier)
    return Guide(np.vstack((base, base)), np.vstack((tier, fast)), np.vstack((kept, kept)), known)
