# pyright: basic, reportCallIssue=false
"""One play, from outside: begin it, play the next visit, play all visits."""

import numpy as np

from tierplan.ir.problem import Ints
from tierplan.rl._kernels.frame import kernel, opened
from tierplan.rl._kernels.options import default, look
from tierplan.rl._kernels.run import begin, forget, go
from tierplan.rl._kernels.writebacks import go_on
from tierplan.rl.tables import AT, STUCK, Flags


@kernel
def reset(where: int) -> None:
    """Begin anew."""
    begin(opened(where))
    forget(opened(where))


@kernel
def step(action: int, where: int) -> float:
    """Play the next visit; the seconds that it saves. What is not legal is played as `_choose` in run.py says."""
    g = opened(where)
    before, v = g.total[0], g.head[AT]
    g.moves[v].action = action
    go(v, v + 1, g)
    return g.total[0] - before


@kernel
def legal(mask: Flags, where: int) -> None:
    """Write into `mask` [2K - 1] which actions may be played next: 1, or 0."""
    look(mask, opened(where))


@kernel
def default_action(where: int) -> int:
    """What is played next where nothing else is asked for."""
    g = opened(where)
    go_on(g.visits[g.head[AT]].step, g)
    return default(g.head[AT], g)


@kernel
def replay(actions: Ints, where: int) -> float:
    """Play all visits; the seconds saved. What was played in the end stands in `moves`."""
    g = opened(where)
    reset(where)
    for v in range(len(g.visits)):
        g.moves[v].action = actions[v]
    go(0, len(g.visits), g)
    return g.total[0] if g.head[STUCK] < 0 else -np.inf
