"""The planner `muzero`: the trained agent plays the game with search; the better of its plan and its start plan.

After "Optimizing Memory Mapping Using Deep Reinforcement Learning" (arXiv 2305.07440, 2023): mallocMuZero, MMap-MuZero.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tierplan.ir.errors import InvalidInputError, MissingDependencyError
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Ints, Problem
from tierplan.planner.bounds import bytes_missing, first_bound, is_infeasible
from tierplan.planner.contract import Budget, Cost

SHIPPED = Path(__file__).with_name("agent.safetensors")
_PROVED = 1e-9
_PLAYS = 8  # side by side
_SHARE_OF_MSA = 0.25
_SIMULATIONS = 8
_SLOTS = 64
_MOST_ROUNDS = 10_000
_LEAST_WINDOW = 16  # visits that the agent decides anew where the rest is given


def plan(problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome:
    """Play with the shipped network and Gumbel search; never worse than the start plan, or that of `msa`.

    First all visits are the agent's; then it decides windows of the best play so far anew. `evaluations` of the budget
    are whole plays. Where the agent cannot play, the start plan comes back, and `notes` say why.

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
    """The start plan, or the better of `greedy` and `msa`."""
    from tierplan.planner import greedy, msa

    if start is not None:
        return start, cost(start)
    best, best_s = None, float("inf")
    for planner in (greedy.plan, msa.plan):
        limit = replace(budget, seconds=max(0.05, _SHARE_OF_MSA * budget.seconds))
        found = planner(problem, limit, cost=cost).plan
        if found is not None and cost(found) < best_s:
            best, best_s = found, cost(found)
    return best, best_s


def _play(problem: Problem, budget: Budget, floor: Plan | None, notes: list[str], began: float) -> Plan | None:
    """The plan of the best play within the budget."""
    from tierplan.rl.agent.teacher import known_plays
    from tierplan.rl.agent.twin_tables import check_twin
    from tierplan.rl.game import Game
    from tierplan.rl.program import Rules, program_of

    program = program_of(problem, Rules(slots=_SLOTS))
    check_twin(program)
    game = Game(program)
    strings = known_plays(game, [] if floor is None else [floor])
    best_saved, best = strings[0]
    compiling = time.perf_counter()
    try:
        agent = _Agent(game, best_saved)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "rl") from None
    agent.warm()
    compiling = time.perf_counter() - compiling
    notes.append(f"{compiling:.0f} s more went into compiling the agent")
    until = began + compiling + budget.seconds
    rng = np.random.default_rng(budget.seed)
    evaluations, rounds, gained = 0, 0, 0

    def stopped() -> bool:
        return budget.stopped or time.perf_counter() >= until

    while not stopped() and rounds < _MOST_ROUNDS:
        if budget.evaluations is not None and evaluations >= budget.evaluations:
            break
        tried = agent.play(_given(best, rounds, rng), _draw(rng, 2**31), stopped)
        if tried is None:
            break
        evaluations, rounds = evaluations + len(tried), rounds + 1
        for actions in tried:
            saved = game.replay(actions)
            if saved > best_saved * (1 + 1e-12):
                best_saved, best, gained = saved, game.played(), gained + 1
    notes.append(f"the agent played {evaluations} games and found {gained} better ones")
    game.replay(best)
    return game.plan()


def _given(best: Ints, rounds: int, rng: np.random.Generator) -> Ints:
    """Shape [V, B]: actions of the best play, and -1 where the agent decides: everywhere first, then in windows."""
    n = len(best)
    given = np.repeat(best[:, None], _PLAYS, axis=1).astype(np.int64)
    for i in range(_PLAYS):
        if rounds == 0 or n <= _LEAST_WINDOW:
            given[:, i] = -1
            continue
        length = int(_LEAST_WINDOW * ((n + 1) / _LEAST_WINDOW) ** rng.random())
        first = _draw(rng, max(1, n - length + 1))
        given[first : first + length, i] = -1
    return given


def _draw(rng: np.random.Generator, below: int) -> int:
    return int(rng.integers(below))


class _Agent:
    """The shipped network before one program."""

    def __init__(self, game: Any, reference_s: float) -> None:
        from tierplan.rl.agent.player import Player, read_player

        self._player: Player = read_player(SHIPPED, game.program, reference_s, _SIMULATIONS)
        self._program = game.program

    def warm(self) -> None:
        """Compile all that play needs."""
        self._player.warm(_PLAYS)

    def play(self, given: Ints, seed: int, stopped: Any) -> list[Ints] | None:
        """Actions of plays, and of the same with repeated layers played alike; None if stopped before."""
        from tierplan.rl.agent.repeats import tied

        actions = self._player.play(given, seed, stopped)
        if actions is None:
            return None
        strings: list[Ints] = list(actions.T.astype(np.int64))
        return [*strings, *(other for row in strings[:1] for other in tied(self._program, row))]
