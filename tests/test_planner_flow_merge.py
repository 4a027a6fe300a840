"""Fewer tiers in the relaxation: what passes through the fastest tiers is counted, and no legal plan is faster."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
import small
from hypothesis import HealthCheck, assume, given, settings
from test_planner_flow_bound import planned, shrunk, without_whole_turns

from tierplan.ir.machine import Link, Tier
from tierplan.ir.plan import Plan
from tierplan.ir.problem import NO_LINK, Alternative, Choice, Effect, Problem
from tierplan.planner.flow_merge import merged, relaxations
from tierplan.planner.flow_model import build
from tierplan.planner.flow_solve import Solver, relax
from tierplan.sim.timeline import cost_s

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def neighbours(n_tiers: int) -> list[tuple[int, ...]]:
    """All ways to merge neighbouring tiers into two groups or more."""
    steps = itertools.product((0, 1), repeat=n_tiers - 1)
    return [tuple(itertools.accumulate((0, *step))) for step in steps if 0 < sum(step) < n_tiers - 1]


@given(planned())
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
def test_no_legal_plan_beats_the_bound_of_fewer_tiers(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    assume(problem.n_tiers > 2)
    tight = shrunk(problem, without_whole_turns(problem, plan))
    for group in neighbours(problem.n_tiers):
        for flows in (False, True):
            found = Solver(build(merged(tight, group), flows=flows)).settle(time.perf_counter() + 20.0)
            assert not found.infeasible
            assert found.bound_s <= cost_s(problem, plan)
            assert found.begin_s[-1] <= cost_s(problem, plan) * (1 + 1e-6) + 1e-12


def there_and_back(n: int, *, sram: int, hbm: int) -> Problem:
    """n tensors of 100 B are produced, and read in reverse order later; memory behind both fast tiers is slow."""
    ddr = Tier("ddr", 100_000, 1e3, 1e3, read_link="ddr-sram", write_link="sram-ddr")
    tiers = (Tier("sram", sram, 1e4, 1e4), Tier("hbm", hbm, 1e3, 1e3), ddr)
    fast = [Link(f"{a}-{b}", a, b, 1e3) for a, b in (("sram", "hbm"), ("hbm", "sram"))]
    slow = [Link(f"{a}-{b}", a, b, 100.0) for a, b in (("hbm", "ddr"), ("ddr", "hbm"))]
    streams = [Link(f"{a}-{b}", a, b, 1.0) for a, b in (("sram", "ddr"), ("ddr", "sram"))]
    steps = [f"produce x{i}" for i in range(n)] + [f"read x{i}" for i in reversed(range(n))]
    machine = small.machine(tiers=tiers, links=[*fast, *slow, *streams], home="ddr")
    return small.problem(steps, {f"x{i}": 100 for i in range(n)}, on=machine, cyclic=True)


@pytest.mark.parametrize(("sram", "hbm"), [(100, 400), (300, 200)])
def test_what_does_not_fit_in_the_fastest_tiers_leaves_through_both(sram: int, hbm: int) -> None:
    # Ten tensors, room for five in the two fast tiers: at least five are out at once, each copied out of them in 1 s
    # and back in 1 s, or streamed in 100 s; all have left before the first one returns.
    problem = there_and_back(10, sram=sram, hbm=hbm)
    least = 5 * 2 * 1.0
    found = {r.groups: r.bound_s for r in relaxations(problem, time.perf_counter() + 20.0)}
    assert found.keys() == {(0, 0, 1), (0, 1, 1), (0, 1, 2)}
    assert found[0, 1, 2] == pytest.approx(least, rel=0.1)
    assert found[0, 0, 1] == pytest.approx(least, rel=0.1)
    assert found[0, 1, 1] < 0.5 * least
    assert relax(there_and_back(10, sram=sram, hbm=2000), 20.0).bound_s < 0.2 * least


def test_the_merged_tier_has_the_room_and_the_bandwidth_of_all() -> None:
    tiers = (
        Tier("a", 1000, 100.0, 90.0, alignment=100), Tier("b", 250, 10.0, 9.0, alignment=20, read_link="b-a"),
        Tier("c", 9000, 1.0, 1.0, direct=True, read_link="c-b"),
    )  # fmt: skip
    links = [Link("b-a", "b", "a", 5.0), Link("c-b", "c", "b", 3.0), Link("c-a", "c", "a", 4.0, channels=2)]
    effect = Effect(0, 1.0, (1, 2, 3), (4, 5, 6), (7, 8, 9))
    choice = Choice("how", (Alternative("so", (10, 20, 30), (effect,)), Alternative("not", (0, 0, 0))))
    problem = small.problem(
        ["read x"], {"x": 10}, home=["x"], on=small.machine(tiers=tiers, links=links, home="c"), choices=[choice]
    )
    few = merged(problem, (0, 0, 1))
    assert few.tiers.names == ("a+b", "c")
    assert few.tiers.usable.tolist() == [
        1000 + 99 + 250 + 19,
        9000,
    ]  # choices reserve: offsets waste less than the alignment
    assert few.tiers.read_bandwidth.tolist() == [110.0, 1.0]
    assert few.tiers.write_bandwidth.tolist() == [99.0, 1.0]
    assert few.links.names == ("c-b+c-a",)
    assert few.links.bandwidth.tolist() == [7.0]
    assert few.links.channels.tolist() == [3]
    assert few.tiers.read_link.tolist() == [NO_LINK, 0]
    assert few.home.tolist() == [1]
    taken = few.choices[0].alternatives[0]
    assert taken.reserved == (30, 30)
    assert taken.effects == (Effect(0, 1.0, (3, 3), (9, 6), (17,)),)
    assert np.array_equal(few.size, problem.size)


def test_a_merged_slow_tier_keeps_a_link_that_all_that_is_read_there_passes() -> None:
    tiers = (
        Tier("a", 1000, 100.0, 90.0), Tier("b", 5000, 10.0, 9.0, read_link="b-a", write_link="a-b"),
        Tier("c", 90_000, 1.0, 1.0, direct=False),
    )  # fmt: skip
    links = [Link("b-a", "b", "a", 5.0), Link("a-b", "a", "b", 4.0), Link("c-b", "c", "b", 3.0)]
    problem = small.problem(["read x"], {"x": 10}, home=["x"], on=small.machine(tiers=tiers, links=links, home="c"))
    few = merged(problem, (0, 1, 1))
    assert few.tiers.names == ("a", "b+c")
    assert few.tiers.usable.tolist()[0] == 1000
    assert few.tiers.direct.tolist() == [True, True]
    assert few.links.names == ("b-a", "a-b")
    assert few.tiers.read_link.tolist() == [NO_LINK, 0]
    assert few.tiers.write_link.tolist() == [NO_LINK, 1]
    assert few.home.tolist() == [1]
    two_ways = replace(problem, tiers=replace(problem.tiers, direct=np.array([True, True, True])))
    assert merged(two_ways, (0, 1, 1)).tiers.read_link.tolist() == [NO_LINK, NO_LINK]
