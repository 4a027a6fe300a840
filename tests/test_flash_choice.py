"""How neurons are loaded from flash, as a choice of the problem that planners and the verifier share."""

import dataclasses

import numpy as np
import pytest

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.config import read_config
from tierplan.frontend.parts import FeedForward
from tierplan.frontend.transformer import language_model
from tierplan.frontend.weights import weights
from tierplan.hardware.load import load_machine
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Machine
from tierplan.ir.outcome import Status
from tierplan.ir.plan_file import PlanFile, parse_plan, print_plan
from tierplan.models import load, load_sparsity
from tierplan.pipeline import lower, plan, simulate, verify
from tierplan.planner.bounds import bounded_cases, first_bound
from tierplan.planner.cases import case_of
from tierplan.planner.contract import Budget
from tierplan.sim.flash import read_bandwidth
from tierplan.sim.flash_choice import FlashChoice, SparseLayer, with_choice
from tierplan.sim.flash_figures import ModelSparsity, read_sparsity
from tierplan.sim.flash_fit import read_model_of
from tierplan.sim.flash_ways import Kind, Pins, Way

OPT = read_sparsity(load_sparsity("opt-6.7b-relu"), "opt-6.7b-relu.yaml")


def machine(dram: float, name: str = "m1-max", tier: str = "unified") -> Machine:
    found = load_machine(name)
    tiers = tuple(dataclasses.replace(t, capacity=int(dram)) if t.name == tier else t for t in found.tiers)
    return dataclasses.replace(found, tiers=tiers)


def choice(
    dram: float, pins: Pins | None = None, sparsity: ModelSparsity = OPT, model: str = "opt-125m", context: int = 128
) -> FlashChoice:
    arch = read_config(load(model), model)
    assert isinstance(arch, Architecture)
    on = machine(dram)
    problem = lower(language_model(arch, phase="decode", batch=1, context=context, dtype=None), on)
    layers = [
        SparseLayer(layer.prefix, (layer.mlp.up.weight, layer.mlp.down.weight), arch.ffn)
        for layer in weights(arch).layers
        if isinstance(layer.mlp, FeedForward)
    ]
    return with_choice(problem, layers, sparsity, read_model_of(on.tiers[1]), 1, pins or Pins(), on.name)


def way_of(found: FlashChoice) -> Way:
    outcome = plan(found.problem, "m1-max", planner="greedy", budget=Budget(seconds=20))
    assert outcome.plan is not None
    assert verify(found.problem, outcome.plan) == []
    return found.ways[outcome.plan.taken[0].alternative]


def test_a_window_moves_what_the_paper_says() -> None:
    found = choice(9e9, Pins(window=4, bundled=True, threads=32), model="opt-6.7b")
    way = next(way for way in found.ways if way.per_read == 1)
    total = 32 * 16384 * 2 * 4096 * 2
    assert way.wanted == pytest.approx(0.024 * total, rel=1e-6)
    assert way.held == pytest.approx(0.24 * total, rel=1e-6)
    assert way.chunk == 16384
    assert way.io_s == pytest.approx(0.092, rel=0.01)  # arXiv 2312.11514v3, Table 3, Metal
    alternative = found.problem.choices[0].alternatives[found.ways.index(way)]
    assert alternative.reserved == (way.held + found.predictor, total)
    drawn = sum(effect.tier_read[1] for effect in alternative.effects if effect.tier_read)
    assert drawn == pytest.approx(way.moved, abs=64)


def test_time_is_reading_then_rewriting_then_streaming() -> None:
    found = choice(9e9, Pins(window=4, bundled=True, chunk=16384, threads=32), model="opt-6.7b")
    outcome = plan(found.problem, "m1-max", planner="greedy")
    assert outcome.plan is not None
    timeline = simulate(found.problem, outcome.plan)
    (way,) = found.ways
    resident = sum(found.problem.size[found.problem.access_tensor].tolist())  # each weight once, at 400 GB/s
    streamed = (resident + 0.12 * 8.59e9) / 400e9  # the first matrix hides behind the reads, the second does not
    assert timeline.time_s == pytest.approx(way.io_s + way.rewrite_s + streamed, rel=0.02)
    assert way.rewrite_s == pytest.approx(0.035, rel=0.01)


def test_reads_ahead_hide_behind_the_layer_and_dense_reads_behind_the_token() -> None:
    slow = dataclasses.replace(OPT, rewriting=None)
    pins = Pins(window=4, bundled=True, chunk=3072, threads=32)
    serial = choice(1e9, pins, slow)
    ahead = choice(1e9, pins, dataclasses.replace(slow, ahead=1))
    times: list[float] = []
    for found in (serial, ahead):
        outcome = plan(found.problem, "m1-max", planner="greedy")
        assert outcome.cost_s is not None
        times.append(outcome.cost_s)
    (way,) = ahead.ways
    assert times[1] < times[0]
    assert times[1] == pytest.approx(way.io_s, rel=0.08)  # compute is shorter than the reads, and hides behind them


def test_what_fits_is_chosen_and_no_other_alternative_that_fits_is_faster() -> None:
    small, large = choice(0.16e9), choice(0.18e9)
    few, many = way_of(small), way_of(large)
    assert few.window is not None
    assert many.window is not None
    assert few.window < many.window
    assert few.held < many.held
    assert (many.bundled, many.threads, many.per_read) == (True, 32, 1)
    assert way_of(choice(1e9)).kind is Kind.RESIDENT


