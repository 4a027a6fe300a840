"""The fast simulator equals the slow one."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
import small
import strategies
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tierplan.ir.machine import Link, Machine, Tier
from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import Alternative, Choice, Effect, Keep, Problem
from tierplan.ir.timeline import Timeline
from tierplan.ir.verify import violations
from tierplan.sim.timeline import access_tiers, simulate

NANOSECOND = 1e-9


@st.composite
def planned(draw: st.DrawFn) -> tuple[Problem, Plan]:
    problem = draw(strategies.problems())
    plan = draw(strategies.legal_plans(problem))
    assume(plan is not None)
    return problem, plan


@given(planned())
@settings(max_examples=150, deadline=None)
def test_serving_tiers_equal_the_oracle(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    served = oracle.serving_tiers(problem, plan)
    slow = [served[t][x] for t, x in zip(problem.access_step, problem.access_tensor, strict=True)]
    assert access_tiers(problem, plan).tolist() == slow


@given(planned())
@settings(max_examples=150, deadline=None)
def test_time_equals_the_oracle_to_the_nanosecond(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    assert list(violations(problem, plan)) == []
    assert abs(simulate(problem, plan).time_s - oracle.turn_s(problem, plan)) < NANOSECOND


@given(planned())
@settings(max_examples=150, deadline=None)
def test_the_parts_of_a_timeline_make_up_its_time(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    line = simulate(problem, plan)
    own = line.end_s - line.begin_s
    assert np.isclose(own.sum() + line.wait_s.sum() + line.tail_wait_s, line.time_s, rtol=1e-9, atol=1e-12)
    assert (own >= 0).all()
    assert np.allclose(line.begin_s[1:], line.end_s[:-1] + line.wait_s[1:], rtol=1e-9, atol=1e-12)
    assert (line.waited_link[line.wait_s > 0] >= 0).all()
    assert line.tail_wait_s == 0 or line.tail_link >= 0
    needed = {c.done % problem.n_steps if c.done > problem.n_steps else c.done for c in plan.copies}
    assert set(np.flatnonzero(line.wait_s > 0).tolist()) <= needed
    for i, c in enumerate(plan.copies):
        assert line.copy_begin_s[i] == line.begin_s[c.start]
        turn, step = (0, c.done) if c.done <= problem.n_steps else (1, c.done - problem.n_steps)
        deadline = line.time_s if step == problem.n_steps else line.begin_s[step]
        assert line.copy_end_s[i] <= deadline + turn * line.time_s + NANOSECOND


@given(planned())
@settings(max_examples=100, deadline=None)
def test_bytes_equal_a_count_of_all_accesses_and_copies(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    line = simulate(problem, plan)
    served = oracle.serving_tiers(problem, plan)
    n_links = len(problem.links.names)
    read, write, link = [0] * problem.n_tiers, [0] * problem.n_tiers, [0] * n_links
    for a, (t, x) in enumerate(zip(problem.access_step.tolist(), problem.access_tensor.tolist(), strict=True)):
        k = served[t][x]
        read[k] += int(problem.access_read[a])
        write[k] += int(problem.access_write[a])
        if problem.tiers.read_link[k] >= 0:
            link[problem.tiers.read_link[k]] += int(problem.access_read[a])
        if problem.tiers.write_link[k] >= 0:
            link[problem.tiers.write_link[k]] += int(problem.access_write[a])
    for taken in plan.taken:
        for effect in problem.choices[taken.choice].alternatives[taken.alternative].effects:
            for total, added in ((read, effect.tier_read), (write, effect.tier_write), (link, effect.link)):
                for k, n_bytes in enumerate(added):
                    total[k] += n_bytes
    for c in plan.copies:
        link[problem.links.between(c.source, c.target)] += int(problem.size[c.tensor])
    assert (line.tier_read.tolist(), line.tier_write.tolist(), line.link_bytes.tolist()) == (read, write, link)


# By hand. Machine `small`: sram 100 B/s, dram 10 B/s, flash 1 B/s (not direct); links of 10, 10 and 1 B/s.

SRAM, DRAM, FLASH = 0, 1, 2
W_BELOW, W_ABOVE = Residency(0, DRAM, 0, 0, 2), Residency(0, SRAM, 0, 0, 2)


def both(problem: Problem, plan: Plan) -> Timeline:
    """The timeline, once the slow simulator has agreed on its time."""
    assert list(violations(problem, plan)) == []
    line = simulate(problem, plan)
    assert line.time_s == pytest.approx(oracle.turn_s(problem, plan), rel=1e-12)
    return line


def prefetched(first_s: float, *, on: Machine | None = None, size: int = 100) -> Timeline:
    """Compute for `first_s` while w comes up, then read it above at 100 B/s."""
    problem = small.problem(["", "read w"], {"w": size}, home=("w",), compute_s=[first_s, 0.0], on=on)
    return both(problem, Plan((W_BELOW, W_ABOVE), (Copy(0, DRAM, SRAM, 0, 1),)))


def test_a_read_below_takes_its_bytes_over_the_bandwidth_there() -> None:
    problem = small.problem(["read w", "read w"], {"w": 100}, home=("w",), compute_s=[3.0, 30.0])
    line = both(problem, Plan((W_BELOW,)))
    assert line.end_s.tolist() == [10.0, 40.0]
    assert line.limit.tolist() == [1 + DRAM, 0]


def test_reads_and_writes_of_one_tier_add_up() -> None:
    tiers = (small.SRAM, replace(small.DRAM, write_bandwidth=5.0), small.FLASH)
    problem = small.problem(["update s"], {"s": 100}, home=("s",), on=small.machine(tiers))
    assert both(problem, Plan((Residency(0, DRAM, 0, 0, 1),))).time_s == pytest.approx(100 / 10 + 100 / 5)


def test_a_copy_hidden_behind_compute() -> None:
    line = prefetched(20.0)
    assert line.time_s == pytest.approx(21.0)
    assert line.copy_end_s == pytest.approx([10.0])
    assert line.wait_s.tolist() == [0.0, 0.0]


def test_a_stall() -> None:
    line = prefetched(4.0)
    assert line.time_s == pytest.approx(11.0)
    assert line.wait_s == pytest.approx([0.0, 6.0])
    assert line.waited_link.tolist() == [-1, 0]


def test_a_stall_names_the_link_of_the_copy_that_was_needed_though_another_ends_with_it() -> None:
    on = small.machine((small.SRAM, replace(small.DRAM, read_bandwidth=20.0), small.FLASH))
    problem = small.problem(["", "read w", "read v"], {"w": 100, "v": 10}, home=("w", "v"), on=on)
    problem = replace(problem, home=np.array([DRAM, FLASH]))
    lying = (Residency(0, DRAM, 0, 0, 3), Residency(0, SRAM, 0, 0, 3))
    lying += (Residency(1, FLASH, 0, 0, 3), Residency(1, DRAM, 100, 0, 3))
    line = both(problem, Plan(lying, (Copy(0, DRAM, SRAM, 0, 1), Copy(1, FLASH, DRAM, 0, 2))))
    assert line.copy_end_s == pytest.approx([10.0, 10.0])
    assert line.wait_s == pytest.approx([0.0, 10.0, 0.0])
    assert line.waited_link.tolist() == [-1, 0, -1]


def test_a_copy_shares_its_source_with_the_step_that_comes_first() -> None:
    problem = small.problem(["read v", "read w"], {"w": 100, "v": 50}, home=("w", "v"), compute_s=[10.0, 0.0])
    plan = Plan((W_BELOW, W_ABOVE, Residency(1, DRAM, 100, 0, 2)), (Copy(0, DRAM, SRAM, 0, 1),))
    # v keeps dram busy for half of the 10 s: half of w comes up meanwhile, the rest in 5 s more.
    assert both(problem, plan).begin_s == pytest.approx([0.0, 15.0])


def test_a_copy_gets_nothing_of_a_tier_that_a_step_keeps_busy() -> None:
    problem = small.problem(["read v", "read w"], {"w": 100, "v": 50}, home=("w", "v"))
    plan = Plan((W_BELOW, W_ABOVE, Residency(1, DRAM, 100, 0, 2)), (Copy(0, DRAM, SRAM, 0, 1),))
    assert both(problem, plan).begin_s == pytest.approx([0.0, 5.0 + 10.0])


def test_a_copy_shares_its_target_with_the_step() -> None:
    tiers = (replace(small.SRAM, write_bandwidth=8.0), small.DRAM, small.FLASH)
    problem = small.problem(["produce y", "read w"], {"w": 100, "y": 40}, home=("w",), on=small.machine(tiers))
    plan = Plan((W_BELOW, W_ABOVE, Residency(1, SRAM, 100, 0, 1)), (Copy(0, DRAM, SRAM, 0, 1),))
    # y takes 5 s of all of sram's writes; then w comes at the 8 B/s that sram can take.
    assert both(problem, plan).begin_s == pytest.approx([0.0, 5.0 + 12.5])


def test_latency_is_that_of_the_link_and_of_the_source() -> None:
    tiers = (small.SRAM, replace(small.DRAM, latency_s=2.0), small.FLASH)
    links = (replace(small.LINKS[0], latency_s=0.5), *small.LINKS[1:])
    assert prefetched(4.0, on=small.machine(tiers, links)).begin_s == pytest.approx([0.0, 12.5])


@pytest.mark.parametrize(("size", "rate"), [(100, 4.0), (50, 2.0), (10, 2.0), (150, 6.0), (200, 6.0), (75, 3.0)])
def test_the_read_curve_is_linear_between_its_points(size: int, rate: float) -> None:
    tiers = (small.SRAM, replace(small.DRAM, read_curve=((50, 2.0), (150, 6.0))), small.FLASH)
    line = prefetched(0.0, on=small.machine(tiers), size=size)
    assert line.begin_s == pytest.approx([0.0, size / rate])


def two_copies(link: Link, *, curve: tuple[tuple[int, float], ...] = ()) -> tuple[float, float]:
    """When two copies of 100 B, issued together, are done."""
    on = small.machine((small.SRAM, replace(small.DRAM, read_curve=curve), small.FLASH), (link, *small.LINKS[1:]))
    problem = small.problem(["", "read w, read v"], {"w": 100, "v": 100}, home=("w", "v"), on=on)
    lying = (W_BELOW, W_ABOVE, Residency(1, DRAM, 100, 0, 2), Residency(1, SRAM, 100, 0, 2))
    line = both(problem, Plan(lying, (Copy(0, DRAM, SRAM, 0, 1), Copy(1, DRAM, SRAM, 0, 1))))
    return float(line.copy_end_s[0]), float(line.copy_end_s[1])


def test_copies_on_one_channel_run_one_after_the_other() -> None:
    up = replace(small.LINKS[0], latency_s=2.0)
    assert two_copies(up) == pytest.approx((12.0, 24.0))


def test_a_second_channel_hides_the_second_latency() -> None:
    up = replace(small.LINKS[0], latency_s=2.0, channels=2)
    assert two_copies(up) == pytest.approx((12.0, 22.0))


def test_a_second_channel_takes_what_the_first_leaves() -> None:
    slow_reads = ((100, 6.0),)
    assert two_copies(small.LINKS[0], curve=slow_reads) == pytest.approx((100 / 6, 200 / 6))
    # 6 B/s go to the first and 4 to the second; when the first is done, the second has 6.
    second = 100 / 6 + (100 - 4 * 100 / 6) / 6
    assert two_copies(replace(small.LINKS[0], channels=2), curve=slow_reads) == pytest.approx((100 / 6, second))


def test_two_channels_share_the_bandwidth_of_their_link() -> None:
    assert two_copies(replace(small.LINKS[0], channels=2, bandwidth=4.0)) == pytest.approx((25.0, 50.0))


def test_copies_over_two_links_share_the_target() -> None:
    third = Tier("hbm", 10_000, 10.0, 10.0)
    links = (*small.LINKS, Link("side", "hbm", "sram", 10.0))
    on = small.machine((replace(small.SRAM, write_bandwidth=10.0), small.DRAM, small.FLASH, third), links)
    problem = small.problem(["", "read w, read v"], {"w": 100, "v": 100}, home=("w", "v"), on=on)
    problem = replace(problem, home=np.array([1, 3]))
    lying = (W_BELOW, W_ABOVE, Residency(1, 3, 0, 0, 2), Residency(1, 0, 100, 0, 2))
    line = both(problem, Plan(lying, (Copy(0, 1, 0, 0, 1), Copy(1, 3, 0, 0, 1))))
    assert line.copy_end_s == pytest.approx([10.0, 20.0])


def test_a_tier_behind_a_link_streams_over_it_and_leaves_copies_the_rest() -> None:
    tiers = (small.SRAM, replace(small.DRAM, read_link="up"), small.FLASH)
    on = small.machine(tiers, (replace(small.LINKS[0], bandwidth=4.0), *small.LINKS[1:]))
    problem = small.problem(["read w", ""], {"w": 100}, home=("w",), on=on)
    line = both(problem, Plan((W_BELOW,)))
    assert line.end_s.tolist() == [25.0, 25.0]
    assert line.limit[0] == 1 + 3 + 0
    assert line.link_bytes.tolist() == [100, 0, 0]
    problem = small.problem(["read v", "read w"], {"w": 100, "v": 100}, home=("w", "v"), compute_s=[50.0, 0.0], on=on)
    plan = Plan((W_BELOW, W_ABOVE, Residency(1, DRAM, 100, 0, 2)), (Copy(0, DRAM, SRAM, 0, 1),))
    assert both(problem, plan).copy_end_s == pytest.approx([50.0])  # half of 4 B/s
    assert both(problem, plan).link_bytes.tolist() == [200, 0, 0]


@pytest.mark.parametrize(("size", "stall"), [(4, 0.0), (6, 0.0), (8, 2.0)])
def test_the_steady_state_of_a_prefetch_for_the_next_turn(size: int, stall: float) -> None:
    problem = small.problem(["", "read w"], {"w": size}, home=("w",), cyclic=True, compute_s=[3.0, 3.0])
    lying = (Residency(0, FLASH, 0, 0, 2), Residency(0, DRAM, 0, 0, 2))
    line = both(problem, Plan(lying, (Copy(0, FLASH, DRAM, 1, 3),)))
    # Issued with the read, needed by the next: 6 s of the turn at 1 B/s hide 6 bytes.
    assert line.time_s == pytest.approx(6.0 + stall)
    assert line.wait_s == pytest.approx([0.0, stall])
    assert line.copy_begin_s == pytest.approx([3.0 + stall])
    assert line.copy_end_s == pytest.approx([3.0 + stall + size])


def test_the_end_waits_for_the_copies_of_what_must_survive() -> None:
    problem = small.problem(["update s", ""], {"s": 100}, home=("s",), keep={"s": Keep.HOME}, compute_s=[1.0, 2.0])
    lying = (Residency(0, DRAM, 0, 0, 2), Residency(0, SRAM, 0, 1, 2))
    line = both(problem, Plan(lying, (Copy(0, DRAM, SRAM, 1, 2),)))
    assert line.end_s == pytest.approx([20.0, 22.0])
    assert (line.time_s, line.tail_wait_s, line.tail_link) == (pytest.approx(30.0), pytest.approx(8.0), 0)


def test_what_a_choice_adds() -> None:
    effects = (Effect(0, 2.0), Effect(1, 0.0, tier_read=(0, 30, 0), tier_write=(0, 10, 0), link=(50, 0, 0)))
    choice = Choice("c", (Alternative("no", (0, 0, 0)), Alternative("yes", (0, 0, 0), effects)))
    problem = small.problem(["", ""], {"w": 100}, home=("w",), compute_s=[1.0, 0.0], choices=[choice])
    assert both(problem, Plan((W_BELOW,), (), (Taken(0, 0),))).time_s == pytest.approx(1.0)
    line = both(problem, Plan((W_BELOW,), (), (Taken(0, 1),)))
    assert line.end_s == pytest.approx([3.0, 3.0 + 5.0])  # dram is busy for 4 s, the link for 5


def test_a_choice_takes_away_no_more_than_there_is() -> None:
    effects = (Effect(0, -5.0), Effect(1, 0.0, tier_read=(0, -1000, 0), link=(-1000, 0, 0)))
    choice = Choice("c", (Alternative("less", (0, 0, 0), effects),))
    problem = small.problem(["", "read w"], {"w": 100}, home=("w",), compute_s=[1.0, 2.0], choices=[choice])
    line = both(problem, Plan((W_BELOW,), (), (Taken(0, 0),)))
    assert line.end_s == pytest.approx([0.0, 2.0])


def test_energy_counts_compute_streams_and_copies() -> None:
    sram, dram = replace(small.SRAM, read_j=1.0, write_j=2.0), replace(small.DRAM, read_j=30.0, write_j=40.0)
    up = replace(small.LINKS[0], energy_j=500.0)
    on = small.machine((sram, dram), (up,))
    problem = small.problem(["read w", "read w"], {"w": 100}, home=("w",), on=on)
    problem = replace(problem, compute_j=np.array([7.0, 8.0]))
    line = both(problem, Plan((W_BELOW, W_ABOVE), (Copy(0, DRAM, SRAM, 0, 1),)))
    # Read below once, copied up (read below, link, written above), read above once.
    assert line.energy_j == pytest.approx(15 + 100 * 30 + 100 * (30 + 500 + 2) + 100 * 1)
    silent = small.problem(["read w", "read w"], {"w": 100}, home=("w",))
    assert both(silent, Plan((W_BELOW,))).energy_j is None
