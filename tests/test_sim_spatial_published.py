"""Every published row that is kept, and the headlines, against the general evaluator."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest

from tierplan.sim.fusemax_reference import reference
from tierplan.sim.fusemax_study import CONFIGURATIONS, LENGTHS, MODELS, Point, Study, layer
from tierplan.sim.spatial_energy import EnergyMode
from tierplan.sim.spatial_layer import estimate
from tierplan.sim.spatial_machine import load_spatial
from tierplan.sim.spatial_read import load_specification
from tierplan.sim.spatial_search import evaluate

ROWS = {key: row for key, row in reference().rows.items() if key[0] == "attention"}
PRODUCTS = {key: row for key, row in reference().rows.items() if key[0] == "products"}


@pytest.fixture(scope="module")
def points() -> dict[tuple[str, str, int], Point]:
    study = Study(EnergyMode.COMPATIBLE)
    return {(p.configuration, p.model, p.length): p for p in study.points()}


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 5 * 2 * 6
    assert len(PRODUCTS) == 2 * 2 * 6
    assert {key[1] for key in ROWS} == set(CONFIGURATIONS)


@pytest.mark.parametrize("key", ROWS, ids=lambda key: "-".join(map(str, key[1:])))
def test_attention_rows(points: dict[tuple[str, str, int], Point], key: tuple[str, str, str, int]) -> None:
    _, configuration, model, length = key
    theirs, point = ROWS[key], points[configuration, model, length]
    cost = point.attention
    assert cost.dram_bytes == pytest.approx(theirs["dram_bytes"], rel=1e-9)
    assert cost.latency_s == pytest.approx(theirs["latency_s"], rel=1e-9)
    used, active = cost.utilization(point.machine), cost.active(point.machine)
    assert used["2d"] == pytest.approx(theirs["utilization_2d"], rel=1e-9)
    assert used["1d"] == pytest.approx(theirs["utilization_1d"], rel=1e-9)
    for name, share in theirs.items():
        if "[" in name:
            assert active[name[len("utilization_2d[") : -1]] == pytest.approx(share, rel=1e-9)
    assert cost.energy_j == pytest.approx(theirs["energy_j"], rel=1e-5 if length < 65536 else 2e-5)


@pytest.mark.parametrize("key", PRODUCTS, ids=lambda key: "-".join(map(str, key[1:])))
def test_product_rows(points: dict[tuple[str, str, int], Point], key: tuple[str, str, str, int]) -> None:
    _, machine, model, length = key
    configuration = {"flat-cloud": "flat", "fusemax-cloud": "fusemax"}[machine]
    ours = points[configuration, model, length].products
    assert ours.dram_bytes == pytest.approx(PRODUCTS[key]["dram_bytes"], rel=1e-9)
    assert ours.latency_s == pytest.approx(PRODUCTS[key]["latency_s"], rel=1e-9)
    assert ours.energy_j == pytest.approx(PRODUCTS[key]["energy_j"], rel=1e-6)


@pytest.mark.parametrize("headline", reference().headlines, ids=lambda h: f"{h.scope}-{h.baseline}")
def test_headlines(points: dict[tuple[str, str, int], Point], headline: object) -> None:
    scope, baseline = headline.scope, headline.baseline  # type: ignore[attr-defined]
    pairs = [(points[baseline, m, n], points["fusemax", m, n]) for m in MODELS for n in LENGTHS]
    assert len(pairs) == 24
    speedup = fmean(a.latency_s(scope) / b.latency_s(scope) for a, b in pairs)
    energy = fmean(b.energy_j(scope) / a.energy_j(scope) for a, b in pairs)
    assert speedup == pytest.approx(headline.speedup, rel=5e-3)  # type: ignore[attr-defined]
    assert energy == pytest.approx(headline.energy, rel=5e-3)  # type: ignore[attr-defined]


def test_a_search_per_head_serves_every_batch(points: dict[tuple[str, str, int], Point]) -> None:
    """TrXL's mapping was searched on BERT's heads; searching it afresh costs the same."""
    spec = load_specification("fusemax")
    fresh = evaluate(spec, load_spatial(spec.hardware), layer("TrXL", 65536).attention)
    kept = points["fusemax", "TrXL", 65536].attention
    assert (fresh.cost.latency_s, fresh.cost.dram_bytes) == (kept.latency_s, kept.dram_bytes)


def test_counting_everything_costs_more_and_most_on_fusemax() -> None:
    """The registers of all elements weigh on every configuration; the exponentials of +Cascade come back."""
    sizes = layer("BERT", 4096).attention
    rises: dict[str, float] = {}
    for name in CONFIGURATIONS:
        spec = load_specification(name)
        machine = load_spatial(spec.hardware)
        energies = [estimate(spec, machine, sizes, workload="BERT", mode=mode).energy_j for mode in EnergyMode]
        rises[name] = energies[0] / energies[1]
    assert min(rises.values()) > 1.05
    points = 64 * 12 * 4096 * 4096
    spec = load_specification("cascade")
    machine = load_spatial(spec.hardware)
    with_exp = estimate(replace(spec, uncounted=frozenset({"edge"})), machine, sizes, mode=EnergyMode.COMPATIBLE)
    without = estimate(spec, machine, sizes, mode=EnergyMode.COMPATIBLE)
    exps = points * (1 + 1 / 256)
    assert with_exp.energy_j - without.energy_j == pytest.approx(exps * 94.6475e-12, rel=1e-9)


def test_published_tiles_are_what_fits() -> None:
    """FuseMax's P1: the largest divisor of L / 256 for which the Q tile, RM, RD, RNV and a K and a V tile fit."""
    spec = load_specification("fusemax")
    machine = load_spatial(spec.hardware)
    for head in (32, 64, 128, 256):
        sizes = {"B": 1, "H": 1, "E": head, "F": head, "M": 2**18, "P": 2**18}
        (choice,) = evaluate(spec, machine, sizes).choices
        room = machine.buffer_bytes // 2 - 2 * 256 * head
        largest = max(p1 for p1 in (2**n for n in range(11)) if 256 * p1 * (2 * head + 2) <= room)
        assert choice.tiles["p"] == 256 * largest
