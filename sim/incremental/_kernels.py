# pyright: basic
"""Simulate again from the first step that changed to the first at which everything is as it was.

The rules are those of `sim/_kernels.py`, of which the way that copies share links and tiers is used as it is.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from tierplan.ir.problem import Floats, Ints
from tierplan.sim._kernels import _advance, _fill, _free

_MAX_TURNS = 64


class Rates(NamedTuple):
    """What tiers [K] and links [L] can move, bytes per second, and the link behind which each tier lies, or -1."""

    read: Floats
    write: Floats
    link: Floats
    channels: Ints
    read_link: Ints
    write_link: Ints


class Steps(NamedTuple):
    """What steps do themselves: bytes [S, K], [S, K], [S, L], and the seconds [S], [S], [S, K], [S, L] it takes."""

    tier_read: Ints
    tier_write: Ints
    link_bytes: Ints
    compute_s: Floats
    own_s: Floats
    tier_s: Floats
    link_s: Floats


class Copies(NamedTuple):
    """The copies, one row each [C]. `need`: the step that waits for it; `after`: the next that the same step issues."""

    tensor: Ints
    start: Ints
    done: Ints
    need: Ints
    link: Ints
    source: Ints
    target: Ints
    size: Ints
    cap: Floats
    latency: Floats
    left: Floats
    delay: Floats
    end: Floats
    after: Ints
    removed: Ints


class Path(NamedTuple):
    """How things stand as each step, or the end, is reached [S + 1]: copies under way [S + 1, W], and what is left."""

    first: Ints  # [S]: the first copy that each step issues, -1 if none
    elapsed_s: Floats
    n_active: Ints  # -1: not known
    active: Ints
    left: Floats
    delay: Floats


class Journal(NamedTuple):
    """What rows of the path were before; `n[0]` rows are noted. One without rows notes nothing."""

    n: Ints
    step: Ints
    elapsed_s: Floats
    n_active: Ints
    active: Ints
    left: Floats
    delay: Floats


@njit(cache=True)
def time_step(t: int, steps: Steps, rates: Rates) -> None:
    """Recompute how long step t takes and uses what."""
    own = steps.compute_s[t]
    for k in range(len(rates.read)):
        used = steps.tier_read[t, k] / rates.read[k] + steps.tier_write[t, k] / rates.write[k]
        steps.tier_s[t, k] = used
        own = max(own, used)
    for j in range(len(rates.link)):
        used = steps.link_bytes[t, j] / rates.link[j]
        steps.link_s[t, j] = used
        own = max(own, used)
    steps.own_s[t] = own


@njit(cache=True)
def time_steps(steps: Steps, rates: Rates) -> None:
    """Recompute all steps."""
    for t in range(len(steps.own_s)):
        time_step(t, steps, rates)


@njit(cache=True)
def serve(step: Ints, tier: Ints, reads: Ints, writes: Ints, sign: int, steps: Steps, rates: Rates) -> None:
    """Add to steps, or with `sign` -1 take from them, the bytes of accesses that `tier` serves."""
    for i in range(len(step)):
        t, k = step[i], tier[i]
        steps.tier_read[t, k] += sign * reads[i]
        steps.tier_write[t, k] += sign * writes[i]
        if rates.read_link[k] >= 0:
            steps.link_bytes[t, rates.read_link[k]] += sign * reads[i]
        if rates.write_link[k] >= 0:
            steps.link_bytes[t, rates.write_link[k]] += sign * writes[i]
        time_step(t, steps, rates)


@njit(cache=True, nogil=True)
def fill_rows(
    rows: Ints, added: Ints, n_steps: int, size: Ints, link: Ints, cap: Floats, latency_s: Floats, copies: Copies,
) -> None:  # fmt: skip
    """Write copies, given as tensor, source, target, start, done, into rows that no step issues yet."""
    for i in range(len(rows)):
        c = rows[i]
        x, source, target, start, done = added[i]
        copies.tensor[c], copies.start[c], copies.done[c] = x, start, done
        copies.need[c] = done - n_steps if done > n_steps else done
        copies.source[c], copies.target[c], copies.link[c] = source, target, link[source, target]
        copies.size[c], copies.cap[c] = size[x], cap[x, source]
        copies.latency[c] = latency_s[source, target]
        copies.removed[c] = 1


@njit(cache=True)
def _goes_before(a, b, copies):
    if copies.done[a] != copies.done[b]:
        return copies.done[a] < copies.done[b]
    if copies.tensor[a] != copies.tensor[b]:
        return copies.tensor[a] < copies.tensor[b]
    return copies.target[a] < copies.target[b]


@njit(cache=True)
def attach(c: int, copies: Copies, path: Path) -> None:
    """Let its step issue a copy, those that are needed first before the others."""
    t = copies.start[c]
    before, at = -1, path.first[t]
    while at >= 0 and _goes_before(at, c, copies):
        before, at = at, copies.after[at]
    copies.after[c] = at
    copies.removed[c] = 0
    if before < 0:
        path.first[t] = c
    else:
        copies.after[before] = c


@njit(cache=True)
def detach(c: int, copies: Copies, path: Path) -> None:
    """Let its step no longer issue a copy."""
    t = copies.start[c]
    before, at = -1, path.first[t]
    while at != c:
        before, at = at, copies.after[at]
    if before < 0:
        path.first[t] = copies.after[c]
    else:
        copies.after[before] = copies.after[c]
    copies.removed[c] = 1


@njit(cache=True)
def _same(t, active, n_active, copies, path):
    if path.n_active[t] != n_active:
        return False
    for i in range(n_active):
        c = active[i]
        if path.active[t, i] != c:
            return False
        if abs(path.left[t, i] - copies.left[c]) > 1e-9 * copies.size[c]:
            return False
        if abs(path.delay[t, i] - copies.delay[c]) > 1e-15:
            return False
    return True


@njit(cache=True)
def _note(t, path, journal):
    i = journal.n[0]
    if len(journal.step) == 0:
        return True
    if i == len(journal.step):
        return False
    journal.step[i] = t
    journal.elapsed_s[i] = path.elapsed_s[t]
    journal.n_active[i] = path.n_active[t]
    for a in range(path.n_active[t]):
        journal.active[i, a] = path.active[t, a]
        journal.left[i, a] = path.left[t, a]
        journal.delay[i, a] = path.delay[t, a]
    journal.n[0] += 1
    return True


@njit(cache=True, nogil=True)
def undo(path: Path, journal: Journal) -> float:
    """Put the rows of the path back as they were; the seconds by which that changes the sum of all rows."""
    added = 0.0
    for i in range(journal.n[0] - 1, -1, -1):
        t = journal.step[i]
        added += journal.elapsed_s[i] - path.elapsed_s[t]
        path.elapsed_s[t] = journal.elapsed_s[i]
        path.n_active[t] = journal.n_active[i]
        for a in range(journal.n_active[i]):
            path.active[t, a] = journal.active[i, a]
            path.left[t, a] = journal.left[i, a]
            path.delay[t, a] = journal.delay[i, a]
    journal.n[0] = 0
    return added


@njit(cache=True, nogil=True)
def resimulate(
    first: int, last: int, cyclic: bool, steps: Steps, rates: Rates, copies: Copies, path: Path, journal: Journal,
) -> float:  # fmt: skip
    """Run from step `first` on until the path is as it was, past step `last`; seconds that this adds.

    `last` counts on past the end into the turn after: step t of that is S + 1 + t. Not a number if more copies are
    under way than the path or the journal holds.
    """
    n_steps, width = len(steps.own_s), path.active.shape[1]
    active = np.empty(len(copies.start), np.int64)
    tier_free = np.empty(len(rates.read))
    link_free = np.empty(len(rates.link))
    n_active = 0
    for i in range(max(0, path.n_active[first])):
        c = path.active[first, i]
        if copies.removed[c] == 0:
            active[n_active] = c
            copies.left[c], copies.delay[c] = path.left[first, i], path.delay[first, i]
            n_active += 1
    t, at, added = first, first, 0.0
    while at < _MAX_TURNS * (n_steps + 1):
        if at > last and _same(t, active, n_active, copies, path):
            break
        if n_active > width or not _note(t, path, journal):
            return np.nan
        path.n_active[t] = n_active
        for i in range(n_active):
            c = active[i]
            path.active[t, i], path.left[t, i], path.delay[t, i] = c, copies.left[c], copies.delay[c]
        clock = 0.0
        if n_active > 0:
            _fill(tier_free, 1.0)
            _fill(link_free, 1.0)
            while _is_awaited(t, active, n_active, copies):
                clock, n_active = _advance(
                    clock, np.inf, active, n_active, copies.left, copies.delay, copies.end, tier_free, link_free,
                    copies.link, copies.source, copies.target, copies.cap, rates.channels, rates.link,
                    rates.read, rates.write,
                )  # fmt: skip
        if t == n_steps:
            added += clock - path.elapsed_s[t]
            path.elapsed_s[t] = clock
            if not cyclic:
                break
            t, at = 0, at + 1
            continue
        c = path.first[t]
        while c >= 0:
            copies.left[c], copies.delay[c] = copies.size[c], copies.latency[c]
            active[n_active] = c
            n_active += 1
            c = copies.after[c]
        until = clock + steps.own_s[t]
        while n_active > 0 and clock < until:
            for k in range(len(tier_free)):
                tier_free[k] = _free(steps.tier_s[t, k], steps.own_s[t])
            for j in range(len(link_free)):
                link_free[j] = _free(steps.link_s[t, j], steps.own_s[t])
            clock, n_active = _advance(
                clock, until, active, n_active, copies.left, copies.delay, copies.end, tier_free, link_free,
                copies.link, copies.source, copies.target, copies.cap, rates.channels, rates.link,
                rates.read, rates.write,
            )  # fmt: skip
        added += until - path.elapsed_s[t]
        path.elapsed_s[t] = until
        t, at = t + 1, at + 1
    return added


@njit(cache=True)
def _is_awaited(t, active, n_active, copies):
    awaited = False
    for i in range(n_active):
        awaited = awaited or copies.need[active[i]] == t
    return awaited


@njit(cache=True)
def span(n_steps: int, step: Ints, removed: Ints, added: Ints, copies: Copies):
    """The first step that a change touches and the last, counted as `resimulate` does.

    `step`: of the accesses that move; `removed`, `added`: rows of copies. Copies that wrap around the end are first
    run from their issue to the end, and then all that changed once more in the turn after.
    """
    wraps = n_steps + 1
    for rows in (removed, added):
        for c in rows:
            if copies.done[c] > n_steps:
                wraps = min(wraps, copies.start[c])
    first, last = n_steps, 0
    for t in step:
        first, last = min(first, t), max(last, t)
    for rows in (removed, added):
        for c in rows:
            first, last = min(first, copies.start[c]), max(last, copies.need[c])
    if wraps <= n_steps:
        early = 0  # the last change that the run from `wraps` to the end does not cover
        for t in step:
            if t < wraps:
                early = max(early, t)
        for rows in (removed, added):
            for c in rows:
                if copies.done[c] > n_steps or copies.start[c] < wraps:
                    early = max(early, copies.need[c])
        return wraps, n_steps + 1 + early
    return first, last


@njit(cache=True, nogil=True)
def change(
    cyclic: bool, step: Ints, old_tier: Ints, new_tier: Ints, reads: Ints, writes: Ints, removed: Ints, added: Ints,
    steps: Steps, rates: Rates, copies: Copies, path: Path, journal: Journal,
) -> float:  # fmt: skip
    """Move accesses from one tier to another, take copies out and put others in; the seconds that this adds."""
    n_steps = len(steps.own_s)
    first, last = span(n_steps, step, removed, added, copies)
    serve(step, old_tier, reads, writes, -1, steps, rates)
    serve(step, new_tier, reads, writes, 1, steps, rates)
    for c in removed:
        detach(c, copies, path)
    for c in added:
        attach(c, copies, path)
    journal.n[0] = 0
    return resimulate(int(first), int(last), cyclic, steps, rates, copies, path, journal)


@njit(cache=True, nogil=True)
def change_back(
    step: Ints, old_tier: Ints, new_tier: Ints, reads: Ints, writes: Ints, removed: Ints, added: Ints,
    steps: Steps, rates: Rates, copies: Copies, path: Path, journal: Journal,
) -> float:  # fmt: skip
    """Undo the last `change`, given as it was; the seconds that this adds."""
    serve(step, new_tier, reads, writes, -1, steps, rates)
    serve(step, old_tier, reads, writes, 1, steps, rates)
    for c in added:
        detach(c, copies, path)
    for c in removed:
        attach(c, copies, path)
    return undo(path, journal)
