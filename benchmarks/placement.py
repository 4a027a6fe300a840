"""Planners on the placement suite: predicted time, proved bound, gap and planning time, as CSV and in sum.

    python benchmarks/placement.py --planners greedy,msa,auto --budget 30 -o placement.csv
    python benchmarks/placement.py --summary placement.csv

A row is written as soon as it is known; run again with the same file, and what is there is not done again. Gaps are
against the best bound that any planner proved for the problem.
"""

import argparse
import csv
import math
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tierplan.ir.plan import Plan, Residency, Taken
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.sim.incremental.session import Simulated

_FIELDS = ("problem", "steps", "tensors", "planner", "status", "time_s", "slow_s", "bound_s", "planning_s", "cpu_s")
Row = dict[str, str]


def slow_s(problem: Problem) -> float:
    """Seconds of a run or turn if the slowest tier that steps can use, with room for all, serves every access."""
    slowest = int(np.flatnonzero(problem.tiers.direct)[-1])
    roomy = np.full(problem.n_tiers, int(problem.size.sum()) * 2 + problem.n_tensors * 8192, dtype=np.int64)
    from dataclasses import replace

    tiers = replace(problem.tiers, capacity=roomy, usable=roomy)
    home = np.where(problem.home >= 0, slowest, -1)
    wide = replace(problem, tiers=tiers, home=home)
    alignment = int(problem.tiers.alignment[slowest])
    offsets = np.cumsum(-(-problem.size // alignment) * alignment)
    used = np.unique(problem.access_tensor).tolist()
    everywhere = tuple(Residency(x, slowest, int(offsets[x - 1]) if x else 0, 0, problem.n_steps) for x in used)
    return Simulated(wide)(Plan(everywhere, (), tuple(Taken(i, 0) for i in range(len(problem.choices)))))


def measured(name: str, problem: Problem, planner: str, seconds: float) -> Row:
    """One row: the planner on the problem."""
    cost = Simulated(problem)
    began, cpu = time.perf_counter(), time.process_time()
    outcome = find_planner(planner)(problem, Budget(seconds), cost=cost)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    if outcome.plan is not None and any(True for _ in violations(problem, outcome.plan)):
        raise AssertionError(f"{planner} broke a rule on {name}")
    values = (
        name, problem.n_steps, problem.n_tensors, planner, outcome.status.name, outcome.cost_s, slow_s(problem),
        outcome.bound_s, wall_s, cpu_s,
    )  # fmt: skip
    return {field: "" if v is None else str(v) for field, v in zip(_FIELDS, values, strict=True)}


def summary(rows: Sequence[Row]) -> list[dict[str, float | str]]:
    """By planner: mean and worst gap, geometric mean of the speed-up over msa and over all in the slow tier."""
    bound: defaultdict[str, float] = defaultdict(float)
    msa = {row["problem"]: float(row["time_s"]) for row in rows if row["planner"] == "msa" and row["time_s"]}
    for row in rows:
        bound[row["problem"]] = max(bound[row["problem"]], float(row["bound_s"]))
    found: list[dict[str, float | str]] = []
    for planner in dict.fromkeys(row["planner"] for row in rows):
        mine = [row for row in rows if row["planner"] == planner]
        solved = [row for row in mine if row["time_s"]]
        gaps = [float(row["time_s"]) / bound[row["problem"]] - 1 for row in solved if bound[row["problem"]] > 0]
        over = [msa[row["problem"]] / float(row["time_s"]) for row in solved if row["problem"] in msa]
        slow = [float(row["slow_s"]) / float(row["time_s"]) for row in solved]
        found.append(
            {
                "planner": planner, "problems": len(mine), "without a plan": len(mine) - len(solved),
                "mean gap": float(np.mean(gaps)) if gaps else math.nan, "worst gap": max(gaps, default=math.nan),
                "over msa": _mean(over), "least over msa": min(over, default=math.nan), "over slow": _mean(slow),
            }
        )  # fmt: skip
    return found


def _mean(ratios: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(float(np.mean(np.log(ratios)))) if ratios else math.nan


def _print_summary(rows: Sequence[Row]) -> None:
    for line in summary(rows):
        print(
            f"{line['planner']:8} {line['problems']:3} problems, {line['without a plan']} without a plan; gap mean "
            f"{line['mean gap']:.2%}, worst {line['worst gap']:.2%}; speed-up over msa {line['over msa']:.3f} "
            f"(least {line['least over msa']:.3f}), over all in the slow tier {line['over slow']:.2f}"
        )


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Measure what is not in the file yet, and print the sum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--planners", default="greedy,msa,flow,auto")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds for each planner and problem")
    parser.add_argument("--only", default="", help="a regular expression of problem names")
    parser.add_argument("--output", "-o", type=Path, default=Path("placement.csv"))
    parser.add_argument("--summary", type=Path, help="only print the sum of a file")
    given = parser.parse_args()
    if given.summary is not None:
        _print_summary(_read(given.summary))
        return
    from suite import problems

    done = {(row["problem"], row["planner"]) for row in _read(given.output)}
    wanted = [entry for entry in problems() if re.search(given.only, entry.name)]
    is_new = not given.output.exists()
    with given.output.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _FIELDS)
        if is_new:
            writer.writeheader()
        for i, entry in enumerate(wanted, 1):
            missing = [name for name in given.planners.split(",") if (entry.name, name) not in done]
            problem = entry.lower() if missing else None
            for planner in missing:
                assert problem is not None
                row = measured(entry.name, problem, planner, given.budget)
                writer.writerow(row)
                file.flush()
                print(
                    f"{i:3}/{len(wanted)} {entry.name:30} {planner:8} {row['time_s']:24} {row['bound_s']}", flush=True
                )
    _print_summary(_read(given.output))


if __name__ == "__main__":
    main()
