"""`allocate` and `solve`: legal, best, deterministic answers, and what they say when there is none."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offset_oracle import buffers_of, full_rectangle, is_legal, least_height, problems

from tierplan.ir.buffers import Buffers, broken
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.outcome import Status
from tierplan.planner.offset_check import legal
from tierplan.planner.offset_problem import blocks_of, by_time
from tierplan.planner.offsets import allocate, solve


@settings(max_examples=120, deadline=None)
@given(problems(alignments=(1, 1, 2, 4)))
def test_small_problems_are_solved_to_the_optimum(buffers):
    found = solve(buffers, budget=30.0)
    assert is_legal(buffers, found.offset)
    assert found.status is Status.OPTIMAL
    assert found.height == least_height(buffers)
    assert found.lower_bound <= found.height


@settings(max_examples=80, deadline=None)
@given(problems(most=8, steps=8), st.integers(0, 30))
def test_a_capacity_is_kept_or_refuted(buffers, capacity):
    found = solve(buffers, capacity=capacity, budget=30.0)
    least = solve(buffers, budget=30.0).height
    assert (found.status is Status.INFEASIBLE) == (capacity < least)
    assert found.lower_bound <= least
    if found.found:
        assert is_legal(buffers, found.offset, capacity)
    else:
        assert (found.offset == -1).all()


@pytest.mark.parametrize("seed", range(6))
def test_full_rectangles_are_packed_without_a_gap(seed):
    buffers = full_rectangle(seed, 60, steps=60, height=96)
    found = solve(buffers, budget=60.0)
    assert (found.height, found.status) == (96, Status.OPTIMAL)
    assert is_legal(buffers, found.offset, 96)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_same_seed_gives_the_same_answer(n_workers):
    buffers = full_rectangle(11, 70, steps=50, height=128)
    answers = [solve(buffers, capacity=128, budget=60.0, seed=3, n_workers=n_workers) for _ in range(3)]
    assert answers[0].found
    for again in answers[1:]:
        assert (again.offset == answers[0].offset).all()
        assert again.n_nodes == answers[0].n_nodes


def test_a_budget_of_nodes_does_not_depend_on_the_clock():
    rng = np.random.default_rng(4)
    start = rng.integers(0, 60, 90)
    buffers = buffers_of(np.stack((start, start + rng.integers(1, 25, 90), rng.integers(1, 60, 90)), 1))
    first, again = (solve(buffers, max_nodes=20_000, budget=1e6, cp_sat=False) for _ in range(2))
    assert (first.offset == again.offset).all()
    assert is_legal(buffers, first.offset)


def test_parts_that_do_not_meet_are_solved_apart():
    left, right = full_rectangle(1, 30, steps=20, height=40), full_rectangle(2, 30, steps=20, height=40)
    rows = np.concatenate(
        [np.stack((t.start + shift, t.stop + shift, t.size), 1) for t, shift in ((left, 0), (right, 20))]
    )
    found = solve(buffers_of(rows), budget=60.0)
    assert (found.height, found.status) == (40, Status.OPTIMAL)
    assert is_legal(buffers_of(rows), found.offset, 40)


def test_fixed_offsets_are_kept():
    buffers = buffers_of([(0, 4, 3), (0, 4, 3), (2, 6, 1)], fixed=[4, -1, -1])
    found = solve(buffers)
    assert (found.height, found.status) == (7, Status.OPTIMAL)
    assert is_legal(buffers, found.offset)


def test_fixed_offsets_that_collide_are_infeasible():
    found = solve(buffers_of([(0, 4, 3), (1, 4, 3), (7, 9, 1)], fixed=[0, 2, -1]), explain=True)
    assert found.status is Status.INFEASIBLE
    assert found.conflict == (0, 1)


def test_aliases_share_one_address():
    buffers = buffers_of([(0, 3, 4), (2, 6, 2), (0, 6, 5)], alias=[7, 7, -1])
    found = solve(buffers)
    assert found.offset[0] == found.offset[1]
    assert (found.height, found.status) == (9, Status.OPTIMAL)


def test_bytes_in_a_gap_are_reused():
    buffers = buffers_of([(0, 9, 4), (3, 6, 4)], gaps=[(0, 3, 6, 0, 0)])
    assert solve(buffers).height == 4
    assert solve(buffers_of([(0, 9, 4), (3, 6, 4)])).height == 8


def test_bytes_beside_a_window_are_reused():
    # During [3, 6) buffer 0 holds only its upper half; buffer 1 fits under it.
    buffers = buffers_of([(0, 9, 8), (3, 6, 4)], gaps=[(0, 3, 6, 4, 8)])
    found = solve(buffers)
    assert is_legal(buffers, found.offset)
    assert (found.height, found.status) == (8, Status.OPTIMAL)


@settings(max_examples=50, deadline=None)
@given(problems(most=7, steps=7), st.data())
def test_any_mix_of_demands_yields_a_legal_allocation(plain, data):
    n = len(plain)
    hint = data.draw(st.lists(st.integers(-1, 12), min_size=n, max_size=n))
    alias = data.draw(st.lists(st.sampled_from([-1, -1, 0, 1]), min_size=n, max_size=n))
    gaps = []
    for i in range(n):
        if plain.stop[i] - plain.start[i] > 2 and data.draw(st.booleans()):
            low = data.draw(st.integers(0, int(plain.size[i]) - 1))
            gaps.append((i, int(plain.start[i]) + 1, int(plain.stop[i]) - 1, low, int(plain.size[i])))
    rows = np.stack((plain.start, plain.stop, plain.size), 1)
    buffers = buffers_of(rows, hint=hint, alias=alias, gaps=gaps, alignment=data.draw(st.sampled_from([1, 2])))
    found = solve(buffers, budget=1e6, max_nodes=100, cp_sat=False)
    assert found.found
    assert is_legal(buffers, found.offset)


def test_hints_that_fit_are_followed():
    buffers = buffers_of([(0, 4, 3), (0, 4, 3), (4, 6, 6)], hint=[3, 0, 0])
    found = solve(buffers, capacity=6)
    assert found.offset.tolist() == [3, 0, 0]


def test_a_buffer_above_the_capacity_is_named():
    found = solve(buffers_of([(0, 2, 3), (5, 6, 9)]), capacity=8, explain=True)
    assert (found.status, found.conflict) == (Status.INFEASIBLE, (1,))


def test_the_fewest_buffers_that_crowd_a_step_are_named():
    rows = [(0, 9, 1), (0, 9, 1), (1, 3, 6), (2, 4, 5), (5, 6, 2)]
    found = solve(buffers_of(rows), capacity=10, explain=True)
    assert (found.status, found.conflict) == (Status.INFEASIBLE, (2, 3))


def test_no_buffer_of_a_conflict_can_be_left_out():
    # The load is 6, but an alignment of 2 leaves a gap below the upper buffers.
    rows = [(0, 9, 3), (0, 9, 3), (20, 22, 1), (0, 5, 3), (30, 31, 2)]
    buffers = buffers_of(rows, alignment=[2, 2, 1, 1, 1], fixed=[-1, -1, -1, 0, -1])
    found = solve(buffers, capacity=9, explain=True)
    assert (found.status, found.conflict) == (Status.INFEASIBLE, (0, 1, 3))
    for left_out in found.conflict:
        rest = [i for i in found.conflict if i != left_out]
        fewer = buffers_of([rows[i] for i in rest], alignment=[int(buffers.alignment[i]) for i in rest])
        assert solve(fewer, capacity=9).found


def test_the_lowest_height_above_a_capacity_is_told():
    # The load is 6, but an alignment of 2 leaves a gap below all but the lowest of the long buffers.
    rows = [(0, 9, 3), (0, 9, 3), (20, 22, 1), (0, 5, 3), (30, 31, 2)]
    buffers = buffers_of(rows, alignment=2)
    found = solve(buffers, capacity=10, minimize=True)
    assert (found.status, found.height, found.lower_bound) == (Status.INFEASIBLE, 11, 11)
    assert (found.offset == -1).all()
    assert solve(buffers, capacity=5, minimize=True).height == 11


def test_a_run_that_ends_early_tells_the_lowest_height_above_the_capacity():
    buffers = full_rectangle(3, 300, steps=60, height=5000)
    found = solve(buffers, capacity=5000, max_nodes=20_000, budget=1e6, cp_sat=False)
    lower = solve(buffers, capacity=5000, minimize=True, max_nodes=20_000, budget=1e6, cp_sat=False)
    assert found.status is lower.status is Status.GAVE_UP
    assert 5000 < lower.height < found.height
    assert (found.offset == -1).all()
    assert lower.gap == lower.height / 5000 - 1


def test_nothing_to_place():
    found = allocate([], [], [], capacity=0)
    assert (found.height, found.status, len(found.offset)) == (0, Status.OPTIMAL, 0)


def test_arrays_are_taken_as_they_are():
    start, stop, size = np.array([0, 3]), np.array([3, 9]), np.array([4, 4])
    before = start.copy(), stop.copy(), size.copy()
    assert allocate(start, stop, size, alignment=4).height == 4
    assert all((a == b).all() for a, b in zip(before, (start, stop, size), strict=True))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([0], [1], [0]), "size 0 must be at least 1"),
        (([0], [1], [-4]), "size -4 must be at least 1"),
        (([5], [5], [1]), "empty or reversed"),
        (([6], [5], [1]), "empty or reversed"),
        (([-1], [5], [1]), "start -1"),
        (([0, 0], [1, 1], [2**61, 2**61]), "more than 2**62"),
        (([0], [1, 2], [1]), "stop has shape"),
        (([0.5], [1], [1]), "start must be an array of 64-bit integers"),
        (([[0]], [1], [1]), "one dimension"),
    ],
)
def test_bad_input_is_refused(arguments, told):
    with pytest.raises(InvalidInputError, match=told.replace("*", r"\*")):
        allocate(*arguments)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"capacity": -1}, "capacity -1"),
        ({"budget": -1.0}, "budget -1.0"),
        ({"budget": float("nan")}, "budget nan"),
        ({"n_workers": 0}, "n_workers 0"),
        ({"alignment": 0}, "alignment 0"),
        ({"alignment": [4], "fixed": [2]}, "offset 2 is not a multiple"),
        ({"fixed": [-5]}, "offset -5"),
    ],
)
def test_bad_options_are_refused(options, told):
    with pytest.raises(InvalidInputError, match=told):
        allocate([0], [1], [1], **options)


def test_two_names_may_not_be_the_same():
    b = buffers_of([(0, 1, 1), (0, 1, 1)])
    with pytest.raises(InvalidInputError, match="'x' is used twice"):
        Buffers(b.start, b.stop, b.size, b.alignment, b.hint, b.fixed, b.alias, b.gaps, ("x", "x"))


@settings(max_examples=150, deadline=None)
@given(problems(most=7), st.data())
def test_the_quick_check_agrees_with_the_slow_one(buffers, data):
    n = len(buffers)
    offset = np.array(data.draw(st.lists(st.integers(0, 16), min_size=n, max_size=n)), np.int64)
    b, order = by_time(blocks_of(buffers))
    assert legal(b, (offset * b.unit)[order] // b.unit) == (not any(broken(buffers, offset * b.unit)))


@pytest.mark.parametrize("edit", ["move", "drop", "misalign", "raise"])
def test_the_verifier_sees_each_edit(edit):
    buffers = buffers_of([(0, 4, 4), (2, 6, 4), (5, 8, 4)], alignment=4)
    offset = solve(buffers).offset.copy()
    assert not list(broken(buffers, offset, 8))
    if edit == "move":
        offset[1] = offset[0]
    elif edit == "drop":
        offset[0] = -1
    elif edit == "misalign":
        offset[0] += 1
    else:
        offset[2] += 8
    rules = {rule.rule for rule in broken(buffers, offset, 8)}
    assert {"move": "overlap", "drop": "missing", "misalign": "alignment", "raise": "capacity"}[edit] in rules


_INTERRUPTED = """
import os, signal
from offset_oracle import full_rectangle, is_legal
from tierplan.planner.offset_search import Searcher
from tierplan.planner.offsets import solve

