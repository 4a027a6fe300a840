# pyright: basic, reportCallIssue=false
"""Spare time of steps, and what copies are promised of it.

One server carries all copies of the machine, in order of issue (docs/mallocgame.md says why that is safe).
"""

from tierplan.rl._kernels.frame import Play, inlined, inner
from tierplan.rl.tables import LAST_ISSUE, N_COPIES, NONE


@inlined
def wanted(x, a, b, g: Play):
    """Bytes that a copy takes out of spare time; its latency counts as bytes at the full rate of the link."""
    return g.tensors[x].size + g.pairs[a, b].latency_s * g.pairs[a, b].rate


@inlined
def rate_of(u, x, a, b, g: Play):
    """Bytes per second at which a copy of x from tier a to tier b runs beside step u when it alone is copied."""
    return min(g.cap[x, a], g.rates[u, a * len(g.tiers) + b])


@inner
def latest(x, a, b, opens, due, g: Play):
    """The latest step at which a copy can be issued so that spare time completes it by step `due`; NONE if none.

    A copy that is issued before one that was promised already must be over when that one is issued.
    """
    whole = wanted(x, a, b, g)
    left, another = whole, False
    for u in range(due - 1, opens - 1, -1):
        step = g.steps[u]
        if another:
            left = whole
        another = step.issue > 0
        free = step.own - step.busy
        if free > 0.0:
            left -= free * rate_of(u, x, a, b, g)
        if left <= 0.0:
            return u
    return NONE


@inlined
def spend(u, left, rate, g: Play):
    """Give what is left of step u to a copy that wants `left` bytes; how many it wants after the step."""
    step = g.steps[u]
    free = step.own - step.busy
    if free <= 0.0:
        return left
    if rate * free >= left:
        step.busy += left / rate
        return 0.0
    if rate > 0.0:
        left -= rate * free
        step.busy = step.own
    return left


@inner
def book(x, a, b, start, due, g: Play):
    """Promise the spare time from step `start` on to a copy."""
    left = wanted(x, a, b, g)
    for u in range(start, due):
        left = spend(u, left, rate_of(u, x, a, b, g), g)
        if left == 0.0:
            return


@inner
def log_copy(x, a, b, start, done, g: Play):
    """Note a copy; its place in the list."""
    c = g.head[N_COPIES]
    g.head[N_COPIES] += 1
    copy = g.copies[c]
    copy.tensor, copy.source, copy.target, copy.start, copy.done = x, a, b, start, done
    g.steps[start].issue = 1
    g.head[LAST_ISSUE] = max(g.head[LAST_ISSUE], start)
    return c
