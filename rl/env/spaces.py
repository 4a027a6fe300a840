"""Spaces of the environment, and how a program is told to it."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.problem import Problem
from tierplan.rl.env.observe import FEATURES, N_SUPPLY, NOW
from tierplan.rl.program import Program, Rules, program_of
from tierplan.rl.programs import SPLITS, program_names, read_program

Named: TypeAlias = str | Problem | Program
REWARDS = ("seconds", "share")


def programs_named(program: Named | Sequence[Named]) -> tuple[Named, ...]:
    """The programs among which a reset draws: one, several, or all of the split "train" or "test"."""
    if isinstance(program, str):
        return program_names(program) if program in SPLITS else (program,)
    named = (program,) if isinstance(program, Problem | Program) else tuple(program)
    if not named:
        raise InvalidInputError(f"no program to play; name one like {program_names('train')[0]}")
    return named


def tables_of(program: Named, hardware: str | None, rules: Rules | None) -> Program:
    """The tables of a program told by name, as a problem, or as tables already."""
    if isinstance(program, Program):
        return program
    return program_of(read_program(program, hardware) if isinstance(program, str) else program, rules)


def check_reward(reward: str) -> None:
    """Refuse an unknown kind of reward."""
    if reward not in REWARDS:
        raise unknown_name("reward", reward, REWARDS)


def observation_space(n_actions: int, ahead: int, profile: tuple[int, int] | None) -> spaces.Dict:
    """Everything but the mask and the profile lies in [0, 1]."""
    shapes: dict[str, tuple[int, ...]] = {
        "visit": (len(FEATURES),),
        "ahead": (ahead, len(FEATURES)),
        "now": (len(NOW),),
        "supply": (N_SUPPLY,),
    }
    found: dict[str, spaces.Space[Any]] = {
        name: spaces.Box(0.0, 1.0, shape, np.float32) for name, shape in shapes.items()
    }
    found["action_mask"] = spaces.MultiBinary(n_actions)
    if profile is not None:
        found["profile"] = spaces.Box(0, 255, profile, np.uint8)
    return spaces.Dict(found)
