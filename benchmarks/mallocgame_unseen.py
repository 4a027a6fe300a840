"""What the shipped network is worth on programs that training never saw, without training on them.

    python benchmarks/mallocgame_unseen.py -o unseen.csv
    python benchmarks/mallocgame_unseen.py --summary unseen.csv

On each program of the test split with at most `--visits` decisions the agent plays 8 games, the first of which counts
as `play` and the best as `best8`. Beside them: `msa`, greedy play, and annealing with the processor time of all 8.
Simulated seconds.
"""

import argparse
import csv
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.rl.agent.player import read_player
from tierplan.rl.agent.twin_tables import sizes_of
from tierplan.rl.game import Game
from tierplan.rl.methods.contract import Effort
from tierplan.rl.methods.registry import play
from tierplan.rl.methods.simple import N_THRESHOLDS
from tierplan.rl.muzero import SHIPPED
from tierplan.rl.program import Rules, program_of
from tierplan.rl.programs import program_names, read_program
from tierplan.sim.incremental.session import Simulated

METHODS = ("play", "best8", "greedy", "anneal")
FIELDS: tuple[str, ...] = ("program", "visits", "cpu_s", "msa", *METHODS)
_GAMES, _SIMULATIONS, _MANY, _RESAMPLES = 8, 8, 10**9, 2000


def rows_of(visits: int) -> Iterator[dict[str, object]]:
    """A row for each program; what is compiled is shared."""
    named = {name: program_of(read_program(name), Rules(slots=64)) for name in program_names("test")}
    named = {name: program for name, program in named.items() if program.n_visits <= visits}
    sizes = sizes_of(named.values())
    for name, program in sorted(named.items(), key=lambda row: row[1].n_visits):
        cost, game = Simulated(program.problem), Game(program)
        msa = find_planner("msa")(program.problem, Budget(3600.0, workers=1), cost=cost)
        greedy = play("greedy-play", program, Effort(2 * N_THRESHOLDS))[0].time_s
        assert msa.cost_s is not None
        reference = max(1e-12, game.slow_s - min(greedy, msa.cost_s))
        player = read_player(SHIPPED, program, reference, _SIMULATIONS, sizes)
        player.warm(_GAMES)
        began = time.process_time()
        played = player.play(np.full((program.n_visits, _GAMES), -1), 0)
        assert played is not None
        times = [game.slow_s - game.replay(column.astype(np.int64)) for column in played.T]
        took = time.process_time() - began
        annealed = play("anneal", program, Effort(_MANY, took))[0].time_s
        values = (name, program.n_visits, f"{took:.3f}", msa.cost_s, times[0], min(times), greedy, annealed)
        yield dict(zip(FIELDS, values, strict=True))


def summary(path: Path) -> Iterator[str]:
    """Geometric means over those of msa with 95% intervals over programs."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    yield f"{len(rows)} programs; time over that of msa"
    for method in METHODS:
        logs = np.array([math.log(float(row[method]) / float(row["msa"])) for row in rows])
        drawn = np.random.default_rng(0).integers(0, len(logs), (_RESAMPLES, len(logs)))
        low, high = np.exp(np.quantile(logs[drawn].mean(axis=1), (0.025, 0.975)))
        floor = math.exp(np.minimum(logs, 0.0).mean())
        yield (
            f"{method:8} {math.exp(logs.mean()):.4f} ({low:.4f} to {high:.4f}), slower on {int((logs > 1e-9).sum())}; "
            f"the better of it and msa {floor:.4f}"
        )


def main() -> None:
    """Measure, or summarise."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--visits", type=int, default=600)
    parser.add_argument("-o", "--output", type=Path, default=Path("unseen.csv"))
    parser.add_argument("--summary", type=Path)
    arguments = parser.parse_args()
    if arguments.summary is not None:
        print("\n".join(summary(arguments.summary)))
        return
    with arguments.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for row in rows_of(arguments.visits):
            writer.writerow(row)
            file.flush()
            print(row, flush=True)


if __name__ == "__main__":
    main()
