# pyright: basic
"""The fast half of the simulator: which tier serves each access, what each step streams, when copies run.

Each function restates a part of docs/semantics.md; `tests/oracle.py` is its slow twin.
All arguments are numpy arrays; the plan is taken to be legal.
"""

import numpy as np
from numba import njit

from tierplan.ir.problem import Bools, Floats, Ints

_STOP, _START, _DELIVER, _ISSUE, _ACCESS = range(5)
_PHASES = 5
_UPDATE, _PRODUCE = 1, 2
_MAX_TURNS = 64


@njit(cache=True)
def _fill(array, value):
    for i in range(len(array)):
        array[i] = value


@njit(cache=True)
def _take(array, other):
    for i in range(len(array)):
        array[i] = other[i]


@njit(cache=True)
def access_tiers(
    n_steps: int, n_tiers: int, cyclic: bool, home: Ints, direct: Bools,
    access_of: Ints, access_at: Ints, access_step: Ints, access_mode: Ints,
    lies_at: Ints, lies_tier: Ints, lies_offset: Ints, lies_start: Ints, lies_stop: Ints,
    copy_at: Ints, copy_source: Ints, copy_target: Ints, copy_start: Ints, copy_done: Ints,
) -> Ints:  # fmt: skip
    """Shape [A]: the tier that serves each access, -1 if none does.

    `access_of[access_at[x] : access_at[x+1]]` are the accesses of tensor x by step; `lies_*` and
    `copy_*` are grouped by tensor in the same way.
    """
    serves = np.full(len(access_step), -1, np.int64)
    held = np.empty(n_tiers, np.int64)
    lies = np.empty(n_tiers, np.bool_)
    carried = np.empty(n_tiers, np.int64)
    carried_offset = np.empty(n_tiers, np.int64)
    for x in range(len(home)):
        a0, a1 = access_at[x], access_at[x + 1]
        r0, r1 = lies_at[x], lies_at[x + 1]
        c0, c1 = copy_at[x], copy_at[x + 1]
        if a1 == a0:
            continue
        if r1 - r0 == 1 and c1 == c0:
            for a in range(a0, a1):
                serves[access_of[a]] = lies_tier[r0]
            continue
        keys, items, order = _events(
            n_steps, access_of[a0:a1], access_step, lies_start[r0:r1], lies_stop[r0:r1],
            copy_start[c0:c1], copy_done[c0:c1],
        )  # fmt: skip
        takes = np.zeros(c1 - c0, np.int64)
        version = 0
        for turn in range(2 if cyclic and c1 > c0 else 1):
            if turn == 0:
                _fill(carried_offset, -1)
                for r in range(r0, r1):
                    if lies_stop[r] == n_steps:
                        carried_offset[lies_tier[r]] = lies_offset[r]
                _fill(carried, 0)
                for c in range(c0, c1):
                    if copy_done[c] > n_steps:
                        carried[copy_target[c]] = -1
            _fill(held, -1)
            _fill(lies, False)
            for e in order:
                step, phase = keys[e] // _PHASES, keys[e] % _PHASES
                i = items[e]
                if phase == _STOP:
                    if step < n_steps:
                        held[lies_tier[r0 + i]] = -1
                        lies[lies_tier[r0 + i]] = False
                elif phase == _START:
                    k = lies_tier[r0 + i]
                    held[k] = -1
                    lies[k] = True
                    if step == 0 and home[x] >= 0:
                        if cyclic:
                            if carried_offset[k] == lies_offset[r0 + i]:
                                held[k] = carried[k]
                        elif k == home[x]:
                            held[k] = 0
                elif phase == _DELIVER:
                    if lies[copy_target[c0 + i]]:
                        held[copy_target[c0 + i]] = takes[i]
                elif phase == _ISSUE:
                    takes[i] = version
                else:
                    a = access_of[a0 + i]
                    best = -1
                    if access_mode[a] == _PRODUCE:
                        best = _room(step, n_steps, lies_tier, lies_start, lies_stop, r0, r1,
                                     copy_target, copy_start, copy_done, c0, c1, direct)  # fmt: skip
                    else:
                        for k in range(n_tiers):
                            if direct[k] and held[k] == version:
                                best = k
                                break
                    serves[a] = best
                    if access_mode[a] == _UPDATE or access_mode[a] == _PRODUCE:
                        version += 1
                        if best >= 0:
                            held[best] = version
            _take(carried, held)
    return serves


