"""Local search changes alternatives: what no longer fits beside them moves, and nothing gets worse."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import small
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierplan.ir.plan import Plan, Residency, Taken
from tierplan.ir.problem import Alternative, Choice, Effect, Problem
from tierplan.ir.verify import violations
from tierplan.planner.contract import Budget
from tierplan.planner.local import plan as local
from tierplan.planner.local.choices import neighbours, switched
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import cost_s

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def with_a_cache(*saved_s: float) -> Problem:
    """Ten weights of 150 B read in turn, the first beside 200 s of compute; six fit into the fast tier of 900 B.

    Caches of 450 B there save seconds of that compute.
    """
    names = [f"w{i}" for i in range(10)]
    caches = [Alternative(f"cache {i}", (450, 0), (Effect(0, -seconds),)) for i, seconds in enumerate(saved_s)]
    return small.problem(
        [f"read {name}" for name in names], dict.fromkeys(names, 150), home=names, cyclic=True,
        compute_s=[200.0] + [0.0] * 9, choices=(Choice("cache", (Alternative("none", (0, 0)), *caches)),),
        on=small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2]),
    )  # fmt: skip


def filled(problem: Problem, alternative: int = 0, fast: Sequence[int] = (1, 2, 3, 4, 5, 6)) -> Plan:
    """Some weights in the fast tier, lowest first, the others in the slow one."""
    place = {x: i for i, x in enumerate(fast)}
    n = problem.n_steps
    lies = [Residency(x, 0, 150 * place[x], 0, n) if x in place else Residency(x, 1, 150 * x, 0, n) for x in range(10)]
    return Plan(tuple(lies), (), (Taken(0, alternative),))


def test_a_cache_that_saves_more_than_the_tensors_in_its_place_is_taken() -> None:
    problem = with_a_cache(20.0, 100.0)
    start = filled(problem)
    assert list(violations(problem, start)) == []
    outcome = local.plan(problem, Budget(30.0, evaluations=3000), start=start, cost=Simulated(problem))
    assert cost_s(problem, start) == pytest.approx(200.0 + 6 * 1.5 + 3 * 15.0)
    assert outcome.plan is not None
    assert outcome.plan.taken == (Taken(0, 2),)
    assert list(violations(problem, outcome.plan)) == []
    assert outcome.cost_s == pytest.approx(100.0 + 3 * 1.5 + 6 * 15.0)


def test_an_alternative_that_only_pays_once_the_tensors_move_is_walked_from() -> None:
    # Without the cache three more weights would lie in the fast tier, which nobody has put there yet.
    problem = with_a_cache(30.0)
    start = filled(problem, alternative=1, fast=(1, 2, 3))
    switch = switched(problem, start, (Taken(0, 0),), Simulated(problem), 0)
    assert switch is not None
    assert cost_s(problem, switch) > cost_s(problem, start)
    outcome = local.plan(problem, Budget(30.0, evaluations=3000), start=start, cost=Simulated(problem))
    assert outcome.plan is not None
    assert outcome.plan.taken == (Taken(0, 0),)
    assert outcome.cost_s == pytest.approx(200.0 + 6 * 1.5 + 3 * 15.0)


def test_only_alternatives_that_can_be_faster_are_looked_at() -> None:
    problem = with_a_cache(20.0, 100.0, -500.0)
    caches = problem.choices[0].alternatives
    problem = replace(problem, choices=(Choice("cache", (*caches, Alternative("too much", (900, 10_000)))),))
    seen = set(neighbours(problem, filled(problem), 254.0, np.random.default_rng(0)))
    assert seen == {(Taken(0, 1),), (Taken(0, 2),)}


def test_an_alternative_that_no_walk_can_make_room_for_is_left_alone() -> None:
    problem = with_a_cache(100.0)
    too_much = Choice("cache", (Alternative("none", (0, 0)), Alternative("all", (900, 10_000))))
    problem = replace(problem, choices=(too_much,))
    assert switched(problem, filled(problem), (Taken(0, 1),), Simulated(problem), 0) is None


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
def test_switched_plans_are_legal(data: st.DataObject) -> None:
    machine = data.draw(strategies.machines(capacity=data.draw(st.sampled_from((500_000, 1_000_000, 3_000_000)))))
    problem = data.draw(strategies.problems(machine))
    plan = data.draw(strategies.legal_plans(problem))
    if plan is None or any(violations(problem, plan)):
        return
    cost = Simulated(problem)
    for taken in neighbours(problem, plan, float("inf"), np.random.default_rng(0)):
        found = switched(problem, plan, taken, cost, 1)
        if found is not None:
            assert found.taken == taken
            assert list(violations(problem, found)) == []


def test_each_of_several_choices_is_changed_to_its_best() -> None:
    choices = [
        Choice(f"c{t}", tuple(Alternative(f"a{i}", (0, 0), (Effect(t, -10.0 * i),)) for i in range(3)))
        for t in range(6)
    ]
    problem = small.problem(
        ["read w"] * 6, {"w": 100}, home=["w"], compute_s=[50.0] * 6, choices=choices,
        on=small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2]),
    )  # fmt: skip
    start = Plan((Residency(0, 1, 0, 0, 6),), (), tuple(Taken(c, 0) for c in range(6)))
    outcome = local.plan(problem, Budget(60.0, evaluations=600), start=start, cost=Simulated(problem))
    assert outcome.plan is not None
    assert [t.alternative for t in outcome.plan.taken] == [2] * 6
