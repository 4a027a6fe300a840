"""Programs that an agent is trained on: what the heuristics save, and what the teachers play."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Ints, Problem
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.rl.agent.config import Training
from tierplan.rl.agent.teacher import known_plays
from tierplan.rl.agent.twin_tables import check_twin
from tierplan.rl.game import Game
from tierplan.rl.methods.contract import Best, Effort
from tierplan.rl.methods.strings import anneal
from tierplan.rl.program import Program, Rules, program_of
from tierplan.rl.programs import read_program
from tierplan.sim.incremental.session import Simulated

_EVALUATIONS = 2000  # that a teacher may take: counted, so that the same plan is found again
_SECONDS = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class Pupil:
    """A program. `reference_s`: what the best of greedy plays, and plays that follow `msa`, saves. `taught` [V]."""

    name: str
    program: Program
    game: Game
    reference_s: float
    taught: Ints


def pupils_of(names: Sequence[str], config: Training) -> list[Pupil]:
    """Programs by name, the shortest first.

    Raises: InvalidInputError: no such program, or one that the agent cannot play.
    """
    pupils = [_pupil(name, config) for name in names]
    return sorted(pupils, key=lambda pupil: pupil.program.n_visits)


def _pupil(name: str, config: Training) -> Pupil:
    problem = read_program(name, config.hardware)
    program = program_of(problem, Rules(slots=config.slots))
    check_twin(program)
    game = Game(program)
    planners = dict.fromkeys(("msa", *(teacher for teacher in config.teachers if teacher != "anneal")))
    plans = {teacher: found for teacher in planners if (found := _plan(teacher, problem)) is not None}
    reference, actions = known_plays(game, [plans["msa"]] if "msa" in plans else [])[0]
    plays = known_plays(game, [plan for teacher, plan in plans.items() if teacher in config.teachers])
    if "anneal" in config.teachers:
        best = Best(game, Effort(_EVALUATIONS, seed=config.seed))
        anneal(best, np.random.default_rng(config.seed))
        plays.append((best.saved_s, best.actions))
    taught = max(plays, key=lambda play: play[0])[1] if config.teachers else actions
    return Pupil(name, program, game, max(reference, 1e-12), taught)


def _plan(teacher: str, problem: Problem) -> Plan | None:
    cost = Simulated(problem)
    limit = Budget(seconds=_SECONDS, workers=1, evaluations=_EVALUATIONS)
    return find_planner(teacher)(problem, limit, cost=cost).plan
