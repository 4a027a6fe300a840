"""The planner over mappings: as good as trying everything, and better than the published choices."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from test_sim_spatial_nest import small

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.fusemax_study import LENGTHS, MODELS, Study, layer
from tierplan.sim.spatial_energy import EnergyMode
from tierplan.sim.spatial_machine import load_spatial
from tierplan.sim.spatial_mapping import Choice
from tierplan.sim.spatial_read import load_specification
from tierplan.sim.spatial_search import evaluate, fastest, improve, least_traffic, smallest


@pytest.mark.parametrize("name", ["flat", "flat-deferred", "fusemax", "cascade"])
@pytest.mark.parametrize("buffer_bytes", [400, 1000, 10**6])
def test_as_good_as_trying_every_choice(name: str, buffer_bytes: int) -> None:
    spec = replace(load_specification(name), given=(), overflows=frozenset(), fits_in=None)
    machine = small(load_spatial(spec.hardware), buffer_bytes=buffer_bytes)
    sizes = {"B": 1, "H": 1, "E": 4, "F": 2, "M": 8, "P": 8}
    (phase,) = spec.phases
    optional = sorted(spec.optional)
    subsets = [frozenset(s) for n in range(len(optional) + 1) for s in itertools.combinations(optional, n)]
    orders = [[(bound.einsum, order) for order in bound.orders] for bound in phase.bound if len(bound.orders) > 1]
    found: list[tuple[float, float]] = []
    for p, on_chip, picked in itertools.product((1, 2, 4, 8), subsets, itertools.product(*orders)):
        choice = Choice({"p": p}, on_chip, dict(picked))
        try:
            cost = evaluate(spec, machine, sizes, choices=(choice,)).cost
        except InvalidInputError:
            continue
        found.append((cost.latency_s, cost.dram_bytes))
    ours = evaluate(spec, machine, sizes, key=fastest)
    assert (ours.cost.latency_s, ours.cost.dram_bytes) == pytest.approx(min(found), rel=1e-12)
    limit_s = max(found)[0]
    frugal = evaluate(spec, machine, sizes, key=least_traffic(limit_s)).cost
    assert frugal.dram_bytes == pytest.approx(min(traffic for latency, traffic in found if latency <= limit_s))
    again = evaluate(spec, machine, sizes, choices=ours.choices).cost
    assert (again.latency_s, again.dram_bytes, again.energy_j) == (
        ours.cost.latency_s, ours.cost.dram_bytes, ours.cost.energy_j,
    )  # fmt: skip


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(EnergyMode.ALL)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("length", [2**n for n in range(9, 21)])
def test_flat_is_beaten_in_traffic_with_no_more_latency(study: Study, model: str, length: int) -> None:
    """All 48 configurations that FLAT chose, the lengths between the evaluated ones too."""
    assert load_specification("flat").given_choice(model, layer(model, length).attention) is not None
    theirs = study.point(model, length, "flat")
    ours = study.planned(model, length, "flat", theirs.attention.latency_s)
    assert ours.attention.latency_s <= theirs.attention.latency_s * (1 + 1e-12)
    assert ours.attention.dram_bytes < theirs.attention.dram_bytes
    (choice,) = ours.mapped.choices
    held = ours.attention.footprint * (1 - choice.spilled)
    assert held <= theirs.machine.buffer_bytes * (1 + 1e-6)
    compulsory = 2 * 4 * 64 * layer(model, length).heads * length * layer(model, length).head
    assert ours.attention.dram_bytes >= compulsory


@pytest.mark.parametrize(("model", "length"), [("BERT", 65536), ("XLM", 1024)])
def test_the_smallest_buffer_keeps_the_latency_and_less_does_not_fit(model: str, length: int) -> None:
    study = Study(EnergyMode.ALL)
    usual = study.point(model, length, "fusemax")
    least = study.smallest_buffer(model, length, "fusemax", usual.attention.latency_s)
    assert least.attention.latency_s == pytest.approx(usual.attention.latency_s, rel=1e-12)
    assert least.attention.footprint < usual.attention.footprint
    spec = load_specification("fusemax")
    tight = usual.machine.with_buffer(least.attention.footprint)
    assert evaluate(spec, tight, layer(model, length).attention).cost.latency_s == usual.attention.latency_s
    tighter = usual.machine.with_buffer(least.attention.footprint - 1)
    slower = improve(spec, tighter, layer(model, length).attention, smallest(0.0)).cost
    assert slower.latency_s > usual.attention.latency_s


def test_deferred_division_is_faster_on_the_same_arrays() -> None:
    study = Study(EnergyMode.ALL)
    for length in LENGTHS[:4]:
        flat, deferred = study.planned("BERT", length, "flat"), study.planned("BERT", length, "flat-deferred")
        # three operations per score on the 1D array instead of four, and one division per value
        assert deferred.attention.latency_s == pytest.approx(flat.attention.latency_s * (3 + 64 / length) / 4, rel=1e-9)