@njit(cache=True)
def _events(n_steps, accesses, access_step, lies_start, lies_stop, copy_start, copy_done):
    """Keys `step * phases + phase`, which access, residency or copy each is about, and the order of the keys."""
    n_r, n_c, n_a = len(lies_start), len(copy_start), len(accesses)
    keys = np.empty(2 * n_r + 2 * n_c + n_a, np.int64)
    items = np.empty(len(keys), np.int64)
    e = 0
    for r in range(n_r):
        keys[e], items[e] = lies_stop[r] * _PHASES + _STOP, r
        keys[e + 1], items[e + 1] = lies_start[r] * _PHASES + _START, r
        e += 2
    for c in range(n_c):
        done = copy_done[c] - n_steps if copy_done[c] > n_steps else copy_done[c]
        keys[e], items[e] = done * _PHASES + _DELIVER, c
        keys[e + 1], items[e + 1] = copy_start[c] * _PHASES + _ISSUE, c
        e += 2
    for a in range(n_a):
        keys[e], items[e] = access_step[accesses[a]] * _PHASES + _ACCESS, a
        e += 1
    return keys, items, _order(keys)


@njit(cache=True)
def _order(keys):
    """Indices that sort `keys`, ties by index: a heap sort, since numba takes seconds to compile numpy's."""
    n = len(keys)
    heap = np.empty(n, np.int64)
    for i in range(n):
        heap[i] = keys[i] * n + i
    for end in range(n // 2 - 1, -1, -1):
        _sift(heap, end, n)
    for end in range(n - 1, 0, -1):
        heap[0], heap[end] = heap[end], heap[0]
        _sift(heap, 0, end)
    for i in range(n):
        heap[i] %= n
    return heap


@njit(cache=True)
def _sift(heap, root, end):
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and heap[child + 1] > heap[child]:
            child += 1
        if heap[root] >= heap[child]:
            return
        heap[root], heap[child] = heap[child], heap[root]
        root = child


@njit(cache=True)
def _room(step, n_steps, tier, start, stop, r0, r1, c_target, c_start, c_done, c0, c1, direct):
    """The fastest direct tier with bytes reserved at `step` and no copy arriving, -1 if none."""
    best = -1
    for r in range(r0, r1):
        if start[r] <= step < stop[r] and direct[tier[r]] and (best < 0 or tier[r] < best):
            arriving = False
            for c in range(c0, c1):
                under_way = c_start[c] <= step < c_done[c] or c_start[c] <= step + n_steps < c_done[c]
                arriving = arriving or (c_target[c] == tier[r] and under_way)
            if not arriving:
                best = tier[r]
    return best


@njit(cache=True)
def step_loads(
    n_tiers: int, n_links: int, access_start: Ints, serves: Ints,
    reads: Ints, writes: Ints, read_link: Ints, write_link: Ints,
) -> tuple[Ints, Ints, Ints]:  # fmt: skip
    """Shapes [S, K], [S, K], [S, L]: bytes that each step reads and writes per tier, and moves per link."""
    n_steps = len(access_start) - 1
    tier_read = np.zeros((n_steps, n_tiers), np.int64)
    tier_write = np.zeros((n_steps, n_tiers), np.int64)
    link = np.zeros((n_steps, n_links), np.int64)
    for t in range(n_steps):
        for a in range(access_start[t], access_start[t + 1]):
            k = serves[a]
            tier_read[t, k] += reads[a]
            tier_write[t, k] += writes[a]
            if read_link[k] >= 0:
                link[t, read_link[k]] += reads[a]
            if write_link[k] >= 0:
                link[t, write_link[k]] += writes[a]
    return tier_read, tier_write, link


@njit(cache=True)
def step_times(
    compute_s: Floats, tier_read: Ints, tier_write: Ints, link: Ints,
    read_bandwidth: Floats, write_bandwidth: Floats, link_bandwidth: Floats,
) -> tuple[Floats, Ints, Floats, Floats]:  # fmt: skip
    """Shapes [S], [S], [S, K], [S, L]: own time of each step, what bounds it, and how long it uses what."""
    n_steps, n_tiers = tier_read.shape
    n_links = link.shape[1]
    own = compute_s.copy()
    limit = np.zeros(n_steps, np.int64)
    tier_s = np.empty((n_steps, n_tiers))
    link_s = np.empty((n_steps, n_links))
    for t in range(n_steps):
        for k in range(n_tiers):
            tier_s[t, k] = tier_read[t, k] / read_bandwidth[k] + tier_write[t, k] / write_bandwidth[k]
            if tier_s[t, k] > own[t]:
                own[t], limit[t] = tier_s[t, k], 1 + k
        for j in range(n_links):
            link_s[t, j] = link[t, j] / link_bandwidth[j]
            if link_s[t, j] > own[t]:
                own[t], limit[t] = link_s[t, j], 1 + n_tiers + j
    return own, limit, tier_s, link_s


@njit(cache=True)
def run(
    own: Floats, tier_s: Floats, link_s: Floats, wait_at: Ints, wait_for: Ints,
    start: Ints, wraps: Bools, link: Ints, source: Ints, target: Ints, size: Ints, cap: Floats, latency: Floats,
    channels: Ints, link_bandwidth: Floats, read_bandwidth: Floats, write_bandwidth: Floats,
) -> tuple[float, Floats, Floats, Ints, Floats, Floats]:  # fmt: skip
    """Run one turn after another until it repeats.

    Duration, begin of each step, wait and awaited copy of each step and the end, begin and end of each copy.

    Copies are in order of issue. `wait_for[wait_at[t] : wait_at[t+1]]` are the copies that step t, or the
    end (t = S), needs. A copy that `wraps` is needed in the turn after the one that issues it.
    """
    n_steps, n_copies = len(own), len(start)
    left = np.zeros(n_copies)
    delay = np.zeros(n_copies)
    before_left = np.zeros(n_copies)
    before_delay = np.zeros(n_copies)
    begin = np.zeros(n_steps)
    wait = np.zeros(n_steps + 1)
    waited = np.full(n_steps + 1, -1, np.int64)
    copy_begin = np.zeros(n_copies)
    copy_end = np.zeros(n_copies)
    active = np.empty(n_copies, np.int64)
    n_active = 0
    tier_free = np.empty(tier_s.shape[1])
    link_free = np.empty(link_s.shape[1])
    duration = 0.0
    for _turn in range(_MAX_TURNS):
        clock, issued = 0.0, 0
        _take(before_left, left)
        _take(before_delay, delay)
        for t in range(n_steps + 1):
            over = clock
            waited[t] = -1
            _fill(tier_free, 1.0)
            _fill(link_free, 1.0)
            while _any_under_way(wait_for, wait_at[t], wait_at[t + 1], active, n_active):
                clock, n_active = _advance(
                    clock, np.inf, active, n_active, left, delay, copy_end, tier_free, link_free,
                    link, source, target, cap, channels, link_bandwidth, read_bandwidth, write_bandwidth,
                )  # fmt: skip
            wait[t] = clock - over
            if clock > over:
                for w in range(wait_at[t], wait_at[t + 1]):
                    if waited[t] < 0 or copy_end[wait_for[w]] > copy_end[waited[t]]:
                        waited[t] = wait_for[w]
            if t == n_steps:
                break
            begin[t] = clock
            while issued < n_copies and start[issued] == t:
                left[issued], delay[issued] = size[issued], latency[issued]
                copy_begin[issued] = clock
                active[n_active] = issued
                n_active += 1
                issued += 1
            until = clock + own[t]
            while n_active > 0 and clock < until:
                for k in range(len(tier_free)):
                    tier_free[k] = _free(tier_s[t, k], own[t])
                for j in range(len(link_free)):
                    link_free[j] = _free(link_s[t, j], own[t])
                clock, n_active = _advance(
                    clock, until, active, n_active, left, delay, copy_end, tier_free, link_free,
                    link, source, target, cap, channels, link_bandwidth, read_bandwidth, write_bandwidth,
                )  # fmt: skip
            clock = until
        duration = clock
        same = True
        for c in range(n_copies):
            close = abs(left[c] - before_left[c]) <= 1e-9 * size[c] and abs(delay[c] - before_delay[c]) <= 1e-15
            same = same and (not wraps[c] or close)
        if same:
            break
    for c in range(n_copies):
        if wraps[c] and copy_end[c] <= copy_begin[c]:
            copy_end[c] += duration
    return duration, begin, wait, waited, copy_begin, copy_end


@njit(cache=True)
def _free(used_s, own_s):
    free = 1.0 - used_s / own_s
    return free if free > 1e-12 else 0.0


@njit(cache=True)
def _any_under_way(wait_for, w0, w1, active, n_active):
    """Whether a copy that is needed now is under way."""
    for w in range(w0, w1):
        c = wait_for[w]
        for i in range(n_active):
            if active[i] == c:
                return True
    return False


@njit(cache=True)
def _advance(
    clock, until, active, n_active, left, delay, copy_end, tier_free, link_free,
    link, source, target, cap, channels, link_bandwidth, read_bandwidth, write_bandwidth,
):  # fmt: skip
    """Let copies run until the next one changes its state, or `until`; the clock then, and how many are active."""
    running = np.zeros(len(link_free), np.int64)
    rate = np.zeros(n_active)
    tiers = tier_free.copy()
    links = link_free.copy()
    span = until - clock
    for i in range(n_active):
        c = active[i]
        j = link[c]
        rate[i] = -1.0
        if running[j] >= channels[j]:
            continue
        running[j] += 1
        rate[i] = 0.0
        if delay[c] > 0.0:
            span = min(span, delay[c])
            continue
        s, d = source[c], target[c]
        reach = min(
            min(cap[c], links[j] * link_bandwidth[j]), min(tiers[s] * read_bandwidth[s], tiers[d] * write_bandwidth[d])
        )
        if reach > 0.0 or left[c] == 0.0:
            rate[i] = reach
            if reach > 0.0:
                links[j] = max(0.0, links[j] - reach / link_bandwidth[j])
                tiers[s] = max(0.0, tiers[s] - reach / read_bandwidth[s])
                tiers[d] = max(0.0, tiers[d] - reach / write_bandwidth[d])
            span = min(span, left[c] / reach if reach > 0.0 else 0.0)
    clock = until if clock + span >= until else clock + span
    kept = 0
    for i in range(n_active):
        c = active[i]
        ended = False
        if rate[i] >= 0.0:
            if delay[c] > 0.0:
                delay[c] = 0.0 if delay[c] <= span else delay[c] - span
                ended = delay[c] == 0.0 and left[c] == 0.0
            else:
                need = left[c] / rate[i] if rate[i] > 0.0 else (0.0 if left[c] == 0.0 else np.inf)
                left[c] = 0.0 if need <= span else left[c] - rate[i] * span
                ended = left[c] == 0.0
        if ended:
            copy_end[c] = clock
        else:
            active[kept] = c
            kept += 1
    return clock, kept


# --- Caches of equal places: which accesses load -----------------------------------------------------------------


@njit(cache=True)
def cache_loads(
    n_items: int, start: Ints, items: Ints, next_use: Ints, capacity: int, pinned: Bools,
    drop: bool, by_count: bool, by_future: bool,
) -> Bools:  # fmt: skip
    """Shape [A]: whether each access finds its item absent.

    A heap holds (rank, item) of every use; the item with the least rank gives way, and entries whose
    rank is no longer that of the item are skipped. Ranks by last use only rise, so that there a queue does.
    `drop`: what is not pinned leaves after its step.
    """
    queue = not (by_count or by_future)
    n_steps = len(start) - 1
    loaded = np.zeros(len(items), np.bool_)
    cached = np.zeros(n_items, np.bool_)
    in_step = np.full(n_items, -1, np.int64)
    rank = np.zeros(n_items, np.int64)
    count = np.zeros(n_items, np.int64)
    heap = np.empty(len(items) + 1, np.int64)
    head, n_heap, n_cached = 0, 0, 0
    for t in range(n_steps):
        for a in range(start[t], start[t + 1]):
            in_step[items[a]] = t
            if not cached[items[a]]:
                loaded[a] = True
                cached[items[a]] = True
                n_cached += 1
        while n_cached > capacity and n_heap > head:
            entry = heap[head]
            if queue:
                head += 1
            else:
                n_heap = _pop(heap, n_heap)
            x = entry % n_items
            if cached[x] and rank[x] == entry and in_step[x] != t:
                cached[x] = False
                n_cached -= 1
        for a in range(start[t], start[t + 1]):
            x = items[a]
            count[x] += 1
            if pinned[x]:
                continue
            if drop:
                cached[x] = False
                n_cached -= 1
                continue
            key = t
            if by_count:
                key = count[x] * n_steps + t
            if by_future:
                key = n_steps - next_use[a]
            rank[x] = key * n_items + x
            if queue:
                heap[n_heap] = rank[x]
                n_heap += 1
            else:
                n_heap = _push(heap, n_heap, rank[x])
        while n_cached > capacity and n_heap > head:
            entry = heap[head]
            if queue:
                head += 1
            else:
                n_heap = _pop(heap, n_heap)
            x = entry % n_items
            if cached[x] and rank[x] == entry:
                cached[x] = False
                n_cached -= 1
    return loaded


@njit(cache=True)
def _push(heap, n, entry):
    i = n
    while i > 0 and heap[(i - 1) // 2] > entry:
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = entry
    return n + 1


@njit(cache=True)
def _pop(heap, n):
    n -= 1
    entry = heap[n]
    i = 0
    while 2 * i + 1 < n:
        child = 2 * i + 1
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = entry
    return n


@njit(cache=True)
def bundle_reads(new: Ints, friend: Ints, brought: Ints, token: int) -> tuple[int, int]:
    """Bundles read for the neurons in `new`, and how many neurons that brings that had not come yet.

    A neuron that an earlier bundle of this token brought is not read again. `brought` [N] keeps the last
    token that brought each neuron.
    """
    reads, fresh = 0, 0
    for x in new:
        if brought[x] == token:
            continue
        reads += 1
        brought[x] = token
        fresh += 1
        if brought[friend[x]] != token:
            brought[friend[x]] = token
            fresh += 1
    return reads, fresh


@njit(cache=True)
def best_tiling_s(
    m: Floats, n: Floats, k: Floats, count: Floats, dram: Floats, again: Floats, slow: Floats,
    tile_rows: Floats, tile_columns: Floats, per_k_s: Floats, edge_s: Floats, splits: Floats,
    k_step: float, least_k: float, units: float, swizzle: float, persistence: float, overlap: float,
    byte_s: float, unit_memory: float, partial_s: float, split_s: float,
) -> Floats:  # fmt: skip
    """Shape [N]: seconds of each product by its best tile and split of k; `sim/silicon_gemm.py` explains the terms.

    `dram` are the bytes of one pass, `again` those of each further read of A, `slow` what throttling leaves of the
    rate; tile `t` takes `per_k_s[t]` for each step along k and `edge_s[t]` besides; a split writes partial sums at
    `partial_s` each. A candidate whose arithmetic or memory alone takes longer than the best one is passed over.
    """
    best = np.empty(len(m), np.float64)
    for i in range(len(m)):
        least = np.inf
        for t in range(len(tile_rows)):
            across, down = np.ceil(m[i] / tile_rows[t]), np.ceil(n[i] / tile_columns[t])
            reads = max(down / max(swizzle, units / across), 1.0) - 1.0
            moved_s = (dram[i] + reads * again[i]) * byte_s
            for s in range(len(splits)):
                split = splits[s]
                if split > 1 and k[i] < least_k * split:
                    continue
                tiles = count[i] * across * down * split
                full = tiles / units
                waves = (1 - persistence) * np.ceil(full) + persistence * max(full, 1.0)
                arithmetic = waves * (per_k_s[t] * np.ceil(k[i] / split / k_step) * k_step + edge_s[t]) / slow[i]
                memory = moved_s * (1 + 1 / (min(tiles, units) * unit_memory))
                extra = 0.0
                if split > 1:
                    memory += partial_s * count[i] * m[i] * n[i] * split
                    extra = split_s
                larger = max(arithmetic, memory)
                if larger + extra < least:
                    ratio = min(arithmetic, memory) / larger
                    least = min(least, larger * (1 + ratio**overlap) ** (1 / overlap) + extra)
        best[i] = least
    return best
