"""A network before a program: plays on 64-bit floats, whatever the process uses otherwise."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Ints
from tierplan.rl.agent.checkpoint import Checkpoint, fill_leaves, read_checkpoint
from tierplan.rl.agent.episodes import CHUNK, Episodes, play_out
from tierplan.rl.agent.learned import LearnedGame, LearnedNetwork
from tierplan.rl.agent.network import N_FEATURES, Network
from tierplan.rl.agent.search import Model, Searching, TrueGame
from tierplan.rl.agent.twin_tables import Board, Sizes, board_of
from tierplan.rl.program import Program

_LEAST_S = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Player:
    """Plays one program. `network` and `board` are what rl/agent/episodes.py takes."""

    network: Any
    board: Board
    program: Program
    how: Searching
    model: Model = field(default_factory=TrueGame)

    def episodes(self, given: Ints, seed: int, stopped: Callable[[], bool] = lambda: False) -> Episodes | None:
        """Play games to their end; `given` [V, B] are actions, -1 where search decides."""
        rules = self.program.rules
        with jax.enable_x64(True):
            return play_out(
                self.network, self.board, len(given), given.astype(np.int32), seed, self.how,
                shape=(rules.window, rules.slots, rules.pending), model=self.model, stopped=stopped,
            )  # fmt: skip

    def play(self, given: Ints, seed: int, stopped: Callable[[], bool] = lambda: False) -> Ints | None:
        """Shape [V, B]: the actions of games played to their end; what was not played is -1."""
        found = self.episodes(given, seed, stopped)
        return None if found is None else np.where(found.live, found.actions, -1)

    def warm(self, n_plays: int) -> None:
        """Compile what play needs."""
        self.episodes(np.full((min(CHUNK, self.program.n_visits), n_plays), -1), 0)


def board_for(program: Program, reference_s: float, sizes: Sizes | None = None) -> Board:
    """The board of a program; rewards are told as shares of what a known play saves per visit."""
    board = board_of(program, sizes)
    scale = board.scale.copy()
    scale[1] = max(reference_s / program.n_visits, _LEAST_S)
    return board._replace(scale=scale)


def empty_network(width: int, n_blocks: int, seed: int, model: str = "game") -> Any:
    """A network as it is before training."""
    return (LearnedNetwork if model == "learned" else Network)(width, n_blocks, jax.random.key(seed))


def model_named(name: str) -> Model:
    """The model that search asks."""
    return LearnedGame() if name == "learned" else TrueGame()


def network_of(checkpoint: Checkpoint, where: str) -> Any:
    """The network of a checkpoint.

    Raises: InvalidInputError: it saw other features, or has another shape.
    """
    about = checkpoint.about
    if about.get("features") != N_FEATURES:
        raise InvalidInputError(
            f"'{where}' holds a network that sees {about.get('features')} features, not {N_FEATURES}: train again"
        )
    network = empty_network(int(about["width"]), int(about["blocks"]), 0, about.get("model", "game"))
    return fill_leaves(network, checkpoint.arrays, "network", where)


def read_player(
    path: Path, program: Program, reference_s: float, simulations: int, sizes: Sizes | None = None
) -> Player:
    """The network of a file before a program.

    Raises: InvalidInputError: no such file, another version or shape, or a program that the agent cannot play.
    """
    checkpoint = read_checkpoint(path)
    model = model_named(checkpoint.about.get("model", "game"))
    how = Searching(simulations, float(checkpoint.about["discount"]), gumbel=1.0)
    return Player(network_of(checkpoint, str(path)), board_for(program, reference_s, sizes), program, how, model)
