"""Methods by name: players of the game, and planners beside them."""

import importlib
import math
import time

import numpy as np

from tierplan.ir.errors import unknown_name
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.rl.game import Game
from tierplan.rl.methods.contract import Best, Effort, Method
from tierplan.rl.program import Program, program_of
from tierplan.rl.result import Result, actions_of, complaints, plan_hash

_PLAYERS = {
    "random": "tierplan.rl.methods.simple:play_at_random",
    "greedy-play": "tierplan.rl.methods.simple:play_greedily",
    "beam": "tierplan.rl.methods.beam:beam_search",
    "evolve": "tierplan.rl.methods.strings:evolve",
    "anneal": "tierplan.rl.methods.strings:anneal",
}
_END_BY_THEMSELVES = ("greedy", "msa")
_LONG_S = 3600.0
_SAME = 1e-9
_PLANNERS = ("greedy", "msa", "local", "flow")


def method_names() -> tuple[str, ...]:
    """All methods, players first."""
    return (*_PLAYERS, *_PLANNERS)


def is_planner(name: str) -> bool:
    """Whether a method is a planner that does not play the game, so that its result has no actions."""
    return name in _PLANNERS


def find_player(name: str) -> Method:
    """The player of that name.

    Raises: InvalidInputError: there is none.
    """
    if name not in _PLAYERS:
        raise unknown_name("method", name, method_names())
    module, function = _PLAYERS[name].split(":")
    player: Method = getattr(importlib.import_module(module), function)
    return player


def play(
    name: str, program: Program, effort: Effort, *, title: str = "", hardware: str = "", bound_s: float = 0.0
) -> tuple[Result, Plan | None]:
    """Let a method play or plan a program; its result, and its plan if it found one.

    `evaluations` of a result are whole plays, or plans whose time was asked for.

    Raises: InvalidInputError: there is no such method.
    """
    if name in _PLANNERS:
        return _planned(name, program.problem, effort, title or program.problem.name, hardware, bound_s)
    player = find_player(name)
    best = Best(Game(program), effort)
    player(best, np.random.default_rng(effort.seed))
    cpu_s = time.process_time() - best.began
    game = best.game
    game.replay(best.actions)
    plan, time_s = game.plan(), game.slow_s - game.saved_s
    result = Result(
        title or program.problem.name, name, effort.seed, best.evaluations, cpu_s, time_s, _gap(time_s, bound_s),
        plan_hash(plan), hardware, tuple(best.actions.tolist()),
    )  # fmt: skip
    return result, plan


def _planned(
    name: str, problem: Problem, effort: Effort, title: str, hardware: str, bound_s: float
) -> tuple[Result, Plan | None]:
    """A planner under the same budget: one worker, and as many seconds of wall clock as players have processor time.

    `greedy` and `msa` end by themselves, and are not hurried.
    """
    from tierplan.planner.contract import Budget
    from tierplan.planner.registry import find_planner
    from tierplan.sim.incremental.session import Simulated

    cost = Simulated(problem)
    cost.warm()
    seconds = effort.cpu_s if math.isfinite(effort.cpu_s) and name not in _END_BY_THEMSELVES else _LONG_S
    limit = Budget(seconds=seconds, workers=1, seed=effort.seed, evaluations=effort.evaluations)
    began = time.process_time()
    outcome = find_planner(name)(problem, limit, cost=cost)
    cpu_s = time.process_time() - began
    time_s = math.nan if outcome.cost_s is None else outcome.cost_s
    found = "" if outcome.plan is None else plan_hash(outcome.plan)
    result = Result(
        title, name, effort.seed, effort.evaluations, cpu_s, time_s, _gap(time_s, max(bound_s, outcome.bound_s)), found,
        hardware,
    )  # fmt: skip
    return result, outcome.plan


def _gap(time_s: float, bound_s: float) -> float:
    return max(0.0, time_s / bound_s - 1) if bound_s > 0 else math.nan


def replayed(problem: Problem, result: Result) -> list[str]:
    """Play a result again: rules that its plan breaks, another time, another plan. Nothing if it is as it says.

    A planner runs again with the same seed and as many evaluations.
    """
    if is_planner(result.planner):
        effort = Effort(result.evaluations, math.inf, result.seed)
        again, plan = _planned(result.planner, problem, effort, result.program, result.hardware, 0.0)
        if plan is None:
            return [] if math.isnan(result.time_s) else [f"'{result.planner}' finds no plan"]
        time_s = again.time_s
    else:
        program = program_of(problem)
        game = Game(program)
        game.replay(actions_of(result, program.n_visits))
        plan, time_s = game.plan(), game.slow_s - game.saved_s
    found = complaints(problem, plan, result.time_s)
    if abs(time_s - result.time_s) <= _SAME * time_s and plan_hash(plan) != result.plan_hash:
        found.append(f"another plan: {plan_hash(plan)}, not {result.plan_hash}")
    return found
