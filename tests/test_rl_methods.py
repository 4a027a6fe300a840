"""Players that do not learn: their budget, their order, and results that can be played again."""

from dataclasses import replace
from pathlib import Path

import pytest
import small

from tierplan.hardware.load import load_machine
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.verify import violations
from tierplan.rl.generate import generate
from tierplan.rl.methods.contract import Effort
from tierplan.rl.methods.registry import is_planner, method_names, play, replayed
from tierplan.rl.program import program_of
from tierplan.rl.result import read_results, write_results
from tierplan.sim.timeline import cost_s

PROBLEM = small.training(4, 0)
PROGRAM = program_of(PROBLEM)
PLAYERS = [name for name in method_names() if not is_planner(name)]


@pytest.mark.parametrize("name", [*PLAYERS, "msa", "greedy"])
def test_every_result_is_legal_and_can_be_played_again(name: str) -> None:
    result, plan = play(name, PROGRAM, Effort(evaluations=20))
    assert plan is not None
    assert list(violations(PROBLEM, plan)) == []
    assert result.time_s == pytest.approx(cost_s(PROBLEM, plan))
    assert replayed(PROBLEM, result) == []
    assert result.evaluations <= 21
    assert "time" not in "".join(replayed(PROBLEM, result))
    assert replayed(PROBLEM, replace(result, time_s=result.time_s * 1.01)) != []
    if not is_planner(name):
        worse = replace(result, actions=tuple(2 for _ in result.actions))
        assert replayed(PROBLEM, worse) != []


@pytest.mark.parametrize("name", PLAYERS)
def test_the_same_seed_plays_the_same(name: str) -> None:
    one, two = (play(name, PROGRAM, Effort(evaluations=10, seed=5))[0] for _ in range(2))
    assert one.actions == two.actions


def test_searching_beats_random_play() -> None:
    hard = program_of(generate("training-v0", 7, load_machine("tpu-v4i"), 1))
    times = {name: play(name, hard, Effort(evaluations=300))[0].time_s for name in PLAYERS if name != "beam"}
    assert times["anneal"] < times["random"]
    assert times["evolve"] < times["random"]
    assert times["anneal"] < times["greedy-play"]
    assert times["evolve"] < times["greedy-play"]


def test_results_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    results = [play(name, PROGRAM, Effort(evaluations=5), title="mine")[0] for name in ("random", "msa")]
    write_results(path, results[:1])
    write_results(path, results[1:])
    again = list(read_results(path))
    assert [(r.program, r.planner, r.time_s, r.plan_hash, r.actions) for r in again] == [
        (r.program, r.planner, r.time_s, r.plan_hash, r.actions) for r in results
    ]
    path.write_text(path.read_text().replace("random,0,", "random,zero,"))
    with pytest.raises(InvalidInputError, match="line 2: no result"):
        list(read_results(path))
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInputError, match="no column 'program'"):
        list(read_results(path))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'anneal'"):
        play("aneal", PROGRAM, Effort())


def test_a_beam_whose_budget_ends_early_still_plays_to_the_end() -> None:
    result, plan = play("beam", PROGRAM, Effort(evaluations=1))
    assert plan is not None
    assert len(result.actions) == PROGRAM.n_visits
