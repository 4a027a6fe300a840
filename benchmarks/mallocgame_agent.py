"""The agent on one program at a time, beside annealing and planners with the same processor time.

    python benchmarks/mallocgame_agent.py -o agent_rows.csv            # go on where the file ends
    python benchmarks/mallocgame_agent.py --summary agent_rows.csv

Programs are those of both splits with at most `--visits` decisions on which `flow` leaves room of 4.05% below `msa`:
the rest get a row for `msa` and `flow` only. Rows are written as they come. Processor seconds are those of the
search; compiling is told apart, in rows named `compiling`. Methods:

    random, greedy-play, beam, evolve, anneal      play the game for `--cpu` seconds
    msa, flow                                      end by themselves; their time is told
    local                                          `--cpu` seconds from the plan of msa
    agent                                          plays for `--cpu` seconds, from the better of greedy plays and msa's
    game                                           the same, also from the play that follows flow's plan
    hybrid                                         game or flow's plan, then `local` for `--polish` seconds
    anneal-long, local-long                        with the processor time of msa, flow and hybrid
"""

import argparse
import csv
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.rl.agent.player import read_player
from tierplan.rl.agent.solo import Solo
from tierplan.rl.agent.teacher import known_plays
from tierplan.rl.agent.twin_tables import Sizes, sizes_of
from tierplan.rl.game import Game
from tierplan.rl.methods.clock import stop_after
from tierplan.rl.methods.contract import Best, Effort
from tierplan.rl.methods.registry import find_player
from tierplan.rl.muzero import SHIPPED
from tierplan.rl.program import Rules, program_of
from tierplan.rl.programs import program_names, read_program
from tierplan.sim.incremental.session import Simulated
from tierplan.terminal import steps

FIELDS: tuple[str, ...] = ("program", "visits", "method", "seed", "cpu_s", "evaluations", "time_s", "bound_s")
ROOM, NEAR = 0.0405, 0.02
_MANY, _LONG_S, _SIMULATIONS = 10**9, 36_000.0, 8
_RESAMPLES = 2000
_FROM_PLANS = ("agent", "hybrid", "local", "local-long")
_TRIAL = 500  # evaluations by which the speed of `local` is told
PHASES = (
    (("agent", "anneal", "hybrid"), 3), (("anneal-long", "greedy-play"), 1), (("evolve", "random", "beam"), 1),
    (("local", "local-long"), 1), (("evolve", "random", "local"), 3),
)  # fmt: skip


