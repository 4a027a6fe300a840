"""Actions that end in a plan as near to a given one as the rules allow."""

from collections.abc import Iterable

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Ints, Mode
from tierplan.rl.game import Game
from tierplan.rl.methods.contract import Best, Effort
from tierplan.rl.methods.simple import greedy_plays
from tierplan.rl.program import Program

_COPY, _KEEP, _DROP = 0, 1, 2


def wishes_of(program: Program, plan: Plan) -> Ints:
    """Shape [V]: what a plan does at each visit of a machine with two tiers, as an action.

    Copy where the tensor was brought to tier 0 since its last visit, keep where it stayed there or was produced there,
    drop where it is used elsewhere. What is produced in tier 0 and evicted before its next use is a copy.
    """
    visits, n_steps = program.visits, len(program.own_s)
    near: dict[int, list[tuple[int, int]]] = {}
    for r in plan.residencies:
        if r.tier == 0:
            near.setdefault(r.tensor, []).append((r.start, r.stop))
    actions = np.full(len(visits), _DROP, dtype=np.int64)
    for v, visit in enumerate(visits):
        x, step = int(visit["tensor"]), int(visit["step"])
        lies = [(start, stop) for start, stop in near.get(x, ()) if start <= step < stop]
        if not lies:
            continue
        start, stop = lies[0]
        following = int(visit["next_step"])
        if visit["mode"] == Mode.PRODUCE:
            actions[v] = _KEEP if following < 0 or stop > min(following, n_steps - 1) else _COPY
        else:
            # brought for this visit, or there from before on
            actions[v] = _COPY if start >= visit["opens"] and stop - start < n_steps else _KEEP
    return actions


def follow(game: Game, wishes: Ints) -> tuple[Ints, float]:
    """Play what is wished where it is legal, else the nearest that is; the actions played, and seconds saved."""
    game.reset()
    while not game.is_over:
        legal, wish = game.legal(), int(wishes[game.at])
        order = (wish, _KEEP, _COPY, _DROP) if wish != _DROP else (_DROP, _KEEP, _COPY)
        game.step(next(action for action in order if legal[action]))
    return game.played(), game.saved_s


def distinct_starts(game: Game, plans: Iterable[Plan]) -> list[tuple[float, Ints]]:
    """The best play that follows a plan and the best greedy one: seconds saved and actions, the better first."""
    greedy, followed = known_plays(game, ())[0], known_plays(game, plans, greedy=False)[:1]
    return sorted([greedy, *followed], key=lambda row: -row[0])


def known_plays(game: Game, plans: Iterable[Plan], *, greedy: bool = True) -> list[tuple[float, Ints]]:
    """Plays that follow plans, and greedy ones: seconds saved and actions, the best first."""
    found: list[tuple[float, Ints]] = []
    for plan in plans:
        actions, saved = follow(game, wishes_of(game.program, plan))
        found.append((saved, actions))
    for actions in greedy_plays(Best(game, Effort())) if greedy else ():
        saved = game.replay(actions)
        found.append((saved, game.played()))
    return sorted(found, key=lambda row: -row[0])
