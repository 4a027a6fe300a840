"""The flow planner: roundings are legal, what is proved is proved, and nothing is printed."""

import time

import pytest
import small
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierplan.ir.outcome import Status
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner import flow, greedy
from tierplan.planner.bounds import first_bound
from tierplan.planner.contract import Budget
from tierplan.planner.flow_dive import dive
from tierplan.planner.flow_round import STYLES, rounded
from tierplan.planner.flow_solve import relax
from tierplan.planner.flow_wishes import Wishes
from tierplan.sim.incremental.session import Simulated

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


@st.composite
def tight_problems(draw: st.DrawFn) -> Problem:
    capacity = draw(st.sampled_from((500_000, 1_000_000, 10**8)))
    return draw(strategies.problems(draw(strategies.machines(capacity=capacity))))


def solve(problem: Problem, seconds: float = 5.0):
    return flow.plan(problem, Budget(seconds, workers=1), cost=Simulated(problem))


@given(tight_problems())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_every_rounding_is_legal(problem: Problem) -> None:
    found = relax(problem, 5.0)
    if not found.solved:
        return
    whole, fixed = dive(found, 1.5, time.perf_counter() + 5.0)
    for style in STYLES:
        for plan in (rounded(Wishes([found]), {}, style), rounded(Wishes([whole]), fixed, style)):
            assert plan is None or list(violations(problem, plan)) == []


@given(tight_problems())
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
def test_never_worse_than_greedy_nor_its_bound_than_the_first(problem: Problem) -> None:
    outcome = solve(problem)
    other = greedy.plan(problem, Budget(5.0), cost=Simulated(problem))
    assert outcome.bound_s >= first_bound(problem) * (1 - 1e-9)
    if other.cost_s is not None:
        assert outcome.cost_s is not None
        assert outcome.cost_s <= other.cost_s


def weights_that_do_not_fit() -> Problem:
    """Ten weights of 150 B read in turn; half of them fit into the fast tier of 900 B with room to spare for copies."""
    names = [f"w{i}" for i in range(10)]
    return small.problem(
        [f"read {name}" for name in names], dict.fromkeys(names, 150), home=names, cyclic=True,
        on=small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2]),
    )  # fmt: skip


def test_no_copy_moves_beside_a_step_that_keeps_its_target_busy() -> None:
    problem = weights_that_do_not_fit()
    outcome = solve(problem)
    assert outcome.cost_s is not None
    # Six weights fill the fast tier: 1.5 s each. Four are read from the slow one, 15 s each. A step that reads the
    # fast tier keeps it busy, so no copy can move beside it.
    assert outcome.cost_s == pytest.approx(6 * 1.5 + 4 * 15.0)
    assert outcome.bound_s == pytest.approx(outcome.cost_s, rel=1e-6)
    assert outcome.bound_s > first_bound(problem) * 1.1


def test_a_program_that_does_not_fit_is_infeasible_with_the_bytes_that_lack() -> None:
    problem = small.problem(["read a"], {"a": 20_000}, home=["a"], on=small.machine(home="dram"))
    outcome = solve(problem)
    assert outcome.status is Status.INFEASIBLE
    assert sum(outcome.missing.values()) > 0


def test_the_same_problem_gives_the_same_plan_and_bound() -> None:
    problem = weights_that_do_not_fit()
    first, second = solve(problem), solve(problem)
    assert first.plan == second.plan
    assert first.bound_s == second.bound_s


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    solve(weights_that_do_not_fit())
    assert capfd.readouterr() == ("", "")


def test_a_short_budget_still_gives_a_plan() -> None:
    outcome = solve(weights_that_do_not_fit(), seconds=0.05)
    assert outcome.plan is not None
    assert outcome.bound_s > 0
