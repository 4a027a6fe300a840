# pyright: basic, reportCallIssue=false
"""How long steps last, and how fast copies run beside them, under the choices so far."""

from tierplan.rl._kernels.frame import Play, inlined, inner


@inlined
def _load(u, k, sign, visit, g: Play):
    """Let tier k serve a visit (sign 1), or no longer (-1)."""
    n_tiers = len(g.tiers)
    tier = g.tiers[k]
    g.loads[u, k] += sign * visit.read
    g.loads[u, n_tiers + k] += sign * visit.write
    if tier.read_link >= 0:
        g.loads[u, 2 * n_tiers + tier.read_link] += sign * visit.read
    if tier.write_link >= 0:
        g.loads[u, 2 * n_tiers + tier.write_link] += sign * visit.write


@inlined
def _lasts(u, g: Play):
    """Seconds that step u lasts; what it uses of tiers and links goes to `busy`."""
    n_tiers = len(g.tiers)
    own = g.compute[u]
    for k in range(n_tiers):
        tier = g.tiers[k]
        g.busy[k] = max(g.loads[u, k], 0) / tier.read_rate + max(g.loads[u, n_tiers + k], 0) / tier.write_rate
        own = max(own, g.busy[k])
    for j in range(len(g.link_rate)):
        g.busy[n_tiers + j] = max(g.loads[u, 2 * n_tiers + j], 0) / g.link_rate[j]
        own = max(own, g.busy[n_tiers + j])
    return own


@inlined
def _left(busy, own, full):
    """What is left of a rate beside a step that uses it for `busy` of its `own` seconds."""
    free = 1.0 - busy / own
    return free * full if free > 1e-12 else 0.0


@inlined
def _pace_copies(u, own, g: Play):
    """Work out again how fast copies run beside step u, from every tier to every other."""
    n_tiers = len(g.tiers)
    for a in range(n_tiers):
        for b in range(n_tiers):
            pair = g.pairs[a, b]
            if pair.link >= 0:
                rate = _left(g.busy[n_tiers + pair.link], own, pair.rate)
                rate = min(rate, _left(g.busy[a], own, g.tiers[a].read_rate))
                g.rates[u, a * n_tiers + b] = min(rate, _left(g.busy[b], own, g.tiers[b].write_rate))


@inner
def serve(v, k, g: Play):
    """Let tier k serve visit v, and count the seconds that this saves."""
    if g.served[v] == k:
        return
    visit = g.visits[v]
    u = visit.step
    _load(u, g.served[v], -1, visit, g)
    _load(u, k, 1, visit, g)
    own = _lasts(u, g)
    g.total[0] += g.steps[u].own - own
    g.steps[u].own = own
    _pace_copies(u, own, g)
    g.served[v] = k
