# pyright: basic
"""Training: rounds of play and learning that can end at any moment and be resumed."""

import csv
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
from numpy.typing import NDArray

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Ints
from tierplan.rl.agent.checkpoint import Checkpoint, fill_leaves, leaves_of, read_checkpoint, write_checkpoint
from tierplan.rl.agent.config import Training, check_same
from tierplan.rl.agent.episodes import FREE, Episodes
from tierplan.rl.agent.learning import Replay, learn, optimiser
from tierplan.rl.agent.network import N_FEATURES
from tierplan.rl.agent.player import Player, board_for, empty_network, model_named
from tierplan.rl.agent.pupils import Pupil, pupils_of
from tierplan.rl.agent.search import Searching
from tierplan.rl.agent.selfplay import Part, Stage, beside, open_stage
from tierplan.rl.agent.twin_tables import Sizes, sizes_of

STATE, AGENT, LOG, _WEIGHTS = "state.safetensors", "agent.safetensors", "log.csv", ".selfplay.safetensors"
FIELDS: tuple[str, ...] = (
    "round", "program", "cpu_s", "positions", "mean_saved", "best_saved", "policy_loss", "value_loss", "evaluated",
)  # fmt: skip


@dataclass(slots=True)
class _State:
    """All that a checkpoint holds."""

    network: Any
    optimiser: Any
    replay: Replay
    round: int = 0
    cpu_s: float = 0.0
    best: dict[str, Ints] = field(default_factory=dict[str, Ints])
    evaluated: float = -1.0