def test_small_neurons_are_read_along_and_large_ones_are_not() -> None:
    small, large = (choice(9e9, Pins(window=0), model=model) for model in ("opt-125m", "opt-6.7b"))
    best = min(small.ways, key=lambda way: way.io_s)
    assert best.per_read > 1
    assert best.moved > best.wanted
    drive = read_model_of(machine(9e9).tiers[1])
    assert best.io_s == pytest.approx(best.moved / read_bandwidth(drive, best.chunk, best.threads), rel=0.01)
    alone = next(way for way in small.ways if way.per_read == 1 and way.threads == best.threads)
    assert best.io_s < alone.io_s
    assert min(large.ways, key=lambda way: way.io_s).per_read == 1


def test_attention_that_does_not_fit_is_read_from_flash_too() -> None:
    found = choice(0.9e9, Pins(window=0, bundled=True, chunk=8192, threads=32), model="opt-1.3b")
    outcome = plan(found.problem, "m1-max", planner="greedy")
    assert outcome.plan is not None
    assert any(copy.source == 1 for copy in outcome.plan.copies)
    assert verify(found.problem, outcome.plan) == []
    assert outcome.cost_s is not None
    assert outcome.bound_s <= outcome.cost_s
    assert outcome.bound_s > found.ways[0].io_s + 0.1e9 / 7.4e9  # the drive is busy with neurons, then with attention


def test_less_than_the_predictor_and_a_step_is_infeasible() -> None:
    found = choice(6e7)
    outcome = plan(found.problem, "m1-max", planner="greedy")
    assert outcome.status is Status.INFEASIBLE
    assert not bounded_cases(found.problem)


@pytest.mark.parametrize("planner", ["msa", "flow"])
def test_every_planner_takes_an_alternative_that_is_no_worse_than_the_first(planner: str) -> None:
    found = choice(0.175e9, Pins(bundled=True, chunk=3072))
    first = case_of(found.problem, [0])
    naive = plan(first.problem, "m1-max", planner="greedy").cost_s
    outcome = plan(found.problem, "m1-max", planner=planner, budget=Budget(seconds=1.0, evaluations=50))
    assert outcome.plan is not None
    assert outcome.cost_s is not None
    assert naive is not None
    assert outcome.cost_s < 0.7 * naive


def test_the_bound_is_that_of_the_best_case() -> None:
    found = choice(0.175e9)
    bounds = [first_bound(case_of(found.problem, [i]).problem) for i in range(len(found.ways))]
    fits = {bounded.case.taken[0] for bounded in bounded_cases(found.problem)}
    assert first_bound(found.problem) == min(bounds[i] for i in fits)
    assert fits < set(range(len(found.ways)))  # all neurons do not fit


def test_plan_files_carry_the_choice() -> None:
    found = choice(0.2e9, Pins(window=2, bundled=True))
    outcome = plan(found.problem, "m1-max", planner="greedy")
    assert outcome.plan is not None
    assert outcome.cost_s is not None
    file = PlanFile(
        "0", "opt", "m1-max", "greedy", outcome.status, outcome.cost_s, outcome.bound_s, found.problem, outcome.plan
    )
    again = parse_plan(print_plan(file), "plan.json")
    assert again.plan == outcome.plan
    assert again.problem.choices == found.problem.choices
    assert simulate(again.problem, again.plan).time_s == outcome.cost_s


def test_pins_leave_nothing_else_and_bad_ones_are_refused() -> None:
    found = choice(1e9, Pins(window=3, bundled=False, chunk=3072, threads=5))
    assert [(w.window, w.bundled, w.chunk, w.threads) for w in found.ways] == [(3, False, 3072, 5)]
    with pytest.raises(
        InvalidInputError, match=r"reads of 1 kB hold no whole neurons; write a multiple of 1\.5 KiB or 3 KiB"
    ):
        choice(9e9, Pins(chunk=1000))
    with pytest.raises(InvalidInputError, match="whole neurons"):
        choice(1e9, Pins(bundled=True, chunk=1536))
    with pytest.raises(InvalidInputError, match="a window of -1"):
        Pins(window=-1)
    with pytest.raises(InvalidInputError, match="0 I/O threads"):
        Pins(threads=0)


def test_feed_forward_weights_leave_the_problem_and_nothing_else_does() -> None:
    found = choice(1e9)
    arch = read_config(load("opt-125m"), "opt-125m")
    whole = lower(language_model(arch, phase="decode", batch=1, context=128, dtype=None), machine(1e9))
    gone = set(whole.tensor_names) - set(found.problem.tensor_names)
    assert len(gone) == 24
    assert all(name.endswith(("fc1.weight", "fc2.weight")) for name in gone)
    kept = ~np.isin(whole.tensor_names, sorted(gone))
    assert whole.size[kept].tolist() == found.problem.size.tolist()
    assert found.problem.step_names == whole.step_names
    t = whole.step_names.index("model.decoder.layers.3.fc1")
    a = slice(found.problem.access_start[t], found.problem.access_start[t + 1])
    names: list[str] = [found.problem.tensor_names[x] for x in found.problem.access_tensor[a].tolist()]
    assert [n.rsplit("layers.3.", 1)[1] for n in names] == ["final_layer_norm.output", "fc1.bias", "fc1.output"]