class Rows:
    """The rows of a file, and those that are added to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[tuple[str, str, int], dict[str, str]] = {}
        if path.exists():
            with path.open(newline="") as file:
                self.known = {(row["program"], row["method"], int(row["seed"])): row for row in csv.DictReader(file)}

    def add(self, row: dict[str, Any]) -> None:
        """Write a row at once."""
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        self.known[row["program"], row["method"], int(row["seed"])] = {k: str(v) for k, v in row.items()}


@dataclass(slots=True)
class Case:
    """A program, the plans that all seeds begin with, and what those took."""

    name: str
    problem: Problem
    plans: dict[str, Plan]
    costs: dict[str, float]
    took: dict[str, float]
    bound_s: float
    rate: float = 0.0  # evaluations of `local` in a second of processor time; 0 before it was measured


def read_case(name: str, rows: Rows, flow_s: float) -> Case:
    """A program with what `msa` and `flow` make of it, from the file if it knows."""
    case = Case(name, read_program(name), {}, {}, {}, 0.0)
    known = [rows.known.get((name, method, 0)) for method in ("msa", "flow")]
    if any(row is None for row in known):
        plan_case(case, flow_s)
    for row in known:
        if row is not None:
            case.took[row["method"]], case.costs[row["method"]] = float(row["cpu_s"]), float(row["time_s"])
            case.bound_s = float(row["bound_s"])
    return case


def plan_case(case: Case, flow_s: float) -> None:
    """Plan a program by `msa` and `flow`."""
    cost = Simulated(case.problem)
    cost.warm()
    for method, seconds in (("msa", _LONG_S), ("flow", flow_s)):
        began = time.process_time()
        with stop_after(seconds) as stop:
            found = find_planner(method)(case.problem, Budget(4 * seconds, workers=1, stop=stop), cost=cost)
        case.took.setdefault(method, time.process_time() - began)
        assert found.plan is not None
        assert found.cost_s is not None
        case.plans[method] = found.plan
        case.costs.setdefault(method, found.cost_s)
        case.bound_s = max(case.bound_s, float(found.bound_s))


class Runner:
    """All methods on one program after another, in one process: what the agent needs is compiled once."""

    def __init__(self, rows: Rows, sizes: Sizes, cpu_s: float, polish_s: float) -> None:
        self.rows, self.sizes, self.cpu_s, self.polish_s = rows, sizes, cpu_s, polish_s

    def write(self, case: Case, method: str, seed: int, cpu_s: float, evaluations: int, time_s: float) -> None:
        """Add a row."""
        visits = program_of(case.problem).n_visits
        values = (case.name, visits, method, seed, f"{cpu_s:.3f}", evaluations, repr(float(time_s)), repr(case.bound_s))
        self.rows.add(dict(zip(FIELDS, values, strict=True)))

    def run(self, case: Case, method: str, seed: int) -> None:
        """One method on a program."""
        whole = case.took["msa"] + case.took["flow"] + self.cpu_s + self.polish_s
        if method == "agent":
            best = self.agent(case, seed, ("msa",))
            self.write(case, method, seed, case.took["msa"] + self.cpu_s, best.evaluations, self.floor(case, best)[1])
        elif method == "hybrid":
            best = self.agent(case, seed, ("msa", "flow"))
            start = min((self.floor(case, best), (case.plans["flow"], case.costs["flow"])), key=lambda row: row[1])
            self.write(case, "game", seed, whole - self.polish_s, best.evaluations, start[1])
            polished = self.local(case, start[0], self.polish_s, seed)
            self.write(case, method, seed, whole, best.evaluations, min(start[1], polished))
        elif method.startswith("local"):
            seconds = self.cpu_s if method == "local" else whole - case.took["msa"]
            before = time.process_time()
            time_s = self.local(case, case.plans["msa"], seconds, seed)
            took = time.process_time() - before + case.took["msa"]
            self.write(case, method, seed, took, int(case.rate * seconds), time_s)
        else:
            seconds = whole if method.endswith("-long") else self.cpu_s
            best = Best(Game(program_of(case.problem)), Effort(_MANY, seconds, seed))
            find_player(method.removesuffix("-long"))(best, np.random.default_rng(seed))
            took = time.process_time() - best.began
            self.write(case, method, seed, took, best.evaluations, best.game.slow_s - best.saved_s)

    def agent(self, case: Case, seed: int, teachers: Sequence[str]) -> Best:
        """The best play of the agent, from the best play that follows a teacher's plan, or is greedy."""
        program = program_of(case.problem, Rules(slots=64))
        game = Game(program)
        start = known_plays(game, [case.plans[teacher] for teacher in teachers])[0]
        best = Best(game, Effort(_MANY, self.cpu_s, seed), *start)
        player = read_player(SHIPPED, program, best.saved_s, _SIMULATIONS, self.sizes)
        agent = Solo(player, best, np.random.default_rng(seed))
        before = time.process_time()
        agent.warm()
        (best.saved_s, best.actions), best.decisions = start, 0
        took = time.process_time() - before
        if took > self.cpu_s:
            self.write(case, "compiling", seed, took, 0, math.nan)
        best.began = time.process_time()
        agent.run()
        return best

    def floor(self, case: Case, best: Best) -> tuple[Plan, float]:
        """The plan of the best play, or that of msa where that is better."""
        best.game.replay(best.actions)
        plan, time_s = best.game.plan(), best.game.slow_s - best.game.saved_s
        assert not list(violations(case.problem, plan))
        return min(((plan, time_s), (case.plans["msa"], case.costs["msa"])), key=lambda row: row[1])

    def local(self, case: Case, start: Plan, seconds: float, seed: int) -> float:
        """What `local` makes of a plan in so much processor time, told in evaluations, by which it cools."""
        cost = Simulated(case.problem)
        if case.rate == 0.0:
            for trial in (1, _TRIAL):  # the first compiles
                before = time.process_time()
                limit = Budget(_LONG_S, workers=1, evaluations=trial)
                find_planner("local")(case.problem, limit, start=start, cost=cost)
            case.rate = _TRIAL / (time.process_time() - before)
        limit = Budget(_LONG_S, workers=1, seed=seed, evaluations=max(1, int(case.rate * seconds)))
        found = find_planner("local")(case.problem, limit, start=start, cost=cost)
        return math.inf if found.cost_s is None else found.cost_s


