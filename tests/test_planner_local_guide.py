"""What a relaxation wishes, for a walk to draw from: with all tiers, and with the fastest merged."""

import numpy as np
import small

from tierplan.planner.contract import Budget
from tierplan.planner.flow_merge import merged
from tierplan.planner.flow_solve import relax
from tierplan.planner.local import plan as local
from tierplan.planner.local.guide import guide_of
from tierplan.planner.visits import visits_of
from tierplan.sim.incremental.session import Simulated


def test_wishes_in_merged_tiers_are_in_the_slowest_of_them_or_in_the_fastest() -> None:
    problem = small.training(12, 1, tiers=3)
    few = guide_of(relax(merged(problem, 2), 10.0), merged=2)
    n_visits = sum(len(of_tensor) for of_tensor in visits_of(problem))
    n_levels = len(guide_of(relax(problem, 10.0)).tier)
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
    guide = guide_of(relax(merged(problem, 3), 10.0), merged=3)
    found = local.plan(problem, Budget(20.0, evaluations=1500), start=start.plan, cost=cost, guide=guide)
    assert start.cost_s is not None
    assert found.cost_s is not None
    assert found.cost_s <= start.cost_s
