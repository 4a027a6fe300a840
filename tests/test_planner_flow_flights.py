"""Copies that wait for room: no legal plan breaks their rows, and they raise the bound where they should."""

import time

import numpy as np
import pytest
import small
from flow_image import columns_of
from hypothesis import HealthCheck, given, settings
from test_planner_flow_bound import planned, shrunk, walked, without_whole_turns

from tierplan.ir.plan import Copy, Plan, Residency
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner.flow_flights import flights_of, waiting, with_waiting
from tierplan.planner.flow_model import Lp, build
from tierplan.planner.flow_solve import Solver
from tierplan.sim.timeline import simulate

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def n_broken(problem: Problem, plan: Plan) -> int:
    """Rows that a plan breaks, in tiers with no more room than it fills."""
    lp = build(shrunk(problem, plan), flows=False)
    x = np.zeros(lp.n_columns)
    for column, value in columns_of(lp, without_whole_turns(problem, plan)).items():
        x[column] = value
    timeline = simulate(problem, plan)
    begin_s = np.append(timeline.begin_s, timeline.begin_s[0] + timeline.time_s) - timeline.begin_s[0]
    return waiting(lp, flights_of(lp), x, begin_s / lp.unit_s).n_rows


@given(planned())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_no_legal_plan_breaks_a_row(case: tuple[Problem, Plan]) -> None:
    assert n_broken(*case) == 0


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize("tiers", [2, 3, 4])
def test_plans_that_come_and_go_break_no_row(tiers: int, cyclic: bool) -> None:
    problem = small.training(3, tiers, cyclic=cyclic, tiers=tiers)
    for plan in walked(problem, 7, every=10, until=100):
        assert n_broken(problem, plan) == 0


def blind(lp: Lp) -> Solver:
    """A solver that does not add the rows that its solutions break."""
    solver = Solver(lp)
    solver.flights = []
    return solver


def test_a_copy_that_has_to_wait_is_not_hidden_before() -> None:
    # The fast tier has room for 900 B. While x, of 650 B, lies there, which saves much, w, of 300 B, has no room:
    # it is read from the slow tier for 30 s. A relaxation brings most of it in beforehand, beside x.
    problem = small.problem(
        ["produce x", "read x", "read x", "", "read w"], {"x": 650, "w": 300}, home=["w"],
        compute_s=[0.0, 40.0, 40.0, 0.0, 0.0], on=small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2]),
    )  # fmt: skip
    lp, best_s = build(problem), 6.5 + 2 * 40.0 + 30.0
    without = blind(lp).settle(time.perf_counter() + 20.0)
    assert without.bound_s < 100.0
    for found in (
        Solver(lp).settle(time.perf_counter() + 20.0),
        blind(with_waiting(lp, without.begin_s / lp.unit_s)).settle(time.perf_counter() + 20.0),
    ):
        assert best_s - 2.0 < found.bound_s <= best_s


@pytest.mark.parametrize(("size", "issued", "compute_s"), [(650, 3, 20.0), (300, 0, 1.0)])
def test_plans_that_take_no_longer_than_they_must_break_no_row(size: int, issued: int, compute_s: float) -> None:
    # A copy of w takes 30 s. Beside 650 B it has to wait, and takes steps 3 and 4; beside 300 B it need not.
    problem = small.problem(
        ["produce x", "read x, read y", "read x", "", "", "read w"], {"x": size, "w": 300, "y": 500}, home=["w", "y"],
        compute_s=[0.0, 40.0, 40.0, compute_s, 0.0, 0.0],
        on=small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2]),
    )  # fmt: skip
    offset = 0 if issued else size
    lies = (
        Residency(0, 0, 0, 0, 3),
        Residency(1, 1, 0, 0, 6),
        Residency(1, 0, offset, issued, 6),
        Residency(2, 1, 300, 0, 6),
    )
    plan = Plan(lies, (Copy(1, 1, 0, issued, 5),))
    assert list(violations(problem, plan)) == []
    begin_s = simulate(problem, plan).begin_s
    assert begin_s[5] - begin_s[3] == pytest.approx(30.0 if issued else compute_s)
    assert n_broken(problem, plan) == 0
