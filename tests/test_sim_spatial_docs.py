"""What docs/fusemax.md shows works, and its numbers are those that are computed."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean

import pytest

from tierplan.sim.fusemax_study import LENGTHS, MODELS, Study
from tierplan.sim.spatial_energy import EnergyMode
from tierplan.sim.spatial_machine import load_spatial
from tierplan.sim.spatial_read import read_specification
from tierplan.sim.spatial_search import evaluate

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "fusemax.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_python_block_runs() -> None:
    (example,) = blocks("python")
    exec(example, {})


def test_the_example_specification_is_costed() -> None:
    """One group: as long as its busier array, which is the 2D one, with no waiting in between."""
    (example,) = blocks("yaml")
    spec = read_specification(example, "example.yaml")
    machine = load_spatial(spec.hardware)
    cost = evaluate(spec, machine, {"B": 1, "H": 1, "E": 64, "F": 64, "M": 65536, "P": 65536}).cost
    per_tile = max(64 + 1 + 7 + 1 + 64, 1 + 7 + 1 + 1 + 64 + 64 + 64 / 256)
    assert cost.latency_s == pytest.approx(256 * 256 * per_tile / 940e6, rel=1e-12)


def test_the_figures_are_there() -> None:
    shown = re.findall(r"!\[.*?\]\((.*?)\)", TEXT)
    assert len(shown) == 3
    assert all((DOCS / path).read_bytes().startswith(b"\x89PNG") for path in shown)


def test_the_fair_figures_are_the_computed_ones() -> None:
    study = Study(EnergyMode.COMPATIBLE)
    labels = "FLAT mapped by our planner|the same, division deferred"
    rows = re.findall(rf"^\| ({labels}) \| ([\d.]+)x \| ([\d.]+)x \|", TEXT, re.MULTILINE)
    assert len(rows) == 2
    for label, *shown in rows:
        spec = "flat" if "planner" in label else "flat-deferred"
        for scope, figure in zip(("attention", "layer"), shown, strict=True):
            ratios = [
                study.planned(model, length, spec).latency_s(scope)
                / study.point(model, length, "fusemax").latency_s(scope)
                for model in MODELS
                for length in LENGTHS
            ]
            assert float(figure) == pytest.approx(fmean(ratios), abs=6e-4)


def test_the_shares_of_energy_are_the_computed_ones() -> None:
    rows = re.findall(r"^\| (attention|layer), of (FLAT|unfused) \| ([\d.]+) \| ([\d.]+) \|", TEXT, re.MULTILINE)
    assert len(rows) == 4
    for mode, column in ((EnergyMode.COMPATIBLE, 2), (EnergyMode.ALL, 3)):
        study = Study(mode)
        found = {(p.configuration, p.model, p.length): p for p in study.points()}
        for row in rows:
            shares = [
                found["fusemax", model, length].energy_j(row[0]) / found[row[1].lower(), model, length].energy_j(row[0])
                for model in MODELS
                for length in LENGTHS
            ]
            assert float(row[column]) == pytest.approx(fmean(shares), abs=6e-5)
