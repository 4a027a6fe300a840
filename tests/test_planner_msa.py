"""Memory-space assignment: its parts by hand, legal plans, and never worse than all in the slow tier."""

import numpy as np
import small
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierplan.ir.plan import Lifespan, Plan, Residency, Taken
from tierplan.ir.problem import Keep, Mode, Problem
from tierplan.ir.verify import violations
from tierplan.planner import msa
from tierplan.planner.contract import Budget
from tierplan.planner.msa_cost import Channel, Clock, Picker, Ratios
from tierplan.planner.stories import Room
from tierplan.planner.visits import visits_of
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import cost_s

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
TWO_TIERS = small.machine(tiers=(small.SRAM, small.DRAM), links=small.LINKS[:2])


@st.composite
def tight_problems(draw: st.DrawFn) -> Problem:
    capacity = draw(st.sampled_from((500_000, 1_000_000, 10**8)))
    return draw(strategies.problems(draw(strategies.machines(capacity=capacity))))


def all_in_the_slow_tier(problem: Problem) -> Plan | None:
    """Every tensor in its home, or in the slowest tier that steps can use, one above the other."""
    slow = int(np.flatnonzero(problem.tiers.direct)[-1])
    start, stop = problem.lifespans()
    visits = visits_of(problem)
    tops, residencies = [0] * problem.n_tiers, []
    for x in (x for x, of_tensor in enumerate(visits) if of_tensor):
        produced = visits[x][0].mode is Mode.PRODUCE and problem.keep[x] != Keep.HOME
        at_home = problem.home[x] >= 0 and not problem.cyclic and not produced
        tier = int(problem.home[x]) if at_home else slow
        alignment = int(problem.tiers.alignment[tier])
        offset = -(-tops[tier] // alignment) * alignment
        tops[tier] = offset + int(problem.size[x])
        since = visits[x][0].step if produced else int(start[x])
        residencies.append(Residency(x, tier, offset, since, int(stop[x])))
    plan = Plan(tuple(residencies), (), tuple(Taken(i, 0) for i in range(len(problem.choices))))
    return None if list(violations(problem, plan)) else plan


@given(tight_problems())
@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
def test_every_candidate_is_legal(problem: Problem) -> None:
    for plan in msa._candidates(problem):
        assert list(violations(problem, plan)) == []


@given(tight_problems())
@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
def test_never_worse_than_all_in_the_slow_tier(problem: Problem) -> None:
    outcome = msa.plan(problem, Budget(5.0), cost=Simulated(problem))
    slow = all_in_the_slow_tier(problem)
    if slow is not None:
        assert outcome.cost_s is not None
        assert outcome.cost_s <= cost_s(problem, slow) * (1 + 1e-9)


def clock(compute_s: list[float]) -> Clock:
    names = [f"w{i}" for i in range(len(compute_s))]
    problem = small.problem(
        [f"read {n}" for n in names], dict.fromkeys(names, 1), home=names, compute_s=compute_s, on=TWO_TIERS
    )
    return Clock(problem, np.ones(len(names), dtype=np.int64), [])


def test_copies_in_flight_are_served_first_in_first_out() -> None:
    channel = Channel(clock([1.0] * 6))
    assert channel.fits(0, 3, 2.5)
    channel.add(0, 3, 2.5)
    assert not channel.fits(1, 3, 1.0)  # behind the first copy it would end at 3.5
    assert channel.fits(1, 4, 1.0)
    assert not channel.fits(0, 2, 2.5)
    channel.add(2, 4, 1.0)
    assert not channel.fits(1, 6, 1.0)  # it would push the copy issued at step 2 to 4.5
    channel.remove(2, 4, 1.0)
    assert channel.fits(1, 6, 1.0)


def test_no_more_copies_are_in_flight_than_allowed() -> None:
    channel = Channel(clock([1.0] * 6), most=1)
    channel.add(0, 3, 0.1)
    assert not channel.fits(2, 5, 0.1)
    assert channel.fits(3, 5, 0.1)


def test_the_preferred_window_comes_first_and_none_is_too_short() -> None:
    picker = Picker(clock([1.0] * 10), Ratios(1.0, 2.0, 8.0), longest_s=6.0)
    starts = list(picker.starts(0, 9, copy_s=1.0, gain_s=0.0))
    assert starts[0] == 7  # twice the time of the copy
    assert sorted(starts) == [3, 4, 5, 6, 7, 8]  # at least its time, at most the longest
    assert list(picker.starts(0, 9, copy_s=1.0, gain_s=0.0)) == starts
    assert picker.may_stay(0, 6)
    assert not picker.may_stay(0, 8)


def test_a_step_bound_by_compute_gains_nothing() -> None:
    bound_by_compute, bound_by_memory = clock([10.0]), clock([0.01])
    assert bound_by_compute.benefit(0, 0) < 0 < bound_by_memory.benefit(0, 0)
    assert bound_by_compute.gain(0, 0) == 0.0


def test_an_output_is_produced_in_the_fast_tier_and_a_weight_prefetched() -> None:
    problem = small.problem(
        ["produce y", "read y", "read w"], {"y": 100, "w": 100}, home=["w"], compute_s=[50.0, 50.0, 0.0], on=TWO_TIERS
    )
    outcome = msa.plan(problem, Budget(5.0), cost=Simulated(problem))
    assert outcome.plan is not None
    assert {r.tier for r in outcome.plan.residencies if r.tensor == 0} == {0}
    assert [(c.tensor, c.source, c.target, c.done) for c in outcome.plan.copies] == [(1, 1, 0, 2)]
    assert outcome.cost_s == 101.0


def test_what_is_written_and_used_again_much_later_is_evicted() -> None:
    steps = ["produce y, read w", "read y", *["read w"] * 12, "read y"]
    problem = small.problem(steps, {"y": 400, "w": 800}, home=["w"], compute_s=[100.0] * 15, on=TWO_TIERS)
    for plan in msa._candidates(problem):
        assert list(violations(problem, plan)) == []


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 6), st.integers(1, 40)), min_size=1, max_size=12))
def test_room_never_gives_bytes_twice(wanted: list[tuple[int, int, int]]) -> None:
    room, held = Room(100, 4, 16), []
    for i, (start, length, size) in enumerate(wanted):
        span = [Lifespan(start, start + length)]
        offset = room.find(span, size)
        if offset is None:
            continue
        assert offset % 4 == 0
        assert offset + size <= 100
        for other, at, n_bytes, _ in held:
            assert not other.overlaps(span[0]) or offset + size <= at or at + n_bytes <= offset
        held.append((span[0], offset, size, room.hold(span, offset, size)))
        if i % 3 == 2:
            room.release(held.pop(0)[3])
    for *_, keys in held:
        room.release(keys)
    assert not room.load.any()


def test_visits_of_a_cyclic_weight_come_from_the_turn_before() -> None:
    problem = small.problem(["read w", "read w", ""], {"w": 10}, home=["w"], cyclic=True, on=TWO_TIERS)
    first, second = visits_of(problem)[0]
    assert (first.before, first.since, first.opens) == (1, -2, -3)
    assert (second.before, second.since) == (0, 0)
