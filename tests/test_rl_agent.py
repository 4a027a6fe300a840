"""The agent: configurations, checkpoints, teachers, repeated layers, training that survives, and the planner."""

import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import small

from tierplan.ir.errors import InvalidInputError, TierplanError
from tierplan.ir.verify import violations
from tierplan.planner import greedy, msa
from tierplan.planner.contract import Budget
from tierplan.rl.agent.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tierplan.rl.agent.config import Training, check_same, read_training
from tierplan.rl.agent.repeats import period_of, tied
from tierplan.rl.agent.teacher import follow, known_plays, wishes_of
from tierplan.rl.game import Game
from tierplan.rl.muzero import plan as muzero
from tierplan.rl.program import program_of
from tierplan.rl.programs import read_program
from tierplan.sim.incremental.session import Simulated
from tierplan.tasks.contract import End, Ended, Task

if TYPE_CHECKING:
    from tierplan.rl.agent.episodes import Episodes

SMALL = "generator://convnet-v0/1?level=1"
TINY = f"""
programs: ["{SMALL}"]
teachers: []
plays: 2
simulations: 2
updates: 2
batch: 8
replay: 200
width: 8
blocks: 1
slots: 16
checkpoint_every: 1
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rounds: 3", "lacks 'programs'"),
        ("programs: [a]\nround: 3", "no key of .* is named 'round'|round"),
        ("programs: [a]\nrounds: many", "rounds: need int"),
        ("programs: [a]\ndiscount: 1.0", "discount is 1.0"),
        ("programs: []", "no programs"),
        ("programs: [a]\nteachers: [flwo]", "flow"),
        ("programs: [a]\nworkers: 2", "write parts: 2 or more"),
        ("programs: [a]\nplays: 16\nparts: 3", "16 plays in 3 parts"),
        ("- a", "keys and values"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_bad_configuration_is_told(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=says):
        read_training(path)


def test_a_changed_configuration_is_refused_but_more_rounds_are_not() -> None:
    before = Training(("a",), rounds=3).asdict()
    check_same(before, Training(("a",), rounds=5), "x")
    split = Training(("a",), parts=2)
    check_same(split.asdict(), replace(split, workers=2), "x")
    with pytest.raises(InvalidInputError, match="width = 64, the configuration says 32"):
        check_same(before, Training(("a",), width=32), "x")


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, Checkpoint({"x": np.arange(6).reshape(2, 3), "n": np.array(5)}, {"round": 3}))
    found = read_checkpoint(path)
    assert np.array_equal(found.arrays["x"], np.arange(6).reshape(2, 3))
    assert found.arrays["n"].shape == ()
    assert found.about["round"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_what_is_no_checkpoint_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(InvalidInputError, match="there is no checkpoint"):
        read_checkpoint(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidInputError, match="is no checkpoint"):
        read_checkpoint(path)
    monkeypatch.setattr("tierplan.rl.agent.checkpoint.VERSION", 99)
    write_checkpoint(path, Checkpoint({}, {}))
    monkeypatch.undo()
    with pytest.raises(InvalidInputError, match="version 99"):
        read_checkpoint(path)


def test_a_play_that_follows_a_plan_comes_near_it() -> None:
    problem = read_program("generator://training-v0/1?level=2")
    cost, game = Simulated(problem), Game(program_of(problem))
    found = msa.plan(problem, Budget(seconds=10.0, workers=1), cost=cost)
    assert found.plan is not None
    assert found.cost_s is not None
    wishes = wishes_of(game.program, found.plan)
    _, saved = follow(game, wishes)
    assert list(violations(problem, game.plan())) == []
    assert saved > 0.8 * (game.slow_s - found.cost_s)
    _, against = follow(game, np.full_like(wishes, 2))
    assert against < saved
    plays = known_plays(game, [found.plan])
    assert plays[0][0] == max(row[0] for row in plays) >= saved


def test_repeated_layers_are_found_and_tied() -> None:
    program = program_of(read_program("generator://transformer-v0/0?level=2"))
    first, period, times = period_of(program)
    assert times > 2
    rng = np.random.default_rng(0)
    for actions in tied(program, rng.integers(0, 3, program.n_visits)):
        blocks = actions[first : first + period * times].reshape(times, period)
        assert (blocks == blocks[0]).all()


def test_a_program_without_repetition_is_not_tied() -> None:
    program = program_of(read_program("generator://training-v0/2?level=0"))
    assert tied(program, np.zeros(program.n_visits, dtype=np.int64)) == []


def test_the_planner_returns_no_worse_than_its_start_where_it_cannot_play() -> None:
    problem = small.training(2, 0, tiers=3)
    start = msa.plan(problem, Budget(seconds=5.0, workers=1), cost=Simulated(problem))
    outcome = muzero(problem, Budget(seconds=1.0), start=start.plan, cost=Simulated(problem))
    assert start.cost_s is not None
    assert outcome.cost_s is not None
    assert outcome.cost_s <= start.cost_s
    assert any("two tiers, not 3" in note for note in outcome.notes)


@pytest.mark.slow
def test_the_planner_is_never_worse_than_msa() -> None:
    problem = read_program("generator://training-v0/1000?level=1")
    cost = Simulated(problem)
    start = msa.plan(problem, Budget(seconds=10.0, workers=1), cost=cost)
    assert start.cost_s is not None
    limit = Budget(seconds=600.0, evaluations=24)
    outcomes = [muzero(problem, limit, cost=cost) for _ in range(2)]
    for outcome in outcomes:
        assert outcome.plan is not None
        assert outcome.cost_s is not None
        assert list(violations(problem, outcome.plan)) == []
        assert outcome.cost_s <= start.cost_s
    assert outcomes[0].plan == outcomes[1].plan
    worse = greedy.plan(problem, Budget(seconds=10.0, workers=1), cost=cost)
    assert worse.cost_s is not None
    assert worse.cost_s > start.cost_s
    from_worse = muzero(problem, replace(limit, evaluations=1), start=worse.plan, cost=cost)
    assert from_worse.cost_s is not None
    assert from_worse.cost_s <= start.cost_s


def _start(config: Path, folder: Path, *more: str) -> "subprocess.Popen[str]":
    run = "from tierplan.cli import main; main()"
    line = [sys.executable, "-c", run, "train", str(config), "-o", str(folder), *more]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_training_that_was_killed_goes_on(tmp_path: Path) -> None:
    from tierplan.rl.agent.training import LOG, STATE, read_log, train

    config, folder = tmp_path / "tiny.yaml", tmp_path / "tiny"
    config.write_text(TINY + "rounds: 500\n")
    running = _start(config, folder)
    until = time.monotonic() + 900
    while not (folder / STATE).exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    saved: dict[str, Any] = read_checkpoint(folder / STATE).about
    assert saved["round"] >= 1
    rounds = saved["round"] + 2
    config.write_text(TINY + f"rounds: {rounds}\n")
    rows: list[dict[str, Any]] = []
    train(read_training(config), folder, resume=True, told=rows.append)
    assert [row["round"] for row in rows] == [saved["round"], saved["round"] + 1]
    assert [int(row["round"]) for row in read_log(folder / LOG)] == list(range(rounds))
    assert read_checkpoint(folder / STATE).about["round"] == rounds
    config.write_text(TINY.replace("width: 8", "width: 16") + f"rounds: {rounds}\n")
    with pytest.raises(InvalidInputError, match="width = 8"):
        train(read_training(config), folder, resume=True, told=rows.append)
    with pytest.raises(InvalidInputError, match="holds a training already"):
        train(read_training(config), folder, resume=False, told=rows.append)


def _episodes(saved_s: float) -> "Episodes":
    from tierplan.rl.agent.episodes import Episodes

    rows: Any = np.full((3, 1), saved_s)
    return Episodes(rows, rows, rows, rows, rows, rows, rows, np.array([saved_s]))


class _Backwards:
    """A pool in which the last task ends first."""

    def __init__(self, end: End = End.DONE) -> None:
        self.end = end

    def run(self, tasks: Iterable[Task]) -> Generator[Ended]:
        for task in reversed(list(tasks)):
            part: Any = task.payload[0]
            yield Ended(task.key, self.end, (_episodes(part.seed), 7, 1.5), "why")


def test_plays_come_in_order_whichever_worker_is_first(tmp_path: Path) -> None:
    from tierplan.rl.agent.player import Player, board_for
    from tierplan.rl.agent.search import Searching
    from tierplan.rl.agent.selfplay import Part, Stage, beside

    program = program_of(read_program(SMALL))
    player = Player(None, board_for(program, 1.0), program, Searching())
    parts = [Part(player, np.zeros((3, 1), np.int64), seed) for seed in range(12)]
    stage: Any = Stage(tmp_path / "w", _Backwards())  # pyright: ignore[reportArgumentType]
    found = stage.play(parts, Checkpoint({}, {}))
    assert [float(row.saved_s[0]) for row in found] == list(range(12))
    whole = beside(found)
    assert whole.saved_s.tolist() == whole.rewards[0].tolist() == list(range(12))
    assert stage.cpu_s == {7: 1.5}
    stage.pool = _Backwards(End.CRASHED)
    with pytest.raises(TierplanError, match="crashed: why; go on with --resume"):
        stage.play(parts, Checkpoint({}, {}))


@pytest.mark.slow
def test_two_workers_train_as_one_process_does(tmp_path: Path) -> None:
    from tierplan.rl.agent.training import STATE, train

    path = tmp_path / "tiny.yaml"
    path.write_text(TINY + f'parts: 2\nrounds: 2\nevaluate: ["{SMALL}"]\n')
    config = read_training(path)
    found: list[tuple[list[dict[str, Any]], dict[str, Any]]] = []
    for workers in (1, 2):
        rows: list[dict[str, Any]] = []
        folder = tmp_path / str(workers)
        train(replace(config, workers=workers), folder, resume=False, told=rows.append)
        assert not list(folder.glob(".*"))
        found.append(([row | {"cpu_s": ""} for row in rows], read_checkpoint(folder / STATE).arrays))
    (rows, arrays), (others, same) = found
    assert rows == others
    assert float(rows[-1]["evaluated"]) > 0
    assert arrays.keys() == same.keys()
    assert all(np.array_equal(arrays[name], same[name]) for name in arrays)
