"""`tierplan play`: methods side by side, results that are played again, and what is refused."""

import json
from pathlib import Path

import pytest
from test_cli_commands import Run, run

__all__ = ["run"]
PROGRAM = "generator://convnet-v0/3?level=0"
FEW = ("--methods", "random,greedy-play,msa", "--evaluations", "5")


def test_methods_are_shown_side_by_side(run: Run) -> None:
    shown = run("play", PROGRAM, *FEW, "--render")
    assert shown.code == 0
    assert all(name in shown.out for name in ("random", "greedy-play", "msa", "decisions", "legal: "))
    found = json.loads(run("play", PROGRAM, *FEW, "--json").out)
    assert [row["planner"] for row in found["results"]] == ["random", "greedy-play", "msa"]
    assert all(float(row["time_s"]) > 0 for row in found["results"])


def test_results_are_played_again(run: Run, tmp_path: Path) -> None:
    assert run("play", PROGRAM, *FEW, "-o", "results.csv").code == 0
    ran = run("play", "--validate", "results.csv")
    assert (ran.code, ran.out) == (0, "3 of 3 results are as they say\n")
    file = tmp_path / "results.csv"
    lines = file.read_text().splitlines()
    fields = lines[1].split(",")
    fields[5] = str(float(fields[5]) * 0.5)
    file.write_text("\n".join([lines[0], ",".join(fields), *lines[2:]]) + "\n")
    ran = run("play", "--validate", "results.csv")
    assert ran.code == 1
    assert "line 2: random" in ran.out
    assert "2 of 3 results are as they say" in ran.out


def test_a_machine_file_and_a_model_can_be_named(run: Run) -> None:
    assert run("play", PROGRAM, "-H", "bench.yaml", *FEW).code == 0


def test_names_are_listed(run: Run) -> None:
    shown = run("play", "--list")
    assert "train  suite://train/bert-8x512" in shown.out
    assert "anneal" in shown.out
    assert len(json.loads(run("play", "--list", "--json").out)["splits"]["test"]) >= 20


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no program to play"),
        (("suite://bert",), "unknown program of the suite 'bert'"),
        ((PROGRAM, "--methods", "aneal"), "did you mean 'anneal'"),
        ((PROGRAM, "--methods", ","), "--methods names none"),
        ((PROGRAM, "--evaluations", "0"), "0 evaluations"),
        ((PROGRAM, "-o", "nowhere/x.csv"), "no folder 'nowhere'"),
        (("--validate", "nowhere.csv"), "cannot read 'nowhere.csv'"),
    ],
)
def test_bad_input_is_told_in_one_line(run: Run, arguments: tuple[str, ...], says: str) -> None:
    ran = run("play", *arguments)
    assert ran.code == 2
    assert says in ran.err
    assert ran.err.count("\n") == 1
