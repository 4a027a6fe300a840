"""The time of a program whose tensors stay where they are: no planning, no copies but those that streaming needs."""

import numpy as np

from tierplan.ir.problem import NO_LINK, Floats, Ints, Problem
from tierplan.sim.aside import copied, leads, n_loads, streamed


def held_s(problem: Problem, shares: Floats) -> Floats:
    """Shape [S]: seconds of each step, tensor x having `shares[x, k]` of its bytes in tier k.

    Assumes: what lies in a tier that operations cannot use moves through the fastest that they can, while they run.
    Source: docs/semantics.md, own time of a step.
    """
    k = problem.n_tiers
    loads = np.zeros((problem.n_steps, n_loads(problem)))
    step, of_access = problem.access_step, shares[problem.access_tensor]
    for tier in range(k):
        for amount, way in ((problem.access_read, _read(problem, tier)), (problem.access_write, _write(problem, tier))):
            n_bytes = np.bincount(step, amount * of_access[:, tier], minlength=problem.n_steps)
            if n_bytes.any():
                loads += np.outer(n_bytes, way)
    tiers = problem.tiers
    of_tiers = loads[:, :k] / tiers.read_bandwidth + loads[:, k : 2 * k] / tiers.write_bandwidth
    of_links = loads[:, 2 * k :] / problem.links.bandwidth
    return np.maximum(problem.compute_s, np.concatenate((of_tiers, of_links), axis=1).max(axis=1, initial=0.0))


def _read(problem: Problem, tier: int) -> Ints:
    if problem.tiers.direct[tier]:
        return streamed(problem, tier)
    near = nearest_direct(problem, tier)
    return copied(problem, tier, near) + streamed(problem, near)


def _write(problem: Problem, tier: int) -> Ints:
    k, loads = problem.n_tiers, np.zeros(n_loads(problem), dtype=np.int64)
    near = tier if problem.tiers.direct[tier] else nearest_direct(problem, tier)
    loads[k + near] = 1
    if problem.tiers.write_link[near] != NO_LINK:
        loads[2 * k + problem.tiers.write_link[near]] = 1
    return loads if near == tier or not leads(problem, near, tier) else loads + copied(problem, near, tier)


def nearest_direct(problem: Problem, tier: int) -> int:
    """The fastest tier that operations can use and that data in `tier` can be copied to."""
    return next(int(d) for d in np.flatnonzero(problem.tiers.direct) if leads(problem, tier, int(d)))
