# pyright: basic, reportCallIssue=false
"""What lies where in the tiers, and which offsets are free. `live` holds residencies by offset, lowest first."""

from tierplan.rl._kernels.frame import Play, inlined, inner
from tierplan.rl.tables import CEILING, CROWDED, LAST_ISSUE, N_LIVE, N_RECTS, NONE, PEAK

_HUGE = 2**62
_IN_SIGHT = 64  # steps back that pictures show
_FEW = 16


@inlined
def horizon_of(now, g: Play):
    """The first step that a placement may reach back to from step `now` on."""
    back = now - g.rules[0]
    if g.rules[2] > 0:  # what steps wait for may be issued earlier, but not before another
        back = min(back, g.head[LAST_ISSUE]) - len(g.tiers)
    return back


@inner
def _prune(k, horizon, g: Play):
    """Take out of sight what ended so long ago that nothing can meet it any more."""
    kept = 0
    for i in range(g.room[k, N_LIVE]):
        r = g.live[k, i]
        if g.rects[r].stop > horizon or g.placed[g.rects[r].tensor].rect == r:
            g.live[k, kept] = r
            kept += 1
    g.room[k, N_LIVE] = kept
    g.room[k, CROWDED] = 2 * kept + _FEW


@inner
def find(k, start, stop, size, now, g: Play):
    """An offset of tier k that is free over [start, stop): the lowest, or that of the tightest gap; NONE if none."""
    horizon, slots = horizon_of(now, g), g.live.shape[1]
    if g.room[k, N_LIVE] == slots:
        _prune(k, horizon, g)
        if g.room[k, N_LIVE] == slots:
            return NONE
    elif g.room[k, N_LIVE] >= g.room[k, CROWDED]:
        _prune(k, min(horizon, now - _IN_SIGHT), g)
    alignment, best_fit = g.tiers[k].alignment, g.rules[1] > 0
    top = g.tiers[k].floor
    best, tightest = NONE, _HUGE
    for i in range(g.room[k, N_LIVE]):
        rect = g.rects[g.live[k, i]]
        if rect.start < stop and start < rect.stop:
            gap = rect.offset - top
            if gap >= size:
                if not best_fit:
                    return top
                if gap < tightest:
                    best, tightest = top, gap
            top = max(top, -(-rect.end // alignment) * alignment)
    gap = g.room[k, CEILING] - top
    if gap >= size and gap < tightest:
        best = top
    return best


@inlined
def new_rect(x, k, offset, start, stop, g: Play):
    """Note a residency; its place in the list."""
    r = g.head[N_RECTS]
    g.head[N_RECTS] += 1
    rect = g.rects[r]
    rect.tensor, rect.tier, rect.offset, rect.start, rect.stop = x, k, offset, start, stop
    rect.end = offset + g.tensors[x].size
    return r


@inner
def place(x, k, offset, start, stop, g: Play):
    """Lay tensor x down; what might have been kept on in its place cannot be kept any longer."""
    r = new_rect(x, k, offset, start, stop, g)
    end = g.rects[r].end
    n = g.room[k, N_LIVE]
    at = n
    for i in range(n):
        other = g.live[k, i]
        low = g.rects[other].offset
        if low >= offset and at == n:
            at = i
        if low >= end:
            break
        y = g.rects[other].tensor
        if g.rects[other].end > offset and g.placed[y].rect == other:
            g.placed[y].rect = NONE
    for i in range(n, at, -1):
        g.live[k, i] = g.live[k, i - 1]
    g.live[k, at] = r
    g.room[k, N_LIVE] = n + 1
    g.room[k, PEAK] = max(g.room[k, PEAK], end)
    return r


@inner
def pin_offset(x, k, g: Play):
    """Where tensor x can lie throughout the turn: below the ceiling, above all that ever lay there; NONE if nowhere."""
    alignment = g.tiers[k].alignment
    low = g.room[k, CEILING] - g.tensors[x].size
    if low < 0:
        return NONE
    low = low // alignment * alignment
    return low if low >= g.room[k, PEAK] else NONE
