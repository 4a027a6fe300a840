"""Best fit and its relatives, against slow twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offset_oracle import is_legal, problems

from tierplan.planner.offset_bounds import lower_bound, overloaded
from tierplan.planner.offset_check import legal
from tierplan.planner.offset_effort import Best, Effort
from tierplan.planner.offset_fit import refit
from tierplan.planner.offset_orders import (
    buckets_of,
    keys_of,
    place,
    place_in_strips,
    range_max,
    scan_cost,
    settle,
)
from tierplan.planner.offset_problem import blocks_of, by_time, sections_of
from tierplan.planner.offsets import allocate


def slow_best_fit(b, order, first_fit):
    offset = np.full(len(order), -1, np.int64)
    for k, i in enumerate(order):
        size, align = int(b.height[i]), int(b.align[i])
        taken = sorted(
            (int(offset[j]), int(offset[j] + b.height[j]))
            for j in order[:k]
            if max(b.start[i], b.start[j]) < min(b.stop[i], b.stop[j])
        )
        options, current = [], 0
        for low, high in [*taken, (10**9, 10**9)]:
            spot = -(-current // align) * align
            if low - spot >= size:
                options.append((low - current, spot))
            current = max(current, high)
        offset[i] = options[0][1] if first_fit else min(options, key=lambda option: option[0])[1]
    return offset


@settings(max_examples=150, deadline=None)
@given(problems(most=12, steps=12, alignments=(1, 2, 3)), st.booleans(), st.randoms(), st.integers(1, 5))
def test_best_fit_is_what_it_says(buffers, first_fit, random, n_edges):
    b, _ = by_time(blocks_of(buffers))
    order = np.array(random.sample(range(len(buffers)), len(buffers)))
    edges = np.unique(np.linspace(0, 12, n_edges).astype(np.int64))
    expected = slow_best_fit(b, order, first_fit)
    assert place(b, order, edges, first_fit=first_fit).tolist() == expected.tolist()
    pieces = b._replace(plain=False)
    assert place(pieces, order, edges, first_fit=first_fit).tolist() == expected.tolist()


@settings(max_examples=100, deadline=None)
@given(problems(most=12, steps=12, alignments=(1, 2)), st.sampled_from([1, 4, 16]))
def test_strips_are_legal_and_settling_never_raises_them(buffers, per_octave):
    b, _ = by_time(blocks_of(buffers))
    offset = place_in_strips(b, per_octave)
    fallen = settle(b, offset)
    for o in (offset, fallen):
        assert is_legal(buffers, o[b.of] * b.unit)
    assert (fallen <= offset).all()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.data())
def test_range_max(values, data):
    left = data.draw(st.integers(0, len(values) - 1))
    right = data.draw(st.integers(left + 1, len(values)))
    found = range_max(np.array(values), np.array([left]), np.array([right]))
    assert found.tolist() == [max(values[left:right])]


@given(problems(most=10, steps=10))
def test_the_load_is_that_of_the_worst_step(buffers):
    b, _ = by_time(blocks_of(buffers))
    sections = sections_of(b)
    steps = range(int(b.stop.max()))
    load = max(int(b.height[(b.start <= t) & (t < b.stop)].sum()) for t in steps)
    assert int(sections.load.max()) == load
    assert lower_bound(b, sections) >= load
    crowd = overloaded(b, sections, load - 1)
    assert int(b.height[crowd].sum()) > load - 1
    assert not len(overloaded(b, sections, load))


def test_large_problems_are_placed_legally():
    rng = np.random.default_rng(0)
    n = 8_000
    start = rng.integers(0, 40_000, n)
    stop, size = start + rng.integers(1, 900, n), rng.integers(1, 2**20, n)
    found = allocate(start, stop, size, budget=1e6, max_nodes=1)
    assert found.height >= found.lower_bound
    assert found.height < 1.25 * found.lower_bound
    live = [np.flatnonzero((start <= t) & (t < stop)) for t in rng.integers(0, 40_000, 300)]
    for together in live:
        order = together[np.argsort(found.offset[together])]
        assert (found.offset[order][:-1] + size[order][:-1] <= found.offset[order][1:]).all()


def test_buckets_save_work():
    rng = np.random.default_rng(1)
    n = 6_000
    start = rng.integers(0, 50_000, n)
    table = np.stack((start, start + rng.integers(1, 300, n), rng.integers(1, 99, n)), 1)
    from offset_oracle import buffers_of

    b, _ = by_time(blocks_of(buffers_of(table)))
    assert scan_cost(b, buckets_of(b)) < scan_cost(b, np.zeros(1, np.int64)) / 20


@pytest.mark.parametrize("seed", [0, 1])
def test_refitting_never_makes_it_worse_and_repeats_itself(seed):
    rng = np.random.default_rng(seed)
    n = 300
    start = rng.integers(0, 400, n)
    from offset_oracle import buffers_of

    buffers = buffers_of(np.stack((start, start + rng.integers(1, 90, n), rng.integers(1, 999, n)), 1))
    b, _ = by_time(blocks_of(buffers))
    sections = sections_of(b)
    heights = []
    for _ in range(2):
        offset = place(b, np.argsort(-keys_of(b, sections).size, kind="stable"), buckets_of(b))
        before = int((offset + b.height).max())
        best = Best(offset, before, int(sections.load.max()), 0, "size", True)
        after = refit(b, sections, best, Effort(float("inf"), max_nodes=40 * n))
        assert after.height < before
        assert legal(b, after.offset)
        heights.append(after.height)
    assert heights[0] == heights[1]


@pytest.mark.parametrize("slow_s", [0.0, 1e9])
def test_workers_repeat_themselves_on_large_problems(monkeypatch, slow_s):
    monkeypatch.setattr("tierplan.planner.offset_fit._SLOW_S", slow_s)
    rng = np.random.default_rng(3)
    n = 6_000
    start = rng.integers(0, 30_000, n)
    stop, size = start + rng.integers(1, 300, n), rng.integers(1, 2**20, n)
    found = [allocate(start, stop, size, budget=1e6, max_nodes=1, n_workers=w) for w in (1, 2, 2)]
    assert found[0].height == found[1].height
    assert (found[1].offset == found[2].offset).all()
