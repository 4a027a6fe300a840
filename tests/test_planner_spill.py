"""Spilling over several tiers: every candidate is a legal plan."""

import itertools

import pytest
import small

from tierplan.ir.machine import Link, Tier
from tierplan.ir.verify import violations
from tierplan.planner import greedy
from tierplan.planner.contract import Budget
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


def test_a_first_plan_may_take_longer_than_the_budget() -> None:
    # Six tensors of 100 B are all needed later, and there is room for five where steps can use them.
    tiers = (Tier("sram", 200, 1e4, 1e4), Tier("ddr", 300, 1e3, 1e3), Tier("flash", 100_000, 1e3, 1e3, direct=False))
    pairs = (("sram", "ddr"), ("ddr", "sram"), ("ddr", "flash"), ("flash", "ddr"))
    links = [Link(f"{a}-{b}", a, b, 1e3) for a, b in pairs]
    steps = [f"produce x{i}" for i in range(6)] + [f"read x{i}" for i in reversed(range(6))]
    machine = small.machine(tiers=tiers, links=links, home="flash")
    problem = small.problem(steps, {f"x{i}": 100 for i in range(6)}, on=machine, cyclic=False)
    found = greedy.plan(problem, Budget(1e-9), cost=Simulated(problem))
    assert found.plan is not None
    assert list(violations(problem, found.plan)) == []
