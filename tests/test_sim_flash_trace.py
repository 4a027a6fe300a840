"""Activation traces: bits in and out, aggregated use, the window and other policies, drawn and recorded ones."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.flash_cache import loaded_by_policy, past_tokens, run_policy, run_window
from tierplan.sim.flash_generate import Activity, expected_use, generate_trace, rates
from tierplan.sim.flash_sparsity import AggregatedUse, Sparsity, predicted_share, sparsity_from_figures
from tierplan.sim.flash_trace import (
    ActivationTrace,
    aggregated_use,
    check_model,
    load_trace,
    measured_sparsity,
    save_trace,
)
from tierplan.sim.flash_weights import FeedForwardWeights
from tierplan.sim.replacement import Policy

activations = st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 140)).flatmap(
    lambda shape: arrays(np.bool_, shape)
)


@given(activations)
@settings(deadline=None)
def test_bits_survive(active: np.ndarray) -> None:
    trace = ActivationTrace.of(active)
    assert (trace.n_tokens, trace.n_layers, trace.n_neurons) == active.shape
    assert trace.active_share == pytest.approx(active.mean())
    for layer in range(trace.n_layers):
        assert (trace.active(layer) == active[:, layer]).all()
        accesses = trace.accesses(layer)
        sets = np.split(accesses.items, accesses.start[1:-1])
        assert all((np.flatnonzero(row) == items).all() for row, items in zip(active[:, layer], sets, strict=True))


@given(active=activations)
@settings(max_examples=20, deadline=None)
def test_files_survive(tmp_path_factory: pytest.TempPathFactory, active: np.ndarray) -> None:
    folder = tmp_path_factory.mktemp("traces")
    trace = ActivationTrace.of(active)
    save_trace(trace, folder / "trace.npz")
    again = load_trace(folder / "trace.npz")
    assert again.n_neurons == trace.n_neurons
    assert (again.words == trace.words).all()
    assert [path.name for path in folder.iterdir()] == ["trace.npz"]
    np.savez(folder / "plain.npz", active=active)
    assert (load_trace(folder / "plain.npz").words == trace.words).all()


@given(activations, st.integers(0, 10))
@settings(deadline=None)
def test_window_loads_exactly_what_the_last_tokens_did_not_use(active: np.ndarray, window: int) -> None:
    trace = ActivationTrace.of(active)
    if window > len(active):
        with pytest.raises(InvalidInputError, match=f"a window of {window} tokens"):
            run_window(trace, window)
        return
    run = run_window(trace, window)
    for token in range(len(active)):
        past = active[max(0, token - window) : token].any(axis=0)
        held = active[max(0, min(token, token - window + 1)) : token + 1].any(axis=0)
        assert (run.loaded[token] == (active[token] & ~past).sum(axis=1)).all()
        assert (run.held[token] == held.sum(axis=1)).all()
        assert (past_tokens(trace, window).active(0)[token] == past[0]).all()
    assert (run.most_held == run.held.max(axis=0)).all()


@given(activations, st.integers(1, 9))
@settings(deadline=None)
def test_aggregated_use_counts_unions(active: np.ndarray, longest: int) -> None:
    trace = ActivationTrace.of(active)
    if longest > len(active):
        with pytest.raises(InvalidInputError, match="window"):
            aggregated_use(trace, longest)
        return
    use = aggregated_use(trace, longest)
    ends = range(longest - 1, len(active))
    for k in range(1, longest + 1):
        unions = [active[end - k + 1 : end + 1].any(axis=0).mean() for end in ends]
        assert use.share(k) == pytest.approx(np.mean(unions))


@pytest.mark.parametrize("locality", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("skew", [0.0, 0.8])
def test_drawn_traces_behave_as_expected(locality: float, skew: float) -> None:
    activity = Activity(0.1, locality, skew)
    trace = generate_trace(activity, 400, 2, 2000, seed=1)
    expected = expected_use(activity, 2000, 6)
    measured = aggregated_use(trace, 6)
    for k in range(1, 7):
        assert measured.share(k) == pytest.approx(expected.share(k), rel=0.03)
    run = run_window(trace, 5)
    assert run.loaded_share == pytest.approx(expected.new(5), rel=0.06)
    assert run.held_share == pytest.approx(expected.share(5), rel=0.03)


def test_locality_means_fewer_new_neurons() -> None:
    new = [expected_use(Activity(0.1, locality), 100, 6).new(5) for locality in (0.0, 0.3, 0.6, 0.9)]
    assert new == sorted(new, reverse=True)
    frozen = generate_trace(Activity(0.3, 1.0), 20, 1, 300)
    assert run_window(frozen, 1).loaded[1:].sum() == 0


@given(st.floats(0, 1), st.floats(0, 3), st.integers(1, 300))
@settings(deadline=None)
def test_rates_have_the_mean_that_was_asked_for(active: float, skew: float, n: int) -> None:
    found = rates(Activity(active, 0.0, skew), n)
    assert found.mean() == pytest.approx(active, abs=1e-9)
    assert (np.diff(found) <= 1e-12).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("seed", range(3))
def test_order_of_policies_in_the_room_of_the_window(seed: int) -> None:
    trace = generate_trace(Activity(0.1, 0.6, 0.5), 64, 2, 512, seed)
    loads = loaded_by_policy(trace, 4)
    assert loads["belady"] < min(loads["lru"], loads["lfu"], loads["window"])
    assert loads["belady"] <= loads["planned"] <= loads["lru"]
    window, room = run_window(trace, 4), run_window(trace, 4).most_held
    lru = run_policy(trace, room, Policy.LRU)
    assert sum(run.n_loads for run in lru) <= window.loaded.sum()
    assert loads["lru"] == pytest.approx(sum(run.n_loads for run in lru) / (64 * 2 * 512))


def test_policies_need_one_capacity_per_layer() -> None:
    trace = generate_trace(Activity(0.1), 4, 2, 64)
    with pytest.raises(InvalidInputError, match="3 cache sizes for 2 layers"):
        run_policy(trace, [1, 2, 3], Policy.LRU)
    assert len(run_policy(trace, 10, Policy.LRU)) == 2


def test_a_trace_of_another_model_is_refused() -> None:
    trace = generate_trace(Activity(0.1), 4, 2, 64)
    check_model(trace, FeedForwardWeights(2, 64, 16))
    with pytest.raises(InvalidInputError, match="the trace has 2 layers of 64 neurons, the model 3 of 64"):
        check_model(trace, FeedForwardWeights(3, 64, 16))


def test_bad_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "names.npz", bits=np.zeros((1, 1, 1)))
    np.savez(tmp_path / "type.npz", packed=np.zeros((1, 1, 1)), n_neurons=8)
    np.savez(tmp_path / "count.npz", packed=np.zeros((1, 1, 1), np.uint8), n_neurons=9)
    np.savez(tmp_path / "beyond.npz", packed=np.full((1, 1, 1), 255, np.uint8), n_neurons=5)
    np.savez(tmp_path / "shape.npz", active=np.zeros((2, 2), np.bool_))
    np.savez(tmp_path / "floats.npz", active=np.zeros((1, 1, 4)))
    np.savez(tmp_path / "object.npz", packed=np.array([None], dtype=object), n_neurons=8)
    np.savez(tmp_path / "many.npz", packed=np.zeros((1, 1, 1), np.uint8), n_neurons=[8, 8])
    for path in [*sorted(tmp_path.iterdir()), tmp_path / "missing.npz"]:
        with pytest.raises(InvalidInputError, match=path.name):
            load_trace(path)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "k = 1"),
        ([(2, 0.1)], "k = 1"),
        ([(1, -0.1)], "share from 0 to 1"),
        ([(1, float("nan"))], "share from 0 to 1"),
        ([(1, 0.1), (4, 0.3), (3, 0.2)], "sort the points"),
        ([(1, 0.1), (1, 0.2)], "sort the points"),
        ([(1, 0.3), (4, 0.2)], "cannot use fewer"),
    ],
)
def test_bad_curves_are_refused(points: list[tuple[int, float]], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        AggregatedUse(tuple(points))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(0, 30))
@settings(deadline=None)
def test_curves_rise_between_and_beyond_their_points(shares: list[float], k: int) -> None:
    use = AggregatedUse.of({1 + 3 * i: share for i, share in enumerate(sorted(shares))})
    assert 0 <= use.share(k) <= use.share(k + 1) <= 1
    assert use.new(k) == pytest.approx(use.share(k + 1) - use.share(k))
    assert all(use.share(1 + 3 * i) == share for i, share in enumerate(sorted(shares)))


def test_curves_are_powers_between_and_beyond_their_points() -> None:
    use = AggregatedUse.of({1: 0.1, 4: 0.2})
    assert [use.share(k) for k in (0, 1, 2, 4, 16, 10**6)] == pytest.approx([0, 0.1, 0.1 * 2**0.5, 0.2, 0.4, 1])
    assert AggregatedUse.of([0.3]).share(7) == 0.3
    assert [AggregatedUse.of({1: 0.0, 5: 0.4}).share(k) for k in (3, 5, 9)] == pytest.approx([0.2, 0.4, 0.4])


def test_figures_of_a_paper_become_a_curve() -> None:
    opt = sparsity_from_figures(0.033, 3, window=4, kept=0.24, new=0.024)
    assert opt.aggregated.new(4) == pytest.approx(0.024)
    assert opt.aggregated.share(4) == pytest.approx(0.24)
    assert opt.aggregated.new(0) == pytest.approx(opt.predicted) == pytest.approx(0.099)
    assert opt.aggregated.new(1) > opt.aggregated.new(2) > opt.aggregated.new(8)
    assert predicted_share(0.033, 0.05, 0.07) == pytest.approx(0.033 * 0.95 + 0.967 * 0.07)


@pytest.mark.parametrize(
    "arguments",
    [(1.5, 3, 4, 0.24, 0.024), (0.03, 0.5, 4, 0.24, 0.024), (0.03, 3, 0, 0.24, 0.024), (0.03, 3, 4, 0.99, 0.024),
     (0.03, 3, 4, 1.2, 0.024), (0.03, 3, 1, 0.24, 0.024), (0.2, 3, 4, 0.24, 0.024)],
)  # fmt: skip
def test_bad_figures_are_refused(arguments: tuple[float, float, int, float, float]) -> None:
    with pytest.raises(InvalidInputError):
        sparsity_from_figures(*arguments)


def test_bad_activity_is_refused() -> None:
    for arguments in ((-0.1,), (0.1, 1.5), (0.1, 0.5, -1.0)):
        with pytest.raises(InvalidInputError):
            Activity(*arguments)
    with pytest.raises(InvalidInputError, match="0 tokens"):
        generate_trace(Activity(0.1), 0, 1, 10)
    with pytest.raises(InvalidInputError):
        Sparsity(0.1, float("inf"), AggregatedUse.of([0.1]))
    with pytest.raises(InvalidInputError):
        predicted_share(0.1, 2.0, 0.0)


def test_a_real_model_is_recorded(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    from tierplan.sim.flash_record import SmallModel, record

    text = b"the window of the last k tokens keeps their neurons. " * 20
    model = SmallModel(n_layers=2, hidden=16, n_heads=2, n_neurons=48, context=32)
    untrained, trained = record(text, model, steps=0), record(text, model, steps=30)
    assert trained.loss < 0.8 * untrained.loss
    trace = trained.trace
    assert (trace.n_tokens, trace.n_layers, trace.n_neurons) == (32, 2, 48)
    assert 0.1 < trace.active_share < 0.9
    save_trace(trace, tmp_path / "real.npz")
    sparsity = measured_sparsity(load_trace(tmp_path / "real.npz"), 5)
    assert sparsity.predicted == pytest.approx(trace.active_share)
    assert sparsity.aggregated.new(4) < sparsity.aggregated.new(0) / 2
    with pytest.raises(InvalidInputError, match="a text of 3 bytes"):
        record(b"abc", model)
    with pytest.raises(InvalidInputError, match="heads"):
        SmallModel(hidden=10, n_heads=4)
