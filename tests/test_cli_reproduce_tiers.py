"""`tierplan reproduce flash` and `tierplan reproduce sn40l` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tierplan.commands.reproduce import PAPERS, reproduce
from tierplan.frontend.config import read_config
from tierplan.ir.errors import InvalidInputError
from tierplan.model_bytes import bytes_of, model_bytes
from tierplan.models import load
from tierplan.reproduce_sn40l import fused_speedups
from tierplan.reproduction import Row, row_of, show_kind, show_value
from tierplan.sim.reproduce_flash import flash_rows
from tierplan.sim.reproduce_rows import PaperRow
from tierplan.sim.reproduce_sn40l import sn40l_rows

KINDS = {"input", "fitted", "predicted", "not reproducible"}


def _rows_of(paper: str) -> tuple[PaperRow, ...]:
    if paper == "flash":
        return flash_rows(model_bytes("opt-6.7b"), model_bytes("falcon-7b"))
    return sn40l_rows(model_bytes("llama2-7b").total, fused=fused_speedups())


@pytest.mark.parametrize("paper", ["flash", "sn40l"])
def test_json_has_every_row_and_says_what_kind_it_is(paper: str, capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(paper, as_json=True)
    printed = {row["id"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    expected = {row.id: row for row in _rows_of(paper)}
    assert printed.keys() == expected.keys()
    assert {row["kind"] for row in printed.values()} == KINDS
    for name, row in expected.items():
        compared = ("paper", "ours", "ours_range", "rel_error", "fitted", "kind", "note")
        assert {key: printed[name][key] for key in compared} == {
            key: value for key, value in row.as_json().items() if key in printed[name] and key not in _OTHER
        }


_OTHER = {"id", "quantity", "source"}


def test_tables_mark_rows_and_leave_blank_what_is_not_reproducible(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    reproduce("flash")
    short = capsys.readouterr().out
    reproduce("flash", rows=True)
    full = capsys.readouterr().out
    assert "compute_s" not in short
    assert "compute_s" in full
    assert "needs 6.8 GB/s" in full
    assert "predicted*" in short
    gpu = next(line for line in short.splitlines() if "gpu all" in line and "io_s" in line)
    cells = [cell.strip() for cell in gpu.strip("│ ").split("│")]
    assert cells[3:] == ["30 ms", "", "", "not reproducible"]


def test_sn40l_shows_the_printed_ranges(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    reproduce("sn40l", rows=True)
    out = capsys.readouterr().out
    assert "31.25x" in out
    for word in ("the paper prints", "1.5x to", "1.17"):
        assert word in out


def test_the_commands_run_from_the_shell() -> None:
    from tierplan.cli import app

    for paper in PAPERS.keys() - {"fusemax"}:
        run = CliRunner().invoke(app, ["reproduce", paper])
        assert run.exit_code == 0, run.output


@pytest.mark.parametrize("paper", ["flash", "sn40l"])
def test_options_of_fusemax_are_refused(paper: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--energy is for 'fusemax'"):
        reproduce(paper, energy="all-pes")
    with pytest.raises(InvalidInputError, match="--plot is for 'fusemax'"):
        reproduce(paper, plot=tmp_path)


def test_inputs_and_missing_numbers_have_no_error() -> None:
    assert Row("x", "m", None, "c", "io_s", 2.0, None).rel_error is None
    assert Row("x", "m", None, "c", "io_s", 2.0, 2.0, kind="input").rel_error is None
    assert Row("x", "m", None, "c", "io_s", 2.0, 3.0, kind="predicted").rel_error == 0.5
    starred = [row_of(row, "m", "c") for row in _rows_of("flash") if row.id == "flash/table2/bundling/io"]
    assert [show_kind(row) for row in starred] == ["predicted*"]
    assert show_value("throughput_bytes_per_s", 1.25e9) == "1.25 GB/s"


def test_bytes_follow_the_width_of_the_elements() -> None:
    opt = read_config(load("opt-6.7b"), "opt-6.7b")
    assert bytes_of(opt, 16).total == model_bytes("opt-6.7b").total == 2 * 6_658_473_984
    assert bytes_of(opt, 32).total == 2 * bytes_of(opt, 16).total
    with pytest.raises(InvalidInputError, match="8 experts per layer"):
        model_bytes("mixtral-8x7b")
