"""The planner `muzero`: the trained agent plays the game with search; the better of its plan and of heuristics' plans.

After "Optimizing Memory Mapping Using Deep Reinforcement Learning" (arXiv 2305.07440, 2023): mallocMuZero, MMap-MuZero.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tierplan.ir.errors import InvalidInputError, MissingDependencyError
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.planner.bounds import bytes_missing, first_bound, is_infeasible
from tierplan.planner.contract import Budget, Cost

if TYPE_CHECKING:
    from tierplan.rl.agent.solo import Solo
    from tierplan.rl.methods.contract import Best

SHIPPED = Path(__file__).with_name("agent.safetensors")
_PROVED = 1e-9
_SHARE_OF_MSA = 0.25
_SIMULATIONS = 8
_SLOTS = 64
_MANY = 10**9


def plan(problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome:
    """Play with the shipped network and Gumbel search; never worse than the start plan, nor than that of `msa`.

    The agent goes on from the best play that is known: greedy, or as near as the rules allow to the best plan so far
    (rl/agent/solo.py). `evaluations` of the budget are whole plays. Where the agent cannot play, the best plan so far
    comes back, and `notes` say why.

    Raises: MissingDependencyError: the extra `rl` is not installed.
    """
    began = time.perf_counter()
    if is_infeasible(problem):
        missing = bytes_missing(problem)
        return Outcome("muzero", Status.INFEASIBLE, None, None, first_bound(problem), 0.0, missing)
    floor, floor_s = _floor(problem, budget, start, cost)
    notes: list[str] = []
    bound_s = max(first_bound(problem), budget.bound_s)
    best, best_s = floor, floor_s
    try:
        found = _play(problem, budget, floor, notes, began)
    except InvalidInputError as error:
        notes.append(f"the agent did not play: {error}")
        found = None
    if found is not None and (found_s := cost(found)) < best_s:
        best, best_s = found, found_s
    seconds = time.perf_counter() - began
    if best is None:
        return Outcome("muzero", Status.GAVE_UP, None, None, bound_s, seconds, {}, tuple(notes))
    status = Status.OPTIMAL if best_s <= bound_s * (1 + _PROVED) else Status.FEASIBLE
    return Outcome("muzero", status, best, best_s, bound_s, seconds, {}, tuple(notes))


def _floor(problem: Problem, budget: Budget, start: Plan | None, cost: Cost) -> tuple[Plan | None, float]:
    """The best of the start plan and of `msa`, or of `greedy` and `msa`."""
    from tierplan.planner import greedy, msa

    best, best_s = start, float("inf") if start is None else cost(start)
    for planner in (greedy.plan, msa.plan) if start is None else (msa.plan,):
        limit = replace(budget, seconds=max(0.05, _SHARE_OF_MSA * budget.seconds))
        found = planner(problem, limit, cost=cost).plan
        if found is not None and cost(found) < best_s:
            best, best_s = found, cost(found)
    return best, best_s


def _play(problem: Problem, budget: Budget, floor: Plan | None, notes: list[str], began: float) -> Plan | None:
    """The plan of the best play within the budget."""
    from tierplan.rl.agent.teacher import distinct_starts
    from tierplan.rl.agent.twin_tables import check_twin
    from tierplan.rl.game import Game
    from tierplan.rl.methods.contract import Best, Effort
    from tierplan.rl.program import Rules, program_of

    program = program_of(problem, Rules(slots=_SLOTS))
    check_twin(program)
    game = Game(program)
    start, *others = distinct_starts(game, [] if floor is None else [floor])
    # of evaluations, so that the same plan is found again; else of seconds
    effort = Effort(budget.evaluations or _MANY, float("inf") if budget.evaluations else budget.seconds, budget.seed)
    best = Best(game, effort, *start)
    compiling = time.perf_counter()
    agent = _agent(best, start[0])
    agent.others = [actions for _, actions in others]
    agent.warm()
    compiling = time.perf_counter() - compiling
    notes.append(f"{compiling:.0f} s more went into compiling the agent")
    until = began + compiling + budget.seconds
    agent.stopped = lambda: budget.stopped or time.perf_counter() >= until
    best.saved_s, best.actions, best.decisions, best.began = *start, 0, time.process_time()
    agent.run()
    gained = (best.saved_s - start[0]) / (game.slow_s - start[0])
    notes.append(f"the agent tried {best.evaluations} plays; its best takes {gained:.2%} less time than its first")
    game.replay(best.actions)
    return game.plan()


def _agent(best: "Best", reference_s: float) -> "Solo":
    """The shipped network before a program.

    Raises: MissingDependencyError: the extra `rl` is not installed.
    """
    try:
        from tierplan.rl.agent.player import read_player
        from tierplan.rl.agent.solo import Solo
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "rl") from None
    player = read_player(SHIPPED, best.game.program, reference_s, _SIMULATIONS)
    return Solo(player, best, np.random.default_rng(best.effort.seed))
