"""`tierplan sweep` on the command line: a run, what it shows, and every mistake before a point runs."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from sweep_specs import spec, write_inputs
from test_cli_commands import Run, run

from tierplan.cli import main

__all__ = ["run"]

ONE: dict[str, Any] = {
    "hardware": [{"base": "bench.yaml", "set": {"tiers.near.capacity": ["200 B", "500 B", "1 kB"]}}],
    "planners": "greedy",
}


@pytest.fixture(autouse=True)
def inputs(run: Run, tmp_path: Path) -> None:
    write_inputs(tmp_path)


def test_a_sweep_runs_shows_and_goes_on(run: Run, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(spec(**ONE))
    ran = run("sweep", "s.yaml", "-o", "out", "--workers", "1")
    assert (ran.code, ran.err) == (0, "")
    assert "out: 3 points: 3 with a plan" in ran.out
    assert "Pareto front of time, cost" in ran.out
    before = (tmp_path / "out" / "journal.jsonl").read_bytes()
    again = run("sweep", "s.yaml", "-o", "out", "--json")
    assert (again.code, again.err) == (0, "")
    told = json.loads(again.out)
    assert (told["points"], told["planned"], told["ends"], told["errors"]) == (3, 3, {"done": 3}, [])
    assert {row["tiers.near.capacity"] for row in told["front"]} == {200.0, 500.0, 1000.0}
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == before
    shown = run("sweep", "--show", "out", "--all")
    assert shown.code == 0
    assert "drawn: out/pareto.png" in shown.out
    assert (tmp_path / "out" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    shown = run("sweep", "--show", "out", "--map", "near.capacity,planner")
    assert (shown.code, shown.err) == (2, shown.err)
    assert "unknown axis 'planner'" in shown.err
    (tmp_path / "s.yaml").write_text(spec())
    refused = run("sweep", "s.yaml", "-o", "out")
    assert refused.code == 2
    assert "'out' holds the results of another spec (other 'hardware')" in refused.err


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"planner": "greedy"}, (), "unknown key 'planner'; did you mean 'planners'?"),
        ({"planners": ["gredy"]}, (), "planners: unknown planner 'gredy'; did you mean 'greedy'?"),
        ({"planners": []}, (), "planners: an empty list"),
        ({"models": ["gtp2"]}, (), "models: no model 'gtp2'; did you mean 'gpt2'?"),
        ({"models": ["gpt2"], "phases": ["serve"]}, (), "phases: unknown phase 'serve'"),
        ({"models": ["gpt2"], "dtypes": ["bf61"]}, (), "bf61"),
        ({"phases": ["decode"]}, (), "--phase means nothing for a list of buffers"),
        ({"budgets": ["10"]}, (), "a budget is a time like '10 s', or '200 evaluations'"),
        ({"limits": {"memory": "4 GiBs"}}, (), "limits.memory: unknown unit 'GiBs'"),
        ({"hardware": ["laptp"]}, (), "no hardware file and no built-in hardware 'laptp'; did you mean 'laptop'?"),
        ({"hardware": [{"base": "laptop", "set": {"tiers.vrm.capacity": "1 GB"}}]}, (), "did you mean 'vram'?"),
        ({"hardware": ["laptop"], "points": {"search": 3}}, (), "'laptop' has no price for any tier"),
        ({}, ("-o", "bench.yaml"), "'bench.yaml' is a file; name a folder"),
        ({}, ("-o", "bench.yaml/inner"), "cannot write the folder 'bench.yaml/inner'"),
        ({}, ("--workers", "0"), "--workers 0: need at least 1"),
        ({}, ("--plot", "x.png"), "run the sweep first"),
        ({}, ("--show", "x"), "name a spec to run"),
        ({}, ("--ray", "nowhere"), "'nowhere' is no address of a Ray cluster"),
    ],
)
def test_mistakes_are_told_before_a_point_runs(
    run: Run, tmp_path: Path, changes: dict[str, Any], options: tuple[str, ...], message: str
) -> None:
    (tmp_path / "s.yaml").write_text(spec(**changes))
    before = sorted(path.name for path in tmp_path.iterdir())
    if "--ray" in options:
        pytest.importorskip("ray")
    ran = run("sweep", "s.yaml", *options)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_ray_address_that_does_not_answer_is_told(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    ran = run("sweep", "sweep.yaml", "--ray", f"127.0.0.1:{port}")
    assert ran.code == 2
    assert f"the Ray cluster at '127.0.0.1:{port}' does not answer" in ran.err
    assert not (tmp_path / "results").exists()


def test_without_a_spec_or_a_folder_it_says_what_to_write(run: Run) -> None:
    assert "name a spec to run" in run("sweep").err
    assert "no file 'none.yaml'; docs/sweeps.md" in run("sweep", "none.yaml").err
    assert "'none' holds no results of a sweep" in run("sweep", "--show", "none").err
    assert "--workers means nothing with --show" in run("sweep", "--show", "none", "--workers", "2").err


def test_ray_may_stand_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from tierplan import cli

    with_addresses = cli._with_addresses  # pyright: ignore[reportPrivateUsage]
    assert main is cli.main
    assert with_addresses(["sweep", "s", "--ray"]) == ["sweep", "s", "--ray", "auto"]
    assert with_addresses(["sweep", "--ray", "--json", "s"]) == ["sweep", "--ray", "auto", "--json", "s"]
    assert with_addresses(["sweep", "--ray", "h:1", "s"]) == ["sweep", "--ray", "h:1", "s"]
