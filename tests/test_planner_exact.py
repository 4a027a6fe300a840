"""The exact planner: its optimum is that of brute force, its bound is below every legal plan."""

import subprocess
import sys
from collections.abc import Sequence

import brute_force
import numpy as np
import oracle
import pytest
import strategies
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tierplan.ir.machine import Link, Machine, Tier, Unit
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Copy, Plan, Residency
from tierplan.ir.problem import NO_HOME, Alternative, Choice, Effect, Keep, Mode, Problem, links_of, tiers_of
from tierplan.ir.verify import violations
from tierplan.planner import exact
from tierplan.planner.contract import Budget
from tierplan.planner.exact_grid import Model
from tierplan.planner.exact_pack import Block, pack
from tierplan.planner.exact_search import PROVED
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import cost_s

ROUNDING = 1 + PROVED
READ, UPDATE, PRODUCE = Mode.READ, Mode.UPDATE, Mode.PRODUCE
UNIT = Unit("unit", {"float32": 1e9})
UP = Link("up", "slow", "fast", 1e3)
DOWN = Link("down", "fast", "slow", 1e3)
SLOW = Tier("slow", 10**6, 1e3, 1e3)


def two_tiers(fast: int = 100, *, slow: Tier = SLOW, alignment: int = 1) -> Machine:
    tiers = (Tier("fast", fast, 1e6, 1e6, alignment=alignment), slow)
    return Machine("two", UNIT, UNIT, tiers, (UP, DOWN), home="slow")


def program(
    machine: Machine,
    compute_s: Sequence[float],
    tensors: Sequence[tuple[int, int, Keep, dict[int, Mode]]],
    *,
    cyclic: bool = False,
    choices: tuple[Choice, ...] = (),
) -> Problem:
    """Tensors as (size, home tier, keep, mode by step); each access moves the whole tensor."""
    rows = sorted((t, x, mode) for x, (_, _, _, modes) in enumerate(tensors) for t, mode in modes.items())
    sizes = np.array([tensor[0] for tensor in tensors], dtype=np.int64)
    tensor = np.array([x for _, x, _ in rows], dtype=np.int64)
    mode = np.array([int(m) for *_, m in rows], dtype=np.int64)
    n = len(compute_s)
    return Problem(
        "made", tiers_of(machine), links_of(machine), tuple(f"op{t}" for t in range(n)), np.array(compute_s),
        np.zeros(n), np.searchsorted([t for t, *_ in rows], np.arange(n + 1)), tensor,
        np.where(mode == PRODUCE, 0, sizes[tensor]), np.where(mode == READ, 0, sizes[tensor]), mode,
        tuple(f"x{x}" for x in range(len(tensors))), ("activation",) * len(tensors), sizes,
        np.array([tensor[1] for tensor in tensors]), np.array([int(tensor[2]) for tensor in tensors]),
        cyclic=cyclic, choices=choices,
    )  # fmt: skip


def solve(problem: Problem, *, start: Plan | None = None, seconds: float = 20.0) -> Outcome:
    outcome = exact.plan(problem, Budget(seconds, workers=1), start=start, cost=Simulated(problem))
    if outcome.plan is not None:
        assert list(violations(problem, outcome.plan)) == []
        assert outcome.cost_s == cost_s(problem, outcome.plan)
    return outcome


@st.composite
def tight_problems(draw: st.DrawFn, max_tiers: int, max_steps: int, max_tensors: int) -> Problem:
    capacity = draw(st.sampled_from((150_000, 400_000, 10**9)))
    machine = draw(strategies.machines(max_tiers=max_tiers, capacity=capacity))
    return draw(strategies.problems(machine, max_steps=max_steps, max_tensors=max_tensors, max_size=300_000))


@given(tight_problems(2, 3, 2))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_optimum_is_that_of_brute_force(problem: Problem) -> None:
    try:
        best_s = brute_force.cheapest(problem)
    except brute_force.TooManyError:
        assume(False)
        return
    outcome = solve(problem, seconds=5.0)
    assert (outcome.status is Status.INFEASIBLE) == (best_s is None)
    if best_s is not None:
        assert outcome.bound_s <= best_s * (1 + 1e-9)
        if outcome.status is Status.OPTIMAL:
            assert outcome.cost_s is not None
            assert outcome.cost_s <= best_s * ROUNDING


