"""What a relaxation wishes, for a walk to draw from: with all tiers, and with the fastest merged."""

from dataclasses import replace

import numpy as np
import small

from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner.contract import Budget
from tierplan.planner.flow import near
from tierplan.planner.flow_merge import merged
from tierplan.planner.flow_solve import Relaxation, relax
from tierplan.planner.flow_wishes import Wishes, heard
from tierplan.planner.local import plan as local
from tierplan.planner.local.guide import guide_of
from tierplan.planner.visits import visits_of
from tierplan.sim.incremental.session import Simulated


def merging(problem: Problem, group: tuple[int, ...]) -> Relaxation:
    return replace(relax(merged(problem, group), 10.0), whole=problem, group=group)


def test_wishes_in_merged_tiers_are_in_the_slowest_of_them_or_in_the_fastest() -> None:
    problem = small.training(12, 1, tiers=3)
    few = guide_of(Wishes([merging(problem, (0, 0, 1))]))
    n_visits = sum(len(of_tensor) for of_tensor in visits_of(problem))
    n_levels = len(guide_of(Wishes([relax(problem, 10.0)])).tier)
    assert few.tier.shape == few.kept.shape == (2 * n_levels, n_visits)
    assert few.base.shape == (2 * n_levels, problem.n_tensors)
    assert set(few.tier[:n_levels].ravel().tolist()) == {1, 2}
    assert set(np.unique(few.base).tolist()) <= {1, 2}
    changed = few.tier[:n_levels] != few.tier[n_levels:]
    assert changed.any()
    assert set(few.tier[:n_levels][changed].tolist()) == {1}
    assert set(few.tier[n_levels:][changed].tolist()) == {0}


def test_a_search_with_the_wishes_of_fewer_tiers_ends_no_worse_than_it_began() -> None:
    problem = small.training(6, 3, tiers=4)
    cost = Simulated(problem)
    start = local.plan(problem, Budget(20.0, evaluations=20), cost=cost)
    guide = guide_of(Wishes([merging(problem, (0, 0, 0, 1))]))
    found = local.plan(problem, Budget(20.0, evaluations=1500), start=start.plan, cost=cost, guide=guide)
    assert start.cost_s is not None
    assert found.cost_s is not None
    assert found.cost_s <= start.cost_s


def test_cuts_together_tell_all_tiers_apart() -> None:
    problem = small.training(12, 1, tiers=3)
    upper, lower = merging(problem, (0, 1, 1)), merging(problem, (0, 0, 1))
    wishes = heard([upper, lower])
    assert wishes.untold == 0
    for x in range(problem.n_tensors):
        if not wishes.visits(x):
            continue
        together, high, low = (w.wish(x, 0.5).tier for w in (wishes, Wishes([upper]), Wishes([lower])))
        for k, above, below in zip(together, high, low, strict=True):
            assert above == 0 or k > 0 or below == 1
            assert (k == 0) == (above == 0) or (k == 2) == (below == 2)


def test_plans_near_merged_tiers_are_legal_plans_of_the_problem() -> None:
    problem = small.training(12, 1, tiers=3)
    wishes = heard([merging(problem, (0, 1, 1)), merging(problem, (0, 0, 1))])
    plans = [plan for plan in near(wishes) if plan is not None]
    assert plans
    assert all(list(violations(problem, plan)) == [] for plan in plans)
