"""`tierplan calibrate`: what it writes, and what it refuses; and what plans say of machines with and without."""

import json
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("scipy")

from measured import products, write
from test_cli_commands import Run, run

from tierplan.hardware.build import read_hardware
from tierplan.hardware.calibration_text import calibration_text, remarks_of, with_calibration
from tierplan.hardware.load import load_machine, read_source
from tierplan.ir.errors import InvalidInputError

__all__ = ["run"]


def test_it_writes_a_machine_that_plans_use(run: Run, tmp_path: Path) -> None:
    rows, target = write(tmp_path / "rows.parquet", products(400)), tmp_path / "mine.yaml"
    ran = run("calibrate", "--from", str(rows), "--device", "h100", "-o", str(target), "--json")
    assert (ran.code, ran.err) == (0, "")
    told = json.loads(ran.out)
    (found,) = told["fits"]
    assert (found["kind"], found["dtype"], found["fitted_on_rows"]) == ("gemm", "bfloat16", 76)
    assert found["held_out"]["rows"] == 324
    assert found["held_out"]["mape"] < found["peak_rates"]["mape"]
    machine = load_machine(str(target))
    assert machine.calibration is not None
    before = load_machine("h100").calibration
    assert before is not None
    assert machine.calibration.gemm["bfloat16"] != before.gemm["bfloat16"]
    assert machine.calibration.decode == before.decode
    text = target.read_text()
    assert "# held out: MAPE" in text
    assert "# NVIDIA H100 Tensor Core GPU data sheet" in text
    plan = str(tmp_path / "plan.json")
    planned = run("plan", "gpt2", "-H", str(target), "--context", "64", "--planner", "greedy", "-o", plan)
    assert planned.code == 0
    assert "starting kernels" in planned.out
    for told_again in (planned.out, run("simulate", plan).out):
        assert "predicted" in told_again
        assert "uncalibrated" not in told_again


def test_without_a_device_the_rows_tell_it_and_nothing_is_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write(tmp_path / "rows.parquet", products(400))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    ran = run("calibrate", "--from", str(rows))
    assert (ran.code, ran.err) == (0, "")
    assert "h100: errors of rows that were not fitted on" in ran.out
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--device", "h100"), "give those with --from FILE"),
        (("--from", "none.parquet"), "no file 'none.parquet'"),
        (("--from", "few.parquet"), "too few"),
        (("--from", "few.parquet", "--device", "h10"), "did you mean 'h100'?"),
        (("--from", "few.parquet", "--device", "laptop"), "add 'calibration:' with 'units: 132'"),
        (("--from", "few.parquet", "--share", "80%"), "at most half of the rows"),
        (("--from", "few.parquet", "--share", "much"), "'much'"),
        (("--from", "few.parquet", "--from", "few.parquet"), "two files have rows of gemm in bfloat16"),
        (("--from", "other.parquet"), "the rows are of Some GPU, for which no machine is built in"),
        (("--from", "types.parquet"), "nothing to fit"),
    ],
)
def test_bad_input_writes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "few.parquet", products(60))
    write(tmp_path / "other.parquet", {**products(60), "device": ["Some GPU"] * 60})
    write(tmp_path / "types.parquet", products(60, dtype="fp8_block"))
    before = sorted(tmp_path.iterdir())
    ran = run("calibrate", *arguments, "-o", "out.yaml")
    assert ran.code == 2
    assert told in ran.err
    assert len(ran.err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_is_there_is_not_replaced_unasked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "few.parquet", products(60))
    (tmp_path / "h100.yaml").write_text("mine")
    ran = run("calibrate", "--from", "few.parquet", "--device", "h100")
    assert ran.code == 2
    assert "'h100.yaml' exists; name the file to write with -o" in ran.err


def test_plans_of_other_machines_say_that_they_are_not_calibrated(run: Run) -> None:
    arguments = ("gpt2", "--context", "64", "--planner", "greedy")
    told = {name: json.loads(run("plan", *arguments, "-H", name, "--json").out) for name in ("h100", "laptop")}
    assert told["h100"]["predicted"]["calibrated"] is True
    assert told["laptop"]["predicted"]["calibrated"] is False
    assert ", uncalibrated" in run("plan", *arguments, "-H", "laptop").out


@pytest.mark.parametrize("name", ["a100", "b200", "gb200", "h100", "h200", "l40s", "rtx-pro-6000"])
def test_what_is_written_is_what_was_read(name: str) -> None:
    file, text = read_source(name)
    calibration = read_hardware(text, file).machine.calibration
    assert calibration is not None
    remarks = remarks_of(text)
    assert with_calibration(text, calibration, remarks) == text
    assert all("held out: MAPE" in remark for remark in remarks.values())
    assert set(remarks) == {(kind, dtype) for kind in ("gemm", "prefill", "decode", "moe", "collective")
                            for dtype in calibration.of(kind)}  # fmt: skip
    assert "calibration:\n  units: " in calibration_text(calibration, {})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("launch: 2.", "lunch: 2.", "calibration.gemm.bfloat16: unknown key 'lunch'; did you mean 'launch'?"),
        ("copies: ", "copys: ", "did you mean 'copies'?"),
        ("launch: 2.695 us", "launch: 2.695", "'launch' needs a duration with its unit, like '2.5 us'"),
        ("launch: 2.695 us", "launch: 2.695 s/m", "unknown unit"),
        ("swizzle: ", "swizzle: -", "'swizzle' is -"),
        ("throttle_ops: 2.029e+12, ", "", "missing key 'throttle_ops'"),
        ("groups_windows: true", "groups_windows: 1", "'groups_windows' must be true or false"),
        ("units: 132", "units: 0", "calibration.units"),
        ("units: 132", "unit: 132", "unknown key 'unit'; did you mean 'units'?"),
        ("cache: 50 MB", "cache: 50", "need a size with its unit"),
        ("    float8_e4m3fn:", "    float9:", "float9"),
        ("    all_gather:", "    all_gathr:", "did you mean 'all_gather'?"),
    ],
)
def test_mistakes_in_the_section_are_told_with_their_place(old: str, new: str, told: str) -> None:
    text = read_source("h100")[1]
    assert old in text
    with pytest.raises(InvalidInputError) as caught:
        read_hardware(text.replace(old, new), "h100.yaml")
    assert told in str(caught.value)
    assert str(caught.value).startswith("h100.yaml:")
