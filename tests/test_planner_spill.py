"""Spilling over several tiers: every candidate is a legal plan."""

import itertools

import pytest
import small

from tierplan.ir.verify import violations
from tierplan.planner.spill import candidates
from tierplan.sim.incremental.session import Simulated


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize("tiers", [3, 4])
def test_candidates_are_legal(tiers: int, cyclic: bool) -> None:
    n_plans, n_copies = 0, 0
    for seed in range(3):
        problem = small.training(3, seed, cyclic=cyclic, tiers=tiers)
        for plan in itertools.islice(candidates(problem, Simulated(problem)), 4):
            assert list(violations(problem, plan)) == []
            n_plans, n_copies = n_plans + 1, n_copies + len(plan.copies)
    if cyclic:  # what a program that runs once keeps in its home leaves little to spill
        assert n_plans > 3
        assert n_copies > n_plans
