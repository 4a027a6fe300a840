"""The bound of the relaxation: below every legal plan, whatever the prices, and tight where the truth is known."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import small
import strategies
from flow_image import columns_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.verify import reserved_bytes, violations
from tierplan.planner import greedy
from tierplan.planner.contract import Budget
from tierplan.planner.flow_bound import proved_s
from tierplan.planner.flow_model import build
from tierplan.planner.flow_solve import Solver, relax
from tierplan.planner.local import plan as local
from tierplan.planner.local.walk import Walk
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import cost_s

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
CAPACITIES = (500_000, 1_000_000, 3_000_000, 10**9)


@st.composite
def planned(draw: st.DrawFn) -> tuple[Problem, Plan]:
    """A problem and a plan that the verifier allows in tiers that are often short."""
    machine = draw(strategies.machines(capacity=draw(st.sampled_from(CAPACITIES))))
    problem = draw(strategies.problems(machine))
    plan = draw(strategies.legal_plans(problem))
    assume(plan is not None)
    assume(not any(True for _ in violations(problem, plan)))
    return problem, plan


@given(planned())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_no_legal_plan_beats_the_bound(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    found = relax(problem, 10.0)
    assert not found.infeasible
    assert found.bound_s <= cost_s(problem, plan)


@given(planned(), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
def test_any_prices_give_a_valid_bound(case: tuple[Problem, Plan], seed: int) -> None:
    problem, plan = case
    rng = np.random.default_rng(seed)
    solver = Solver(build(problem))
    solver.run(10.0)
    prices = [price * rng.uniform(0.2, 3.0, len(price)) + rng.normal(0, 0.1, len(price)) for price in solver.prices()]
    assert proved_s(solver.lp, solver.batches, prices) <= cost_s(problem, plan)
    broken = [np.where(rng.random(len(price)) < 0.1, np.nan, price) for price in prices]
    assert proved_s(solver.lp, solver.batches, broken) <= cost_s(problem, plan)


def shrunk(problem: Problem, plan: Plan) -> Problem:
    """The problem with no more room in each tier than the plan fills at its fullest step."""
    tiers = problem.tiers
    room = []
    for k in range(problem.n_tiers):
        alignment = int(tiers.alignment[k])
        load = np.zeros(problem.n_steps, dtype=np.int64)
        for r in (r for r in plan.residencies if r.tier == k):
            load[r.start : r.stop] += -(-int(problem.size[r.tensor]) // alignment) * alignment
        fullest = int(load.max()) + reserved_bytes(problem, plan, k)
        room.append(max(fullest, 1))
    usable = np.array(room, dtype=np.int64)
    return replace(problem, tiers=replace(tiers, capacity=usable, usable=usable))


def without_whole_turns(problem: Problem, plan: Plan) -> Plan:
    """The plan without the copies that take a whole turn: each brings what already lies there, unwritten meanwhile."""
    n, copies, residencies = problem.n_steps, [], set(plan.residencies)
    for copy in plan.copies:
        if copy.done - copy.start < n:
            copies.append(copy)
            continue
        parts = {
            r for r in residencies
            if (r.tensor, r.tier) == (copy.tensor, copy.target) and copy.start in (r.start, r.stop)
        }  # fmt: skip
        if len(parts) == 2:
            residencies = residencies - parts | {replace(min(parts, key=lambda r: r.start), stop=n)}
    return replace(plan, residencies=tuple(residencies), copies=tuple(copies))


@given(planned())
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
def test_every_legal_plan_is_a_solution_that_takes_no_longer(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    assert_is_a_solution(problem, plan)


def assert_is_a_solution(problem: Problem, plan: Plan) -> None:
    """The plan, in tiers with no more room than it fills, is a solution of the relaxation that takes no longer."""
    tight = shrunk(problem, plan)
    shorter = without_whole_turns(problem, plan)
    for flows in (False, True):
        lp = build(tight, flows=flows)
        solver = Solver(lp)
        solver.fix({column: (value, value) for column, value in columns_of(lp, shorter).items()})
        found = solver.settle(time.perf_counter() + 20.0)
        assert not found.infeasible
        assert found.solved
        assert found.begin_s[-1] <= cost_s(problem, plan) * (1 + 1e-6) + 1e-12


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_below_the_best_plan_of_a_training_step_and_close_to_it(seed: int, cyclic: bool) -> None:
    problem = small.training(4, seed, cyclic=cyclic, tiers=2 + seed % 2)
    found = relax(problem, 20.0)
    assert not found.infeasible
    best = local.plan(problem, Budget(20.0, evaluations=4000, seed=seed), cost=Simulated(problem))
    assert best.cost_s is not None
    assert found.bound_s <= best.cost_s
    assert best.cost_s <= found.bound_s * 1.5  # whole tensors in little room: the relaxation may split them


def walked(problem: Problem, seed: int, *, every: int, until: int) -> Iterator[Plan]:
    """Plans on a walk of local search that lets them get slower, so that tensors come and go."""
    start = greedy.plan(problem, Budget(5.0), cost=Simulated(problem)).plan
    assert start is not None
    walk = Walk(problem, start, Simulated(problem).follow(start), seed)
    for i in range(until):
        before_s, after_s = walk.seconds, walk.propose()
        if after_s is not None and after_s < before_s * 1.05:
            walk.keep()
        elif after_s is not None:
            walk.undo()
        if i % every == every - 1:
            yield walk.plan(walk.snapshot())


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_plans_that_come_and_go_are_solutions_that_take_no_longer(seed: int, cyclic: bool) -> None:
    problem = small.training(3, seed, cyclic=cyclic, tiers=2 + seed % 2)
    for plan in walked(problem, seed, every=16, until=160):
        assert_is_a_solution(problem, plan)
