"""Whole tensors in the relaxation: how many large ones fit, and which do not fit beside each other."""

import time

import numpy as np
import pytest
import small
from flow_image import columns_of
from hypothesis import HealthCheck, given, settings
from test_planner_flow_bound import planned, shrunk, without_whole_turns

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.planner.flow_model import build
from tierplan.planner.flow_pairs import together
from tierplan.planner.flow_solve import Solver, relax

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def read_in_turn(sizes: dict[str, int]) -> Problem:
    """Tensors read one after the other, over and over; the fast tier has room for 900 B."""
    return small.problem(
        [f"read {name}" for name in sizes], sizes, home=list(sizes), cyclic=True,
        on=small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2]),
    )  # fmt: skip


def test_of_two_large_tensors_one_fits() -> None:
    # One lies in the fast tier, 6 s; the other is read from the slow one, 60 s.
    assert relax(read_in_turn({"a": 600, "b": 600}), 10.0).bound_s == pytest.approx(66.0, rel=1e-6)


def test_nothing_lies_beside_a_tensor_that_fills_the_tier() -> None:
    problem = read_in_turn({"a": 890, "b": 300})
    # The large one lies in the fast tier, 8.9 s, the other is read from the slow one, 30 s.
    assert relax(problem, 10.0).bound_s == pytest.approx(38.9, rel=1e-6)
    lp = build(problem)
    assert len(lp.crowds) == 1
    assert lp.crowds[0].large == (0,)
    without = Solver(lp)
    lp.crowds.clear()
    assert without.settle(time.perf_counter() + 10.0).bound_s < 38.0


def test_what_fits_beside_a_large_tensor_may_lie_there() -> None:
    # Both lie in the fast tier: 6 s and 3 s.
    assert relax(read_in_turn({"a": 600, "b": 300}), 10.0).bound_s == pytest.approx(9.0, rel=1e-6)


@given(planned())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_no_legal_plan_breaks_a_row_of_pairs(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    lp = build(shrunk(problem, plan), flows=False)
    x = np.zeros(lp.n_columns)
    for column, value in columns_of(lp, without_whole_turns(problem, plan)).items():
        x[column] = value
    assert together(lp.crowds, x, lp.n_columns).n_rows == 0
