"""`tierplan reproduce fusemax` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tierplan.commands.reproduce import PAPERS, reproduce
from tierplan.ir.errors import InvalidInputError


@pytest.fixture(scope="module")
def printed() -> dict[str, Any]:
    """The JSON of one run, in a process of its own."""
    code = "from tierplan.commands.reproduce import reproduce; reproduce('fusemax', as_json=True)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


def test_json_rows_have_the_promised_keys(printed: dict[str, Any]) -> None:
    keys = {"id", "model", "seq_len", "config", "quantity", "paper", "ours", "rel_error", "fitted"}
    assert printed["paper"] == "fusemax"
    assert all(set(row) == keys for row in printed["rows"])
    ids = [row["id"] for row in printed["rows"]]
    assert len(ids) == len(set(ids))
    assert not any(row["fitted"] for row in printed["rows"])


def test_json_compares_every_published_row(printed: dict[str, Any]) -> None:
    attention = [row for row in printed["rows"] if row["id"].startswith("fusemax/attention/")]
    points = {(row["config"], row["model"], row["seq_len"]) for row in attention}
    assert len(points) == 5 * 4 * 6
    compared = [row for row in attention if row["paper"] is not None]
    assert {row["model"] for row in compared} == {"BERT", "T5"}
    assert len(compared) == 12 * (5 * 5 + 2 + 2 + 5 + 5)
    for row in compared:
        assert row["rel_error"] == pytest.approx(row["ours"] / row["paper"] - 1)
        assert abs(row["rel_error"]) < (2e-5 if row["quantity"] == "energy_j" else 1e-9), row["id"]


def test_json_has_the_headlines(printed: dict[str, Any]) -> None:
    ours = {row["id"]: row for row in printed["rows"]}
    for identity, paper in (
        ("attention/flat/all/all/arithmetic/speedup", 6.723),
        ("attention/flat/all/all/arithmetic/energy", 0.7875),
        ("layer/flat/all/all/arithmetic/speedup", 5.302),
        ("layer/flat/all/all/arithmetic/energy", 0.8335),
    ):
        row = ours[f"fusemax/mean/{identity}"]
        assert row["paper"] == paper
        assert row["ours"] == pytest.approx(paper, rel=5e-3)


def test_fair_figures_and_better_mappings_stand_beside(printed: dict[str, Any]) -> None:
    rows = printed["rows"]
    fair = [
        row for row in rows if row["id"].startswith("fusemax/fair/attention/") and row["quantity"].endswith("speedup")
    ]
    assert [round(row["ours"], 2) for row in fair] == sorted((round(row["ours"], 2) for row in fair), reverse=True)
    assert all(1 < row["ours"] < 6.723 for row in fair)
    better = [row for row in rows if row["id"].startswith("fusemax/improvement/")]
    assert len(better) == 24 * 3
    assert all(row["ours"] <= row["paper"] * (1 + 1e-9) for row in better)


def test_tables_and_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "160")
    reproduce("fusemax", rows=True, plot=tmp_path / "figures", energy="all-pes")
    out = capsys.readouterr().out
    assert "6.723x" in out
    assert "Every point" in out
    assert "exact" in out
    assert "0.7875 of the energy as published, 0.8" in out
    drawn = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert drawn == ["fusemax-energy.png", "fusemax-speedup.png", "fusemax-utilization.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "figures").iterdir())


def test_mistakes_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"unknown paper 'fusmax'; did you mean 'fusemax'\?"):
        reproduce("fusmax")
    with pytest.raises(InvalidInputError, match="unknown way to count energy 'all'"):
        reproduce("fusemax", energy="all")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="is not a folder"):
        reproduce("fusemax", plot=tmp_path / "file")


def test_the_command_imports_nothing_heavy_early() -> None:
    code = (
        "import sys, tierplan.commands.reproduce; "
        "assert not {'numpy', 'matplotlib', 'yaml', 'lark', 'rich.table'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "fusemax" in PAPERS
