"""Planners that place under given alternatives try others; many tiers are spilled to."""

import itertools
from types import ModuleType

import pytest
import small
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierplan.ir.machine import Link, Tier
from tierplan.ir.plan import Plan, Residency, Taken
from tierplan.ir.problem import Alternative, Choice, Effect, Problem
from tierplan.ir.verify import violations
from tierplan.planner import greedy, msa
from tierplan.planner.cases import MOST, case_of
from tierplan.planner.choosing import Chosen, best_choices
from tierplan.planner.contract import Budget
from tierplan.planner.spill import candidates
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import cost_s

BUDGET = Budget(200.0, workers=1)  # more than any of these takes, so that the clock decides nothing


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_greedy_takes_the_best_of_all_alternatives(data: st.DataObject) -> None:
    problem = data.draw(strategies.problems(data.draw(strategies.machines(max_tiers=3, capacity=2_000_000))))
    outcome = greedy.plan(problem, BUDGET, cost=Simulated(problem))
    apart = [
        greedy.plan(case_of(problem, taken).problem, BUDGET, cost=Simulated(case_of(problem, taken).problem)).cost_s
        for taken in itertools.product(*(range(len(c.alternatives)) for c in problem.choices))
    ]
    known = [seconds for seconds in apart if seconds is not None]
    assert (outcome.cost_s is None) == (not known)
    if outcome.plan is not None and outcome.cost_s is not None:
        assert list(violations(problem, outcome.plan)) == []
        assert outcome.cost_s == pytest.approx(min(known), rel=1e-9)


def with_many_choices() -> Problem:
    """Six choices of three alternatives, more combinations than are told apart; the last of each saves most."""
    choices = [
        Choice(f"c{t}", tuple(Alternative(f"a{i}", (0, 0, 0), (Effect(t, -10.0 * i),)) for i in range(3)))
        for t in range(6)
    ]
    return small.problem(["read w"] * 6, {"w": 100}, home=["w"], compute_s=[50.0] * 6, choices=choices)


@pytest.mark.parametrize("planner", [greedy, msa])
def test_one_choice_after_the_other_finds_what_each_saves(planner: ModuleType) -> None:
    problem = with_many_choices()
    assert MOST < 3**6
    outcome = planner.plan(problem, BUDGET, cost=Simulated(problem))
    assert [t.alternative for t in outcome.plan.taken] == [2] * 6


def test_no_plan_under_any_alternative_is_no_plan() -> None:
    problem = with_many_choices()
    assert best_choices(problem, BUDGET, Simulated(problem), lambda p, c: None) is None


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_costs_under_one_alternative_are_those_of_the_whole_problem(data: st.DataObject) -> None:
    problem = data.draw(strategies.problems())
    plan = data.draw(strategies.legal_plans(problem))
    if plan is None:
        return
    only = case_of(problem, [t.alternative for t in plan.taken]).problem
    there = type(plan)(plan.residencies, plan.copies, tuple(type(t)(t.choice, 0) for t in plan.taken))
    assert cost_s(only, there) == Chosen(Simulated(problem), plan.taken)(there) == cost_s(problem, plan)


def test_what_is_kept_for_the_way_back_is_spilled_to_a_tier_that_steps_cannot_use() -> None:
    tiers = (
        Tier("sram", 100, 100.0, 100.0),
        Tier("dram", 300, 10.0, 10.0),
        Tier("flash", 9000, 1.0, 1.0, direct=False),
    )
    ends = (("dram", "sram"), ("sram", "dram"), ("flash", "dram"), ("dram", "flash"))
    links = [Link(f"{a}{b}", a, b, 10.0) for a, b in ends]
    n = 6
    forward = ["produce a0", *(f"read a{i - 1}, produce a{i}" for i in range(1, n))]
    backward = [f"read a{i}" for i in reversed(range(n))]
    problem = small.problem(
        forward + backward, {f"a{i}": 90 for i in range(n)}, home=[], compute_s=[1.0] * 2 * n,
        on=small.machine(tiers, links),
    )  # fmt: skip
    outcome = greedy.plan(problem, BUDGET, cost=Simulated(problem))
    assert outcome.plan is not None
    assert list(violations(problem, outcome.plan)) == []
    assert {c.target for c in outcome.plan.copies} >= {1, 2}
    for plan in candidates(problem, Simulated(problem)):
        assert list(violations(problem, plan)) == []


def test_a_case_that_its_bound_does_not_rule_out_is_planned() -> None:
    # The first case has the least bound, 6 s, but its plan takes 20 s; that of the second one takes 8.5 s.
    cases = Choice("c", (Alternative("first", (0, 0)), Alternative("second", (0, 0), (Effect(0, 2.5),))))
    problem = small.problem(
        ["read w"] * 4, {"w": 50}, home=["w"], cyclic=True, compute_s=[1.5] * 4, choices=(cases,),
        on=small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2]),
    )  # fmt: skip

    def solve(case: Problem, _cost: object) -> Plan:
        slow = case.choices[0].alternatives[0].name == "first"
        return Plan((Residency(0, int(slow), 0, 0, 4),), (), (Taken(0, 0),))

    found = best_choices(problem, BUDGET, Simulated(problem), solve)
    assert found is not None
    assert found.taken == (Taken(0, 1),)
    assert cost_s(problem, found) == pytest.approx(4 * 1.5 + 2.5)


def test_where_most_alternatives_reserve_too_much_those_that_reserve_least_are_planned() -> None:
    # Any two of the first alternatives reserve more than all tiers have.
    choices = [
        Choice(
            f"c{t}", (Alternative("much", (500, 6000)), Alternative("more", (600, 7000)), Alternative("none", (0, 0)))
        )
        for t in range(6)
    ]
    problem = small.problem(
        ["read w"] * 6, {"w": 100}, home=["w"], choices=choices,
        on=small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2]),
    )  # fmt: skip
    outcome = greedy.plan(problem, BUDGET, cost=Simulated(problem))
    assert outcome.plan is not None
    assert list(violations(problem, outcome.plan)) == []


def test_edits_of_a_case_take_the_time_of_its_alternatives() -> None:
    problem = with_many_choices()
    plan = Plan((Residency(0, 1, 0, 0, 6),), (), tuple(Taken(c, 0) for c in range(6)))
    last = tuple(Taken(c, 2) for c in range(6))
    assert Chosen(Simulated(problem), last).follow(plan).seconds == pytest.approx(6 * (50.0 - 20.0))
