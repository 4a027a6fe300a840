"""Local search: every edit leaves a legal plan whose time is the simulator's, and nothing gets worse."""

import pytest
import small
import strategies
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner import greedy
from tierplan.planner.contract import Budget
from tierplan.planner.local import plan as local
from tierplan.planner.local.walk import Walk
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import cost_s

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
CAPACITIES = (500_000, 1_000_000, 3_000_000, 10**9)


@st.composite
def planned(draw: st.DrawFn) -> tuple[Problem, Plan]:
    problem = draw(strategies.problems(draw(strategies.machines(capacity=draw(st.sampled_from(CAPACITIES))))))
    plan = draw(strategies.legal_plans(problem))
    assume(plan is not None)
    assert plan is not None
    assume(not any(True for _ in violations(problem, plan)))
    return problem, plan


@given(planned(), st.integers(0, 1000), st.lists(st.booleans(), min_size=40, max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_every_edit_leaves_a_legal_plan_of_the_time_that_it_says(
    case: tuple[Problem, Plan], seed: int, kept: list[bool]
) -> None:
    problem, plan = case
    walk = Walk(problem, plan, Simulated(problem).follow(plan), seed)
    if not len(walk.movable):
        return
    for keep in kept:
        before, before_s = walk.plan(walk.snapshot()), walk.seconds
        after_s = walk.propose()
        if after_s is not None:
            edited = walk.plan(walk.snapshot())
            assert list(violations(problem, edited)) == []
            assert after_s == pytest.approx(cost_s(problem, edited), rel=1e-9, abs=1e-15)
            if keep:
                walk.keep()
                continue
            walk.undo()
        assert walk.plan(walk.snapshot()) == before
        assert walk.seconds == before_s


@pytest.mark.parametrize("tiers", [2, 3, 4])
@pytest.mark.parametrize("cyclic", [True, False])
def test_a_long_walk_through_a_training_step(tiers: int, cyclic: bool) -> None:
    problem = small.training(5, seed=tiers, cyclic=cyclic, tiers=tiers)
    start = greedy.plan(problem, Budget(5.0), cost=Simulated(problem)).plan
    assert start is not None
    found = Walk(problem, start, Simulated(problem).follow(start), 1)
    kept = 0
    for i in range(400):
        after_s = found.propose()
        if after_s is None:
            continue
        edited = found.plan(found.snapshot())
        assert list(violations(problem, edited)) == []
        assert after_s == pytest.approx(cost_s(problem, edited), rel=1e-9)
        if i % 3:
            found.keep()
            kept += 1
        else:
            found.undo()
    assert kept > 50


@given(planned())
@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
def test_never_worse_than_its_start(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    outcome = local.plan(problem, Budget(5.0, evaluations=200), start=plan, cost=Simulated(problem))
    assert outcome.cost_s is not None
    assert outcome.cost_s <= cost_s(problem, plan)


def weights_that_do_not_fit() -> Problem:
    """Ten weights of 150 B read in turn; six of them fit into the fast tier of 900 B."""
    names = [f"w{i}" for i in range(10)]
    return small.problem(
        [f"read {name}" for name in names], dict.fromkeys(names, 150), home=names, cyclic=True,
        on=small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2]),
    )  # fmt: skip


def all_slow(problem: Problem) -> Plan:
    from tierplan.ir.plan import Residency

    return Plan(tuple(Residency(x, 1, 150 * x, 0, problem.n_steps) for x in range(problem.n_tensors)), ())


def test_finds_the_best_plan_of_a_small_problem_from_the_worst() -> None:
    problem = weights_that_do_not_fit()
    start = all_slow(problem)
    outcome = local.plan(problem, Budget(20.0, evaluations=2000), start=start, cost=Simulated(problem))
    assert cost_s(problem, start) == pytest.approx(10 * 15.0)
    assert outcome.cost_s == pytest.approx(6 * 1.5 + 4 * 15.0)


def test_the_same_seed_and_evaluations_give_the_same_plan() -> None:
    problem = weights_that_do_not_fit()
    budget = Budget(60.0, evaluations=300, seed=3)
    first, second = (local.plan(problem, budget, start=all_slow(problem), cost=Simulated(problem)) for _ in range(2))
    assert first.plan == second.plan
    other = local.plan(problem, Budget(60.0, evaluations=300, seed=4), start=all_slow(problem), cost=Simulated(problem))
    assert other.cost_s is not None