@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_legal_plan_beats_the_bound(data: st.DataObject) -> None:
    problem = data.draw(tight_problems(3, 5, 4))
    plan = data.draw(strategies.legal_plans(problem))
    outcome = solve(problem, seconds=1.0)
    if plan is not None and not any(violations(problem, plan)):
        assert outcome.plan is not None
        assert outcome.bound_s <= oracle.turn_s(problem, plan) * (1 + 1e-9)
        assert solve(problem, start=plan, seconds=0.2).cost_s <= cost_s(problem, plan)  # type: ignore[operator]


def test_a_prefetch_that_pays_is_found() -> None:
    accesses = {1: READ, 2: READ}  # 0.1 s each from the slow tier; the copy hides behind step 0
    outcome = solve(program(two_tiers(), [0.2, 0.0, 0.0], [(100, 1, Keep.NOTHING, accesses)]))
    assert outcome.status is Status.OPTIMAL
    assert outcome.plan is not None
    assert [(c.source, c.target) for c in outcome.plan.copies] == [(1, 0)]
    assert outcome.cost_s == pytest.approx(0.2 + 2 * 1e-4)


EVICTED = [(80, NO_HOME, Keep.NOTHING, {0: PRODUCE, 5: READ}), (60, NO_HOME, Keep.NOTHING, {2: PRODUCE, 3: READ})]
"""The two do not fit in the fast tier together; to move or stream the first takes 0.08 s each way."""


def test_a_tensor_is_evicted_and_fetched_again_where_that_hides() -> None:
    outcome = solve(program(two_tiers(), [0.0, 0.1, 0.0, 0.0, 0.1, 0.0], EVICTED))
    assert outcome.status is Status.OPTIMAL
    assert outcome.plan is not None
    assert len(outcome.plan.copies) == 2
    assert outcome.cost_s == pytest.approx(0.2 + 2 * 8e-5 + 2 * 6e-5)


def test_a_copy_needs_a_source_that_something_wrote() -> None:
    outcome = solve(program(two_tiers(), [0.0, 0.0, 0.0, 0.0, 0.1, 0.0], EVICTED))
    assert outcome.status is Status.OPTIMAL
    assert outcome.cost_s == pytest.approx(0.1 + 0.08, rel=5e-3)  # only the way back hides


def test_the_alternative_that_frees_room_is_taken() -> None:
    big = Alternative("cache", (90, 0), (Effect(0, 0.0),))
    small = Alternative("none", (0, 0), (Effect(0, 0.05),))
    tensors = [(100, 1, Keep.NOTHING, {1: READ, 2: READ})]
    outcome = solve(program(two_tiers(), [0.2, 0.0, 0.0], tensors, choices=(Choice("cache", (big, small)),)))
    assert outcome.plan is not None
    assert outcome.plan.taken[0].alternative == 1  # 0.05 s of compute spare 0.2 s of streams
    assert outcome.status is Status.OPTIMAL


def test_alternatives_that_reserve_more_than_a_tier_has_are_not_taken() -> None:
    uses = [(10, 1, Keep.NOTHING, {1: READ})]
    full, none = Alternative("all", (500, 0)), Alternative("none", (0, 0))
    assert solve(program(two_tiers(), [0.2, 0.0], uses, choices=(Choice("c", (full,)),))).status is Status.INFEASIBLE
    outcome = solve(program(two_tiers(), [0.2, 0.0], uses, choices=(Choice("c", (full, none)),)))
    assert outcome.status is Status.OPTIMAL
    assert outcome.plan is not None
    assert outcome.plan.taken[0].alternative == 1


def test_what_exceeds_all_tiers_is_infeasible_with_the_bytes_missing() -> None:
    slow = Tier("slow", 120, 1e3, 1e3)
    tensors = [(90, NO_HOME, Keep.SOMEWHERE, {0: PRODUCE})] * 3
    outcome = solve(program(two_tiers(100, slow=slow), [0.0], tensors))
    assert outcome.status is Status.INFEASIBLE
    assert outcome.missing == {"fast": 170, "slow": 50}


