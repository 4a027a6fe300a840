"""A play to look at: in words, and as a picture of the fastest tier over time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierplan.ir.problem import Mode
from tierplan.ir.units import show_bytes, show_seconds
from tierplan.rl.game import Game

_SIZE = (96, 64)
_SCALE = 4
_WIDTH = 48


def profile(game: Game, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Shape `shape`: which parts of the fastest tier (columns, lowest first) are taken in the steps around the present.

    The present is the row in the middle.
    """
    from tierplan.rl.env import _kernels

    compiled: Any = _kernels
    image = np.zeros(shape, dtype=np.uint8)
    compiled.profile(image, _present(game), shape[0] // 2, game.memory.where)
    return image


def _present(game: Game) -> int:
    visits = game.program.visits
    return int(visits["step"][min(game.at, len(visits) - 1)])


def image(game: Game) -> NDArray[np.uint8]:
    """RGB: steps from left to right with the present as a line, offsets upwards."""
    taken = profile(game, _SIZE)
    picture = np.full((*taken.shape, 3), 245, dtype=np.uint8)
    picture[taken > 0] = (70, 120, 180)
    picture[_SIZE[0] // 2, taken[_SIZE[0] // 2] == 0] = (230, 120, 60)
    upright = picture.transpose(1, 0, 2)[::-1]
    return upright.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)


def text(game: Game) -> str:
    """Where the play stands, what the next visit is about, and how full the fastest tier is."""
    program = game.program
    problem, saved = program.problem, show_seconds(game.saved_s)
    row = profile(game, (1, _WIDTH))[0]
    bar = "".join("#" if taken else "." for taken in row)
    head = f"{problem.name}: visit {game.at} of {program.n_visits}, {saved} saved of {show_seconds(game.slow_s)}"
    lines = [head, f"{problem.tiers.names[0]:>8} [{bar}]"]
    if not game.is_over:
        visit = program.visits[game.at]
        mode = {Mode.READ: "reads", Mode.UPDATE: "updates", Mode.PRODUCE: "produces"}[Mode(int(visit["mode"]))]
        size = show_bytes(int(program.tensors["size"][visit["tensor"]]))
        step, name = problem.step_names[int(visit["step"])], problem.tensor_names[int(visit["tensor"])]
        lines.append(f"step {visit['step']} ({step}) {mode} '{name}', {size}; legal: {_legal(game)}")
    return "\n".join(lines)


def _legal(game: Game) -> str:
    names, keep = action_names(game.program.problem.tiers.names), game.legal()
    return ", ".join(name for name, legal in zip(names, keep, strict=True) if legal)


def action_names(tiers: tuple[str, ...]) -> tuple[str, ...]:
    """What the actions are called on a machine with these tiers, in their order."""
    return (*(f"copy to {name}" for name in tiers[:-1]), "keep", *(f"leave in {name}" for name in tiers[1:]))
