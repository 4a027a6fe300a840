"""A sparse decode from flash: all ways give the same numbers, and read what the trace says, whatever the clock."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_cli_commands import Run, run

from tierplan.hardware.load import load_machine
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.execution import Burst, Execution, RowCost
from tierplan.ir.problem import Floats
from tierplan.measure_disk import random_pieces
from tierplan.run_flash import FlashRun, longest_window, neuron_file, run_flash, terms
from tierplan.run_flash_file import NeuronFile
from tierplan.run_flash_predict import FlashMachine, flash_machine, predict
from tierplan.run_flash_ways import FlashWay
from tierplan.scratch_file import BLOCK, scratch_file
from tierplan.sim.flash import read_s
from tierplan.sim.flash_bursts import burst_s
from tierplan.sim.flash_cache import run_window
from tierplan.sim.flash_fit import read_model_of
from tierplan.sim.flash_generate import Activity, generate_trace
from tierplan.sim.flash_trace import ActivationTrace, counts, save_trace

__all__ = ["run"]

SHAPES = [NeuronFile(2, 96, 1024), NeuronFile(3, 64, 600), NeuronFile(1, 300, 20)]  # whole blocks; padded; small rows
TRACE = {file: generate_trace(Activity(0.2, 0.6, 0.5), 12, file.n_layers, file.n_neurons) for file in SHAPES}


def ran(file: NeuronFile, folder: Path) -> FlashRun:
    window = run_window(TRACE[file], 3)
    return run_flash(
        file, TRACE[file], window, load_machine("laptop"), 4, folder, 0, lambda _what, _total: lambda _n: None
    )


def by_hand(file: NeuronFile, trace: ActivationTrace, inputs: Floats) -> Floats:
    """The same decode with all weights in memory, from the file's own bytes, in double precision."""
    data = np.concatenate([np.frombuffer(piece.cast("B"), dtype=np.float32) for piece in file.pieces(0)])
    assert data.nbytes == file.n_bytes
    outputs = []
    for token in range(trace.n_tokens):
        x = inputs[token].astype(np.float64)
        for layer in range(file.n_layers):
            begin = file.begin(layer, bundled=False) // 4
            both = data[begin : begin + file.apart // 4].reshape(2, file.n_neurons, -1)[:, :, : file.hidden]
            inner = np.maximum(both[0].astype(np.float64) @ x, 0) * trace.active(layer)[token]
            x = inner @ both[1].astype(np.float64)
            x = x / max(np.sqrt(np.mean(x**2)), 1e-6)
        outputs.append(x)
    return np.array(outputs)


@pytest.mark.parametrize("file", SHAPES, ids=str)
def test_all_ways_give_what_the_weights_give(file: NeuronFile, tmp_path: Path) -> None:
    found = ran(file, tmp_path)
    inputs = np.random.default_rng(0).standard_normal((12, file.hidden)).astype(np.float32)
    right = by_hand(file, TRACE[file], inputs)  # pyright: ignore[reportArgumentType]
    assert np.abs(right).max() > 1
    for _, measured in found.ways:
        assert measured.outputs == pytest.approx(right, abs=2e-4), measured.way
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", SHAPES, ids=str)
def test_each_way_reads_what_the_trace_says(file: NeuronFile, tmp_path: Path) -> None:
    trace = TRACE[file]
    named, new = counts(trace.words).sum(axis=1), run_window(trace, 3).loaded.sum(axis=1)
    reads = {measured.way: measured.reads.tolist() for _, measured in ran(file, tmp_path).ways}
    assert reads[FlashWay.SPARSE] == (2 * named).tolist()
    assert reads[FlashWay.WINDOW] == (2 * new).tolist()
    assert reads[FlashWay.BUNDLED] == new.tolist()
    assert set(reads[FlashWay.NAIVE]) == {file.n_layers * -(-file.apart // 2**20)}
    assert new.sum() < named.sum()


def test_rows_begin_and_end_on_blocks() -> None:
    file = NeuronFile(3, 64, 600)
    assert (file.row, file.bundle, file.neuron) == (BLOCK, 2 * BLOCK, 4800)
    assert NeuronFile(1, 8, 500).bundle == BLOCK  # both rows in one block
    assert file.begin(2, True) == 2 * (file.apart + 64 * file.bundle) + file.apart
    assert file.n_bytes == sum(len(piece.cast("B")) for piece in file.pieces(1))


def test_the_prediction_is_the_read_model_over_the_trace() -> None:
    file = SHAPES[0]
    trace, window = TRACE[file], run_window(TRACE[file], 3)
    tier = load_machine("laptop").tiers[2]
    product, store = RowCost(1e-5, 1e-8, 2e10), RowCost(4e-5, 1e-6, 1e9)
    machine = FlashMachine(read_model_of(tier, BLOCK), (), product, store, 8)
    bundled = predict(FlashWay.BUNDLED, machine, file, trace, window)
    expected = [[read_s(machine.read, n, file.bundle, 8) for n in row] for row in window.loaded.tolist()]
    assert bundled.read_s == pytest.approx(np.array(expected))
    assert bundled.manage_s == pytest.approx(4e-5 + window.loaded * (1e-6 + file.neuron / 1e9))
    assert bundled.compute_s == pytest.approx(1e-5 + window.held * (1e-8 + file.neuron / 2e10))
    sparse = predict(FlashWay.SPARSE, machine, file, trace, window)
    assert not sparse.manage_s.any()
    assert sparse.read_s.sum() > bundled.read_s.sum()
    bursts = (Burst(file.row, 8, ((1, 1e-4), (9, 9e-4))), Burst(2**20, 8, ((1, 1e-3),)))
    timed = replace(machine, bursts=bursts)
    window_only = predict(FlashWay.WINDOW, timed, file, trace, window).read_s
    assert window_only == pytest.approx(np.where(window.loaded > 0, 2e-4 * window.loaded, 0.0))
    naive = predict(FlashWay.NAIVE, timed, file, trace, window)
    assert naive.read_s == pytest.approx(np.full((12, 2), burst_s(bursts, 1, file.apart, 8)))
    assert naive.compute_s == pytest.approx(np.full((12, 2), product.time_s(file.n_neurons, file.neuron)))


def test_terms_are_medians_of_tokens_with_a_full_window(tmp_path: Path) -> None:
    found = ran(SHAPES[0], tmp_path)
    predicted, measured = found.ways[-1]
    by_name = {term.name: term for term in terms(found, predicted, measured)}
    assert list(by_name) == ["I/O", "memory management", "compute", "total"]
    io, manage = by_name["I/O"], by_name["memory management"]
    assert io.measured_s == pytest.approx(float(np.median(measured.read.wall_s[4:].sum(axis=1))))
    assert io.low_s <= io.measured_s <= io.high_s
    ratios = (measured.read.wall_s / np.where(predicted.read_s > 0, predicted.read_s, np.inf))[4:]
    least = float(np.quantile(ratios[ratios > 0], 0.1))
    assert io.undisturbed_s == pytest.approx(io.predicted_s * least)
    assert io.undisturbed_error == pytest.approx(1 / least - 1)
    assert manage.undisturbed_s == pytest.approx(float(np.median(measured.manage.cpu_s[4:].sum(axis=1))))
    assert by_name["I/O"].error == pytest.approx(by_name["I/O"].predicted_s / by_name["I/O"].measured_s - 1)
    total = (measured.read.wall_s + measured.manage.wall_s + measured.compute.wall_s).sum(axis=1)
    assert by_name["total"].measured_s == pytest.approx(float(np.median(total[4:])))
    naive = terms(found, *found.ways[0])
    assert naive[1].predicted_s == 0
    assert naive[1].error is None


def test_what_the_file_does_not_tell_of_rows_is_measured(tmp_path: Path) -> None:
    laptop, n_bytes = load_machine("laptop"), 2**23
    with scratch_file(tmp_path, n_bytes, random_pieces(n_bytes), lambda _n: None) as scratch:
        measured = flash_machine(laptop, None, scratch)
        told = Execution((Burst(4096, 8, ((1, 1e-4),)),), RowCost(1e-5, 0, 1e10), RowCost(2e-5, 0, 1e10))
        known = flash_machine(replace(laptop, execution=told), 3, scratch)
    assert measured.measured_now
    assert measured.bursts == ()
    assert measured.product.time_s(10, 8192) > 0
    assert measured.store.time_s(10, 8192) > 0
    assert (known.measured_now, known.threads) == (False, 3)
    assert (known.bursts, known.product, known.store) == (told.bursts, told.product, told.store)
    with (
        scratch_file(tmp_path, 2 * BLOCK, [b"x" * 2 * BLOCK], lambda _n: None) as scratch,
        pytest.raises(InvalidInputError, match=r"8\.192 kB are too little to measure what a store of neurons costs"),
    ):
        flash_machine(laptop, None, scratch)


def test_the_window_is_the_longest_that_fits() -> None:
    file = NeuronFile(2, 96, 1024)
    trace = generate_trace(Activity(0.2, 0.6, 0.5), 30, 2, 96)
    rows = {k: int(run_window(trace, k).most_held.sum()) for k in range(1, 9)}
    for k, held in rows.items():
        assert longest_window(trace, file, held * file.neuron + file.bundle + BLOCK, None).window >= k
    assert longest_window(trace, file, 10**9, None).window == 8
    assert longest_window(trace, file, 10**9, 5).window == 5
    with pytest.raises(InvalidInputError, match="--dram 10 kB is too little"):
        longest_window(trace, file, 10_000, None)
    with pytest.raises(InvalidInputError, match="--window 29: with 30 tokens, need 1 to 8"):
        longest_window(trace, file, 10**9, 29)


def test_models_and_shapes() -> None:
    assert neuron_file("synthetic:3x64x600", None) == NeuronFile(3, 64, 600)
    assert neuron_file("opt-125m", 2) == NeuronFile(2, 3072, 768)
    for model, layers, message in (
        ("llama2-7b", None, "has a gate"),
        ("mixtral-8x7b", None, "experts"),
        ("synthetic:3x", None, "no model 'synthetic:3x'"),
        ("opt-125m", 13, "--layers 13: 'opt-125m' has 12"),
        ("synthetic:0x64x64", None, "n_layers is 0"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            neuron_file(model, layers)


COMMAND = ("run-flash", "synthetic:2x128x1024", "--dram", "8MB", "--hardware", "laptop", "--tokens", "8")


def test_the_command_sets_predicted_beside_measured(run: Run, tmp_path: Path) -> None:
    shown = run(*COMMAND)
    assert shown.code == 0
    assert "tierplan writes 4.194 MB of random weights (2 layers of 128 neurons" in shown.err
    for way in FlashWay:
        assert way.value in shown.out
    save_trace(generate_trace(Activity(0.2), 8, 3, 128), tmp_path / "trace.npz")
    row = json.loads(run(*COMMAND, "--trace", "trace.npz", "--remeasure", "--json").out)
    assert [way["way"] for way in row["ways"]] == [way.value for way in FlashWay]
    assert {term["term"] for way in row["ways"] for term in way["terms"]} == {
        "I/O",
        "memory management",
        "compute",
        "total",
    }
    assert not any(path.name.startswith(".tierplan") for path in tmp_path.iterdir())


def test_bad_input_of_the_command(run: Run, tmp_path: Path) -> None:
    save_trace(generate_trace(Activity(0.2), 8, 2, 64), tmp_path / "other.npz")
    for more, message in (
        (("--trace", "other.npz"), "record a trace of this model"),
        (("--tokens", "3"), "--tokens 3; need 4 to 10000"),
        (("--file-size", "3MB"), "--layers 1 fits"),
        (("--file-size", "1MB"), "raise --file-size"),
        (("--folder", "nowhere"), "no folder 'nowhere'"),
        (("--hardware", "tpu-v4i"), "no tier like flash"),
        (("--hardware", "h10"), "did you mean 'h100'"),
        (("--io-threads", "0"), "0 reading threads"),
    ):
        refused = run(*COMMAND, *more)
        assert refused.code == 2, more
        assert message in refused.err