def measure(names: Sequence[str], most: int, path: Path, cpu_s: Sequence[float], flow_s: float) -> None:
    """All methods on all programs with room, the most telling first."""
    rows = Rows(path)
    sizes = sizes_of([program_of(read_program(name), Rules(slots=64)) for name in names])
    runner = Runner(rows, sizes, *cpu_s)
    cases: dict[str, Case] = {}
    for methods, seeds in PHASES:
        with steps(", ".join(methods), len(names) * seeds) as advance:
            for name in names:
                if len(roomy(rows)) >= most and name not in roomy(rows):
                    continue
                tasks = [(m, s) for m in methods for s in range(seeds) if (name, m, s) not in rows.known]
                if tasks and has_room(rows, name) and name not in cases:
                    cases[name] = read_case(name, rows, flow_s)
                    for method in cases[name].costs:
                        if (name, method, 0) not in rows.known:
                            took, time_s = cases[name].took[method], cases[name].costs[method]
                            runner.write(cases[name], method, 0, took, 0, time_s)
                if has_room(rows, name):
                    for method, seed in tasks:
                        if method in _FROM_PLANS and not cases[name].plans:
                            plan_case(cases[name], flow_s)
                        runner.run(cases[name], method, seed)
                advance(seeds, name)


def roomy(rows: Rows) -> list[str]:
    """The programs of a file that have room."""
    return [name for name, method, _ in rows.known if method == "msa" and has_room(rows, name)]


def has_room(rows: Rows, name: str) -> bool:
    """Whether the bound leaves room below `msa`; true for a program that has no rows yet."""
    row = rows.known.get((name, "msa", 0))
    return row is None or float(row["bound_s"]) <= (1 - ROOM) * float(row["time_s"])


def summary(rows: Rows) -> Iterator[str]:
    """By method: time over that of msa with its 95% interval over programs, gap to the bound, processor seconds."""
    base = {name: float(row["time_s"]) for (name, method, _), row in rows.known.items() if method == "msa"}
    names = [name for name in base if has_room(rows, name)]
    yield f"{len(names)} programs with room of {ROOM:.2%}, of {len(base)}"
    yield "method        programs  time over msa (95% interval)  slower than msa  mean gap  median  within 2%   CPU s"
    for method in dict.fromkeys(method for _, method, _ in rows.known):
        found = {
            name: [row for (other, m, _), row in rows.known.items() if m == method and other == name] for name in names
        }
        found = {name: own for name, own in found.items() if own and not math.isnan(float(own[0]["time_s"]))}
        if not found:
            continue
        logs = np.array([np.mean([math.log(float(r["time_s"]) / base[n]) for r in own]) for n, own in found.items()])
        drawn = np.random.default_rng(0).integers(0, len(logs), (_RESAMPLES, len(logs)))
        low, high = np.exp(np.quantile(logs[drawn].mean(axis=1), (0.025, 0.975)))
        gaps = [np.mean([float(r["time_s"]) / float(r["bound_s"]) - 1 for r in own]) for own in found.values()]
        slower = sum(float(r["time_s"]) > base[n] * (1 + 1e-9) for n, own in found.items() for r in own)
        near = sum(gap <= NEAR for gap in gaps)
        cpu = np.mean([float(r["cpu_s"]) for own in found.values() for r in own])
        yield (
            f"{method:12} {len(found):9} {math.exp(logs.mean()):13.4f} ({low:.4f} to {high:.4f}) {slower:12} "
            f"{np.mean(gaps):13.2%} {np.median(gaps):7.2%} {near:10} {cpu:7.1f}"
        )


def main() -> None:
    """Measure, or summarise."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("programs", nargs="*", help="programs; without, all of both splits but level 0")
    parser.add_argument("--most", type=int, default=10**9, help="programs with room: the first so many")
    parser.add_argument("--visits", type=int, default=2047, help="leave out programs with more decisions")
    parser.add_argument("--cpu", type=float, default=1.5, help="processor seconds of each method")
    parser.add_argument("--polish", type=float, default=0.5, help="of them more, for local at the end of hybrid")
    parser.add_argument("--flow", type=float, default=10.0, help="processor seconds of flow")
    parser.add_argument("-o", "--output", type=Path, default=Path("agent_rows.csv"))
    parser.add_argument("--summary", type=Path)
    arguments = parser.parse_args()
    if arguments.summary is not None:
        print("\n".join(summary(Rows(arguments.summary))))
        return
    names = arguments.programs or [
        name
        for name in (*program_names("test"), *program_names("train"))
        if "level=0" not in name and program_of(read_program(name)).n_visits <= arguments.visits
    ]
    cpu_s = (arguments.cpu, arguments.polish)
    measure(names, arguments.most, arguments.output, cpu_s, arguments.flow)


if __name__ == "__main__":
    main()