run, calls = Searcher.run, []

def run_and_interrupt(*arguments):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGINT)
    return run(*arguments)

Searcher.run = run_and_interrupt
buffers = full_rectangle(3, 300, steps=60, height=5000)
found = solve(buffers, budget=1e6, cp_sat=False)
assert is_legal(buffers, found.offset)
print(len(calls), found.status.name)
"""


def test_ctrl_c_returns_the_best_so_far():
    # In a process of its own: a signal to this one would end whoever runs the tests.
    signals = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    done = subprocess.run(
        [sys.executable, "-c", signals + _INTERRUPTED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    calls, status = done.stdout.split()
    assert int(calls) <= 6
    assert status == "FEASIBLE"


def test_cp_sat_proves_what_the_search_cannot():
    # Two windows that interlock: the load is 6, and the lower halves meet in time with everything.
    rows = [(0, 9, 4), (0, 9, 4), (2, 3, 2), (5, 6, 2)]
    buffers = buffers_of(rows, gaps=[(0, 2, 3, 2, 4), (1, 5, 6, 0, 2)])
    assert solve(buffers, capacity=8, budget=60.0).found
    tight = buffers_of([(0, 9, 4), (0, 5, 3), (3, 9, 2)], gaps=[(0, 4, 5, 1, 4)], alignment=[1, 2, 2])
    least = next(c for c in range(20) if solve(tight, capacity=c, budget=60.0).found)
    assert solve(tight, capacity=least - 1, budget=60.0).status is Status.INFEASIBLE
    assert solve(tight, budget=60.0).height == least
