"""Few buffers that already cannot fit together: why a problem is infeasible."""

import numpy as np
from numpy.typing import NDArray

from tierplan.planner.offset_bounds import lower_bound, overloaded
from tierplan.planner.offset_effort import Best, Effort
from tierplan.planner.offset_exact import improve
from tierplan.planner.offset_problem import Blocks, parts_in_time, sections_of, take
from tierplan.planner.offset_search import part_of

_NODES_PER_PROOF = 100_000


def smallest_conflict(b: Blocks, capacity: int, effort: Effort) -> NDArray[np.intp]:
    """Blocks of `b` that cannot fit `capacity` units together.

    Where they are too much at one step, the fewest at any step. Otherwise each block is dropped in turn, for good
    when the rest still cannot fit: no block can be left out of the answer unless the effort ends first.
    """
    crowd = overloaded(b, sections_of(b), capacity)
    if len(crowd):
        return crowd
    kept = np.arange(len(b.height))
    if not _cannot_fit(b, kept, capacity, effort):
        return kept
    size = max(1, len(kept) // 2)
    while size >= 1:
        at = 0
        while at < len(kept) and not effort.over:
            rest = np.concatenate((kept[:at], kept[at + size :]))
            if len(rest) and _cannot_fit(b, rest, capacity, effort):
                kept = rest
            else:
                at += size
        size //= 2
    return kept


def _cannot_fit(b: Blocks, index: NDArray[np.intp], capacity: int, effort: Effort) -> bool:
    rest = take(b, index)
    for members in parts_in_time(rest):
        blocks = take(rest, members)
        bound = lower_bound(blocks, sections_of(blocks))
        best = Best(np.empty(0, np.int64), capacity + 1, bound, capacity, "load", False)
        trial = Effort(effort.deadline, _NODES_PER_PROOF, 0, effort.seed, 1, effort.rules, cp_sat=False)
        if not best.done:
            improve([part_of(blocks)], [best], trial)
        effort.n_nodes += trial.n_nodes
        if not best.found and best.bound > capacity:
            return True
    return False
