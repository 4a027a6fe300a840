"""What every planner of the registry must do."""

import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierplan.ir.outcome import Status
from tierplan.ir.verify import violations
from tierplan.planner.bounds import first_bound, is_infeasible
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner, planner_names
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import cost_s

BUDGET = Budget(seconds=1.0, workers=1)
COMPILES = "muzero"  # for every size of program: tests/test_rl_agent.py


@pytest.mark.parametrize("name", [name for name in planner_names() if name != COMPILES])
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_plan_is_legal_and_no_cheaper_than_the_bound(name: str, data: st.DataObject) -> None:
    machine = data.draw(strategies.machines(capacity=data.draw(st.sampled_from((500_000, 2_000_000, 10**8)))))
    problem = data.draw(strategies.problems(machine))
    outcome = find_planner(name)(problem, BUDGET, cost=Simulated(problem))
    if outcome.plan is None:
        assert outcome.status in (Status.INFEASIBLE, Status.GAVE_UP)
        return
    assert list(violations(problem, outcome.plan)) == []
    assert outcome.cost_s == cost_s(problem, outcome.plan)
    assert outcome.bound_s <= outcome.cost_s * (1 + 1e-9)


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_legal_plan_beats_the_first_bound(data: st.DataObject) -> None:
    problem = data.draw(strategies.problems())
    plan = data.draw(strategies.legal_plans(problem))
    if plan is not None:
        assert not is_infeasible(problem)
        assert first_bound(problem) <= cost_s(problem, plan) * (1 + 1e-9)
