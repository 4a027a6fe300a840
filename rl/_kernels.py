# pyright: basic, reportCallIssue=false
"""The rules of mallocGame as kernels: docs/mallocgame.md, re-stated.

`Tables` are a program (rl/program.py) and do not change; `State` is one play. Actions of a machine with K tiers:
`0 .. K-2` copy to that tier, `K-1` keep, `K-1+k` leave in tier k.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic

from tierplan.ir.problem import Floats, Ints
from tierplan.rl.tables import NONE, Flags, Rows

_READ, _UPDATE, _PRODUCE = 0, 1, 2
_AT, _STEP, _N_RECTS, _N_COPIES, _N_QUEUE, _BACKUPS, _LAST_ISSUE, _STUCK, _HOPS, _OFFSET = range(10)
_N_LIVE, _CEILING, _PEAK = range(3)
_PENDING, _CANCELLED = -1, -2
_NEVER = 2**40
_WINDOW, _BEST_FIT, _WAITS = range(3)


class Tables(NamedTuple):
    """A program: structured arrays of visits [V], tensors [N], tiers [K] and pairs of tiers [K, K], then plain ones."""

    rules: Ints  # window, 1 for best fit, 1 if steps may wait
    visits: Rows
    tensors: Rows
    tiers: Rows
    pairs: Rows
    loads: Ints
    used: Floats
    own: Floats
    compute: Floats
    promised: Floats
    cap: Floats
    link_rate: Floats


class State(NamedTuple):
    """One play; see rl/tables.py for the fields of the structured arrays.

    head [10], total [1] (seconds saved so far), moves [V], served [V], tensors [N], rects, copies, steps [S + 1],
    loads [S, 2K + L], used [S, K + L], live [K, slots], room [K, 3], queue [pending], way [K, 3] (scratch).
    """

    head: Ints
    total: Floats
    moves: Rows
    served: Ints
    tensors: Rows
    rects: Rows
    copies: Rows
    steps: Rows
    loads: Ints
    used: Floats
    live: Ints
    room: Ints
    queue: Rows
    way: Ints


@intrinsic
def _uncounted(typingctx, array):
    """The same array without a count of who refers to it: counting costs more than all that a small function does.

    Assumes: the caller of the compiled function refers to the array as long as that runs.
    """

    def codegen(context, builder, signature, args):
        view = context.make_helper(builder, signature.args[0], value=args[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        return view._getvalue()

    return array(array), codegen


@njit(cache=True, error_model="numpy", forceinline=True)
def _bare_tables(p: Tables):
    return Tables(
        _uncounted(p.rules), _uncounted(p.visits), _uncounted(p.tensors), _uncounted(p.tiers), _uncounted(p.pairs),
        _uncounted(p.loads), _uncounted(p.used), _uncounted(p.own), _uncounted(p.compute), _uncounted(p.promised),
        _uncounted(p.cap), _uncounted(p.link_rate),
    )  # fmt: skip


@njit(cache=True, error_model="numpy", forceinline=True)
def _bare_state(s: State):
    return State(
        _uncounted(s.head), _uncounted(s.total), _uncounted(s.moves), _uncounted(s.served), _uncounted(s.tensors),
        _uncounted(s.rects), _uncounted(s.copies), _uncounted(s.steps), _uncounted(s.loads), _uncounted(s.used),
        _uncounted(s.live), _uncounted(s.room), _uncounted(s.queue), _uncounted(s.way),
    )  # fmt: skip


# --- Time of steps --------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _refresh(u, tiers, link_rate, compute, loads, used, steps):
    """Work out again how long step u lasts and uses tiers and links; the seconds that it has become shorter by."""
    n_tiers = len(tiers)
    own = compute[u]
    for k in range(n_tiers):
        busy = max(loads[u, k], 0) / tiers[k].read_rate + max(loads[u, n_tiers + k], 0) / tiers[k].write_rate
        used[u, k] = busy
        own = max(own, busy)
    for j in range(len(link_rate)):
        busy = max(loads[u, 2 * n_tiers + j], 0) / link_rate[j]
        used[u, n_tiers + j] = busy
        own = max(own, busy)
    saved = steps[u].own - own
    steps[u].own = own
    return saved


@njit(cache=True, error_model="numpy")
def _move(visit, before, after, tiers, link_rate, compute, loads, used, steps):
    """Let another tier serve a visit; the seconds that its step becomes shorter by."""
    tiers, loads, used, steps = _uncounted(tiers), _uncounted(loads), _uncounted(used), _uncounted(steps)
    u, n_tiers = visit.step, len(tiers)
    for i in range(2):
        k, sign = (before, -1) if i == 0 else (after, 1)
        loads[u, k] += sign * visit.read
        loads[u, n_tiers + k] += sign * visit.write
        if tiers[k].read_link >= 0:
            loads[u, 2 * n_tiers + tiers[k].read_link] += sign * visit.read
        if tiers[k].write_link >= 0:
            loads[u, 2 * n_tiers + tiers[k].write_link] += sign * visit.write
    return _refresh(u, tiers, link_rate, compute, loads, used, steps)


@njit(cache=True, error_model="numpy", forceinline=True)
def _serve(v, k, p: Tables, s: State):
    """Let tier k serve visit v."""
    if s.served[v] != k:
        saved = _move(p.visits[v], s.served[v], k, p.tiers, p.link_rate, p.compute, s.loads, s.used, s.steps)
        s.total[0] += saved
        s.served[v] = k


# --- Spare time of links --------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy", forceinline=True)
def _rate(u, x, a, b, p: Tables, s: State):
    """Bytes per second at which a copy of x from tier a to tier b runs beside step u when it alone is copied."""
    n_tiers = len(p.tiers)
    own = s.steps[u].own
    pair = p.pairs[a, b]
    rate = p.cap[x, a]
    for i in range(3):
        if i == 0:
            busy, full = s.used[u, n_tiers + pair.link], pair.rate
        elif i == 1:
            busy, full = s.used[u, a], p.tiers[a].read_rate
        else:
            busy, full = s.used[u, b], p.tiers[b].write_rate
        free = 1.0 - busy / own
        rate = min(rate, free * full if free > 1e-12 else 0.0)
    return rate


@njit(cache=True, error_model="numpy", forceinline=True)
def _wanted(x, a, b, p: Tables):
    """Bytes that a copy takes out of spare time; its latency counts as bytes at the full rate of the link."""
    return p.tensors[x].size + p.pairs[a, b].latency_s * p.pairs[a, b].rate


@njit(cache=True, error_model="numpy", forceinline=True)
def _latest(x, a, b, opens, due, p: Tables, s: State):
    """The latest step at which a copy can be issued so that spare time completes it by step `due`; NONE if none.

    A copy that is issued before one that was promised already must be over when that one is issued.
    """
    wanted = _wanted(x, a, b, p)
    left = wanted
    for u in range(due - 1, opens - 1, -1):
        if u + 1 < due and s.steps[u + 1].issue > 0:
            left = wanted
        free = s.steps[u].own - s.steps[u].busy
        if free > 0.0:
            left -= free * _rate(u, x, a, b, p, s)
        if left <= 0.0:
            return u
    return NONE


@njit(cache=True, error_model="numpy")
def _book(x, a, b, start, due, p: Tables, s: State):
    """Promise the spare time from step `start` on to a copy."""
    p, s = _bare_tables(p), _bare_state(s)
    left = _wanted(x, a, b, p)
    for u in range(start, due):
        free = s.steps[u].own - s.steps[u].busy
        if free <= 0.0:
            continue
        rate = _rate(u, x, a, b, p, s)
        if rate * free >= left:
            s.steps[u].busy += left / rate
            return
        if rate > 0.0:
            left -= rate * free
            s.steps[u].busy = s.steps[u].own


@njit(cache=True, error_model="numpy")
def _log_copy(x, a, b, start, done, p: Tables, s: State):
    p, s = _bare_tables(p), _bare_state(s)
    c = s.head[_N_COPIES]
    s.head[_N_COPIES] += 1
    copy = s.copies[c]
    copy.tensor, copy.source, copy.target, copy.start, copy.done = x, a, b, start, done
    s.steps[start].issue = 1
    s.head[_LAST_ISSUE] = max(s.head[_LAST_ISSUE], start)
    return c


# --- Room -----------------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _prune(k, horizon, placed, rects, live, room):
    """Take out of sight what ended so long ago that nothing can meet it any more."""
    kept = 0
    for i in range(room[k, _N_LIVE]):
        r = live[k, i]
        if rects[r].stop > horizon or placed[rects[r].tensor].rect == r:
            live[k, kept] = r
            kept += 1
    room[k, _N_LIVE] = kept


@njit(cache=True, error_model="numpy")
def _scan(k, start, stop, size, horizon, best_fit, floor, alignment, placed, rects, live, room):
    """An offset of tier k that is free over [start, stop): the lowest, or that of the tightest gap; NONE if none."""
    placed, rects, live, room = _uncounted(placed), _uncounted(rects), _uncounted(live), _uncounted(room)
    if room[k, _N_LIVE] == live.shape[1]:
        _prune(k, horizon, placed, rects, live, room)
        if room[k, _N_LIVE] == live.shape[1]:
            return NONE
    top = floor
    best, tightest = NONE, _NEVER
    for i in range(room[k, _N_LIVE]):
        rect = rects[live[k, i]]
        if rect.start < stop and start < rect.stop:
            gap = rect.offset - top
            if gap >= size:
                if best_fit == 0:
                    return top
                if gap < tightest:
                    best, tightest = top, gap
            top = max(top, -(-rect.end // alignment) * alignment)
    gap = room[k, _CEILING] - top
    if gap >= size and gap < tightest:
        best = top
    return best


@njit(cache=True, error_model="numpy", forceinline=True)
def _find(k, start, stop, size, now, p: Tables, s: State):
    """An offset of tier k for what lies there over [start, stop); NONE if there is none."""
    tier = p.tiers[k]
    return _scan(k, start, stop, size, now - p.rules[_WINDOW], p.rules[_BEST_FIT], tier.floor, tier.alignment,
                 s.tensors, s.rects, s.live, s.room)  # fmt: skip


@njit(cache=True, error_model="numpy")
def _insert(x, k, offset, end, start, stop, head, placed, rects, live, room):
    """Lay tensor x at [offset, end); what might have been kept on in its place cannot be kept any longer."""
    head, placed, rects = _uncounted(head), _uncounted(placed), _uncounted(rects)
    live, room = _uncounted(live), _uncounted(room)
    r = head[_N_RECTS]
    head[_N_RECTS] += 1
    rect = rects[r]
    rect.tensor, rect.tier, rect.offset, rect.start, rect.stop, rect.end = x, k, offset, start, stop, end
    n = room[k, _N_LIVE]
    place = n
    for i in range(n):
        other = live[k, i]
        low = rects[other].offset
        if low >= offset and place == n:
            place = i
        if low >= end:
            break
        y = rects[other].tensor
        if rects[other].end > offset and placed[y].rect == other:
            placed[y].rect = NONE
    for i in range(n, place, -1):
        live[k, i] = live[k, i - 1]
    live[k, place] = r
    room[k, _N_LIVE] = n + 1
    room[k, _PEAK] = max(room[k, _PEAK], end)
    return r


@njit(cache=True, error_model="numpy", forceinline=True)
def _place(x, k, offset, start, stop, p: Tables, s: State):
    end = offset + p.tensors[x].size
    return _insert(x, k, offset, end, start, stop, s.head, s.tensors, s.rects, s.live, s.room)


@njit(cache=True, error_model="numpy")
def _pin_offset(x, k, p: Tables, s: State):
    """Where tensor x can lie throughout the turn: below the ceiling, above all that ever lay there; NONE if nowhere."""
    alignment = p.tiers[k].alignment
    low = s.room[k, _CEILING] - p.tensors[x].size
    if low < 0:
        return NONE
    low = low // alignment * alignment
    return low if low >= s.room[k, _PEAK] else NONE


# --- Write-backs ----------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _can_write_back(v, k, p: Tables, s: State):
    """Whether what visit v leaves in tier k can be copied to its base afterwards."""
    p, s = _bare_tables(p), _bare_state(s)
    visit = p.visits[v]
    x, t = visit.tensor, visit.step
    base = s.tensors[x].base
    if p.pairs[k, base].link < 0 or s.head[_N_QUEUE] == len(s.queue) or visit.next_step <= t + 1:
        return False
    return _may_return(v, k, t, p, s)


@njit(cache=True, error_model="numpy")
def _may_return(v, k, t, p: Tables, s: State):
    """Whether tier k can surely give back by the end what must be valid in its base then."""
    p, s = _bare_tables(p), _bare_state(s)
    x = p.visits[v].tensor
    if p.tensors[x].returns == 0 or p.rules[_WAITS] > 0:
        return True
    base = s.tensors[x].base
    link = p.pairs[k, base].link
    if link < 0:
        return False
    wanted = _wanted(x, k, base, p)
    after = p.visits[p.tensors[x].last].step + 1
    if p.visits[v].next < 0:
        after = t + 1
        for i in range(s.head[_N_QUEUE]):
            wanted += s.queue[i].left
    return p.promised[link, after] >= wanted


@njit(cache=True, error_model="numpy")
def _enqueue(x, k, t, p: Tables, s: State):
    p, s = _bare_tables(p), _bare_state(s)
    base = s.tensors[x].base
    i = s.head[_N_QUEUE]
    s.queue[i].copy = _log_copy(x, k, base, t + 1, _PENDING, p, s)
    s.queue[i].left = _wanted(x, k, base, p)
    s.tensors[x].pending = 1
    s.head[_N_QUEUE] += 1


@njit(cache=True, error_model="numpy")
def _cancel(x, s: State):
    kept = 0
    for i in range(s.head[_N_QUEUE]):
        copy = s.queue[i].copy
        if s.copies[copy].tensor == x:
            s.copies[copy].done = _CANCELLED
        else:
            s.queue[kept].copy, s.queue[kept].left = copy, s.queue[i].left
            kept += 1
    s.head[_N_QUEUE] = kept
    s.tensors[x].pending = 0


@njit(cache=True, error_model="numpy", forceinline=True)
def _pass(until, p: Tables, s: State):
    """Let write-backs run beside the steps before `until`, in order of issue."""
    for u in range(s.head[_STEP], until):
        if s.head[_N_QUEUE] == 0:
            break
        kept = 0
        for i in range(s.head[_N_QUEUE]):
            copy = s.copies[s.queue[i].copy]
            left = s.queue[i].left
            free = s.steps[u].own - s.steps[u].busy
            if free > 0.0 and copy.start <= u:
                rate = _rate(u, copy.tensor, copy.source, copy.target, p, s)
                if rate * free >= left:
                    s.steps[u].busy += left / rate
                    left = 0.0
                elif rate > 0.0:
                    left -= rate * free
                    s.steps[u].busy = s.steps[u].own
            if left == 0.0:
                copy.done = u + 1
                x = s.tensors[copy.tensor]
                x.pending, x.dirty = 0, 0
                x.since = min(x.since, copy.start)
                x.ready = u + 1
                s.rects[x.rect].stop = u + 1
            else:
                s.queue[kept].copy, s.queue[kept].left = s.queue[i].copy, left
                kept += 1
        s.head[_N_QUEUE] = kept
    s.head[_STEP] = until


# --- What may be played ---------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy", forceinline=True)
def _stays_until(v, p: Tables):
    """Until when what visit v leaves in a fast tier stays there if it is not written back."""
    visit = p.visits[v]
    if visit.next_step < 0:
        return visit.step + 1
    return min(visit.next_step + 1, len(p.own))


@njit(cache=True, error_model="numpy", forceinline=True)
def _ends_elsewhere(v, p: Tables):
    """Whether what visit v leaves must be valid in its base at the end, and nothing uses it before."""
    visit = p.visits[v]
    return visit.next < 0 and visit.next_step >= 0 and p.tensors[visit.tensor].returns > 0


@njit(cache=True, error_model="numpy")
def _find_way(v, target, must, p: Tables, s: State):
    """Find when and where to copy for visit v over the way to tier `target`; the number of hops, 0 if impossible.

    `way[h]` is the tier that hop h ends in, when it is issued and its offset there. `must`: steps may wait for it.
    """
    p, s = _bare_tables(p), _bare_state(s)
    visit = p.visits[v]
    x, t, size = visit.tensor, visit.step, p.tensors[visit.tensor].size
    source = s.tensors[x].base
    n_hops, k = 0, source
    while k != target:
        k = p.pairs[k, target].hop
        if k < 0 or n_hops == len(p.tiers):
            return 0
        s.way[n_hops, 0] = k
        n_hops += 1
    opens = max(visit.opens, s.tensors[x].ready)
    earliest = max(opens, t - p.rules[_WINDOW])
    due = t
    for h in range(n_hops - 1, -1, -1):
        a = s.way[h - 1, 0] if h > 0 else source
        start = _latest(x, a, s.way[h, 0], earliest, due, p, s)
        if start < 0:
            if not must:
                return 0
            start = min(due - 1, max(opens + h, s.head[_LAST_ISSUE]))
            if start < opens + h:
                return 0
        s.way[h, 1] = start
        due = start
    for h in range(n_hops):
        stop = t + 1
        if h + 1 < n_hops:
            stop = s.way[h + 2, 1] if h + 2 < n_hops else t
        elif visit.mode == _UPDATE and visit.next_step >= 0:
            stop = len(p.own)
        offset = _find(s.way[h, 0], s.way[h, 1], stop, size, t, p, s)
        if offset < 0 and must and h + 1 == n_hops:
            s.way[h, 1] = t - 1
            offset = _find(s.way[h, 0], t - 1, stop, size, t, p, s)
        if offset < 0:
            return 0
        s.way[h, 2] = offset
    return n_hops


@njit(cache=True, error_model="numpy", forceinline=True)
def _legal_on(v, p: Tables, s: State):
    """Whether a tensor that could still be kept in a fast tier may be used there by visit v."""
    visit = p.visits[v]
    tier = s.rects[s.tensors[visit.tensor].rect].tier
    if p.tiers[tier].direct == 0:
        return False
    if visit.mode != _UPDATE:
        return True
    if _ends_elsewhere(v, p):
        return _can_write_back(v, tier, p, s)
    return _may_return(v, tier, visit.step, p, s)


@njit(cache=True, error_model="numpy", forceinline=True)
def _legal(v, action, p: Tables, s: State):
    """Whether `action` may be played at visit v, which is next."""
    visit = p.visits[v]
    x, t = visit.tensor, visit.step
    mine, base = s.tensors[x], s.tensors[x].base
    keep = len(p.tiers) - 1
    if action < 0 or action > 2 * keep:
        return False
    if base == 0:
        return action == keep
    if action > keep:
        k = action - keep
        if visit.mode != _PRODUCE and mine.dirty > 0:
            return False
        if k == base:
            return p.tiers[base].direct > 0 or _legal_drop(v, p, s)
        return k < base and p.tiers[k].direct > 0 and _can_settle(v, k, p, s)
    if visit.mode == _PRODUCE:
        size = p.tensors[x].size
        if action == keep:
            if _ends_elsewhere(v, p) or not _may_return(v, 0, t, p, s):
                return False
            stop = _stays_until(v, p)
        else:
            if action != 0 or not _can_write_back(v, 0, p, s):
                return False
            stop = len(p.own)
        s.head[_OFFSET] = _find(0, t, stop, size, t, p, s)
        return s.head[_OFFSET] >= 0
    if mine.dirty > 0:
        tier = s.rects[mine.rect].tier
        if action == keep:
            return (mine.pending > 0 and visit.mode == _READ) or not _ends_elsewhere(v, p)
        return action == 0 and not (mine.pending > 0 and visit.mode == _READ) and _can_write_back(v, tier, p, s)
    if action == keep:
        if visit.first > 0 and p.tensors[x].circular > 0:
            return p.tensors[x].settles > 0 and _pin_offset(x, 0, p, s) >= 0
        return mine.rect >= 0 and _legal_on(v, p, s)
    if action >= base or p.tiers[action].direct == 0:
        return False
    if visit.mode == _UPDATE and visit.next_step >= 0 and not _can_write_back(v, action, p, s):
        return False
    s.head[_HOPS] = _find_way(v, action, False, p, s)
    return s.head[_HOPS] > 0


@njit(cache=True, error_model="numpy")
def _legal_drop(v, p: Tables, s: State):
    """Whether what steps cannot use where it lies can be brought for visit v to where they can."""
    visit = p.visits[v]
    base = s.tensors[visit.tensor].base
    near = p.tiers[base].load
    if visit.mode != _READ and _ends_elsewhere(v, p) and not _can_write_back(v, near, p, s):
        return False
    if visit.mode == _PRODUCE:
        stop = len(p.own) if _ends_elsewhere(v, p) else _stays_until(v, p)
        s.head[_OFFSET] = _find(near, visit.step, stop, p.tensors[visit.tensor].size, visit.step, p, s)
        return s.head[_OFFSET] >= 0
    s.head[_HOPS] = _find_way(v, near, True, p, s)
    return s.head[_HOPS] > 0


@njit(cache=True, error_model="numpy")
def _can_settle(v, k, p: Tables, s: State):
    """Whether a tensor may lie in tier k for as long as it lives, from its first visit on."""
    visit = p.visits[v]
    x = visit.tensor
    if visit.first == 0 or p.tensors[x].settles == 0:
        return False
    if p.tensors[x].circular > 0:
        return _pin_offset(x, k, p, s) >= 0
    s.head[_OFFSET] = _find(k, visit.step, p.tensors[x].stop, p.tensors[x].size, visit.step, p, s)
    return s.head[_OFFSET] >= 0


@njit(cache=True, error_model="numpy", forceinline=True)
def _default(v, p: Tables, s: State):
    """What is played where nothing else is asked for: leave it in its base, or where it had to stay."""
    visit = p.visits[v]
    mine, keep = s.tensors[visit.tensor], len(p.tiers) - 1
    if mine.base == 0:
        return keep
    if visit.mode != _PRODUCE and mine.dirty > 0:
        return keep if (mine.pending > 0 and visit.mode == _READ) or not _ends_elsewhere(v, p) else 0
    if visit.mode != _PRODUCE and p.tiers[mine.base].direct == 0 and mine.rect >= 0 and _legal_on(v, p, s):
        return keep
    return keep + mine.base


# --- Play -----------------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy", forceinline=True)
def _do(v, action, p: Tables, s: State):
    """Play a legal action at visit v."""
    visit = p.visits[v]
    x, t, mode = visit.tensor, visit.step, visit.mode
    mine = s.tensors[x]
    base, keep = mine.base, len(p.tiers) - 1
    if base == 0:
        return
    if action > keep and action - keep == base:
        _do_drop(v, p, s)
    elif (action > keep and mode != _PRODUCE) or (
        action == keep and mode != _PRODUCE and visit.first > 0 and p.tensors[x].circular > 0
    ):
        _pin(x, action - keep, p, s)
    elif action > keep:
        _place(x, action - keep, s.head[_OFFSET], t, p.tensors[x].stop, p, s)
        _settle(x, action - keep, p, s)
    elif mode == _PRODUCE:
        _write_in(v, 0, action != keep, p, s)
    elif mine.dirty > 0:
        _go_on(v, action != keep, p, s)
    elif action == keep:
        r = mine.rect
        s.rects[r].stop = t + 1
        _arrived(v, s.rects[r].tier, _ends_elsewhere(v, p), p, s)
    else:
        _copy_in(v, p, s)
        _arrived(v, action, True, p, s)


@njit(cache=True, error_model="numpy", forceinline=True)
def _do_drop(v, p: Tables, s: State):
    visit = p.visits[v]
    mine = s.tensors[visit.tensor]
    base = mine.base
    if p.tiers[base].direct > 0:
        mine.rect = NONE
        _serve(v, base, p, s)
        if visit.mode == _PRODUCE:
            mine.since, mine.dirty = min(mine.since, visit.step), 0
            if mine.pending > 0:
                _cancel(visit.tensor, s)
        return
    near = p.tiers[base].load
    if visit.mode == _PRODUCE:
        _write_in(v, near, _ends_elsewhere(v, p), p, s)
        return
    _copy_in(v, p, s)
    _arrived(v, near, _ends_elsewhere(v, p), p, s)


@njit(cache=True, error_model="numpy")
def _pin(x, k, p: Tables, s: State):
    """Let tensor x lie in tier k throughout the turn."""
    offset = _pin_offset(x, k, p, s)
    s.room[k, _CEILING] = offset
    r = s.head[_N_RECTS]
    s.head[_N_RECTS] += 1
    rect = s.rects[r]
    rect.tensor, rect.tier, rect.offset, rect.start, rect.stop = x, k, offset, 0, len(p.own)
    rect.end = offset + p.tensors[x].size
    _settle(x, k, p, s)


@njit(cache=True, error_model="numpy")
def _settle(x, k, p: Tables, s: State):
    s.tensors[x].base = k
    s.tensors[x].since = _NEVER
    v = p.tensors[x].first
    while v >= 0:
        _serve(v, k, p, s)
        v = p.visits[v].after


@njit(cache=True, error_model="numpy")
def _write_in(v, k, back, p: Tables, s: State):
    """Produce in tier k what visit v produces; `back`: and write it back to its base."""
    p, s = _bare_tables(p), _bare_state(s)
    visit = p.visits[v]
    x, t = visit.tensor, visit.step
    stop = len(p.own) if back else _stays_until(v, p)
    s.tensors[x].rect = NONE
    if s.tensors[x].pending > 0:
        _cancel(x, s)
    s.tensors[x].rect = _place(x, k, s.head[_OFFSET], t, stop, p, s)
    _serve(v, k, p, s)
    _leave(v, k, back, p, s)


@njit(cache=True, error_model="numpy")
def _leave(v, k, back, p: Tables, s: State):
    """What visit v wrote lies in tier k, and is valid nowhere else."""
    p, s = _bare_tables(p), _bare_state(s)
    visit = p.visits[v]
    x = visit.tensor
    mine = s.tensors[x]
    if visit.next_step < 0:
        s.rects[mine.rect].stop = visit.step + 1
        mine.rect, mine.dirty = NONE, 0
        return
    mine.dirty = 1
    if back:
        s.rects[mine.rect].stop = len(p.own)
        _enqueue(x, k, visit.step, p, s)
        return
    s.rects[mine.rect].stop = _stays_until(v, p)
    if visit.next >= 0:
        _serve(visit.next, k, p, s)


@njit(cache=True, error_model="numpy", forceinline=True)
def _go_on(v, back, p: Tables, s: State):
    """Visit v uses a tensor that is valid in a fast tier only."""
    visit = p.visits[v]
    x = visit.tensor
    mine = s.tensors[x]
    k = s.rects[mine.rect].tier
    _serve(v, k, p, s)
    if mine.pending > 0 and (visit.mode == _UPDATE or visit.next_step < 0):
        _cancel(x, s)
    if mine.pending == 0:
        _leave(v, k, back, p, s)


@njit(cache=True, error_model="numpy", forceinline=True)
def _arrived(v, k, back, p: Tables, s: State):
    """Visit v uses a tensor in tier k, valid in its base as well until it is written."""
    visit = p.visits[v]
    mine = s.tensors[visit.tensor]
    _serve(v, k, p, s)
    if visit.mode == _UPDATE:
        _leave(v, k, back, p, s)
    elif visit.next_step < 0:
        mine.rect = NONE
    elif visit.next >= 0 and visit.next_step == visit.step + 1 and p.tiers[mine.base].direct == 0:
        s.rects[mine.rect].stop = visit.step + 2  # there would be no time to copy it again


@njit(cache=True, error_model="numpy", forceinline=True)
def _copy_in(v, p: Tables, s: State):
    """Issue the copies that `_find_way` found."""
    visit, n_hops = p.visits[v], s.head[_HOPS]
    x, t = visit.tensor, visit.step
    a = s.tensors[x].base
    s.tensors[x].rect = NONE
    for h in range(n_hops):
        k, start, offset = s.way[h, 0], s.way[h, 1], s.way[h, 2]
        done = s.way[h + 1, 1] if h + 1 < n_hops else t
        stop = t + 1
        if h + 1 < n_hops:
            stop = s.way[h + 2, 1] if h + 2 < n_hops else t
        elif visit.mode == _UPDATE and visit.next_step >= 0:
            stop = len(p.own)
        r = _place(x, k, offset, start, stop, p, s)
        _log_copy(x, a, k, start, done, p, s)
        _book(x, a, k, start, done, p, s)
        a = k
        if h + 1 == n_hops:
            s.tensors[x].rect = r


# --- A play from its beginning --------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def reset(p: Tables, s: State) -> None:
    """Begin anew; which moves were turned into drops stays on record until `forget`."""
    s.head[_AT], s.head[_STEP], s.head[_N_RECTS], s.head[_N_COPIES] = 0, 0, 0, 0
    s.head[_N_QUEUE], s.head[_LAST_ISSUE], s.head[_STUCK] = 0, 0, NONE
    s.total[0] = 0.0
    for u in range(len(p.own)):
        step = s.steps[u]
        step.own, step.busy, step.issue = p.own[u], 0.0, 0
        for i in range(p.loads.shape[1]):
            s.loads[u, i] = p.loads[u, i]
        for i in range(p.used.shape[1]):
            s.used[u, i] = p.used[u, i]
    s.steps[len(p.own)].issue = 0
    for x in range(len(p.tensors)):
        mine, fixed = s.tensors[x], p.tensors[x]
        mine.base, mine.rect, mine.dirty, mine.pending, mine.ready = fixed.base, NONE, 0, 0, 0
        mine.since = 0 if fixed.exists > 0 else _NEVER
    for v in range(len(p.visits)):
        s.served[v] = p.tiers[p.tensors[p.visits[v].tensor].base].load
    for k in range(len(p.tiers)):
        s.room[k, _N_LIVE], s.room[k, _CEILING], s.room[k, _PEAK] = 0, p.tiers[k].usable, p.tiers[k].floor


@njit(cache=True, error_model="numpy")
def forget(s: State) -> None:
    """Take back what drop-backup turned into drops."""
    for v in range(len(s.moves)):
        s.moves[v].forced = 0
    s.head[_BACKUPS] = 0


@njit(cache=True, error_model="numpy")
def _turn_into_drops(x, upto, p: Tables, s: State):
    """Flag the visits of tensor x so far; whether one of them was not flagged."""
    found = False
    v = p.tensors[x].first
    while v >= 0 and v <= upto:
        if s.moves[v].forced == 0:
            s.moves[v].forced = 1
            found = True
        v = p.visits[v].after
    return found


@njit(cache=True, error_model="numpy")
def _blame(v, p: Tables, s: State):
    """Turn into drops what blocks visit v; if nothing stands out, all that was played."""
    visit = p.visits[v]
    x, t = visit.tensor, visit.step
    found = False
    base = s.tensors[x].base
    if p.tiers[base].direct > 0 or s.tensors[x].dirty > 0:
        found = _turn_into_drops(x, v, p, s)
    else:
        for k in range(len(p.tiers)):
            for i in range(s.room[k, _N_LIVE]):
                rect = s.rects[s.live[k, i]]
                if rect.stop >= t and rect.tensor != x:
                    found = _turn_into_drops(rect.tensor, v - 1, p, s) or found
    if not found:
        for w in range(v + 1):
            found = found or s.moves[w].forced == 0
            s.moves[w].forced = 1
    return found


@njit(cache=True, error_model="numpy")
def _run(first, upto, p: Tables, s: State):
    """Play visits [first, upto) as `moves` says; the visit at which nothing could be played, NONE if all went well.

    A keep that is not legal is played as a copy to the fastest tier, a copy as a keep; if that is not legal either, or
    the visit was turned into a drop, the default is played.
    """
    p, s = _bare_tables(p), _bare_state(s)
    keep = len(p.tiers) - 1
    for v in range(first, upto):
        _pass(p.visits[v].step, p, s)
        wanted, action, stuck = s.moves[v].action, NONE, True
        for attempt in range(4):
            if attempt == 0:
                action = wanted
            elif attempt == 1:
                action = 0 if wanted == keep else keep
            elif attempt == 2:
                action = _default(v, p, s)
            else:
                action = keep
            is_wish = attempt == 0 or (attempt == 1 and 0 <= wanted <= keep)
            if attempt < 2 and (s.moves[v].forced > 0 or not is_wish):
                continue
            if _legal(v, action, p, s):
                stuck = False
                break
        if stuck:
            return v
        _do(v, action, p, s)
        s.moves[v].action = action
        s.head[_AT] = v + 1
    return NONE


@njit(cache=True, error_model="numpy")
def _finish(p: Tables, s: State):
    """End the last steps; the visit that is stuck because what it wrote does not reach its base, or NONE."""
    _pass(len(p.own), p, s)
    for i in range(s.head[_N_QUEUE]):
        copy = s.copies[s.queue[i].copy]
        x = copy.tensor
        if p.tensors[x].returns == 0:
            copy.done = _CANCELLED
        elif p.rules[_WAITS] > 0:
            copy.done = len(p.own)
            s.tensors[x].since = min(s.tensors[x].since, copy.start)
        else:
            return p.tensors[x].last
    s.head[_N_QUEUE] = 0
    return NONE


@njit(cache=True, error_model="numpy")
def _back_up(stuck, upto, p: Tables, s: State):
    """Drop-backup: turn choices that block visit `stuck` into drops and play visits before `upto` again."""
    while stuck >= 0:
        s.head[_BACKUPS] += 1
        if not _blame(stuck, p, s):
            s.head[_STUCK] = stuck
            return
        reset(p, s)
        stuck = _run(0, upto, p, s)
        if stuck < 0 and upto == len(p.visits):
            stuck = _finish(p, s)


@njit(cache=True, error_model="numpy")
def _go(first, upto, p: Tables, s: State):
    """Play visits [first, upto), with drop-backup."""
    stuck = _run(first, upto, p, s)
    if stuck < 0 and upto == len(p.visits):
        stuck = _finish(p, s)
    if stuck >= 0:
        _back_up(stuck, upto, p, s)


@njit(cache=True, error_model="numpy")
def step(action: int, tables: Tables, state: State) -> float:
    """Play the next visit; the seconds that it saves. What is not legal is played as `_run` says."""
    p, s = _bare_tables(tables), _bare_state(state)
    before, v = s.total[0], s.head[_AT]
    s.moves[v].action = action
    _go(v, v + 1, p, s)
    return s.total[0] - before


@njit(cache=True, error_model="numpy")
def mask_actions(mask, p: Tables, s: State):
    """Write into `mask` [2K - 1] which actions may be played next: 1, or 0. Where none may, the default backs up."""
    p, s = _bare_tables(p), _bare_state(s)
    mask[:] = 0
    v = s.head[_AT]
    if v >= len(p.visits):
        return
    _pass(p.visits[v].step, p, s)
    none = True
    for action in range(len(mask)):
        if _legal(v, action, p, s):
            mask[action] = 1
            none = False
    if none:
        mask[_default(v, p, s)] = 1


@njit(cache=True, error_model="numpy")
def legal(mask: Flags, tables: Tables, state: State) -> None:
    """Write into `mask` [2K - 1] which actions may be played next: 1, or 0."""
    mask_actions(mask, tables, state)


@njit(cache=True, error_model="numpy")
def default_action(p: Tables, s: State) -> int:
    """What is played next where nothing else is asked for."""
    _pass(p.visits[s.head[_AT]].step, p, s)
    return _default(s.head[_AT], p, s)


@njit(cache=True, error_model="numpy")
def replay(actions: Ints, tables: Tables, state: State) -> float:
    """Play all visits; the seconds saved. What was played in the end stands in `moves`."""
    p, s = _bare_tables(tables), _bare_state(state)
    reset(p, s)
    forget(s)
    for v in range(len(p.visits)):
        s.moves[v].action = actions[v]
    _go(0, len(p.visits), p, s)
    return s.total[0] if s.head[_STUCK] < 0 else -np.inf
