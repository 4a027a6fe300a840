"""The agent beside simulated annealing at the same processor time, msa and greedy play, on programs it never saw.

    python benchmarks/mallocgame_agent.py --games 80 -o agent.csv [PROGRAM ...]

Compiling the search is told apart; annealing gets what play alone took. `anneal_all` gets the time of both.
"""

import argparse
import csv
import time
from pathlib import Path

from tierplan.planner import msa
from tierplan.planner.contract import Budget
from tierplan.rl import muzero
from tierplan.rl.methods.contract import Effort
from tierplan.rl.methods.registry import play
from tierplan.rl.program import program_of
from tierplan.rl.programs import program_names, read_program
from tierplan.sim.incremental.session import Simulated

FIELDS = (
    "program", "visits", "seed", "msa_s", "greedy_play_s", "agent_s", "anneal_s", "anneal_all_s", "agent_cpu_s",
    "compile_cpu_s",
)  # fmt: skip
_LONG_S = 36_000.0


def row_of(name: str, games: int, seed: int) -> dict[str, object]:
    """All methods on one program."""
    problem = read_program(name)
    program, cost = program_of(problem), Simulated(problem)
    base = msa.plan(problem, Budget(_LONG_S, workers=1), cost=cost)
    took: list[float] = []
    for n in (1, games):  # the first compiles
        began = time.process_time()
        found = muzero.plan(problem, Budget(_LONG_S, seed=seed, evaluations=n), start=base.plan, cost=cost)
        took.append(time.process_time() - began)
    compiling, playing = max(0.0, took[0]), max(0.1, took[1])
    many = 10**9
    annealed = play("anneal", program, Effort(many, playing, seed))[0]
    longer = play("anneal", program, Effort(many, playing + compiling, seed))[0]
    greedy = play("greedy-play", program, Effort(many, _LONG_S, seed))[0]
    values = (
        name, program.n_visits, seed, base.cost_s, greedy.time_s, found.cost_s, annealed.time_s, longer.time_s,
        round(playing, 2), round(compiling, 2),
    )  # fmt: skip
    return dict(zip(FIELDS, values, strict=True))


def main() -> None:
    """Write a row for each program and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", nargs="*")
    parser.add_argument("--games", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("agent.csv"))
    arguments = parser.parse_args()
    with arguments.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for name in arguments.programs or program_names("test"):
            for seed in range(arguments.seeds):
                row = row_of(name, arguments.games, seed)
                writer.writerow(row)
                file.flush()
                print(row, flush=True)


if __name__ == "__main__":
    main()
