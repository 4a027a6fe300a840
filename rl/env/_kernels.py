# pyright: basic, reportCallIssue=false
"""A step of the environment in one call: play, then write the mask and what changes of the observation."""

from tierplan.rl._kernels.frame import Play, inlined, inner, kernel, opened
from tierplan.rl._kernels.options import look
from tierplan.rl._kernels.play import step
from tierplan.rl._kernels.run import begin as reset
from tierplan.rl._kernels.run import forget
from tierplan.rl.tables import AT, CEILING, N_LIVE, N_QUEUE, PEAK


@inner
def _observe(mean_s, mask, now, supply, g: Play):
    """Write the mask, how the tensor of the next visit lies, and what the last steps have left for copies."""
    look(mask, g)
    v, n_visits = g.head[AT], len(g.visits)
    low, high = g.tiers[0].floor, g.tiers[0].usable
    share = 1.0 / (high - low) if high > low else 0.0
    now[:] = 0.0
    now[0] = v / n_visits
    now[1] = g.head[N_QUEUE] / len(g.queue)
    now[2] = (high - g.room[0, CEILING]) * share
    now[3] = (g.room[0, PEAK] - low) * share
    supply[:] = 0.0
    if v == n_visits:
        return
    visit = g.visits[v]
    mine = g.placed[visit.tensor]
    now[4] = mine.rect >= 0
    now[5] = mine.dirty
    now[6] = mine.pending
    now[7] = mine.base / len(g.tiers)
    now[8] = _filled(visit.step, g) * share
    for i in range(min(len(supply), visit.step)):
        step = g.steps[visit.step - 1 - i]
        left = (step.own - step.busy) / mean_s if mean_s > 0.0 else 0.0
        supply[i] = left / (1.0 + left)


@inlined
def _filled(t, g: Play):
    """Bytes of the fastest tier that are taken in step t, but for what lies there throughout."""
    filled = 0
    for i in range(g.room[0, N_LIVE]):
        rect = g.rects[g.live[0, i]]
        if rect.start <= t < rect.stop:
            filled += rect.end - rect.offset
    return filled


@inner
def _begin(mean_s, mask, now, supply, g: Play):
    reset(g)
    forget(g)
    _observe(mean_s, mask, now, supply, g)


@kernel
def begin(mean_s, mask, now, supply, where):
    """Reset a play and look at it."""
    _begin(mean_s, mask, now, supply, opened(where))


@kernel
def act(action, mean_s, mask, now, supply, where):
    """Play an action and look again; the seconds saved."""
    saved = step(action, where)
    _observe(mean_s, mask, now, supply, opened(where))
    return saved


@inlined
def _show(b, features, visit, ahead, g: Play):
    """Write the features of the next visits."""
    v = g.head[AT]
    visit[b] = features[v]
    for i in range(ahead.shape[1]):
        ahead[b, i] = features[v + 1 + i]


@kernel
def begin_many(mean_s, features, masks, now, supply, visit, ahead, wheres):
    """Reset all plays."""
    for b in range(len(wheres)):
        g = opened(wheres[b])
        _begin(mean_s, masks[b], now[b], supply[b], g)
        _show(b, features, visit, ahead, g)


@kernel
def act_many(actions, mean_s, features, saved, over, masks, now, supply, visit, ahead, wheres):
    """Play one action in each play; one that was over begins anew instead, and saves nothing.

    False, and nothing is played, if there is an action that does not exist.
    """
    for b in range(len(actions)):
        if not 0 <= actions[b] < masks.shape[1]:
            return False
    for b in range(len(actions)):
        g = opened(wheres[b])
        if over[b]:
            _begin(mean_s, masks[b], now[b], supply[b], g)
            saved[b], over[b] = 0.0, False
        else:
            saved[b] = step(actions[b], wheres[b])
            _observe(mean_s, masks[b], now[b], supply[b], g)
            over[b] = g.head[AT] == len(g.visits)
        _show(b, features, visit, ahead, g)
    return True


@kernel
def profile(image, t, horizon, where):
    """Write into `image` [T, R] which parts of the fastest tier are taken in the steps around t: 255, or 0.

    Row i is step `t - horizon + i`. What lies there throughout counts from the ceiling on.
    """
    g = opened(where)
    n_rows, n_bins = image.shape
    low, high = g.tiers[0].floor, g.tiers[0].usable
    image[:] = 0
    if high <= low:
        return
    for i in range(-1, g.room[0, N_LIVE]):
        start, stop, first, last = 0, len(g.base_own), g.room[0, CEILING], high
        if i >= 0:
            rect = g.rects[g.live[0, i]]
            start, stop, first, last = rect.start, rect.stop, rect.offset, rect.end
        a, b = (first - low) * n_bins // (high - low), -(-(last - low) * n_bins // (high - low))
        for row in range(max(0, start - t + horizon), min(n_rows, stop - t + horizon)):
            for j in range(a, b):
                image[row, j] = 255
