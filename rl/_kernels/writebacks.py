# pyright: basic, reportCallIssue=false
"""Write-backs: copies of what was written in a fast tier to its base, beside the steps that play passes."""

from tierplan.rl._kernels.frame import Play, inlined, inner
from tierplan.rl._kernels.spare import log_copy, rate_of, spend, wanted
from tierplan.rl.tables import N_QUEUE, REACHED

PENDING, CANCELLED = -1, -2  # when a copy is done


@inner
def may_return(v, k, g: Play):
    """Whether tier k can surely give back by the end what visit v leaves there, if its base must be valid then."""
    visit = g.visits[v]
    x = visit.tensor
    if g.tensors[x].returns == 0 or g.rules[2] > 0:
        return True
    base = g.placed[x].base
    link = g.pairs[k, base].link
    if link < 0:
        return False
    owed = wanted(x, k, base, g)
    after = g.visits[g.tensors[x].last].step + 1
    if visit.next < 0:
        after = visit.step + 1
        for i in range(g.head[N_QUEUE]):
            owed += g.queue[i].left
    return g.promised[link, after] >= owed


@inner
def can_write_back(v, k, g: Play):
    """Whether what visit v leaves in tier k can be copied to its base afterwards."""
    visit = g.visits[v]
    base = g.placed[visit.tensor].base
    if g.pairs[k, base].link < 0 or g.head[N_QUEUE] == len(g.queue) or visit.next_step <= visit.step + 1:
        return False
    return may_return(v, k, g)


@inner
def enqueue(x, k, t, g: Play):
    """Begin to write tensor x back after step t."""
    base = g.placed[x].base
    i = g.head[N_QUEUE]
    g.queue[i].copy = log_copy(x, k, base, t + 1, PENDING, g)
    g.queue[i].left = wanted(x, k, base, g)
    g.placed[x].pending = 1
    g.head[N_QUEUE] += 1


@inner
def cancel(x, g: Play):
    """Give up the write-back of tensor x."""
    kept = 0
    for i in range(g.head[N_QUEUE]):
        copy = g.queue[i].copy
        if g.copies[copy].tensor == x:
            g.copies[copy].done = CANCELLED
        else:
            g.queue[kept].copy, g.queue[kept].left = copy, g.queue[i].left
            kept += 1
    g.head[N_QUEUE] = kept
    g.placed[x].pending = 0


@inner
def _run(u, g: Play):
    """Let write-backs run beside step u, in order of issue."""
    kept = 0
    for i in range(g.head[N_QUEUE]):
        copy = g.copies[g.queue[i].copy]
        left = g.queue[i].left
        if copy.start <= u:
            left = spend(u, left, rate_of(u, copy.tensor, copy.source, copy.target, g), g)
        if left == 0.0:
            copy.done = u + 1
            x = g.placed[copy.tensor]
            x.pending, x.dirty = 0, 0
            x.since = min(x.since, copy.start)
            x.ready = u + 1
            g.rects[x.rect].stop = u + 1
        else:
            g.queue[kept].copy, g.queue[kept].left = g.queue[i].copy, left
            kept += 1
    g.head[N_QUEUE] = kept


@inlined
def go_on(until, g: Play):
    """Come to step `until`."""
    for u in range(g.head[REACHED], until):
        if g.head[N_QUEUE] == 0:
            break
        _run(u, g)
    g.head[REACHED] = until