def test_what_fits_by_bytes_but_not_by_alignment_is_infeasible() -> None:
    slow = Tier("slow", 1, 1e3, 1e3)
    tensors = [(65, NO_HOME, Keep.SOMEWHERE, {0: PRODUCE})] * 2
    assert solve(program(two_tiers(192, slow=slow, alignment=64), [0.0], tensors)).status is Status.INFEASIBLE
    assert solve(program(two_tiers(193, slow=slow, alignment=64), [0.0], tensors)).status is Status.OPTIMAL


FRAGMENTED = [(1, 3, 6), (2, 1, 4), (2, 5, 7), (2, 6, 7), (1, 3, 5), (1, 0, 1), (2, 2, 3), (2, 0, 2), (1, 4, 6)]
"""Size, start and stop of tensors of which at most 4 bytes lie at each step, but that no offsets fit into 4 bytes."""


def test_packing_proves_what_no_offsets_fit() -> None:
    blocks = [Block(x, 0, size, ((start, stop),)) for x, (size, start, stop) in enumerate(FRAGMENTED)]
    assert max(sum(size for size, a, b in FRAGMENTED if a <= t < b) for t in range(7)) == 4
    assert pack(blocks, 4, 1, 5.0).proved
    assert pack(blocks, 5, 1, 5.0).offsets is not None


def test_tensors_that_no_offsets_fit_do_not_all_stay_in_the_fast_tier() -> None:
    tensors = [
        (size, NO_HOME, Keep.NOTHING, {t: PRODUCE if t == start else READ for t in range(start, stop)})
        for size, start, stop in FRAGMENTED
    ]
    outcome = solve(program(two_tiers(4), [0.0] * 7, tensors))
    assert outcome.status is Status.OPTIMAL
    assert outcome.plan is not None
    slow = {r.tensor for r in outcome.plan.residencies if r.tier == 1}
    assert len(slow) == 1
    assert FRAGMENTED[slow.pop()][0] == 1
    assert solve(program(two_tiers(5), [0.0] * 7, tensors)).cost_s == pytest.approx(4e-5, rel=1.0)


def test_a_write_makes_other_copies_stale_and_a_state_returns_home() -> None:
    accesses = {1: READ, 2: UPDATE, 3: READ}
    problem = program(two_tiers(), [0.2, 0.0, 0.0, 0.0, 0.3], [(100, 1, Keep.HOME, accesses)])
    outcome = solve(problem)
    assert outcome.status is Status.OPTIMAL
    assert outcome.plan is not None
    moves = [(c.source, c.target, c.start) for c in outcome.plan.copies]
    assert moves[0][:2] == (1, 0)
    assert moves[-1][:2] == (0, 1)  # the write-back, after the write
    assert moves[-1][2] >= 3
    assert outcome.cost_s == pytest.approx(0.5 + 4e-4)  # an update reads and writes


def test_a_cyclic_program_puts_what_is_used_most_in_the_fast_tier() -> None:
    tensors = [(60, 1, Keep.NOTHING, {0: READ}), (60, 1, Keep.NOTHING, dict.fromkeys(range(4), READ))]
    outcome = solve(program(two_tiers(), [0.0] * 4, tensors, cyclic=True))
    assert outcome.status is Status.OPTIMAL
    assert outcome.plan is not None
    assert [r.tier for r in outcome.plan.residencies if r.tensor == 1] == [0]
    assert {r.tier for r in outcome.plan.residencies if r.tensor == 0 and r.start == 0} == {1}


def test_a_copy_wraps_around_the_end_of_a_turn() -> None:
    tensors = [(90, 1, Keep.NOTHING, {0: READ, 1: READ}), (90, NO_HOME, Keep.NOTHING, {2: PRODUCE, 3: READ})]
    problem = program(two_tiers(), [0.0, 0.0, 0.0, 0.0, 0.2, 0.2], tensors, cyclic=True)
    outcome = solve(problem)
    assert outcome.status is Status.OPTIMAL
    assert outcome.plan is not None
    assert any(c.target == 0 and c.start >= 4 for c in outcome.plan.copies)
    assert outcome.cost_s == pytest.approx(0.4, rel=1e-2)


