# pyright: basic, reportCallIssue=false
"""A play from its beginning to its end, and drop-backup where it cannot go on."""

from tierplan.rl._kernels.frame import Play, inner
from tierplan.rl._kernels.moves import play
from tierplan.rl._kernels.options import default, may_play
from tierplan.rl._kernels.writebacks import CANCELLED, go_on
from tierplan.rl.tables import (
    AT,
    BACKUPS,
    CEILING,
    CROWDED,
    KNOWN,
    LAST_ISSUE,
    N_COPIES,
    N_LIVE,
    N_QUEUE,
    N_RECTS,
    NEVER,
    NONE,
    PEAK,
    REACHED,
    STUCK,
)


@inner
def begin(g: Play) -> None:
    """Begin anew; which moves were turned into drops stays on record until `forget`."""
    for i in (AT, REACHED, N_RECTS, N_COPIES, N_QUEUE, LAST_ISSUE):
        g.head[i] = 0
    g.head[STUCK], g.head[KNOWN] = NONE, NONE
    g.total[0] = 0.0
    for u in range(len(g.base_own)):
        step = g.steps[u]
        step.own, step.busy, step.issue = g.base_own[u], 0.0, 0
    g.steps[len(g.base_own)].issue = 0
    g.loads[:, :] = g.base_loads
    g.rates[:, :] = g.base_rates
    for x in range(len(g.tensors)):
        mine, fixed = g.placed[x], g.tensors[x]
        mine.base, mine.rect, mine.dirty, mine.pending, mine.ready = fixed.base, NONE, 0, 0, 0
        mine.since = 0 if fixed.exists > 0 else NEVER
    for v in range(len(g.visits)):
        g.served[v] = g.tiers[g.tensors[g.visits[v].tensor].base].load
    for k in range(len(g.tiers)):
        g.room[k, N_LIVE], g.room[k, CROWDED] = 0, 0
        g.room[k, CEILING], g.room[k, PEAK] = g.tiers[k].usable, g.tiers[k].floor


@inner
def forget(g: Play) -> None:
    """Take back what drop-backup turned into drops."""
    for v in range(len(g.moves)):
        g.moves[v].forced = 0
    g.head[BACKUPS] = 0


@inner
def _choose(v, g: Play):
    """What to play at visit v, as `moves` says; NONE if nothing can be played.

    A keep that is not legal is played as a copy to the fastest tier, a copy as a keep; if that is not legal either, or
    the visit was turned into a drop, the default is played.
    """
    keep, wanted, known = len(g.tiers) - 1, g.moves[v].action, g.head[KNOWN] == v
    for attempt in range(4):
        action = wanted
        if attempt == 1:
            action = 0 if wanted == keep else keep
        elif attempt == 2:
            action = default(v, g)
        elif attempt == 3:
            action = keep
        is_wish = attempt == 0 or (attempt == 1 and 0 <= wanted <= keep)
        if attempt < 2 and (g.moves[v].forced > 0 or not is_wish):
            continue
        if (g.options[action].legal > 0) if known and action >= 0 else may_play(v, action, g):
            return action
    return NONE


@inner
def _run(first, upto, g: Play):
    """Play visits [first, upto); the visit at which nothing could be played, NONE if all went well."""
    for v in range(first, upto):
        go_on(g.visits[v].step, g)
        action = _choose(v, g)
        if action < 0:
            return v
        play(v, action, g)
        g.moves[v].action = action
        g.head[AT] = v + 1
    return _finish(g) if upto == len(g.visits) else NONE


@inner
def _finish(g: Play):
    """End the last steps; the visit that is stuck because what it wrote does not reach its base, or NONE."""
    go_on(len(g.base_own), g)
    for i in range(g.head[N_QUEUE]):
        copy = g.copies[g.queue[i].copy]
        x = copy.tensor
        if g.tensors[x].returns == 0:
            copy.done = CANCELLED
        elif g.rules[2] > 0:
            copy.done = len(g.base_own)
            g.placed[x].since = min(g.placed[x].since, copy.start)
        else:
            return g.tensors[x].last
    g.head[N_QUEUE] = 0
    return NONE


@inner
def _turn_into_drops(x, upto, g: Play):
    """Flag the visits of tensor x so far; whether one of them was not flagged."""
    found = False
    v = g.tensors[x].first
    while v >= 0 and v <= upto:
        if g.moves[v].forced == 0:
            g.moves[v].forced = 1
            found = True
        v = g.visits[v].after
    return found


@inner
def _blame(v, g: Play):
    """Turn into drops what blocks visit v; if nothing stands out, all that was played. Whether there was anything."""
    visit = g.visits[v]
    x, found = visit.tensor, False
    if g.tiers[g.placed[x].base].direct > 0 or g.placed[x].dirty > 0:
        found = _turn_into_drops(x, v, g)
    else:
        for k in range(len(g.tiers)):
            for i in range(g.room[k, N_LIVE]):
                rect = g.rects[g.live[k, i]]
                if rect.stop >= visit.step and rect.tensor != x:
                    found = _turn_into_drops(rect.tensor, v - 1, g) or found
    if not found:
        for w in range(v + 1):
            found = found or g.moves[w].forced == 0
            g.moves[w].forced = 1
    return found


@inner
def go(first, upto, g: Play):
    """Play visits [first, upto), with drop-backup: what blocks is turned into drops, and visits are played again."""
    stuck = _run(first, upto, g)
    while stuck >= 0:
        g.head[BACKUPS] += 1
        if not _blame(stuck, g):
            g.head[STUCK] = stuck
            return
        begin(g)
        stuck = _run(0, upto, g)
