"""The neuron store keeps its invariants whatever it is asked for, and costs what its model says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.flash_cache import run_window
from tierplan.sim.flash_generate import Activity, generate_trace
from tierplan.sim.flash_store import ManagementCost, NeuronStore, feed_forward, fit_management

N, HIDDEN = 12, 3
FLASH = np.random.default_rng(7).normal(size=(N, 2 * HIDDEN))
BIAS = np.random.default_rng(8).normal(size=N)

tokens = st.lists(st.sets(st.integers(0, N - 1)), max_size=15)


@given(tokens, st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_live_rows_are_the_window(steps: list[set[int]], window: int) -> None:
    store = NeuronStore(FLASH, BIAS, rows=N, window=window)
    places = (store.matrix, store.pointer, store.bias)
    live: set[int] = set()
    for token, active in enumerate(steps):
        before = store.pointer[: store.num_used].copy()
        rewrites = store.advance(active)
        wanted = set().union(*steps[max(0, token - window + 1) : token + 1])
        pointer = store.pointer[: store.num_used]
        assert len(pointer) == len(set(pointer.tolist()))
        assert set(pointer.tolist()) == wanted
        assert (store.matrix[: store.num_used] == FLASH[pointer]).all()
        assert (store.bias[: store.num_used] == BIAS[pointer]).all()
        assert (store.pointer[store.num_used :] == -1).all()
        assert rewrites.deleted == len(live - wanted)
        assert rewrites.inserted == len(wanted - live)
        left = len(live & wanted)
        assert rewrites.moved == sum(neuron not in wanted for neuron in before[:left].tolist())
        assert rewrites.moved <= min(rewrites.deleted, left)
        assert len(store.last_k_active) <= window
        live = wanted
    assert all(now is then for now, then in zip((store.matrix, store.pointer, store.bias), places, strict=True))


@given(tokens, st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_survivors_that_need_not_move_do_not(steps: list[set[int]], window: int) -> None:
    store = NeuronStore(FLASH, BIAS, rows=N, window=window)
    for active in steps:
        before = store.pointer[: store.num_used].copy()
        rewrites = store.advance(active)
        kept = min(len(before), store.num_used)
        changed = int((before[:kept] != store.pointer[:kept]).sum())
        assert changed <= rewrites.moved + rewrites.inserted


@given(st.sets(st.integers(0, N - 1)), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_compute_over_live_rows_is_the_feed_forward_part(active: set[int], seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=HIDDEN)
    inner = np.maximum(FLASH[:, :HIDDEN] @ x + BIAS, 0)
    dense = inner @ FLASH[:, HIDDEN:]
    store = NeuronStore(FLASH, BIAS, rows=N, window=1)
    store.advance(active | set(np.flatnonzero(inner > 0).tolist()))
    assert feed_forward(store, x) == pytest.approx(dense)


def test_the_store_rewrites_what_the_window_loads() -> None:
    trace = generate_trace(Activity(0.1, 0.6), 30, 1, 200, seed=2)
    run = run_window(trace, 4)
    store = NeuronStore(np.zeros((200, 2)), np.zeros(200), rows=int(run.most_held[0]), window=4)
    for token, active in enumerate(trace.active(0)):
        assert store.advance(np.flatnonzero(active)).inserted == run.loaded[token, 0]
        assert store.num_used == run.held[token, 0]


def test_too_few_rows_are_refused_and_nothing_changes() -> None:
    store = NeuronStore(FLASH, BIAS, rows=3, window=2)
    store.advance([0, 1])
    with pytest.raises(InvalidInputError, match="4 neurons are live, the store has 3 rows"):
        store.advance([2, 3])
    assert sorted(store.pointer[: store.num_used].tolist()) == [0, 1]
    assert store.advance([2]).inserted == 1


def test_nonsense_is_refused() -> None:
    for arguments in ((FLASH, BIAS[:-1], 3, 1), (FLASH, BIAS, 0, 1), (FLASH, BIAS, 3, 0), (BIAS, BIAS, 3, 1)):
        with pytest.raises(InvalidInputError):
            NeuronStore(*arguments)
    store = NeuronStore(FLASH, BIAS, rows=3, window=1)
    with pytest.raises(InvalidInputError, match="from 0 to 11"):
        store.advance([12])
    with pytest.raises(InvalidInputError, match="half"):
        feed_forward(store, np.zeros(HIDDEN + 1))


@given(st.floats(0, 1e-5), st.floats(1e8, 1e11), st.integers(1, 10_000))
@settings(deadline=None)
def test_fit_of_the_cost_recovers_it(row_s: float, bandwidth: float, rows: int) -> None:
    cost = ManagementCost(row_s, bandwidth)
    found = fit_management(*((rows, size, cost.time_s(rows, size)) for size in (16_384, 65_536)))
    for size in (1000, 32_768):
        assert found.time_s(5, size) == pytest.approx(cost.time_s(5, size), rel=1e-5, abs=1e-12)


def test_costs_that_make_no_sense_are_refused() -> None:
    for points in (((10, 100, 1.0), (10, 100, 1.0)), ((10, 100, 2.0), (10, 200, 1.0)), ((0, 100, 1.0), (10, 200, 2.0))):
        with pytest.raises(InvalidInputError):
            fit_management(*points)
    for arguments in ((-1.0, 1e9), (0.0, 0.0), (float("nan"), 1e9)):
        with pytest.raises(InvalidInputError):
            ManagementCost(*arguments)
