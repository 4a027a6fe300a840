"""What a solved relaxation wishes for each tensor, at several levels, for a walk to draw from."""

import itertools
from collections.abc import Sequence

import numpy as np

from tierplan.ir.problem import Bools, Problem
from tierplan.planner.flow_places import Place
from tierplan.planner.flow_solve import Relaxation
from tierplan.planner.flow_wish import wish
from tierplan.planner.local._kernels import Guide

_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
_BRIEF = 6  # steps
_MANY = 50  # small tensors, of which so many fit in the merged tiers


def guide_of(found: Relaxation, levels: Sequence[float] = _LEVELS, *, merged: int = 1) -> Guide:
    """Wishes near a solution of the relaxation, or of that in which the `merged` fastest tiers are one.

    A tensor that lies in a tier by half does so at the levels up to one half: drawn at random, wishes follow the
    fractions on average, and those of one level fit together. What is wished in the merged tiers is wished in the
    slowest of them, and at as many levels more in the fastest where small tensors are used soon again.
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
    if merged == 1:
        return Guide(base, tier, kept, known)
    base, tier = base + merged - 1, tier + merged - 1
    fast = np.where((tier == merged - 1) & _brief(found.lp.problem, of_tensor), 0, tier)
    return Guide(np.vstack((base, base)), np.vstack((tier, fast)), np.vstack((kept, kept)), known)


def _brief(problem: Problem, of_tensor: Sequence[Sequence[Place]]) -> Bools:
    """Shape [visits]: whether a small tensor is visited shortly before or after."""
    brief: list[bool] = []
    for places in of_tensor:
        steps = [place.visit.step for place in places]
        small = bool(places) and int(problem.size[places[0].visit.tensor]) * _MANY <= int(problem.tiers.usable[0])
        gaps = [_BRIEF + 1, *(b - a for a, b in itertools.pairwise(steps)), _BRIEF + 1]
        brief += [small and min(before, after) <= _BRIEF for before, after in itertools.pairwise(gaps)]
    return np.array(brief, dtype=np.bool_)
