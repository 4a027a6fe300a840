"""Random legal play, and greedy play by what a placement earns for the room that it takes."""

import numpy as np

from tierplan.ir.problem import Ints
from tierplan.rl.methods.contract import Best
from tierplan.rl.worth import earns

N_THRESHOLDS = 24


def play_at_random(best: Best, rng: np.random.Generator) -> None:
    """One legal action after another, all equally likely, play after play."""
    game = best.game
    while not best.is_over:
        game.reset()
        while not game.is_over:
            legal = np.flatnonzero(game.legal())
            game.step(int(legal[rng.integers(len(legal))]))
        best.decisions += game.program.n_visits
        best.offer(game.saved_s)


def play_greedily(best: Best, rng: np.random.Generator) -> None:
    """Take what earns enough for its size, for several values of enough; keep first, or copy first."""
    del rng
    for actions in greedy_plays(best):
        if best.is_over:
            return
        best.play(actions)


def greedy_plays(best: Best) -> list[Ints]:
    """The plays that greedy tries; the first takes all that it can."""
    program = best.game.program
    worth = earns(program) / program.tensors["size"][program.visits["tensor"]]
    keep = len(program.tiers) - 1
    enough = [-1.0, *np.quantile(worth, np.linspace(0.0, 0.98, N_THRESHOLDS - 1)).tolist()]
    return [
        np.where(worth > least, action, -1).astype(np.int64) for least in dict.fromkeys(enough) for action in (keep, 0)
    ]
