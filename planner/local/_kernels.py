# pyright: basic
"""Tell where a tensor lies from what is wished for it, find it room, and push others aside: for many edits a second.

Each tensor has two tales, the one that holds and the one that is tried; `which[x]` says which of the two holds.
A tale has stays (tier, start, stop, offset) and copies (source, target, start, done). A stay that begins in the turn
before has a negative start, a copy that ends in the turn after counts on. The visits of tensor x are
`at[x] : at[x + 1]`; it has slots for stays and copies in the same way.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from tierplan.ir.problem import Bools, Floats, Ints

_UPDATE, _PRODUCE = 1, 2
_BASE_VALID, _BASE_FROM, _BASE_UNTIL, _BASE_READY, _RUN, _RUN_START, _RUN_STOP, _RUN_READY = range(8)
_NEVER = -(2**40)
SAME = 9  # the kind of an edit that wishes the same again


class Facts(NamedTuple):
    """What does not change: of tensors [N], of visits [V], and of tiers [K] and pairs of tiers [K, K]."""

    shape: Ints  # steps, 1 if cyclic
    size: Ints
    home: Ints
    at: Ints
    step: Ints
    mode: Ints
    since: Ints
    opens: Ints
    is_end: Bools
    circular: Bools
    writes: Bools  # is circular, and some step writes it
    exists: Bools
    must_go_home: Bools
    stay_at: Ints
    copy_at: Ints
    direct: Bools
    usable: Ints
    alignment: Ints
    link: Ints
    next_hop: Ints
    link_rate: Floats
    link_latency: Floats
    read_rate: Floats
    write_rate: Floats


class Supply(NamedTuple):
    """How long steps are taken to last [S], with what they wait for; how long they use tiers [S, K] and links [S, L]
    themselves; what copies were promised [S, L].
    """

    pace_s: Floats
    tier_s: Floats
    link_s: Floats
    booked_s: Floats


class Tales(NamedTuple):
    """Both tales of all tensors: the wish [2, N], [2, V], stays [2, slots], copies [2, slots]."""

    which: Ints
    base: Ints
    tier: Ints
    kept: Bools
    serves: Ints
    n_stays: Ints
    stay_tier: Ints
    stay_start: Ints
    stay_stop: Ints
    stay_offset: Ints
    n_copies: Ints
    copy_source: Ints
    copy_target: Ints
    copy_start: Ints
    copy_done: Ints
    copy_row: Ints


class Rooms(NamedTuple):
    """What lies in each tier, lowest first: `rows[k, :n[k]]` are slots of stays, plus the number of slots if twin 1."""

    n: Ints
    rows: Ints
    owner: Ints  # [slots]: the tensor of each slot


@njit(cache=True)
def seed(value: int) -> None:
    """Set the seed of the random numbers that the functions below draw."""
    np.random.seed(value)


# --- Tales ---------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _spare_bytes(x, j, k, t, f: Facts, s: Supply):
    n = f.shape[0]
    t = t % n
    own = s.pace_s[t]
    link = f.link[j, k]
    free = (own - s.link_s[t, link] - s.booked_s[t, link]) * f.link_rate[j, k]
    free = min(free, (own - s.tier_s[t, j]) * f.read_rate[x, j])
    free = min(free, (own - s.tier_s[t, k]) * f.write_rate[k])
    return max(0.0, free)


@njit(cache=True)
def _latest(x, j, k, opens, due, share, f: Facts, s: Supply):
    """The latest step from which spare time moves a share of tensor x by step `due`; `_NEVER` if there is none."""
    if opens >= due or f.link[j, k] < 0:
        return _NEVER
    wanted = (f.size[x] + f.link_latency[j, k] * f.link_rate[j, k]) * share
    for t in range(due - 1, opens - 1, -1):
        wanted -= _spare_bytes(x, j, k, t, f, s)
        if wanted <= 0.0:
            return t
    return _NEVER


@njit(cache=True)
def _earliest(x, j, k, opens, due, share, f: Facts, s: Supply):
    """The earliest step by which spare time moves a share of tensor x issued at `opens`; `_NEVER` if too late."""
    if opens >= due or f.link[j, k] < 0:
        return _NEVER
    wanted = (f.size[x] + f.link_latency[j, k] * f.link_rate[j, k]) * share
    for t in range(opens, due):
        wanted -= _spare_bytes(x, j, k, t, f, s)
        if wanted <= 0.0:
            return t + 1
    return _NEVER


@njit(cache=True)
def _stay(x, w, tier, start, stop, f: Facts, tales: Tales):
    if stop <= 0:
        start, stop = start + f.shape[0], stop + f.shape[0]
    if stop > f.shape[0]:
        start, stop = start - f.shape[0], stop - f.shape[0]
    i = tales.n_stays[w, x]
    slot = f.stay_at[x] + i
    if slot >= f.stay_at[x + 1]:
        return False
    tales.stay_tier[w, slot], tales.stay_start[w, slot], tales.stay_stop[w, slot] = tier, start, stop
    tales.n_stays[w, x] = i + 1
    return True


@njit(cache=True)
def _copy(x, w, source, target, start, done, f: Facts, tales: Tales):
    if start < 0:
        start, done = start + f.shape[0], done + f.shape[0]
    if start >= f.shape[0]:
        start, done = start - f.shape[0], done - f.shape[0]
    i = tales.n_copies[w, x]
    slot = f.copy_at[x] + i
    if slot >= f.copy_at[x + 1]:
        return False
    tales.copy_source[w, slot], tales.copy_target[w, slot] = source, target
    tales.copy_start[w, slot], tales.copy_done[w, slot] = start, done
    tales.copy_row[w, slot] = -1
    tales.n_copies[w, x] = i + 1
    return True


@njit(cache=True)
def _close(x, w, st, left, f: Facts, tales: Tales):
    if st[_RUN] < 0:
        return True
    left[st[_RUN]] = st[_RUN_STOP]
    done = _stay(x, w, st[_RUN], st[_RUN_START], st[_RUN_STOP], f, tales)
    st[_RUN] = -1
    return done


@njit(cache=True)
def _leave_base(x, w, base, st, f: Facts, tales: Tales):
    if st[_BASE_FROM] < 0:
        return True
    start = st[_BASE_FROM]
    st[_BASE_FROM] = -1
    return _stay(x, w, base, start, max(st[_BASE_UNTIL], start + 1), f, tales)


@njit(cache=True)
def _evict(x, w, base, st, opens, due, share, f: Facts, s: Supply, tales: Tales):
    """Copy the only valid copy back to the base over the shortest way."""
    if st[_RUN] < 0:
        return False
    n_tiers = len(f.direct)
    hop = np.empty((n_tiers, 4), np.int64)  # source, target, start, done
    n_hops, k, start = 0, st[_RUN], max(opens, st[_RUN_READY], 0)
    while k != base:
        after = f.next_hop[k, base]
        if after < 0 or n_hops == n_tiers:
            return False
        done = _earliest(x, k, after, start, due, share, f, s)
        if done == _NEVER:
            return False
        hop[n_hops, 0], hop[n_hops, 1], hop[n_hops, 2], hop[n_hops, 3] = k, after, start, done
        n_hops, k, start = n_hops + 1, after, done
    if n_hops > 1 and start > f.shape[0]:  # what lies on the way would have to be there at the beginning too
        return False
    for h in range(n_hops):
        if not _copy(x, w, hop[h, 0], hop[h, 1], hop[h, 2], hop[h, 3], f, tales):
            return False
        if h > 0 and not _stay(x, w, hop[h, 0], hop[h - 1, 2], hop[h, 3], f, tales):
            return False
    st[_RUN_STOP] = max(st[_RUN_STOP], hop[0, 3])
    if st[_BASE_FROM] < 0:
        st[_BASE_FROM] = hop[n_hops - 1, 2]
    st[_BASE_VALID], st[_BASE_READY] = 1, start
    st[_BASE_UNTIL] = max(st[_BASE_UNTIL], start)
    return True


@njit(cache=True)
def _serve_from_base(x, w, base, st, left, t, opens, share, f: Facts, s: Supply, tales: Tales):
    if st[_BASE_VALID] == 0 and not _evict(x, w, base, st, opens, t, share, f, s, tales):
        return False
    if st[_BASE_READY] > t:
        return False
    if not _close(x, w, st, left, f, tales):
        return False
    st[_BASE_UNTIL] = max(st[_BASE_UNTIL], min(t + 1, f.shape[0]))
    return True


@njit(cache=True)
def _load(x, w, v, base, st, left, tier, t, opens, share, f: Facts, s: Supply, tales: Tales):
    """Copy the tensor from the base into a tier over the shortest way, to be done by step t."""
    n_tiers = len(f.direct)
    hops = np.empty((n_tiers, 2), np.int64)
    n_hops, k = 0, base
    while k != tier:
        after = f.next_hop[k, tier]
        if after < 0 or n_hops == n_tiers:
            return False
        hops[n_hops, 0], hops[n_hops, 1] = k, after
        if st[_RUN] == after:
            opens = max(opens, st[_RUN_STOP])
        opens = max(opens, left[after])
        n_hops += 1
        k = after
    if n_hops == 0:
        return False
    if n_hops > 1:  # what lies on the way would serve the visit before
        opens = max(opens, f.since[v] + 1)
    starts = np.empty(n_hops, np.int64)
    due = t
    for h in range(n_hops - 1, -1, -1):
        starts[h] = _latest(x, hops[h, 0], hops[h, 1], opens, due, share, f, s)
        if starts[h] == _NEVER:
            return False
        due = starts[h]
    if not _close(x, w, st, left, f, tales):
        return False
    for h in range(n_hops):
        done = starts[h + 1] if h + 1 < n_hops else t
        if not _copy(x, w, hops[h, 0], hops[h, 1], starts[h], done, f, tales):
            return False
        if h > 0:
            if not _stay(x, w, hops[h, 0], starts[h - 1], done, f, tales):
                return False
            left[hops[h, 0]] = done
        else:
            st[_BASE_UNTIL] = max(st[_BASE_UNTIL], done)
    st[_RUN], st[_RUN_START] = tier, starts[n_hops - 1]
    st[_RUN_STOP], st[_RUN_READY] = min(t + 1, f.shape[0]), t
    return True


@njit(cache=True)
def _move(x, w, v, base, st, left, tier, t, opens, share, f: Facts, s: Supply, tales: Tales):
    """Bring the tensor into a tier by step t: from the base, or from where it lies."""
    run = st[_RUN]
    if run >= 0 and run != tier and st[_BASE_VALID] == 0:
        since = max(opens, st[_RUN_READY], left[tier])
        start = _latest(x, run, tier, since, t, share, f, s)
        if start != _NEVER:
            if not _copy(x, w, run, tier, start, t, f, tales):
                return False
            st[_RUN_STOP] = max(st[_RUN_STOP], t)
            if not _close(x, w, st, left, f, tales):
                return False
            st[_RUN], st[_RUN_START] = tier, start
            st[_RUN_STOP], st[_RUN_READY] = min(t + 1, f.shape[0]), t
            return True
    if st[_BASE_VALID] == 0 and not _evict(x, w, base, st, opens, t - 1, share, f, s, tales):
        return False
    return _load(x, w, v, base, st, left, tier, t, max(opens, st[_BASE_READY]), share, f, s, tales)


@njit(cache=True)
def _reach(x, w, v, base, st, left, tier, kept, opens, share, f: Facts, s: Supply, tales: Tales):
    """Make the tensor lie in a tier at a visit, or else where it can; whether it lies anywhere."""
    t = f.step[v]
    if f.is_end[v] and f.must_go_home[x]:
        return base == f.home[x] and _serve_from_base(x, w, base, st, left, t, opens, share, f, s, tales)
    if tier > base and f.direct[base]:
        tier = base
    if st[_RUN] >= 0 and st[_RUN] == tier and kept:
        st[_RUN_STOP] = max(st[_RUN_STOP], min(t + 1, f.shape[0]))
        return True
    if tier == base:
        if _serve_from_base(x, w, base, st, left, t, opens, share, f, s, tales):
            return True
    elif _move(x, w, v, base, st, left, tier, t, opens, share, f, s, tales):
        return True
    for slower in range(tier + 1, base):  # not so near, but nearer than the base
        if st[_RUN] == slower or not f.direct[slower]:
            break
        if _move(x, w, v, base, st, left, slower, t, opens, share, f, s, tales):
            return True
    if st[_RUN] >= 0 and (f.is_end[v] or f.direct[st[_RUN]]):
        st[_RUN_STOP] = max(st[_RUN_STOP], min(t + 1, f.shape[0]))
        return True
    if not _serve_from_base(x, w, base, st, left, t, opens, share, f, s, tales):
        return False
    return f.is_end[v] or f.direct[base]


@njit(cache=True, nogil=True)
def tell(x: int, w: int, share: float, wraps: bool, late: int, f: Facts, s: Supply, tales: Tales) -> bool:
    """Write tale `w` of tensor x from its wish; whether there is one of this kind.

    `share`: of a copy, that must fit into spare time. `wraps`: what is only read may be copied in from the turn before
    on. `late`: what a turn writes may come back to its base by that step of the turn after.
    """
    n, base = f.shape[0], tales.base[w, x]
    st = np.zeros(8, np.int64)
    left = np.full(len(f.direct), _NEVER)
    tales.n_stays[w, x] = 0
    tales.n_copies[w, x] = 0
    circular = f.circular[x]
    written = -1
    st[_RUN] = -1
    st[_BASE_VALID] = 1 if f.exists[x] else 0
    st[_BASE_FROM] = 0 if f.exists[x] else -1
    st[_BASE_UNTIL] = 1
    st[_BASE_READY] = 0
    if circular:
        st[_BASE_READY] = late if late > 0 else -n
    for v in range(f.at[x], f.at[x + 1]):
        if f.mode[v] != 0:
            wraps = False
    for v in range(f.at[x], f.at[x + 1]):
        t, tier = f.step[v], tales.tier[w, v]
        opens = f.opens[v] if wraps else max(f.opens[v], 0)
        if f.mode[v] == _PRODUCE:
            if not _close(x, w, st, left, f, tales):
                return False
            if tier > base and f.direct[base]:
                tier = base
            if not circular and not _leave_base(x, w, base, st, f, tales):
                return False
            st[_BASE_VALID] = 1 if tier == base else 0
            if tier == base:
                if st[_BASE_FROM] < 0:
                    st[_BASE_FROM] = t
                st[_BASE_UNTIL], st[_BASE_READY] = t + 1, t
            else:
                st[_RUN], st[_RUN_START], st[_RUN_STOP], st[_RUN_READY] = tier, t, t + 1, t + 1
        elif not _reach(x, w, v, base, st, left, tier, tales.kept[w, v], opens, share, f, s, tales):
            return False
        tales.serves[w, v] = st[_RUN] if st[_RUN] >= 0 else base
        if f.mode[v] != 0:
            written = t
        if f.mode[v] == _UPDATE and st[_RUN] >= 0:
            st[_BASE_VALID] = 0
            if not circular and not _leave_base(x, w, base, st, f, tales):
                return False
    if circular and st[_BASE_VALID] == 0 and not _evict(x, w, base, st, written + 1, n + late, share, f, s, tales):
        return False
    if not _close(x, w, st, left, f, tales):
        return False
    if circular:
        st[_BASE_UNTIL] = n
    if not _leave_base(x, w, base, st, f, tales):
        return False
    return not _meets_itself(x, w, n, f, tales)


@njit(cache=True)
def _meets_itself(x, w, n, f: Facts, tales: Tales):
    """Whether two stays in one tier overlap, in one turn or with the turn before.

    Two that touch count as well, and one that lasts a turn outside the base: where they are one, what is valid in the
    first is still valid in the second, so that another tier serves than the tale says.
    """
    first, circular = f.stay_at[x], f.circular[x]
    for a in range(first, first + tales.n_stays[w, x]):
        start, stop, tier = tales.stay_start[w, a], tales.stay_stop[w, a], tales.stay_tier[w, a]
        if circular and stop - start >= n and tier != tales.base[w, x]:
            return True
        for b in range(first, first + tales.n_stays[w, x]):
            if a == b or tier != tales.stay_tier[w, b]:
                continue
            since, until = tales.stay_start[w, b], tales.stay_stop[w, b]
            if start <= until and since <= stop:
                return True
            if circular and (start + n <= until or since + n <= stop):
                return True
    return False


# --- Room ----------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _meet(a0, a1, b0, b1, n):
    """Whether two stays share a step, either of which may begin in the turn before."""
    if a0 < b1 and b0 < a1:
        return True
    return (a0 < 0 and a0 + n < b1) or (b0 < 0 and b0 + n < a1)


@njit(cache=True)
def _find(k, start, stop, size, f: Facts, tales: Tales, rooms: Rooms):
    """The offset of the tightest gap that is free over the stay, the highest for one that lasts a turn; -1 if none."""
    n_slots = tales.stay_tier.shape[1]
    top, best, best_gap = 0, -1, 2**62
    whole = stop - start >= f.shape[0]
    for i in range(rooms.n[k] + 1):
        if i < rooms.n[k]:
            row = rooms.rows[k, i]
            w, slot = row // n_slots, row % n_slots
            if not _meet(start, stop, tales.stay_start[w, slot], tales.stay_stop[w, slot], f.shape[0]):
                continue
            low = tales.stay_offset[w, slot]
            high = low + f.size[rooms.owner[slot]]
        else:
            low, high = f.usable[k], f.usable[k]
        begin = -(-top // f.alignment[k]) * f.alignment[k]
        gap = low - begin
        if gap >= size:
            if whole:
                best = (low - size) // f.alignment[k] * f.alignment[k]
            elif gap < best_gap:
                best, best_gap = begin, gap
        top = max(top, high)
    return best


@njit(cache=True)
def _insert(w, slot, f: Facts, tales: Tales, rooms: Rooms):
    k, low = tales.stay_tier[w, slot], tales.stay_offset[w, slot]
    n_slots = tales.stay_tier.shape[1]
    a, b = 0, rooms.n[k]
    while a < b:
        m = (a + b) // 2
        row = rooms.rows[k, m]
        if tales.stay_offset[row // n_slots, row % n_slots] < low:
            a = m + 1
        else:
            b = m
    for i in range(rooms.n[k], a, -1):
        rooms.rows[k, i] = rooms.rows[k, i - 1]
    rooms.rows[k, a] = w * n_slots + slot
    rooms.n[k] += 1


@njit(cache=True)
def _take_out(w, slot, tales: Tales, rooms: Rooms):
    k, n_slots = tales.stay_tier[w, slot], tales.stay_tier.shape[1]
    low, row = tales.stay_offset[w, slot], w * n_slots + slot
    a, b = 0, rooms.n[k]
    while a < b:
        m = (a + b) // 2
        other = rooms.rows[k, m]
        if tales.stay_offset[other // n_slots, other % n_slots] < low:
            a = m + 1
        else:
            b = m
    while rooms.rows[k, a] != row:
        a += 1
    for i in range(a, rooms.n[k] - 1):
        rooms.rows[k, i] = rooms.rows[k, i + 1]
    rooms.n[k] -= 1


@njit(cache=True)
def _book(x, w, sign, f: Facts, s: Supply, tales: Tales):
    """Promise the spare time of links to the copies of a tale, in proportion to how long steps take, or free it."""
    n = f.shape[0]
    for slot in range(f.copy_at[x], f.copy_at[x] + tales.n_copies[w, x]):
        j, k = tales.copy_source[w, slot], tales.copy_target[w, slot]
        start, done = tales.copy_start[w, slot], tales.copy_done[w, slot]
        total = 0.0
        for t in range(start, done):
            total += s.pace_s[t % n]
        needed = sign * (f.size[x] / f.link_rate[j, k] + f.link_latency[j, k]) / total
        for t in range(start, done):
            s.booked_s[t % n, f.link[j, k]] += needed * s.pace_s[t % n]


@njit(cache=True, nogil=True)
def put_in(x: int, w: int, f: Facts, s: Supply, tales: Tales, rooms: Rooms) -> None:
    """Let tale `w` of tensor x hold its room and its spare time."""
    for slot in range(f.stay_at[x], f.stay_at[x] + tales.n_stays[w, x]):
        _insert(w, slot, f, tales, rooms)
    _book(x, w, 1.0, f, s, tales)


@njit(cache=True, nogil=True)
def take_out(x: int, w: int, f: Facts, s: Supply, tales: Tales, rooms: Rooms) -> None:
    """Free the room and the spare time that tale `w` of tensor x holds."""
    for slot in range(f.stay_at[x], f.stay_at[x] + tales.n_stays[w, x]):
        _take_out(w, slot, tales, rooms)
    _book(x, w, -1.0, f, s, tales)


@njit(cache=True, nogil=True)
def repace(pace_s: Floats, f: Facts, s: Supply, tales: Tales) -> None:
    """Take steps to last as long as `pace_s` says, and promise spare time anew."""
    s.pace_s[:] = pace_s
    s.booked_s[:] = 0.0
    for x in range(len(f.size)):
        _book(x, tales.which[x], 1.0, f, s, tales)


# --- Edits ---------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _copy_wish(x, w, f: Facts, tales: Tales):
    tales.base[1 - w, x] = tales.base[w, x]
    for v in range(f.at[x], f.at[x + 1]):
        tales.tier[1 - w, v], tales.kept[1 - w, v] = tales.tier[w, v], tales.kept[w, v]


@njit(cache=True, nogil=True)
def draw(x: int, f: Facts) -> tuple[int, int, int, int]:
    """A random change of the wish for a tensor: its kind, a tier, and the first and last visit that it concerns."""
    n_visits = f.at[x + 1] - f.at[x]
    kind = np.random.randint(0, 13)
    tier = np.random.randint(0, len(f.direct))
    first = np.random.randint(0, n_visits)
    last = first
    if kind >= 3 and kind < 6:
        last = first + np.random.randint(0, n_visits - first)
    if kind >= 6 and kind < 9:
        first, last = 0, n_visits - 1
    if kind >= 11:  # of two gaps the longer one
        other = np.random.randint(0, n_visits)
        if _gap(x, other, f) > _gap(x, first, f):
            first = other
    return kind, tier, int(first), int(last)


@njit(cache=True)
def _gap(x, visit, f: Facts):
    """Steps from the visit before to this one."""
    v = f.at[x] + visit
    return f.step[v] - f.since[v] if f.mode[v] != _PRODUCE else 0


@njit(cache=True, nogil=True)
def wish(x: int, kind: int, tier: int, first: int, last: int, f: Facts, tales: Tales) -> None:
    """Write the changed wish for a tensor into the tale that is tried."""
    w = tales.which[x]
    _copy_wish(x, w, f, tales)
    w = 1 - w
    at = f.at[x]
    if kind == SAME:
        return  # at another pace
    if (kind == 8 or kind >= 10) and (f.circular[x] or not f.exists[x]):
        tales.base[w, x] = tier
    if kind >= 11:  # away over one gap, to be brought back for the visit after it
        for v in range(at, f.at[x + 1]):
            tales.kept[w, v] = v != at + first
    if kind >= 10:
        return
    if kind == 2:
        tales.kept[w, at + first] = not tales.kept[w, at + first]
        return
    while not f.direct[tier]:
        tier = (tier + 1) % len(f.direct)
    for v in range(at + first, at + last + 1):
        tales.tier[w, v] = tier
        tales.kept[w, v] = v > at + first or kind % 2 == 0


@njit(cache=True)
def _modest(y, slot, f: Facts, tales: Tales):
    """Wish that a tensor gives up one of its stays; whether that can be."""
    w = tales.which[y]
    k = tales.stay_tier[w, slot]
    start, stop, n = tales.stay_start[w, slot], tales.stay_stop[w, slot], f.shape[0]
    _copy_wish(y, w, f, tales)
    if k == tales.base[w, y]:
        if f.exists[y] and not f.circular[y]:
            return False
        if k + 1 == len(f.direct):
            return False
        tales.base[1 - w, y] = k + 1
    slower = k + 1
    while slower < len(f.direct) and not f.direct[slower]:
        slower += 1
    if slower == len(f.direct):
        return False
    for v in range(f.at[y], f.at[y + 1]):
        if tales.tier[w, v] == k and _meet(f.step[v], f.step[v] + 1, start, stop, n):
            tales.tier[1 - w, v] = slower
    return True


@njit(cache=True)
def _among(y, tried, n_tried):
    return (tried[:n_tried] == y).any()


@njit(cache=True)
def _make_room(x, w, slot, tried, n_tried, f: Facts, s: Supply, tales: Tales, rooms: Rooms):
    """Push others out of the way of a stay; how many tensors are now tried, -1 if it cannot be."""
    n_slots = tales.stay_tier.shape[1]
    k, size = tales.stay_tier[w, slot], f.size[x]
    start, stop = tales.stay_start[w, slot], tales.stay_stop[w, slot]
    best, best_weight = -1, np.inf
    for _ in range(6):
        offset = 0
        if rooms.n[k] > 0 and np.random.random() < 0.85:
            row = rooms.rows[k, np.random.randint(0, rooms.n[k])]
            low = tales.stay_offset[row // n_slots, row % n_slots]
            if np.random.random() < 0.5:
                offset = low
            else:
                offset = low + f.size[rooms.owner[row % n_slots]]
                offset = -(-offset // f.alignment[k]) * f.alignment[k]
        if offset + size > f.usable[k]:
            offset = (f.usable[k] - size) // f.alignment[k] * f.alignment[k]
        if offset < 0:
            return -1
        weight = 0.0
        for i in range(rooms.n[k]):
            row = rooms.rows[k, i]
            u, other = row // n_slots, row % n_slots
            low, y = tales.stay_offset[u, other], rooms.owner[other]
            if low >= offset + size:
                break
            if low + f.size[y] > offset and _meet(
                start, stop, tales.stay_start[u, other], tales.stay_stop[u, other], f.shape[0]
            ):
                if y == x or _among(y, tried, n_tried):
                    weight = np.inf
                weight += f.size[y] * (0.5 + np.random.random())
        if weight < best_weight:
            best, best_weight = offset, weight
    if best < 0:
        return -1
    i = 0
    while i < rooms.n[k]:
        row = rooms.rows[k, i]
        u, other = row // n_slots, row % n_slots
        low, y = tales.stay_offset[u, other], rooms.owner[other]
        i += 1
        if low >= best + size:
            break
        if low + f.size[y] <= best or not _meet(
            start, stop, tales.stay_start[u, other], tales.stay_stop[u, other], f.shape[0]
        ):
            continue
        if n_tried == len(tried) or not _modest(y, other, f, tales):
            return -1
        take_out(int(y), int(u), f, s, tales, rooms)
        tried[n_tried] = y
        n_tried += 1
        i = 0
    tales.stay_offset[w, slot] = best
    return n_tried


@njit(cache=True, nogil=True)
def attempt(
    tried: Ints, n_tried: int, share: float, push: bool, f: Facts, s: Supply, tales: Tales, rooms: Rooms,
) -> int:  # fmt: skip
    """Tell the tales of tensors anew from the wishes written for them, pushing others aside if need be.

    Returns: how many tensors changed, `tried[:n]`; 0 if it cannot be, and then nothing has changed.
    """
    for i in range(n_tried):
        take_out(int(tried[i]), int(tales.which[tried[i]]), f, s, tales, rooms)
    for i in range(n_tried, len(tried)):
        tried[i] = -1
    at = 0
    while at < n_tried:
        x = tried[at]
        w = 1 - tales.which[x]
        late = 0
        if f.writes[x] and f.step[f.at[x]] > 0 and np.random.random() < 0.5:
            late = int(np.random.randint(0, f.step[f.at[x]]))
        fits = False
        for modest in range(2):
            if not fits:
                fits = tell(int(x), int(w), share / (1 + modest), modest == 0, late * (1 - modest), f, s, tales)
        slot = f.stay_at[x]
        while fits and slot < f.stay_at[x] + tales.n_stays[w, x]:
            offset = _find(
                tales.stay_tier[w, slot], tales.stay_start[w, slot], tales.stay_stop[w, slot], f.size[x],
                f, tales, rooms,
            )  # fmt: skip
            if offset >= 0:
                tales.stay_offset[w, slot] = offset
            else:
                more = _make_room(x, w, slot, tried, n_tried, f, s, tales, rooms) if push else -1
                if more < 0:
                    # Tensors that were pushed aside before this failed are out already.
                    n_tried = _out(tried, n_tried, f, tales, rooms)
                    fits = False
                    break
                n_tried = more
            _insert(w, slot, f, tales, rooms)
            slot += 1
        if not fits:
            for taken in range(f.stay_at[x], slot):
                _take_out(w, taken, tales, rooms)
            for i in range(at):
                take_out(int(tried[i]), int(tales.which[tried[i]]), f, s, tales, rooms)
                tales.which[tried[i]] = 1 - tales.which[tried[i]]
            for i in range(n_tried):
                put_in(int(tried[i]), int(tales.which[tried[i]]), f, s, tales, rooms)
            return 0
        _book(x, w, 1.0, f, s, tales)
        tales.which[x] = w
        at += 1
    return n_tried


@njit(cache=True)
def _out(tried, n_tried, f: Facts, tales: Tales, rooms: Rooms):
    """How many tensors have been taken out: those noted in `tried` up to the first free place."""
    while n_tried < len(tried) and tried[n_tried] >= 0:
        n_tried += 1
    return n_tried


@njit(cache=True, nogil=True)
def take_back(tried: Ints, n_tried: int, f: Facts, s: Supply, tales: Tales, rooms: Rooms) -> None:
    """Let the tales hold again that held before the last successful attempt."""
    for i in range(n_tried):
        x = tried[i]
        take_out(int(x), int(tales.which[x]), f, s, tales, rooms)
        tales.which[x] = 1 - tales.which[x]
    for i in range(n_tried):
        put_in(int(tried[i]), int(tales.which[tried[i]]), f, s, tales, rooms)


# --- Proposals -----------------------------------------------------------------------------------------------------


class Changed(NamedTuple):
    """What the last successful attempt changed, for the simulator: `n` accesses, copies taken out, copies put in.

    Rows of `added`: tensor, source, target, start, done; `slot`: where in the tales the name of each is kept, plus
    the number of slots if in twin 1.
    """

    n: Ints  # [3]
    access: Ints
    tier: Ints
    removed: Ints
    added: Ints
    slot: Ints


@njit(cache=True, nogil=True)
def differences(tried: Ints, n_tried: int, access: Ints, f: Facts, tales: Tales, out: Changed) -> None:
    """Note what is different between the two tales of the tensors that an attempt changed."""
    n_slots, n_access, n_removed, n_added = tales.stay_tier.shape[1], 0, 0, 0
    for i in range(n_tried):
        x = tried[i]
        new = tales.which[x]
        old = 1 - new
        for v in range(f.at[x], f.at[x + 1]):
            if access[v] >= 0 and tales.serves[0, v] != tales.serves[1, v]:
                out.access[n_access], out.tier[n_access] = access[v], tales.serves[new, v]
                n_access += 1
        first = f.copy_at[x]
        for a in range(first, first + tales.n_copies[new, x]):
            tales.copy_row[new, a] = -1
        for b in range(first, first + tales.n_copies[old, x]):
            found = False
            for a in range(first, first + tales.n_copies[new, x]):
                if not found and tales.copy_row[new, a] < 0 and _same_copy(new, a, old, b, tales):
                    tales.copy_row[new, a] = tales.copy_row[old, b]
                    found = True
            if not found:
                out.removed[n_removed] = tales.copy_row[old, b]
                n_removed += 1
        for a in range(first, first + tales.n_copies[new, x]):
            if tales.copy_row[new, a] < 0:
                out.added[n_added, 0] = x
                out.added[n_added, 1], out.added[n_added, 2] = tales.copy_source[new, a], tales.copy_target[new, a]
                out.added[n_added, 3], out.added[n_added, 4] = tales.copy_start[new, a], tales.copy_done[new, a]
                out.slot[n_added] = new * n_slots + a
                n_added += 1
    out.n[0], out.n[1], out.n[2] = n_access, n_removed, n_added


@njit(cache=True)
def _same_copy(u, a, w, b, tales: Tales):
    return (
        tales.copy_source[u, a] == tales.copy_source[w, b]
        and tales.copy_target[u, a] == tales.copy_target[w, b]
        and tales.copy_start[u, a] == tales.copy_start[w, b]
        and tales.copy_done[u, a] == tales.copy_done[w, b]
    )


@njit(cache=True, nogil=True)
def name_copies(names: Ints, n: int, out: Changed, tales: Tales) -> None:
    """Write the names of the copies that were added into the tales."""
    n_slots = tales.stay_tier.shape[1]
    for i in range(n):
        tales.copy_row[out.slot[i] // n_slots, out.slot[i] % n_slots] = names[i]


class Where(NamedTuple):
    """Where edits are sought: `lost_s` [S] sums up the seconds that steps lose; tensors that move; groups used alike.

    Group g is `member[group_at[g] : group_at[g + 1]]`.
    """

    lost_s: Floats
    movable: Ints
    group_at: Ints
    member: Ints
    access_start: Ints
    access_tensor: Ints


class Guide(NamedTuple):
    """Wishes [G, N], [G, V], [G, V] to draw from, at G levels; G may be 0. `known` [N]: the tensors that have any."""

    base: Ints
    tier: Ints
    kept: Bools
    known: Bools


@njit(cache=True)
def _of_step(t, where: Where):
    """A tensor that step t accesses, or some other step if it accesses none."""
    start, n = where.access_start, len(where.access_start) - 1
    while start[t] == start[t + 1]:
        t = np.random.randint(0, n)
    return where.access_tensor[np.random.randint(start[t], start[t + 1])]


@njit(cache=True)
def _somewhere(where: Where):
    """A tensor of a step that loses time, or any tensor."""
    n, total = len(where.lost_s), where.lost_s[-1]
    if total > 0.0 and np.random.random() < 0.7:
        t = np.searchsorted(where.lost_s, np.random.random() * total, side="right")
        return _of_step(min(t, n - 1), where)
    return where.movable[np.random.randint(0, len(where.movable))]


@njit(cache=True)
def guided(x: int, level: int, f: Facts, tales: Tales, guide: Guide) -> None:
    """Write the wish of a guide for a tensor into the tale that is tried."""
    w = 1 - tales.which[x]
    tales.base[w, x] = tales.base[1 - w, x]
    if f.circular[x] or not f.exists[x]:
        tales.base[w, x] = guide.base[level, x]
    for v in range(f.at[x], f.at[x + 1]):
        tales.tier[w, v], tales.kept[w, v] = guide.tier[level, v], guide.kept[level, v]


@njit(cache=True)
def _wish_anew(x, level, f: Facts, tales: Tales, guide: Guide):
    """A wish of the guide if a level is given and it knows the tensor, or a random change."""
    if level >= 0 and guide.known[x]:
        guided(x, level, f, tales, guide)
    else:
        kind, tier, first, last = draw(x, f)
        wish(x, kind, tier, first, last, f, tales)


@njit(cache=True, nogil=True)
def propose(
    tried: Ints, access: Ints, where: Where, guide: Guide, f: Facts, s: Supply, tales: Tales, rooms: Rooms,
    out: Changed,
) -> int:  # fmt: skip
    """Try a random edit of a tensor, of neighbours in time, or of a group; how many tensors changed, 0 if none can."""
    way, n_groups, n = np.random.random(), len(where.group_at) - 1, 0
    level = -1
    if len(guide.base) > 0 and np.random.random() < 0.4:
        level = np.random.randint(0, len(guide.base))
    if way < 0.15 and n_groups > 0:
        g = np.random.randint(0, n_groups)
        kind, tier, first, last = draw(int(where.member[where.group_at[g]]), f)
        for i in range(where.group_at[g], where.group_at[g + 1]):
            x = where.member[i]
            if level >= 0 and guide.known[x]:
                guided(x, level, f, tales, guide)
            else:
                wish(x, kind, tier, first, last, f, tales)
            tried[n] = x
            n += 1
    else:
        x = _somewhere(where)
        _wish_anew(x, level, f, tales, guide)
        tried[0], n = x, 1
        if way < 0.35:
            t = f.step[np.random.randint(f.at[x], f.at[x + 1])]
            for _ in range(np.random.randint(1, 4)):
                near = min(max(t + np.random.randint(-6, 7), 0), f.shape[0] - 1)
                y = _of_step(near, where)
                if not _among(y, tried, n):
                    _wish_anew(y, level, f, tales, guide)
                    tried[n] = y
                    n += 1
    pace = np.random.randint(0, 5)
    share = 0.5 if pace == 0 else 1.3 if pace == 3 else 2.0 if pace == 4 else 1.0
    n = attempt(tried, n, share, True, f, s, tales, rooms)
    if n > 0:
        differences(tried, n, access, f, tales, out)
    return n
