"""The placement suite: its problems lower, and what the benchmark sums up is right."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.sim.incremental.session import Simulated

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
pytest.importorskip("jax")

import placement
from programs import others
from suite import problems


def test_there_are_fifty_problems_of_different_names() -> None:
    names = [entry.name for entry in problems()]
    assert len(names) >= 50
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["vgg16-1@tpu-v4i", "adam-vit@four-tier"])
def test_a_problem_lowers_and_no_plan_is_slower_than_all_in_the_slow_tier(name: str) -> None:
    problem = next(entry for entry in problems() if entry.name == name).lower()
    outcome = find_planner("greedy")(problem, Budget(5.0), cost=Simulated(problem))
    assert outcome.cost_s is not None
    if problem.tiers.direct.all():
        assert outcome.bound_s <= outcome.cost_s <= placement.slow_s(problem) * (1 + 1e-9)


def test_the_bilinear_scheme_multiplies() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-3, 4, (8, 8)).astype(np.float32), rng.integers(-3, 4, (8, 8)).astype(np.float32)
    assert np.array_equal(np.asarray(others.bilinear(a, b)), a @ b)


def test_the_summary_of_a_table_worked_out_by_hand() -> None:
    def row(problem: str, planner: str, time_s: str, bound_s: str) -> placement.Row:
        return {"problem": problem, "planner": planner, "time_s": time_s, "bound_s": bound_s, "slow_s": "8"}

    rows = [row("a", "msa", "4", "1"), row("a", "auto", "2", "2"), row("b", "msa", "4", "4"), row("b", "auto", "", "1")]
    msa, auto = placement.summary(rows)
    assert (msa["mean gap"], msa["worst gap"], msa["over slow"]) == (0.5, 1.0, pytest.approx(2.0))
    assert (auto["mean gap"], auto["over msa"], auto["without a plan"]) == (0.0, pytest.approx(2.0), 1)
