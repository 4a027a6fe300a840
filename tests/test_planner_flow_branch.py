"""Telling cases apart: the bound rises to the optimum of small problems, and never above a plan."""

import math
import time

import pytest
import small
from hypothesis import HealthCheck, given, settings
from test_planner_flow_bound import planned
from test_planner_flow_room import read_in_turn

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.planner.contract import Budget
from tierplan.planner.flow_branch import raise_bound
from tierplan.planner.flow_solve import relax
from tierplan.planner.local import plan as local
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import cost_s

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def raised_s(problem: Problem, seconds: float, best_s: float = math.inf) -> float:
    """The bound after some seconds, or when it reaches `best_s`."""
    found = relax(problem, 10.0)
    assert found.solved
    reached = [found.bound_s]

    def told(bound_s: float) -> float:
        assert bound_s >= reached[-1]
        reached.append(bound_s)
        return best_s

    raise_bound(found, time.perf_counter() + seconds, told=told)
    return reached[-1]


def test_three_tensors_of_which_two_fit() -> None:
    problem = read_in_turn({"a": 440, "b": 400, "c": 280})
    # The first two lie in the fast tier, 8.4 s; the other is read from the slow one, 28 s. The relaxation
    # fills the room with a part of the last.
    assert relax(problem, 10.0).bound_s < 33.0
    assert raised_s(problem, 10.0) == pytest.approx(36.4, rel=1e-6)


@given(planned())
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
def test_no_legal_plan_beats_the_raised_bound(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    assert raised_s(problem, 0.3) <= cost_s(problem, plan)


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_below_the_best_plan_of_a_training_step(seed: int, cyclic: bool) -> None:
    problem = small.training(3, seed, cyclic=cyclic, tiers=2 + seed % 2)
    best = local.plan(problem, Budget(20.0, evaluations=4000, seed=seed), cost=Simulated(problem)).cost_s
    assert best is not None
    bound_s = raised_s(problem, 1.0, best)
    assert relax(problem, 10.0).bound_s <= bound_s <= best
