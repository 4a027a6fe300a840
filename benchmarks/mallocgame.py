"""Methods on the programs of a split, under the same budget: time over msa, gap to the bound, CPU seconds.

    python benchmarks/mallocgame.py --split test --methods greedy-play,anneal,evolve,beam,random,msa,local --cpu 10 \
        --seeds 3 --bound 30 --workers 2 -o mallocgame.csv
    python benchmarks/mallocgame.py --summary mallocgame.csv

What ends is written to a journal beside the file, and the file from that: run again with the same file and budgets,
also with more methods or seeds, and what is there is not done again. With `--workers N`, N processes play. Processor
time is that of each, but `local` and `flow` go by wall clock: give them no more processes than there are idle cores.
"""

import argparse
import csv
import io
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Problem
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.rl.methods.contract import Effort
from tierplan.rl.methods.registry import play
from tierplan.rl.program import program_of
from tierplan.rl.programs import program_names, read_program
from tierplan.rl.result import FIELDS, Result, read_results
from tierplan.sim.incremental.session import Simulated
from tierplan.tasks.contract import Job, Task
from tierplan.tasks.journal import Journal, finish
from tierplan.tasks.open import open_pool
from tierplan.terminal import steps, write_whole

sys.path.insert(0, str(Path(__file__).parent))  # so that workers can import this file by its name

_DETERMINISTIC = ("msa", "greedy", "greedy-play", "beam")
_BOUND = "flow"  # the row whose gap tells the bound
_RESAMPLES = 2000
_SMALL = "generator://convnet-v0/1?level=1"


def bound_of(problem: Problem, seconds: float) -> float:
    """What no plan is faster than, as far as `flow` proves it in that time."""
    return find_planner(_BOUND)(problem, Budget(seconds, workers=1), cost=Simulated(problem)).bound_s


def point(payload: tuple[str, str | None, int, int, float, float]) -> Any:
    """A method on a program as a row of the file; without a method, the program's bound."""
    name, method, seed, evaluations, cpu_s, bound_s = payload
    problem = read_program(name)
    program = program_of(problem)
    if method is None:
        return bound_of(problem, bound_s) if bound_s > 0 else 0.0
    return play(method, program, Effort(evaluations, cpu_s, seed), title=name, bound_s=bound_s)[0].row()


def prepare() -> None:
    """Load what is compiled, so that the first method does not pay for it."""
    play("anneal", program_of(read_program(_SMALL)), Effort(evaluations=1))


def measure(
    names: Sequence[str], methods: Sequence[str], seeds: int, effort: Effort, bound_s: float, path: Path, workers: int
) -> None:
    """Play what the file lacks, and write it whole; what ends without a result is told."""
    beside = path.with_suffix(".journal")
    if path.exists() and not beside.exists():
        raise InvalidInputError(f"'{path}' has no journal '{beside}' beside it; name another file")
    of = f"mallocgame, {effort.evaluations} evaluations, {effort.cpu_s} s, bound {bound_s} s"
    job, limit = Job("mallocgame:point", "mallocgame:prepare"), (effort.evaluations, effort.cpu_s)
    with Journal.open(beside, of) as journal, open_pool(job, workers=workers) as pool:

        def done(what: str, tasks: Sequence[Task]) -> None:
            lacking = [task for task in tasks if task.key not in journal.ended]
            with steps(what, len(tasks), len(tasks) - len(lacking)) as advance:
                for ended in finish(lacking, pool, journal):
                    advance(1, ended.key)
                    if not ended.ok:
                        print(f"{ended.key}: {ended.error}", file=sys.stderr)

        try:
            done("bounds", [Task(name, (name, None, 0, *limit, bound_s)) for name in names])
            done("methods", [
                Task(f"{name} {method} {seed}", (name, method, seed, *limit, journal.ended[name].value))
                for name in names if journal.ended[name].ok
                for method in methods
                for seed in range(1 if method in _DETERMINISTIC else seeds)
            ])  # fmt: skip
        finally:
            _write(path, journal)


def _write(path: Path, journal: Journal) -> None:
    """Write the rows of a journal, sorted by program, method and seed: not by which ended first."""
    rows: list[Any] = [ended.value for ended in journal.ended.values() if isinstance(ended.value, dict)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, FIELDS)
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: (row["program"], row["planner"], int(row["seed"]))))
    write_whole(path, text.getvalue())


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
    parser.add_argument("--workers", type=int, default=1, help="how many processes play")
    parser.add_argument("-o", "--output", type=Path, default=Path("mallocgame.csv"))
    parser.add_argument("--summary", type=Path)
    arguments = parser.parse_args()
    if arguments.summary is not None:
        print("\n".join(summary(list(read_results(arguments.summary)))))
        return
    names = [name for name in program_names(arguments.split) if arguments.only in name]
    effort = Effort(arguments.evaluations, arguments.cpu)
    methods, seeds = arguments.methods.split(","), arguments.seeds
    measure(names, methods, seeds, effort, arguments.bound, arguments.output, arguments.workers)


if __name__ == "__main__":
    main()
