"""Every command through the command line: what it prints, its exit code, and the files it writes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tierplan
from tierplan.cli import main
from tierplan.hardware.load import load_machine
from tierplan.ir.plan_file import parse_plan

BUFFERS = "id,lower,upper,size\na,0,3,400\nb,1,4,300\nc,3,5,500\n"
HARDWARE = """\
schema: 1
name: bench
home: far
compute:
  matrix: {bfloat16: 1 Tflop/s}
  vector: {float32: 1 Tflop/s}
tiers:
  - {name: near, capacity: 64 kB, bandwidth: 100 GB/s}
  - {name: far, capacity: 1 MB, bandwidth: 1 GB/s}
links:
  - {from: far, to: near, bandwidth: 1 GB/s}
"""
FUNCTION = """\
import jax.numpy as jnp
import numpy as np
example_args = (np.zeros((8, 8), np.float32), np.zeros(8, np.float32))

def layer(w, x):
    return jnp.tanh(w @ x)

def branches(w, x):
    return x if x.sum() > 0 else w @ x
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in an empty folder with a few inputs."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("buffers.csv", BUFFERS), ("bench.yaml", HARDWARE), ("layers.py", FUNCTION)):
        (tmp_path / name).write_text(text, encoding="utf-8")

    def call(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["tierplan", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Ran(int(ended.value.code or 0), told.out, told.err)

    return call


def json_of(ran: Ran) -> dict[str, Any]:
    assert (ran.code, ran.err) == (0, "")
    value = json.loads(ran.out)
    assert isinstance(value, dict)
    return value


KEYS = {
    "model", "hardware", "planner", "status", "predicted", "bound_s", "gap", "limits", "tiers", "traffic", "planning_s",
}  # fmt: skip


def test_without_a_command_it_prints_its_help(run: Run) -> None:
    ran = run()
    assert (ran.code, ran.err) == (0, "")
    for command in ("plan", "compare", "simulate", "verify", "models", "hardware"):
        assert f" {command} " in ran.out


def test_version(run: Run) -> None:
    assert run("--version") == Ran(0, f"tierplan {tierplan.__version__}\n", "")


def test_plan_answers_in_order(run: Run) -> None:
    ran = run("plan", "gpt2", "--hardware", "laptop", "--context", "128", "--dtype", "bf16", "--budget", "1s")
    assert (ran.code, ran.err) == (0, "")
    found = [ran.out.index(word) for word in (
        "fits", "what lies where", "weights", "predicted", "tokens/s", "limited by", "bound", "gap", "planning",
    )]  # fmt: skip
    assert found == sorted(found)
    for tier in load_machine("laptop").tiers:
        assert tier.name in ran.out


def test_plan_as_json_has_the_promised_keys_and_true_sums(run: Run) -> None:
    row = json_of(
        run("plan", "gpt2", "-H", "laptop", "--context", "128", "--dtype", "bf16", "--budget", "1s", "--json")
    )
    assert set(row) >= KEYS
    assert set(row["predicted"]) >= {"time_s", "tokens_per_s", "energy_j"}
    assert (row["model"], row["hardware"], row["planner"]) == ("gpt2", "laptop", "auto")
    assert row["status"] in ("OPTIMAL", "FEASIBLE")
    assert row["predicted"]["tokens_per_s"] == pytest.approx(1 / row["predicted"]["time_s"])
    assert row["bound_s"] <= row["predicted"]["time_s"]
    assert row["gap"] == pytest.approx(row["predicted"]["time_s"] / row["bound_s"] - 1)
    assert sum(limit["share"] for limit in row["limits"]) == pytest.approx(1.0)
    assert [tier["name"] for tier in row["tiers"]] == ["vram", "ddr", "flash"]
    # 124,439,808 parameters of 2 bytes, and what a token needs beside them, lie somewhere.
    assert sum(tier["peak_bytes"] for tier in row["tiers"]) > 2 * 124_000_000
    assert all(set(flow) == {"from", "to", "bytes"} for flow in row["traffic"])


def test_a_plan_file_is_verified_and_simulated_again(run: Run, tmp_path: Path) -> None:
    planned = json_of(run("plan", "buffers.csv", "-H", "bench.yaml", "-o", "plan.json", "--json"))
    file = parse_plan((tmp_path / "plan.json").read_text(encoding="utf-8"), "plan.json")
    assert (file.version, file.hardware, file.planner) == (tierplan.__version__, "bench.yaml", "auto")
    assert file.model.startswith("buffers.csv")
    assert file.cost_s == planned["predicted"]["time_s"]
    legal = run("verify", "plan.json")
    assert legal.code == 0
    assert "legal" in legal.out
    assert json_of(run("verify", "plan.json", "--json")) == {
        "model": file.model, "hardware": "bench.yaml", "legal": True, "violations": [],
    }  # fmt: skip
    again = json_of(run("simulate", "plan.json", "--trace", "trace.json", "--json"))
    assert set(again) >= KEYS
    for key in ("predicted", "limits", "tiers", "traffic", "bound_s"):
        assert again[key] == planned[key]
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    table = run("simulate", "plan.json")
    assert table.code == 0
    assert "predicted" in table.out
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_verify_tells_the_broken_rule_and_exits_1(run: Run, tmp_path: Path) -> None:
    run("plan", "buffers.csv", "-H", "bench.yaml", "-o", "plan.json")
    rows = json.loads((tmp_path / "plan.json").read_text())
    for residency in rows["residencies"]:
        residency["offset"] = 0
    (tmp_path / "plan.json").write_text(json.dumps(rows))
    ran = run("verify", "plan.json")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith("overlap: ")
    assert "rules broken" in ran.out or "1 rule broken" in ran.out
    told = run("verify", "plan.json", "--json")
    row = json.loads(told.out)
    assert (told.code, row["legal"]) == (1, False)
    assert set(row["violations"][0]) == {"rule", "detail", "tensors", "start", "stop", "tier", "bytes"}
    assert {v["rule"] for v in row["violations"]} == {"overlap"}
    simulated = run("simulate", "plan.json")
    assert simulated.code == 2
    assert simulated.out == ""


def test_an_output_file_is_replaced_whole(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    target.write_text("something of mine")
    assert run("plan", "buffers.csv", "-H", "bench.yaml", "-o", "plan.json").code == 0
    parse_plan(target.read_text(), "plan.json")


def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK | os.X_OK)  # pyright: ignore[reportUnknownLambdaType]
    before = sorted(tmp_path.iterdir())
    for more in ((), ("--file-size", "64MiB")):
        ran = run(*(("calibrate", *more) if more else ("plan", "buffers.csv", "-H", "bench.yaml")), "-o", "mine.yaml")
        assert ran.code == 2
        assert ran.err == ("tierplan: cannot write 'mine.yaml': folder '.' is read-only, or not yours to write in\n")
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_file_stays_as_it_was_if_writing_fails(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "plan.json"
    target.write_text("something of mine")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    before = sorted(tmp_path.iterdir())
    ran = run("plan", "buffers.csv", "-H", "bench.yaml", "-o", "plan.json")
    assert ran.code == 2
    assert ran.err.startswith("tierplan: cannot write 'plan.json': ")
    assert target.read_text() == "something of mine"
    assert sorted(tmp_path.iterdir()) == before


def test_what_fits_nowhere_exits_1_with_the_bytes_that_lack(run: Run, tmp_path: Path) -> None:
    arguments = (
        "plan",
        "gpt2",
        "-H",
        "bench.yaml",
        "--context",
        "128",
        "--dtype",
        "bf16",
        "--budget",
        "1s",
        "-o",
        "plan.json",
    )
    ran = run(*arguments, "--json")
    row = json.loads(ran.out)
    assert (ran.code, ran.err) == (1, "")
    assert (row["status"], row["predicted"]) == ("INFEASIBLE", None)
    near, far = row["missing_bytes"]["near"], row["missing_bytes"]["far"]
    assert near - far == 10**6
    assert far > 2 * 124_000_000
    assert not (tmp_path / "plan.json").exists()
    table = run(*arguments)
    assert table.code == 1
    assert "does not fit" in table.out
    assert "missing" in table.out


def test_a_function_is_planned(run: Run) -> None:
    pytest.importorskip("jax")
    row = json_of(run("plan", "layers.py:layer", "-H", "bench.yaml", "--json"))
    assert row["status"] in ("OPTIMAL", "FEASIBLE")
    given = json_of(run("plan", "layers.py:layer", "-H", "bench.yaml", "--shapes", "f32[16,16],f32[16]", "--json"))
    assert given["bound_s"] > row["bound_s"]


def test_compare_puts_planners_side_by_side(run: Run) -> None:
    row = json_of(run("compare", "buffers.csv", "-H", "bench.yaml", "--planners", "greedy, greedy", "--json"))
    assert (row["model"], row["hardware"]) == ("buffers.csv", "bench.yaml")
    first, second = row["planners"]
    assert set(first) >= {"planner", "status", "predicted", "bound_s", "gap", "planning_s"}
    assert first["predicted"] == second["predicted"]
    table = run("compare", "buffers.csv", "-H", "bench.yaml", "--planners", "greedy")
    assert table.code == 0
    assert "greedy" in table.out


def test_models_and_hardware(run: Run) -> None:
    assert "llama2-7b" in run("models").out
    assert {m["name"]: m["parameters"] for m in json_of(run("models", "--json"))["models"]}["gpt2"] == 124_439_808
    assert "laptop" in run("hardware").out
    assert json_of(run("hardware", "--show", "bench.yaml", "--json"))["tiers"][0]["capacity_bytes"] == 64_000
    assert "tiers" in json_of(run("hardware", "--schema"))["properties"]


def test_a_planner_that_breaks_a_rule_is_reported_as_a_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from tierplan.ir.outcome import Outcome, Status
    from tierplan.ir.plan import Plan

    def wrong(*_: object, **__: object) -> Outcome:
        return Outcome("greedy", Status.FEASIBLE, Plan(), 1.0, 0.5, 0.0)

    monkeypatch.setattr("tierplan.pipeline.find_planner", lambda _: wrong)
    ran = run("plan", "buffers.csv", "-H", "bench.yaml", "-o", "plan.json")
    assert (ran.code, ran.out) == (1, "")
    assert "please report it" in ran.err
    assert ran.err.count("\n") == 1


def test_an_interrupt_ends_with_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tierplan.pipeline.lower", interrupted)
    assert run("plan", "buffers.csv", "-H", "bench.yaml") == Ran(130, "", "tierplan: interrupted\n")


def process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "import tierplan.cli; tierplan.cli.main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "buffers.csv").write_text(BUFFERS)
    (tmp_path / "bench.yaml").write_text(HARDWARE)
    good = process("plan", "buffers.csv", "-H", "bench.yaml", "-o", "plan.json", "--json", cwd=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["status"] in ("OPTIMAL", "FEASIBLE")
    bad = process("verify", "plan.jsn", cwd=tmp_path)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("tierplan: no file 'plan.jsn'")
    assert bad.stderr.count("\n") == 1
    debugged = process("--debug", "verify", "plan.jsn", cwd=tmp_path)
    assert debugged.returncode == 2
    assert "Traceback" in debugged.stderr
