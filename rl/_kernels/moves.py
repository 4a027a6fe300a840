# pyright: basic, reportCallIssue=false
"""What the moves do: copy in, keep on, produce, write back, lie somewhere throughout."""

from tierplan.rl._kernels.clock import serve
from tierplan.rl._kernels.frame import Play, inlined, inner
from tierplan.rl._kernels.options import PRODUCE, UPDATE, ends_elsewhere, pins, stays_until, way_row
from tierplan.rl._kernels.room import new_rect, pin_offset, place
from tierplan.rl._kernels.spare import book, log_copy
from tierplan.rl._kernels.ways import OFFSET, START, TIER, hop_stop
from tierplan.rl._kernels.writebacks import cancel, enqueue
from tierplan.rl.tables import CEILING, NEVER, NONE


@inner
def play(v, action, g: Play):
    """Play an action at visit v that `may_play` there."""
    visit = g.visits[v]
    mine, keep = g.placed[visit.tensor], len(g.tiers) - 1
    if mine.base == 0:
        return
    if action > keep:
        _leave_in(v, action, action - keep, g)
    elif action == keep and pins(v, g):
        _pin(visit.tensor, 0, g)
    elif visit.mode == PRODUCE:
        _write_in(v, 0, action != keep, g.options[action].offset, g)
    elif mine.dirty > 0:
        _stay(v, action != keep, g)
    elif action == keep:
        r = mine.rect
        g.rects[r].stop = visit.step + 1
        _arrive(v, g.rects[r].tier, ends_elsewhere(v, g), g)
    else:
        _copy_in(v, action, g)
        _arrive(v, action, True, g)


@inlined
def _leave_in(v, action, k, g: Play):
    """Use the tensor in tier k: its base, or a faster one for as long as it lives."""
    visit = g.visits[v]
    x = visit.tensor
    if k == g.placed[x].base:
        if g.tiers[k].direct > 0:
            _use_base(v, k, g)
        else:
            _load(v, action, g.tiers[k].load, g)
    elif visit.mode != PRODUCE:
        _pin(x, k, g)
    else:
        place(x, k, g.options[action].offset, visit.step, g.tensors[x].stop, g)
        _settle(x, k, g)


@inner
def _use_base(v, base, g: Play):
    """Use it where it lies."""
    visit = g.visits[v]
    mine = g.placed[visit.tensor]
    mine.rect = NONE
    serve(v, base, g)
    if visit.mode == PRODUCE:
        mine.since, mine.dirty = min(mine.since, visit.step), 0
        if mine.pending > 0:
            cancel(visit.tensor, g)


@inner
def _load(v, action, near, g: Play):
    """Bring what steps cannot use where it lies to tier `near`, where they can."""
    if g.visits[v].mode == PRODUCE:
        _write_in(v, near, ends_elsewhere(v, g), g.options[action].offset, g)
        return
    _copy_in(v, action, g)
    _arrive(v, near, ends_elsewhere(v, g), g)


@inner
def _pin(x, k, g: Play):
    """Let tensor x lie in tier k throughout the turn."""
    g.room[k, CEILING] = pin_offset(x, k, g)
    new_rect(x, k, g.room[k, CEILING], 0, len(g.base_own), g)
    _settle(x, k, g)


@inner
def _settle(x, k, g: Play):
    """Make tier k the base of tensor x."""
    g.placed[x].base = k
    g.placed[x].since = NEVER
    v = g.tensors[x].first
    while v >= 0:
        serve(v, k, g)
        v = g.visits[v].after


@inner
def _write_in(v, k, back, offset, g: Play):
    """Produce in tier k what visit v produces; `back`: and write it back to its base."""
    visit = g.visits[v]
    x = visit.tensor
    stop = len(g.base_own) if back else stays_until(v, g)
    g.placed[x].rect = NONE
    if g.placed[x].pending > 0:
        cancel(x, g)
    g.placed[x].rect = place(x, k, offset, visit.step, stop, g)
    serve(v, k, g)
    _leave_dirty(v, k, back, g)


@inner
def _leave_dirty(v, k, back, g: Play):
    """What visit v wrote lies in tier k, and is valid nowhere else."""
    visit = g.visits[v]
    mine = g.placed[visit.tensor]
    if visit.next_step < 0:
        g.rects[mine.rect].stop = visit.step + 1
        mine.rect, mine.dirty = NONE, 0
        return
    mine.dirty = 1
    if back:
        g.rects[mine.rect].stop = len(g.base_own)
        enqueue(visit.tensor, k, visit.step, g)
        return
    g.rects[mine.rect].stop = stays_until(v, g)
    if visit.next >= 0:
        serve(visit.next, k, g)


@inlined
def _stay(v, back, g: Play):
    """Visit v uses a tensor that is valid in a fast tier only."""
    visit = g.visits[v]
    x = visit.tensor
    mine = g.placed[x]
    k = g.rects[mine.rect].tier
    serve(v, k, g)
    if mine.pending > 0 and (visit.mode == UPDATE or visit.next_step < 0):
        cancel(x, g)
    if mine.pending == 0:
        _leave_dirty(v, k, back, g)


@inlined
def _arrive(v, k, back, g: Play):
    """Visit v uses a tensor in tier k, valid in its base as well until it is written."""
    visit = g.visits[v]
    mine = g.placed[visit.tensor]
    serve(v, k, g)
    if visit.mode == UPDATE:
        _leave_dirty(v, k, back, g)
    elif visit.next_step < 0:
        mine.rect = NONE
    elif visit.next >= 0 and visit.next_step == visit.step + 1 and g.tiers[mine.base].direct == 0:
        g.rects[mine.rect].stop = visit.step + 2  # there would be no time to copy it again


@inner
def _copy_in(v, action, g: Play):
    """Issue the copies that were found for an action."""
    visit, n_hops, row = g.visits[v], g.options[action].hops, way_row(action, g)
    x = visit.tensor
    a = g.placed[x].base
    g.placed[x].rect = NONE
    for h in range(n_hops):
        hop = g.way[row + h]
        k, start = hop[TIER], hop[START]
        done = g.way[row + h + 1, START] if h + 1 < n_hops else visit.step
        r = place(x, k, hop[OFFSET], start, hop_stop(v, row, h, n_hops, g), g)
        log_copy(x, a, k, start, done, g)
        book(x, a, k, start, done, g)
        a = k
        if h + 1 == n_hops:
            g.placed[x].rect = r
