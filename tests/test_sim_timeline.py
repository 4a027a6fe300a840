"""The fast simulator equals the slow one."""

import oracle
import strategies
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.sim.timeline import access_tiers, simulate

NANOSECOND = 1e-9


@st.composite
def planned(draw: st.DrawFn) -> tuple[Problem, Plan]:
    problem = draw(strategies.problems())
    plan = draw(strategies.legal_plans(problem))
    assume(plan is not None)
    return problem, plan


@given(planned())
@settings(max_examples=150, deadline=None)
def test_serving_tiers_equal_the_oracle(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    served = oracle.serving_tiers(problem, plan)
    slow = [served[t][x] for t, x in zip(problem.access_step, problem.access_tensor, strict=True)]
    assert access_tiers(problem, plan).tolist() == slow


@given(planned())
@settings(max_examples=150, deadline=None)
def test_time_equals_the_oracle_to_the_nanosecond(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    assert list(violations(problem, plan)) == []
    assert abs(simulate(problem, plan).time_s - oracle.turn_s(problem, plan)) < NANOSECOND