def train(config: Training, folder: Path, *, resume: bool, told: Callable[[dict[str, Any]], None]) -> None:
    """Train an agent in a folder: its state, its log, and the network that `--planner muzero` reads: the last, or that
    of the best evaluation.

    Raises: InvalidInputError: the folder holds another training, or none to resume; a program that cannot be played.
    """
    path = folder / STATE
    state = _blank(config)
    if resume:
        _restore(state, config, read_checkpoint(path), str(path))
    elif path.exists():
        raise InvalidInputError(f"'{folder}' holds a training already: go on with --resume, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    _cut_log(folder / LOG, state.round)
    pupils = pupils_of(config.programs, config)
    tests = pupils_of(config.evaluate, config)
    sizes = sizes_of([pupil.program for pupil in (*pupils, *tests)])
    began, before = time.process_time(), state.cpu_s
    with open_stage(config.workers, folder / _WEIGHTS) as stage:
        while state.round < config.rounds:
            row = _round(config, state, pupils, sizes, stage)
            state.round += 1
            state.cpu_s = before + time.process_time() - began + sum(stage.cpu_s.values())
            row |= {"cpu_s": f"{state.cpu_s:.1f}"}
            if tests and (state.round % config.evaluate_every == 0 or state.round == config.rounds):
                share = _evaluated(config, state, tests, sizes, stage)
                row["evaluated"] = f"{share:.5f}"
                if share > state.evaluated:
                    state.evaluated = share
                    write_checkpoint(folder / AGENT, _network(config, state))
            _log(folder / LOG, row)
            told(row)
            if state.round % config.checkpoint_every == 0 or state.round == config.rounds:
                _save(config, state, folder)


def _blank(config: Training) -> _State:
    network = empty_network(config.width, config.blocks, config.seed, config.model)
    start = optimiser(config.learning_rate).init(eqx.filter(network, eqx.is_array))
    return _State(network, start, Replay(config.replay, unroll=_unroll(config)))


def _unroll(config: Training) -> int:
    return config.unroll if config.model == "learned" else 0


def _restore(state: _State, config: Training, found: Checkpoint, where: str) -> None:
    check_same(found.about.get("config", {}), config, where)
    if found.about.get("features") != N_FEATURES:
        raise InvalidInputError(f"'{where}' is of another version of the agent: train again")
    state.network = fill_leaves(state.network, found.arrays, "network", where)
    state.optimiser = fill_leaves(state.optimiser, found.arrays, "optimiser", where)
    rows = {name: found.arrays[f"replay.{name}"] for name in state.replay.rows}
    state.replay = Replay(config.replay, int(found.about["n"]), int(found.about["at"]), _unroll(config), rows)
    state.round, state.cpu_s = int(found.about["round"]), float(found.about["cpu_s"])
    state.evaluated = float(found.about.get("evaluated", -1.0))
    state.best = {name[5:]: array for name, array in found.arrays.items() if name.startswith("best:")}


def _save(config: Training, state: _State, folder: Path) -> None:
    network = _network(config, state)
    whole = network.arrays | leaves_of(state.optimiser, "optimiser")
    whole |= {f"replay.{name}": rows for name, rows in state.replay.rows.items()}
    whole |= {f"best:{name}": actions for name, actions in state.best.items()}
    if not config.evaluate:
        write_checkpoint(folder / AGENT, network)
    about = network.about | {"n": state.replay.n, "at": state.replay.at, "evaluated": state.evaluated}
    write_checkpoint(folder / STATE, Checkpoint(whole, about))


def _network(config: Training, state: _State) -> Checkpoint:
    """The network with what describes it, as it is written for others to read."""
    shape = {"features": N_FEATURES, "width": config.width, "blocks": config.blocks, "discount": config.discount}
    about = {"config": config.asdict(), "round": state.round, "cpu_s": state.cpu_s, "model": config.model, **shape}
    return Checkpoint(leaves_of(state.network, "network"), about)


def _round(config: Training, state: _State, pupils: list[Pupil], sizes: Sizes, stage: Stage) -> dict[str, Any]:
    """Play one program, and learn; what the log says of it."""
    rng = np.random.default_rng([config.seed, state.round])
    pupil = pupils[int(rng.integers(_reach(config, state.round, len(pupils))))]
    best = state.best.get(pupil.name, pupil.taught)
    forced, n_taught = _forced(config, state.round, pupil, best)
    player, seeds = _player(config, state.network, pupil, sizes), rng.integers(2**31, size=config.parts)
    given = np.split(forced, config.parts, axis=1)
    parts = [Part(player, own, int(seed)) for own, seed in zip(given, seeds, strict=True)]
    played = beside(stage.play(parts, _network(config, state)))
    policy = played.policy.copy()
    policy[:, :n_taught] = np.eye(policy.shape[-1], dtype=np.float32)[played.actions[:, :n_taught]]
    state.replay.add(played, policy, config.discount)
    losses: NDArray[np.float32] = np.full(2, np.nan, np.float32)
    if config.updates:
        rows = state.replay.draw(config.updates, config.batch, rng)
        state.network, state.optimiser, told = learn(state.network, state.optimiser, rows, config.learning_rate)
        losses = np.asarray(told)
    free = [i for i in range(config.plays) if (forced[:, i] == FREE).all()]
    saved = [_keep_best(pupil, state, played, i) for i in range(config.plays)]
    own = [saved[i] for i in free] or saved
    return {
        "round": state.round, "program": pupil.name, "positions": int(played.live.sum()),
        "mean_saved": f"{np.mean(own) / pupil.reference_s:.5f}", "best_saved": f"{max(own) / pupil.reference_s:.5f}",
        "policy_loss": f"{losses[0]:.4f}", "value_loss": f"{losses[1]:.4f}", "evaluated": "",
    }  # fmt: skip


def _reach(config: Training, at: int, n: int) -> int:
    """How many programs are open, the shortest first: all of them from half of the rounds on."""
    if not config.curriculum:
        return n
    return min(n, 1 + int(2 * at / config.rounds * n))


def _forced(config: Training, at: int, pupil: Pupil, best: Ints) -> tuple[Ints, int]:
    """Shape [V, B]: actions of the teacher, then of the best play so far, then the agent's own."""
    forced = np.full((pupil.program.n_visits, config.plays), FREE, dtype=np.int64)
    share = config.imitation * max(0.0, 1.0 - at / config.imitate_rounds)
    n_taught, n_again = round(share * config.plays), round(config.reanalysis * config.plays)
    forced[:, :n_taught] = pupil.taught[:, None]
    forced[:, n_taught : n_taught + n_again] = best[:, None]
    return forced, n_taught


def _keep_best(pupil: Pupil, state: _State, played: Episodes, i: int) -> float:
    """Seconds that play i saves by the kernels of the game, which know drop-backup."""
    actions = np.where(played.live[:, i], played.actions[:, i], FREE).astype(np.int64)
    saved = pupil.game.replay(actions)
    own = pupil.game.played()
    if saved > pupil.game.replay(state.best.get(pupil.name, pupil.taught)):
        state.best[pupil.name] = own
    return saved


def _player(config: Training, network: Any, pupil: Pupil, sizes: Sizes, gumbel: float | None = None) -> Player:
    how = Searching(config.simulations, config.discount, config.gumbel if gumbel is None else gumbel)
    return Player(
        network, board_for(pupil.program, pupil.reference_s, sizes), pupil.program, how, model_named(config.model)
    )


def _evaluated(config: Training, state: _State, tests: list[Pupil], sizes: Sizes, stage: Stage) -> float:
    """What plays without noise save on programs that training never saw, over what the heuristics save; the mean."""
    parts = [
        Part(
            _player(config, state.network, pupil, sizes, 0.0),
            np.full((pupil.program.n_visits, config.plays // config.parts), FREE), 0,
        )
        for pupil in tests
    ]  # fmt: skip
    played = stage.play(parts, _network(config, state))
    shares = [float(found.saved_s[0]) / pupil.reference_s for found, pupil in zip(played, tests, strict=True)]
    return float(np.mean(shares))


def _log(path: Path, row: dict[str, Any]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def read_log(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a log."""
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def _cut_log(path: Path, rounds: int) -> None:
    """Take out of a log what came after the checkpoint."""
    if not path.exists():
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, FIELDS)
    writer.writeheader()
    writer.writerows(row for row in read_log(path) if (row["round"] or "").isdecimal() and int(row["round"]) < rounds)
    temporary = path.with_suffix(".csv.new")
    temporary.write_text(text.getvalue())
    os.replace(temporary, path)
