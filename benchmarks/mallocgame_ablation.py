"""What each part of the agent is worth: training on one program without it, and work on one program without it.

    python benchmarks/mallocgame_ablation.py training -o ablation_training.csv
    python benchmarks/mallocgame_ablation.py solo -o ablation_solo.csv
    python benchmarks/mallocgame_ablation.py backup

`training`: a network from nothing on each program, as `tierplan train` does, all arms with the same rounds; a row a
round. `curriculum` arms train on all programs and are told by programs that they never saw.
`solo`: rl/agent/solo.py with the shipped network, all arms with the same processor time.
`backup`: how many random plays need drop-backup to go on.
"""

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.rl.agent.config import Training
from tierplan.rl.agent.player import read_player
from tierplan.rl.agent.solo import Solo, Ways
from tierplan.rl.agent.teacher import known_plays
from tierplan.rl.agent.training import train
from tierplan.rl.agent.twin_tables import sizes_of
from tierplan.rl.game import Game
from tierplan.rl.methods.contract import Best, Effort
from tierplan.rl.methods.strings import anneal
from tierplan.rl.muzero import SHIPPED
from tierplan.rl.program import Rules, program_of
from tierplan.rl.programs import program_names, read_program
from tierplan.sim.incremental.session import Simulated

PROGRAMS = ("generator://training-v0/1001?level=2", "generator://transformer-v0/1002?level=1")
TAUGHT = ("generator://convnet-v0/0?level=1", "generator://training-v0/1?level=1", "generator://training-v0/0?level=1",
          "generator://convnet-v0/3?level=2", "generator://training-v0/1?level=2")  # fmt: skip
UNSEEN = ("generator://training-v0/11?level=2", "generator://convnet-v0/11?level=1")
ARMS: dict[str, dict[str, Any]] = {
    "all": {},
    "2 simulations": {"simulations": 2},
    "32 simulations": {"simulations": 32},
    "learned model": {"model": "learned"},
    "no imitation": {"imitation": 0.0},
    "no reanalysis": {"reanalysis": 0.0},
}
SOLO: dict[str, dict[str, Any]] = {
    "all": {},
    "no search": {"searching": 0.0},
    "only search": {"searching": 1.0},
    "no learning": {"learns": False},
    "no policy in proposals": {"guided": 0.0},
    "no macro-actions": {"macros": 0.0},
    "as hot as annealing": {"hot": 0.5, "cold": 0.01},
    "proposals alone, all alike": {"searching": 0.0, "guided": 0.0},
    "the same, no macro-actions": {"searching": 0.0, "guided": 0.0, "macros": 0.0},
}
SOLO_PROGRAMS = ("generator://training-v0/1001?level=2", "generator://transformer-v0/1000?level=2",
                 "suite://test/resnet50-1")  # fmt: skip
FIELDS: tuple[str, ...] = ("arm", "program", "seed", "round", "cpu_s", "mean_saved", "best_saved", "evaluated")


def training(rounds: int, seeds: int) -> Iterator[dict[str, Any]]:
    """Rows of all arms."""
    common: dict[str, Any] = {
        "plays": 8, "updates": 16, "batch": 128, "replay": 20_000, "rounds": rounds, "imitate_rounds": rounds // 2,
        "checkpoint_every": rounds, "evaluate_every": rounds, "simulations": 8,
    }  # fmt: skip
    for seed in range(seeds):
        for arm, changes in ARMS.items():
            for program in PROGRAMS:
                config = Training(programs=(program,), seed=seed, **(common | changes))
                yield from _rows(arm, program, config)
        for curriculum in (False, True):
            rest: dict[str, Any] = common | {"evaluate_every": 10, "rounds": 2 * rounds, "curriculum": curriculum}
            config = Training(TAUGHT, evaluate=UNSEEN, seed=seed, **rest)
            yield from _rows("curriculum" if curriculum else "no curriculum", "unseen", config)


def _rows(arm: str, program: str, config: Training) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder), resume=False, told=rows.append)
    names = ("round", "cpu_s", "mean_saved", "best_saved", "evaluated")
    return [{"arm": arm, "program": program, "seed": config.seed} | {n: row[n] for n in names} for row in rows]


def solo(cpu_s: float, seeds: int) -> Iterator[dict[str, Any]]:
    """The share of the time of the play that it begins with that each arm leaves; annealing beside it."""
    programs = {name: program_of(read_program(name), Rules(slots=64)) for name in SOLO_PROGRAMS}
    sizes = sizes_of(programs.values())
    for name, program in programs.items():
        cost = Simulated(program.problem)
        plan = find_planner("msa")(program.problem, Budget(3600.0, workers=1), cost=cost).plan
        start = known_plays(Game(program), [] if plan is None else [plan])[0]
        player = read_player(SHIPPED, program, start[0], 8, sizes)
        for arm, changes in SOLO.items():
            for seed in range(seeds):
                best = Best(Game(program), Effort(10**9, cpu_s, seed), *start)
                agent = Solo(player, best, np.random.default_rng(seed), Ways(**changes))
                agent.warm()
                best.saved_s, best.actions, best.decisions, best.began = *start, 0, time.process_time()
                agent.run()
                yield _solo_row(arm, name, seed, best, start[0])
        for seed in range(seeds):
            best = Best(Game(program), Effort(10**9, cpu_s, seed))
            anneal(best, np.random.default_rng(seed))
            yield _solo_row("annealing", name, seed, best, start[0])


def _solo_row(arm: str, program: str, seed: int, best: Best, start_s: float) -> dict[str, Any]:
    slow_s = best.game.slow_s
    share = (slow_s - best.saved_s) / (slow_s - start_s)
    return {"arm": arm, "program": program, "seed": seed, "cpu_s": best.effort.cpu_s, "evaluated": f"{share:.5f}"}


def backup(plays: int) -> Iterator[str]:
    """By program, how many of some random plays needed drop-backup."""
    rng = np.random.default_rng(0)
    for name in program_names("test"):
        game, needed = Game(program_of(read_program(name))), 0
        if game.program.n_visits > 2000:
            continue
        for _ in range(plays):
            game.replay(rng.integers(0, game.program.n_actions, game.program.n_visits))
            needed += game.n_backups > 0
        yield f"{name} {needed / plays:.0%}"


def main() -> None:
    """Measure, row by row."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("what", choices=("training", "solo", "backup"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cpu", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=Path("ablation.csv"))
    arguments = parser.parse_args()
    if arguments.what == "backup":
        for line in backup(50):
            print(line, flush=True)
        return
    found = training(arguments.rounds, arguments.seeds) if arguments.what == "training" else solo(
        arguments.cpu, arguments.seeds
    )  # fmt: skip
    with arguments.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for row in found:
            writer.writerow(row)
            file.flush()
            print(row, flush=True)


if __name__ == "__main__":
    main()
