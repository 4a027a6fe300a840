# pyright: basic, reportCallIssue=false
"""When and where to copy a tensor for a visit: over one hop, or several."""

from tierplan.ir.problem import Mode
from tierplan.rl._kernels.frame import Play, inlined, inner
from tierplan.rl._kernels.room import find
from tierplan.rl._kernels.spare import latest
from tierplan.rl.tables import LAST_ISSUE

UPDATE = int(Mode.UPDATE)
TIER, START, OFFSET = range(3)  # of a hop


@inlined
def hop_stop(v, row, h, n_hops, g: Play):
    """Until when hop h of a way occupies the tier that it ends in."""
    visit = g.visits[v]
    if h + 2 < n_hops:
        return g.way[row + h + 2, START]
    if h + 1 < n_hops:
        return visit.step
    return len(g.base_own) if visit.mode == UPDATE and visit.next_step >= 0 else visit.step + 1


@inlined
def _hops(source, target, row, g: Play):
    """Write the tiers that the shortest way passes; how many, 0 if there is no way."""
    n_hops, k = 0, source
    while k != target:
        k = g.pairs[k, target].hop
        if k < 0 or n_hops == len(g.tiers):
            return 0
        g.way[row + n_hops, TIER] = k
        n_hops += 1
    return n_hops


@inner
def find_way(v, target, row, must, g: Play):
    """Write into `way`, from `row` on, how to copy for visit v to tier `target`; the number of hops, 0 if impossible.

    `must`: steps may wait for it.
    """
    visit = g.visits[v]
    x, t, size = visit.tensor, visit.step, g.tensors[visit.tensor].size
    source = g.placed[x].base
    n_hops = _hops(source, target, row, g)
    opens = max(visit.opens, g.placed[x].ready)
    earliest = max(opens, t - g.rules[0])
    due = t
    for h in range(n_hops - 1, -1, -1):
        a = g.way[row + h - 1, TIER] if h > 0 else source
        start = latest(x, a, g.way[row + h, TIER], earliest, due, g)
        if start < 0:
            if not must:
                return 0
            start = min(due - 1, max(opens + h, g.head[LAST_ISSUE]))
            if start < opens + h:
                return 0
        g.way[row + h, START] = start
        due = start
    for h in range(n_hops):
        hop = g.way[row + h]
        stop = hop_stop(v, row, h, n_hops, g)
        offset = find(hop[TIER], hop[START], stop, size, t, g)
        if offset < 0 and must and h + 1 == n_hops:
            hop[START] = t - 1
            offset = find(hop[TIER], t - 1, stop, size, t, g)
        if offset < 0:
            return 0
        hop[OFFSET] = offset
    return n_hops
