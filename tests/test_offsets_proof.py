"""Bounds above the load: never above the truth, and met where the load cannot be reached."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offset_oracle import buffers_of, is_legal, least_height, problems

from tierplan.ir.outcome import Status
from tierplan.planner.offset_bounds import lower_bound
from tierplan.planner.offset_effort import Best, Effort
from tierplan.planner.offset_problem import blocks_of, by_time, sections_of
from tierplan.planner.offset_proof import Prover, stacked
from tierplan.planner.offset_search import part_of
from tierplan.planner.offsets import solve


def prove(buffers, n_nodes=50_000, extra=0):
    """(the bound that is proved, the load), in bytes."""
    b, _ = by_time(blocks_of(buffers))
    bound = lower_bound(b, sections_of(b))
    best = Best(np.empty(0, np.int64), int((b.height + b.align).sum()) + extra + 1, bound, bound + extra, "load", False)
    Prover(part_of(b), best, Effort(float("inf"))).run(n_nodes)
    return best.bound * b.unit, int(sections_of(b).load.max()) * b.unit


@settings(max_examples=150, deadline=None)
@given(problems(most=6, steps=6, alignments=(1, 2, 3, 4)), st.sampled_from([0, 0, 1, 3, 20]))
def test_no_bound_is_above_the_least_height(buffers, extra):
    # `extra`: the goal may lie above the bound, where any height within a capacity will do.
    assert prove(buffers, extra=extra)[0] <= least_height(buffers)


@settings(max_examples=60, deadline=None)
@given(problems(most=6, alignments=(1, 2, 4, 6)))
def test_blocks_held_together_are_stacked_in_the_best_order(buffers):
    n = len(buffers)
    together = buffers_of(np.stack((np.zeros(n), np.ones(n), buffers.size), 1), alignment=buffers.alignment.tolist())
    b, _ = by_time(blocks_of(together))
    assert max(stacked(part_of(b), 0), lower_bound(b, sections_of(b))) * b.unit == least_height(together)


@settings(max_examples=40, deadline=None)
@given(problems(most=5, steps=6, alignments=(2, 3, 4)), st.integers(20, 40))
def test_a_peak_that_cannot_be_reached_is_found_in_a_long_problem(core, n):
    rows = np.stack((core.start + 40, core.stop + 40, core.size), 1)
    # A chain of small blocks before and after the core, all joined by a block at the bottom.
    chain = [(4 * k, 4 * k + 4, 1) for k in (*range(9), *range(15, 15 + n))]
    joined = buffers_of([*rows, *chain, (0, 500, 12)], alignment=[*core.alignment.tolist(), *[1] * len(chain), 12])
    under = buffers_of([*rows, (0, 500, 12)], alignment=[*core.alignment.tolist(), 12])
    least = least_height(under)
    bound, load = prove(joined)
    assert load <= bound <= least
    # The window around the core holds all that decides.
    assert bound == least


@pytest.mark.parametrize("seed", range(3))
def test_an_answer_is_proved_to_be_optimal_where_the_load_is_not(seed):
    rng = np.random.default_rng(seed)
    n = 40
    start = rng.integers(0, 20, n)
    align = [int(a) for a in rng.choice((1, 8, 16), n)]
    rows = np.stack((start, start + rng.integers(1, 4, n), rng.integers(5, 60, n)), 1)
    buffers = buffers_of(rows, alignment=align)
    found = solve(buffers, budget=1e6, max_nodes=400_000, cp_sat=False)
    assert is_legal(buffers, found.offset)
    b, _ = by_time(blocks_of(buffers))
    assert found.lower_bound > lower_bound(b, sections_of(b)) * b.unit
    assert found.status is Status.OPTIMAL
