"""Bundles: chunk sizes, closest friends, and the loads that make co-activation bundling lose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.flash import ReadModel
from tierplan.sim.flash_bundle import chunks, coactivation, friends_s, run_friends
from tierplan.sim.flash_generate import Activity, generate_trace
from tierplan.sim.flash_trace import ActivationTrace
from tierplan.sim.flash_weights import FeedForwardWeights, ModelBytes

layers = st.tuples(st.integers(1, 10), st.integers(1, 9)).flatmap(lambda shape: arrays(np.bool_, shape))


def test_bundles_make_chunks_as_large_as_the_matrices_are_many() -> None:
    falcon = FeedForwardWeights(32, 18176, 4544, element_bits=32)
    assert chunks(falcon, bundled=True).chunk == 2 * 4544 * 4 == 35.5 * 1024
    gated = FeedForwardWeights(32, 11008, 4096, n_matrices=3)
    assert (chunks(gated, bundled=False).per_neuron, chunks(gated, bundled=False).chunk) == (3, 8192)
    assert (chunks(gated, bundled=True).per_neuron, chunks(gated, bundled=True).chunk) == (1, 3 * 8192)


@given(layers)
@settings(deadline=None)
def test_the_closest_friend_is_most_often_active_together(active: np.ndarray) -> None:
    friend, share = coactivation(ActivationTrace.of(active[:, None, :]), 0)
    for neuron in range(active.shape[1]):
        uses = active[:, neuron].sum()
        together = [(active[:, neuron] & active[:, other]).sum() for other in range(active.shape[1])]
        others = [count for other, count in enumerate(together) if other != neuron and active[:, other].any()]
        if uses == 0 or not others:
            assert friend[neuron] == neuron
            continue
        assert friend[neuron] != neuron
        assert together[friend[neuron]] == max(others)
        assert share[neuron] == pytest.approx(max(others) / uses)


@given(layers, st.integers(0, 4), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_reads_with_friends_are_what_the_definition_says(active: np.ndarray, window: int, seed: int) -> None:
    window = min(window, len(active))
    n = active.shape[1]
    friend = np.random.default_rng(seed).integers(0, n, n)
    reads = wanted = fresh = 0
    for token in range(len(active)):
        held = set(np.flatnonzero(active[max(0, token - window) : token].any(axis=0)).tolist())
        here = set(held)
        for neuron in np.flatnonzero(active[token]).tolist():
            wanted += neuron not in held
            if neuron in here:
                continue
            reads += 1
            fresh += len({neuron, int(friend[neuron])} - here)
            here |= {neuron, int(friend[neuron])}
    run = run_friends(ActivationTrace.of(active[:, None, :]), 0, window, friend)
    assert (run.reads, run.wanted, run.fresh) == (reads, wanted, fresh)
    assert run.brought == run.duplicates + run.unwanted + run.wanted


def test_a_very_active_neuron_is_everyones_friend_and_bundling_loses() -> None:
    random = np.random.default_rng(3)
    active = generate_trace(Activity(0.05), 200, 1, 300, seed=3).active(0)
    active[:, 0] = random.random(200) < 0.97
    trace = ActivationTrace.of(active[:, None, :])
    friend, share = coactivation(trace, 0)
    assert (friend[1:] == 0).mean() > 0.9
    assert share[1:].mean() > 0.9
    run = run_friends(trace, 0, 4, friend)
    assert run.duplicates > 0.9 * run.reads
    drive = ReadModel(186e-6, 11.25e9, 6.1e9, 32)
    with_friends, alone = friends_s(drive, FeedForwardWeights(1, 300, 4096), run, 32)
    assert with_friends > 1.1 * alone


def test_bad_friends_and_weights_are_refused() -> None:
    trace = generate_trace(Activity(0.1), 4, 1, 10)
    for friend in (np.zeros(9, np.int64), np.full(10, 10), np.full(10, -1)):
        with pytest.raises(InvalidInputError, match="closest friends"):
            run_friends(trace, 0, 1, friend)
    for arguments in ((0, 1, 1), (1, 1, 8, 4), (1, 1, 3, 2, 4)):
        with pytest.raises(InvalidInputError):
            FeedForwardWeights(*arguments)
    with pytest.raises(InvalidInputError, match="attention"):
        ModelBytes("odd", FeedForwardWeights(1, 1, 8), attention=-1, embedding=0)
