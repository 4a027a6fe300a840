"""`benchmarks/mallocgame.py`: the same rows by one process and by two, and nothing is played twice."""

import importlib
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from tierplan.ir.errors import InvalidInputError
from tierplan.rl.methods.contract import Effort

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import mallocgame

from tierplan.rl.result import Result, read_results

NAMES = ("generator://training-v0/1?level=0", "generator://convnet-v0/1?level=0")
EFFORT = Effort(evaluations=4)


def _rows(path: Path, workers: int, methods: tuple[str, ...] = ("random", "anneal"), seeds: int = 2) -> list[Result]:
    mallocgame.measure(NAMES, methods, seeds, EFFORT, 0.0, path, workers)
    return list(read_results(path))


def test_two_workers_write_the_rows_of_one_and_a_second_run_plays_only_what_is_new(tmp_path: Path) -> None:
    one, two = _rows(tmp_path / "1.csv", 1), _rows(tmp_path / "2.csv", 2)
    assert len(one) == 8
    told = [(r.program, r.planner, r.seed, r.time_s, r.plan_hash, r.actions) for r in one]
    assert told == [(r.program, r.planner, r.seed, r.time_s, r.plan_hash, r.actions) for r in two]
    assert all(math.isfinite(r.time_s) for r in one)
    journal = tmp_path / "2.journal"
    before = journal.read_bytes()
    (tmp_path / "2.csv").unlink()
    assert _rows(tmp_path / "2.csv", 1) == two
    assert journal.read_bytes() == before
    more = _rows(tmp_path / "2.csv", 1, seeds=3)
    assert len(more) == 12
    assert set(two) < set(more)
    assert journal.read_bytes().startswith(before)


def test_rows_without_their_journal_or_under_another_budget_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("")
    with pytest.raises(InvalidInputError, match="has no journal"):
        _rows(path, 1)
    path.unlink()
    _rows(path, 1, methods=())
    with pytest.raises(InvalidInputError, match="other tasks"):
        mallocgame.measure(NAMES, (), 1, Effort(evaluations=5), 0.0, path, 1)


def test_rows_of_the_agent_are_kept_and_told_against_msa(tmp_path: Path) -> None:
    mallocgame_agent: Any = importlib.import_module("mallocgame_agent")
    rows = mallocgame_agent.Rows(tmp_path / "rows.csv")
    for name, method, time_s, bound_s in (
        ("a", "msa", 2.0, 1.0), ("a", "agent", 1.0, 1.0), ("b", "msa", 1.0, 0.99), ("b", "agent", 0.5, 0.99),
        ("c", "msa", 2.0, 1.0), ("c", "agent", 4.0, 1.0),
    ):  # fmt: skip
        values = (name, 9, method, 0, 1.5, 3, time_s, bound_s)
        rows.add(dict(zip(mallocgame_agent.FIELDS, values, strict=True)))
    again = mallocgame_agent.Rows(tmp_path / "rows.csv")
    assert again.known == rows.known
    assert mallocgame_agent.roomy(again) == ["a", "c"]  # of b, the bound leaves 1%
    told = list(mallocgame_agent.summary(again))
    assert told[0] == "2 programs with room of 4.05%, of 3"
    agent = next(line for line in told if line.startswith("agent")).split()
    assert agent[:3] == ["agent", "2", "1.0000"]  # halved once, doubled once
    assert agent[6:8] == ["1", "150.00%"]  # slower than msa on one; gaps of 0 and 300%