def test_what_streams_from_behind_a_link_takes_that_links_time() -> None:
    behind = Tier("slow", 10**6, 1e6, 1e6, read_link="up")
    outcome = solve(program(two_tiers(10, slow=behind), [0.0], [(100, 1, Keep.NOTHING, {0: READ})]))
    assert outcome.status is Status.OPTIMAL
    assert outcome.cost_s == pytest.approx(0.1)


def test_what_lies_in_a_tier_that_is_not_direct_is_copied_first() -> None:
    flash = Tier("slow", 10**6, 1e3, 1e3, latency_s=0.5, direct=False)
    outcome = solve(program(two_tiers(slow=flash), [0.2, 0.0], [(100, 1, Keep.NOTHING, {1: READ})]))
    assert outcome.status is Status.OPTIMAL
    assert outcome.cost_s == pytest.approx(0.5 + 0.1 + 1e-4)


def prefetching() -> tuple[Problem, Plan]:
    problem = program(two_tiers(), [0.2, 0.0, 0.0], [(100, 1, Keep.NOTHING, {1: READ, 2: READ})])
    lies = (Residency(0, 1, 0, 0, 3), Residency(0, 0, 0, 0, 3))
    return problem, Plan(lies, (Copy(0, 1, 0, 0, 1),))


def test_a_start_that_is_best_comes_back_as_it_is() -> None:
    problem, start = prefetching()
    outcome = solve(problem, start=start)
    assert outcome.plan is start
    assert outcome.status is Status.OPTIMAL


def test_an_illegal_start_is_not_returned() -> None:
    problem, start = prefetching()
    outcome = solve(problem, start=Plan(start.residencies))
    assert outcome.status is Status.OPTIMAL


def test_an_interrupt_returns_the_best_so_far() -> None:
    problem, start = prefetching()
    slow_start = Plan(start.residencies[:1])
    calls = 0

    def cost(plan: Plan) -> float:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise KeyboardInterrupt
        return cost_s(problem, plan)

    outcome = exact.plan(problem, Budget(10.0, 1), start=slow_start, cost=cost)
    assert calls > 1
    assert outcome.plan is slow_start
    assert outcome.status is Status.FEASIBLE


def test_the_same_seed_gives_the_same_plan() -> None:
    tensors = [(30 + 7 * x, 1, Keep.NOTHING, dict.fromkeys(range(x % 3, 6, 2), READ)) for x in range(4)]
    problem = program(two_tiers(), [0.03] * 6, tensors)
    first, second = solve(problem), solve(problem)
    assert first.status is Status.OPTIMAL
    assert first.plan == second.plan


def test_a_problem_too_large_to_model_is_left_to_local_search(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (50, 40, 35, 25)  # largest first leaves 10 bytes unused; the best fill is 40 + 35 + 25
    tensors = [(size, 1, Keep.NOTHING, {0: READ}) for size in sizes]
    problem = program(two_tiers(), [0.0], tensors, cyclic=True)
    built: list[Model] = []
    monkeypatch.setattr(exact, "MOST_CELLS", 0)
    monkeypatch.setattr("tierplan.planner.exact_model.build", lambda *args: built.append(args))  # type: ignore[arg-type]
    everything_slow = Plan(tuple(Residency(x, 1, 100 * x, 0, 1) for x in range(4)))
    outcome = solve(problem, start=everything_slow)
    assert built == []
    assert "too large" in outcome.notes[0]
    assert outcome.plan is not None
    assert {r.tensor for r in outcome.plan.residencies if r.tier == 0} == {1, 2, 3}
    assert outcome.cost_s == pytest.approx(0.05)


def test_importing_the_planner_does_not_import_the_solver() -> None:
    script = "import sys, tierplan.planner.exact; sys.exit('ortools' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
