"""Searches over whole strings of actions: simulated annealing, and evolution."""

import math

import numpy as np

from tierplan.ir.problem import Ints
from tierplan.rl.methods.contract import Best
from tierplan.rl.methods.simple import greedy_plays

_FLIPS = 4
_BLOCK = 12
_HOT, _COLD = 0.5, 0.01  # temperatures, over the mean that a visit can earn
_POPULATION = 64
_PARENTS = 4  # among which the better of a tournament is taken


def anneal(best: Best, rng: np.random.Generator) -> None:
    """Change a few actions, or a short run of them, and keep what is worse with a chance that falls."""
    actions, saved = _start(best)
    mean = max(saved, best.game.slow_s * 1e-3) / len(actions)
    while not best.is_over:
        heat = _HOT * mean * (_COLD / _HOT) ** best.done
        tried = changed(actions, best.game.program.n_actions, rng)
        after = best.play(tried)
        if after >= saved or rng.random() < math.exp((after - saved) / heat):
            actions, saved = best.game.played(), after


def evolve(best: Best, rng: np.random.Generator) -> None:
    """Cross two good strings over and change the child; it takes the place of the worst."""
    people: list[Ints] = []
    worth: list[float] = []
    for actions in greedy_plays(best)[:_POPULATION]:
        if best.is_over:
            return
        worth.append(best.play(actions))
        people.append(best.game.played())
    while not best.is_over:
        mother, father = (_better(worth, rng) for _ in range(2))
        child = people[mother].copy()
        a, b = sorted(rng.integers(0, len(child) + 1, 2).tolist())
        child[a:b] = people[father][a:b]
        saved = best.play(changed(child, best.game.program.n_actions, rng))
        if len(people) < _POPULATION:
            people.append(best.game.played())
            worth.append(saved)
            continue
        worst = int(np.argmin(worth))
        if saved > worth[worst]:
            people[worst], worth[worst] = best.game.played(), saved


def _better(worth: list[float], rng: np.random.Generator) -> int:
    drawn: list[int] = rng.integers(0, len(worth), _PARENTS).tolist()
    return max(drawn, key=lambda i: worth[i])


def _start(best: Best) -> tuple[Ints, float]:
    """The better of the two greedy plays that take all they can."""
    plays = [(best.play(actions), best.game.played()) for actions in greedy_plays(best)[:2]]
    saved, actions = max(plays, key=lambda play: play[0])
    return actions, saved


def changed(actions: Ints, n_actions: int, rng: np.random.Generator) -> Ints:
    """A copy in which one to four actions are drawn anew, or a short run is set to one action."""
    tried = actions.copy()
    if rng.random() < 0.25:
        first = int(rng.integers(len(tried)))
        tried[first : first + int(rng.integers(2, _BLOCK + 1))] = rng.integers(n_actions)
    else:
        places = rng.integers(0, len(tried), int(rng.integers(1, _FLIPS + 1)))
        tried[places] = rng.integers(0, n_actions, len(places))
    return tried
