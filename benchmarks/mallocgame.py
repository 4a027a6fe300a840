"""Methods on the programs of a split, under the same budget: time over msa, gap to the bound, CPU seconds.

    python benchmarks/mallocgame.py --split test --methods greedy-play,anneal,evolve,beam,random,msa,local --cpu 10 \
        --seeds 3 --bound 30 -o mallocgame.csv
    python benchmarks/mallocgame.py --summary mallocgame.csv

A row is written as soon as it is known; run again with the same file, and what is there is not done again.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Problem
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.rl.methods.contract import Effort
from tierplan.rl.methods.registry import play
from tierplan.rl.program import program_of
from tierplan.rl.programs import program_names, read_program
from tierplan.rl.result import Result, read_results, write_results
from tierplan.sim.incremental.session import Simulated

_DETERMINISTIC = ("msa", "greedy", "greedy-play", "beam")
_BOUND = "flow"  # the row whose gap tells the bound
_RESAMPLES = 2000


def bound_of(problem: Problem, seconds: float) -> float:
    """What no plan is faster than, as far as `flow` proves it in that time."""
    return find_planner(_BOUND)(problem, Budget(seconds, workers=1), cost=Simulated(problem)).bound_s


def measure(
    names: Sequence[str], methods: Sequence[str], seeds: int, effort: Effort, bound_s: float, path: Path
) -> None:
    """Write the rows that the file lacks."""
    known = {(r.program, r.planner, r.seed) for r in read_results(path)} if path.exists() else set()
    for name in names:
        wanted = [
            (method, seed)
            for method in methods
            for seed in range(1 if method in _DETERMINISTIC else seeds)
            if (name, method, seed) not in known
        ]
        if not wanted:
            continue
        problem = read_program(name)
        try:
            program = program_of(problem)
        except InvalidInputError as error:
            print(f"{name}: {error}")
            continue
        bound = bound_of(problem, bound_s) if bound_s > 0 else 0.0
        for method, seed in wanted:
            limit = Effort(effort.evaluations, effort.cpu_s, seed)
            result, _ = play(method, program, limit, title=name, bound_s=bound)
            write_results(path, [result])
            print(f"{name:44} {method:12} {seed} {result.time_s * 1e3:10.4f} ms, gap {result.gap:.2%}", flush=True)


def summary(results: Sequence[Result]) -> list[str]:
    """By method: time over that of msa, as a geometric mean with its 95% interval; mean gap; CPU seconds."""
    base = {r.program: r.time_s for r in results if r.planner == "msa"}
    by_method: defaultdict[str, defaultdict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for r in results:
        if r.program in base and not math.isnan(r.time_s):
            by_method[r.planner][r.program].append(r)
    lines = ["method        programs  time over msa (95% interval)  slower than msa  mean gap   CPU s  evaluations"]
    for method, of_program in by_method.items():
        logs = np.array([np.mean([math.log(r.time_s / base[name]) for r in rows]) for name, rows in of_program.items()])
        drawn = np.random.default_rng(0).integers(0, len(logs), (_RESAMPLES, len(logs)))
        low, high = np.exp(np.quantile(logs[drawn].mean(axis=1), (0.025, 0.975)))
        rows = [r for found in of_program.values() for r in found]
        gaps = [r.gap for r in rows if not math.isnan(r.gap)]
        lines.append(
            f"{method:12} {len(logs):9} {math.exp(logs.mean()):13.4f} ({low:.4f} to {high:.4f}) "
            f"{int((logs > 1e-9).sum()):12} {np.mean(gaps) if gaps else math.nan:13.2%} "
            f"{np.mean([r.cpu_s for r in rows]):7.1f} {np.mean([r.evaluations for r in rows]):12.0f}"
        )
    return lines


def main() -> None:
    """Measure, or summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--only", default="", help="programs whose name contains this")
    parser.add_argument("--methods", default="random,greedy-play,beam,evolve,anneal,msa,local")
    parser.add_argument("--evaluations", type=int, default=10**9)
    parser.add_argument("--cpu", type=float, default=math.inf, help="seconds of processor time for each method")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bound", type=float, default=0.0, help="seconds for the relaxation of each program")
    parser.add_argument("-o", "--output", type=Path, default=Path("mallocgame.csv"))
    parser.add_argument("--summary", type=Path)
    arguments = parser.parse_args()
    if arguments.summary is not None:
        print("\n".join(summary(list(read_results(arguments.summary)))))
        return
    names = [name for name in program_names(arguments.split) if arguments.only in name]
    effort = Effort(arguments.evaluations, arguments.cpu)
    measure(names, arguments.methods.split(","), arguments.seeds, effort, arguments.bound, arguments.output)


if __name__ == "__main__":
    main()
