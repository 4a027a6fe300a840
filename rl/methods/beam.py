"""Beam search over the visits."""

import numpy as np

from tierplan.rl.game import Game
from tierplan.rl.methods.contract import Best

_WIDEST = 64


def beam_search(best: Best, rng: np.random.Generator) -> None:
    """Play on from the best plays so far, visit by visit; twice as many at each pass until the budget is spent."""
    del rng
    width = 1
    while not best.is_over and width <= _WIDEST:
        _pass(best, width)
        width *= 2


def _pass(best: Best, width: int) -> None:
    game = best.game.fork()
    game.reset()
    beam = [game]
    for _ in range(game.program.n_visits):
        if best.is_over:
            _finish(best, beam[0])
            return
        found: list[tuple[float, int, int]] = []
        for i, play in enumerate(beam):
            for action in np.flatnonzero(play.legal()).tolist():
                found.append((_promise(play, action), i, action))
                best.decisions += 1
        found.sort(key=lambda row: -row[0])
        beam = _grown(beam, found[:width])
    for play in beam:
        best.offer(play.saved_s, play)


def _finish(best: Best, play: Game) -> None:
    """Where the budget ends in the middle, leave the rest in its base."""
    while not play.is_over:
        play.step(play.default())
    best.offer(play.saved_s, play)


def _promise(play: Game, action: int) -> float:
    """What a play has saved after one more action."""
    twin = play.fork()
    twin.step(action)
    return twin.saved_s


def _grown(beam: list[Game], chosen: list[tuple[float, int, int]]) -> list[Game]:
    """The plays that were chosen, one action further."""
    grown: list[Game] = []
    for _, i, action in chosen:
        play = beam[i].fork() if len(chosen) > 1 else beam[i]
        play.step(action)
        grown.append(play)
    return grown
