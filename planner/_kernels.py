# pyright: basic
"""Compiled loops of offset allocation: neighbours, the canonical search, best fit, and a check."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on the first call, without the interpreter's lock, and keep the machine code on disk."""
    return njit(cache=True, nogil=True)(function)


INF = np.int64(2**62)

SOLVED, EXHAUSTED, PAUSED = 1, 0, 2

# Columns of a search frame.
A, B, LAST, BLOCK, LIMIT, MOVES, LOWS, PENDING, ARENA, HASH, HATLESS, OWNER, KEY = range(13)
N_COLUMNS = 13

MOST_SUMMED = 8

# Switches of the search, bits of `rules`.
CANONICAL, INFERENCE, DOMINANCE, FLOOR, DECOMPOSITION, HATLESS_RULE, BLOCKED, SYMMETRY, NOGOODS, REACHABLE = (
    1 << k for k in range(10)
)


@compiled
def pairs_per_block(first, start, stop, order, owner, n):
    """Number of (piece, piece) meetings of each block with others, pieces sorted by start in `order`."""
    count = np.zeros(n, np.int64)
    m = len(order)
    for x in range(m):
        p = order[x]
        for y in range(x + 1, m):
            q = order[y]
            if start[q] >= stop[p]:
                break
            if owner[p] != owner[q]:
                count[owner[p]] += 1
                count[owner[q]] += 1
    return count


@compiled
def neighbours(start, stop, low, high, order, owner, count):
    """Rows of meeting blocks and how far above the row's block each must lie if it lies above it."""
    n = len(count)
    ptr = np.zeros(n + 1, np.int64)
    for i in range(n):
        ptr[i + 1] = ptr[i] + count[i]
    top = ptr[:-1].copy()
    other = np.empty(ptr[n], np.int32)
    above = np.empty(ptr[n], np.int64)
    back = np.empty(ptr[n], np.int64)
    m = len(order)
    for x in range(m):
        p = order[x]
        for y in range(x + 1, m):
            q = order[y]
            if start[q] >= stop[p]:
                break
            i, j = owner[p], owner[q]
            if i != j:
                other[top[i]] = j
                above[top[i]] = high[p] - low[q]
                back[top[i]] = high[q] - low[p]
                top[i] += 1
                other[top[j]] = i
                above[top[j]] = high[q] - low[p]
                back[top[j]] = high[p] - low[q]
                top[j] += 1
    if m == n:
        return ptr, other, above, back
    # Blocks of several pieces may meet more than once: keep the farthest distance.
    seen = np.full(n, -1, np.int64)
    fill = 0
    begin = 0
    for i in range(n):
        row = fill
        for x in range(begin, ptr[i + 1]):
            j = other[x]
            if seen[j] >= row:
                above[seen[j]] = max(above[seen[j]], above[x])
                back[seen[j]] = max(back[seen[j]], back[x])
            else:
                seen[j] = fill
                other[fill] = j
                above[fill] = above[x]
                back[fill] = back[x]
                fill += 1
        begin = ptr[i + 1]
        ptr[i + 1] = fill
    return ptr, other[:fill].copy(), above[:fill].copy(), back[:fill].copy()


@compiled
def blocks_at(begin, end, owner, n_sections):
    """Rows of pieces held at each section."""
    ptr = np.zeros(n_sections + 1, np.int64)
    for p in range(len(begin)):
        for s in range(begin[p], end[p]):
            ptr[s + 1] += 1
    for s in range(n_sections):
        ptr[s + 1] += ptr[s]
    fill = ptr[:-1].copy()
    row = np.empty(ptr[n_sections], np.int32)
    for p in range(len(begin)):
        for s in range(begin[p], end[p]):
            row[fill[s]] = owner[p]
            fill[s] += 1
    return ptr, row


@njit(inline="always")
def _mix(j, value):
    x = (np.uint64(value + 2) + (np.uint64(j + 1) << np.uint64(40))) * np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(32)
    x *= np.uint64(0xD6E8FEB86659FD93)
    x ^= x >> np.uint64(29)
    return x * np.uint64(0x9E3779B97F4A7C15)


@njit(inline="always")
def _aligned(offset, align):
    if align > 1:
        over = offset % align
        if over:
            return offset + align - over
    return offset


@compiled
def _undo(shape, state, frames, low_mark, move_mark, moves_top, lows_top):
    """Take back recorded changes down to the marks."""
    for x in range(lows_top - 1, low_mark - 1, -1):
        state.low[state.low_at[x]] = state.low_was[x]
    for x in range(moves_top - 1, move_mark - 1, -1):
        j = state.moved[x]
        state.minimum[j] = state.moved_from[x]
        state.key[j] = state.minimum[j] * len(state.key) + state.rank[j]


@compiled
def _lift(shape, state, i):
    """Take block `i` off its place: its sections get their load back."""
    state.placed[i] = 0
    state.key[i] = state.minimum[i] * len(state.key) + state.rank[i]
    for p in range(shape.first[i], shape.first[i + 1]):
        height = shape.high[p] - shape.bottom[p]
        for s in range(shape.begin[p], shape.end[p]):
            state.total[s] += height
    for s in range(shape.left[i], shape.right[i] - 1):
        state.cuts[s] += 1


@compiled
def _refresh_low(shape, state, s, lows_top):
    """Recompute the lowest legal offset of the unplaced blocks held at section `s`."""
    lowest = INF
    for x in range(shape.row[s], shape.row[s + 1]):
        j = shape.held[x]
        if state.placed[j] == 0 and state.minimum[j] < lowest:
            lowest = state.minimum[j]
    if lowest != state.low[s]:
        state.low_at[lows_top] = s
        state.low_was[lows_top] = state.low[s]
        state.low[s] = lowest
        return lows_top + 1
    return lows_top


@compiled
def _place(shape, state, i, capacity, moves_top, lows_top, rules):
    """Put block `i` at its lowest legal offset. Returns (legal, changes, lowered sections, blocks above)."""
    o = state.minimum[i]
    n = len(state.key)
    state.placed[i] = 1
    state.key[i] = INF
    for p in range(shape.first[i], shape.first[i + 1]):
        height = shape.high[p] - shape.bottom[p]
        for s in range(shape.begin[p], shape.end[p]):
            state.total[s] -= height
    for s in range(shape.left[i], shape.right[i] - 1):
        state.cuts[s] -= 1
    n_above = 0
    from_, to = shape.left[i], shape.right[i]
    for s in range(from_, to):
        state.dirty[s] = 1
    legal = True
    for x in range(shape.ptr[i], shape.ptr[i + 1]):
        j = shape.other[x]
        if state.placed[j]:
            continue
        n_above += 1
        was = state.minimum[j]
        now = o + shape.above[x]
        if now <= was:
            continue
        now = _aligned(now, shape.align[j])
        state.moved[moves_top] = j
        state.moved_from[moves_top] = was
        moves_top += 1
        state.minimum[j] = now
        state.key[j] = now * n + state.rank[j]
        if now + shape.height[j] > capacity or (shape.fixed[j] >= 0 and now > shape.fixed[j]):
            legal = False
            break
        for s in range(shape.left[j], shape.right[j]):
            if state.low[s] == was:
                state.dirty[s] = 1
        from_ = min(from_, shape.left[j])
        to = max(to, shape.right[j])
    for s in range(from_, to):
        if state.dirty[s]:
            state.dirty[s] = 0
            if legal and (rules & FLOOR):
                lows_top = _refresh_low(shape, state, s, lows_top)
    return legal, moves_top, lows_top, n_above


@compiled
def _blocked_fit(shape, state, a, b, key, o, capacity):
    """Whether the blocks that were passed over can still be lifted by a later one, and the load then fits.

    A block whose (offset, rank) lies before the last placed one may only be placed after another block has
    lifted it; so it lies at least on top of the lowest later block that meets it.
    """
    lo, hi = shape.first_in[a], shape.first_in[b]
    n_raised = 0
    for j in range(lo, hi):
        if state.placed[j] == 0 and state.key[j] < key:
            lifted = INF
            for x in range(shape.ptr[j], shape.ptr[j + 1]):
                k = shape.other[x]
                if state.placed[k] == 0:
                    back = shape.back[x]
                    lifted = min(lifted, max(state.minimum[k], o) + back)
            if lifted + shape.height[j] > capacity or (shape.fixed[j] >= 0):
                return False
            state.raised[j] = lifted
            n_raised += 1
    if n_raised == 0:
        return True
    for j in range(lo, hi):
        if state.placed[j] == 0 and state.key[j] < key:
            for s in range(shape.left[j], shape.right[j]):
                if state.dirty[s] == 0 and state.low[s] <= o:
                    state.dirty[s] = 1
    fits = True
    for s in range(a, b):
        if state.dirty[s]:
            state.dirty[s] = 0
            if not fits:
                continue
            lowest = INF
            for x in range(shape.row[s], shape.row[s + 1]):
                j = shape.held[x]
                if state.placed[j] == 0:
                    r = state.raised[j] if state.key[j] < key else state.minimum[j]
                    lowest = min(lowest, r)
            if lowest < INF and lowest + state.total[s] > capacity:
                fits = False
    return fits


@compiled
def _subset_sums(shape, state, s, measure, n_words):
    """Set the bits of `state.sums` at the sums, in units of `measure`, of the unplaced blocks held at section `s`."""
    sums = state.sums
    sums[:n_words] = 0
    sums[0] = 1
    top = 0
    for x in range(shape.row[s], shape.row[s + 1]):
        j = shape.held[x]
        if state.placed[j]:
            continue
        step = shape.height[j] // measure
        words, rest = step >> 6, np.uint64(step & 63)
        top += step
        for w in range(top >> 6, words - 1, -1):
            moved = sums[w - words] << rest
            if rest and w > words:
                moved |= sums[w - words - 1] >> (np.uint64(64) - rest)
            sums[w] |= moved


@compiled
def _reach(shape, state, from_, to, capacity, moves_top, lows_top):
    """Where a section has no byte to spare, lift its blocks to offsets that are sums of others in it.

    Returns (legal, changes, lowered sections). Assumes: one piece per block.
    """
    n = len(state.key)
    sums = state.sums
    again = True
    while again:
        again = False
        for s in range(from_, to):
            total, floor = state.total[s], state.low[s]
            if total == 0 or floor + total != capacity:
                continue
            measure = np.int64(0)
            higher, count = False, 0
            for x in range(shape.row[s], shape.row[s + 1]):
                j = shape.held[x]
                if state.placed[j] == 0:
                    count += 1
                    if count > MOST_SUMMED:
                        break
                    if state.minimum[j] > floor:
                        higher = True
                    a, measure = measure, shape.height[j]
                    while a:
                        a, measure = measure % a, a
            if not higher or count > MOST_SUMMED:
                continue
            n_words = total // measure // 64 + 1
            known = n_words <= len(sums)
            if known:
                _subset_sums(shape, state, s, measure, n_words)
            for x in range(shape.row[s], shape.row[s + 1]):
                j = shape.held[x]
                was = state.minimum[j]
                if state.placed[j] or was == floor:
                    continue
                step, end = shape.height[j] // measure, total // measure
                k = -((floor - was) // measure)
                if known:
                    # What lies below the block is a sum, and so is that with the block on top.
                    while k + step <= end:
                        under = sums[k >> 6] >> np.uint64(k & 63)
                        over = sums[(k + step) >> 6] >> np.uint64((k + step) & 63)
                        if under & over & np.uint64(1):
                            break
                        k += 1
                now = _aligned(floor + k * measure, shape.align[j])
                if now == was:
                    continue
                if now + shape.height[j] > capacity or (shape.fixed[j] >= 0 and now > shape.fixed[j]):
                    return False, moves_top, lows_top
                if moves_top >= len(state.moved) or lows_top + shape.right[j] - shape.left[j] > len(state.low_at):
                    return True, moves_top, lows_top
                state.moved[moves_top], state.moved_from[moves_top] = j, was
                moves_top += 1
                state.minimum[j], state.key[j] = now, now * n + state.rank[j]
                again = True
                for t in range(shape.left[j], shape.right[j]):
                    if state.low[t] == was:
                        lows_top = _refresh_low(shape, state, t, lows_top)
                        if state.low[t] + state.total[t] > capacity:
                            return False, moves_top, lows_top
                from_, to = min(from_, shape.left[j]), max(to, shape.right[j])
    return True, moves_top, lows_top


@compiled
def restart(shape, state, frames, arena, rank):
    """Begin a search anew with the tie-breaking order `rank`."""
    n, m = len(state.key), len(state.total)
    for j in range(n):
        state.rank[j] = rank[j]
        state.minimum[j] = max(shape.fixed[j], 0)
        state.key[j] = state.minimum[j] * n + rank[j]
        state.placed[j] = 0
    for s in range(m):
        state.total[s] = shape.load[s]
        state.cuts[s] = 0
        state.dirty[s] = 0
        lowest = INF
        for x in range(shape.row[s], shape.row[s + 1]):
            lowest = min(lowest, state.minimum[shape.held[x]])
        state.low[s] = lowest
    for j in range(n):
        for s in range(shape.left[j], shape.right[j] - 1):
            state.cuts[s] += 1
    pending, top, end = -1, 0, m
    for s in range(m - 1, -1, -1):
        if s == 0 or state.cuts[s - 1] == 0:
            arena[top, 0], arena[top, 1], arena[top, 2] = s, end, -1
            arena[top, 3], arena[top, 4] = pending, -1
            pending = top
            top += 1
            end = s
    frame = frames[0]
    frame[A], frame[B], frame[OWNER] = arena[pending, 0], arena[pending, 1], -1
    frame[PENDING], frame[LAST], frame[KEY], frame[HATLESS] = arena[pending, 3], -1, -1, 0
    cursor = state.cursor
    cursor[0], cursor[1], cursor[2], cursor[3], cursor[4], cursor[5] = 0, 0, 0, top, 1, 0


@compiled
def search(shape, state, frames, arena, table, capacity, n_more, rules):
    """Continue the canonical search by at most `n_more` placements.

    Returns SOLVED (offsets in `state.minimum`), EXHAUSTED (nothing fits `capacity`) or PAUSED.
    """
    n = len(state.key)
    cursor = state.cursor
    d, moves_top, lows_top, arena_top = cursor[0], cursor[1], cursor[2], cursor[3]
    entering = cursor[4] == 1
    nodes = 0
    mask = np.uint64(len(table) - 1)
    while True:
        frame = frames[d]
        a, b = frame[A], frame[B]
        lo, hi = shape.first_in[a], shape.first_in[b]
        if entering:
            entering = False
            key = frame[KEY]
            under = INF
            mark = _mix(n, capacity)
            for j in range(lo, hi):
                if state.placed[j] == 0:
                    under = min(under, state.minimum[j] + shape.height[j])
                    mark += _mix(j, state.minimum[j] if state.key[j] > key else -1)
            limit = INF
            if rules & DOMINANCE:
                limit = under - 1
            if rules & INFERENCE:
                for s in range(a, b):
                    if state.total[s] > 0:
                        limit = min(limit, capacity - state.total[s])
            frame[LIMIT] = limit
            frame[HASH] = np.int64(mark)
            if rules & NOGOODS and table[mark & mask] == mark:
                frame[LAST] = INF
        # The next candidate: the lowest (offset, rank) after the last one tried.
        last = frame[LAST]
        best = INF
        i = np.int64(-1)
        for j in range(lo, hi):
            k = state.key[j]
            if k > last and k < best:
                best = k
                i = j
        if i >= 0 and state.minimum[i] > frame[LIMIT]:
            i = -1
        if i >= 0 and rules & SYMMETRY and shape.twin[i] >= 0 and state.placed[shape.twin[i]] == 0:
            frame[LAST] = best
            continue
        if i < 0:
            if rules & NOGOODS:
                mark = np.uint64(frame[HASH])
                table[mark & mask] = mark
            target = frame[OWNER]
            if target < 0:
                cursor[5] += nodes
                return EXHAUSTED
            _undo(shape, state, frames, frames[target, LOWS], frames[target, MOVES], moves_top, lows_top)
            for x in range(d - 1, target - 1, -1):
                _lift(shape, state, frames[x, BLOCK])
            moves_top, lows_top, arena_top = frames[target, MOVES], frames[target, LOWS], frames[target, ARENA]
            d = target
            if frames[d, HATLESS] and rules & HATLESS_RULE:
                frames[d, LAST] = INF
            continue
        if nodes >= n_more or lows_top + b - a > len(state.low_at):
            cursor[0], cursor[1], cursor[2], cursor[3], cursor[4] = d, moves_top, lows_top, arena_top, 0
            cursor[5] += nodes
            return PAUSED
        nodes += 1
        o = state.minimum[i]
        frame[BLOCK] = i
        frame[LAST] = best
        frame[MOVES], frame[LOWS], frame[ARENA] = moves_top, lows_top, arena_top
        legal, moves_top, lows_top, n_above = _place(shape, state, i, capacity, moves_top, lows_top, rules)
        frame[HATLESS] = 1 if n_above == 0 else 0
        if legal and rules & INFERENCE:
            for s in range(a, b):
                if state.total[s] > 0 and max(state.low[s], o) + state.total[s] > capacity:
                    legal = False
                    break
        if legal and rules & REACHABLE:
            legal, moves_top, lows_top = _reach(
                shape, state, shape.left[i], shape.right[i], capacity, moves_top, lows_top
            )
        if legal and rules & BLOCKED:
            legal = _blocked_fit(shape, state, a, b, best, o, capacity)
        if not legal:
            _undo(shape, state, frames, frame[LOWS], frame[MOVES], moves_top, lows_top)
            _lift(shape, state, i)
            moves_top, lows_top = frame[MOVES], frame[LOWS]
            if n_above == 0 and rules & HATLESS_RULE:
                frame[LAST] = INF
            continue
        # Where the rest falls apart in time, its parts are solved one after another.
        pending = frame[PENDING]
        split = False
        if rules & DECOMPOSITION:
            for s in range(max(a, shape.left[i]), min(b, shape.right[i]) - 1):
                if state.cuts[s] == 0:
                    split = True
                    break
        if not split:
            rest = False
            for s in range(a, b):
                if state.total[s] > 0:
                    rest = True
                    break
            if rest:
                arena[arena_top, 0], arena[arena_top, 1], arena[arena_top, 2] = a, b, d
                arena[arena_top, 3], arena[arena_top, 4] = pending, best
                pending = arena_top
                arena_top += 1
        else:
            end = b
            for s in range(b - 1, a - 1, -1):
                if s == a or state.cuts[s - 1] == 0:
                    rest = False
                    for t in range(s, end):
                        if state.total[t] > 0:
                            rest = True
                            break
                    if rest:
                        arena[arena_top, 0], arena[arena_top, 1], arena[arena_top, 2] = s, end, d
                        arena[arena_top, 3], arena[arena_top, 4] = pending, best
                        pending = arena_top
                        arena_top += 1
                    end = s
        if pending < 0:
            cursor[5] += nodes
            return SOLVED
        d += 1
        frame = frames[d]
        frame[A], frame[B], frame[OWNER] = arena[pending, 0], arena[pending, 1], arena[pending, 2]
        frame[PENDING] = arena[pending, 3]
        frame[LAST] = arena[pending, 4] if rules & CANONICAL else -1
        frame[KEY] = frame[LAST]
        frame[HATLESS] = 0
        entering = True


@compiled
def best_fit(order, start, stop, size, align, fixed, hint, edges, first_fit):
    """Place blocks one by one into the smallest gap that holds them (or the lowest), else on top.

    `edges[k]` is the first step of time bucket k; each bucket keeps what was placed in it, sorted by offset, so
    that a block only looks at the buckets that it touches. A free `hint` is taken before any gap.
    """
    n, m = len(order), len(edges)
    from_ = np.searchsorted(edges, start, side="right") - 1
    to = np.searchsorted(edges, stop, side="left")
    row = np.zeros(m + 1, np.int64)
    for i in range(n):
        for k in range(from_[i], to[i]):
            row[k + 1] += 1
    for k in range(m):
        row[k + 1] += row[k]
    fill = row[:-1].copy()
    lows, tops = np.empty(row[m], np.int64), np.empty(row[m], np.int64)
    starts, stops = np.empty(row[m], np.int64), np.empty(row[m], np.int64)
    offset = np.empty(n, np.int64)
    at = np.empty(m, np.int64)
    for x in range(n):
        i = order[x]
        a, b, z = start[i], stop[i], size[i]
        lo, hi = from_[i], to[i]
        place = fixed[i]
        if place < 0:
            current, smallest = np.int64(0), INF + 1
            wish = hint[i]
            for k in range(lo, hi):
                at[k] = row[k]
            while True:
                # The lowest placed block not yet seen that lives together with block i.
                y = -1
                if hi - lo == 1:
                    e = at[lo]
                    while e < fill[lo] and (starts[e] >= b or stops[e] <= a or tops[e] <= current):
                        e += 1
                    at[lo] = e
                    if e < fill[lo]:
                        y = e
                else:
                    lowest = INF
                    for k in range(lo, hi):
                        e = at[k]
                        while e < fill[k] and (starts[e] >= b or stops[e] <= a or tops[e] <= current):
                            e += 1
                        at[k] = e
                        if e < fill[k] and lows[e] < lowest:
                            lowest = lows[e]
                            y = e
                begin = _aligned(current, align[i])
                end = INF if y < 0 else lows[y]
                if end - begin >= z:
                    if begin <= wish and wish + z <= end and wish % align[i] == 0:
                        place = wish
                        break
                    if end - current < smallest and not (first_fit and place >= 0):
                        smallest = end - current
                        place = begin
                    if first_fit and wish < 0:
                        break
                if y < 0:
                    break
                current = max(current, tops[y])
        offset[i] = place
        for k in range(lo, hi):
            e = fill[k]
            while e > row[k] and lows[e - 1] > place:
                lows[e], tops[e] = lows[e - 1], tops[e - 1]
                starts[e], stops[e] = starts[e - 1], stops[e - 1]
                e -= 1
            lows[e], tops[e], starts[e], stops[e] = place, place + z, a, b
            fill[k] += 1
    return offset


@compiled
def best_fit_pieces(order, first, start, stop, low, high, align, fixed, hint, first_fit):
    """`best_fit` for blocks of several pieces: gather the forbidden offsets of each block and sort them."""
    n = len(order)
    offset = np.full(n, -1, np.int64)
    begin, end = np.empty(len(start), np.int64), np.empty(len(start), np.int64)
    for x in range(n):
        i = order[x]
        if fixed[i] >= 0:
            offset[i] = fixed[i]
            continue
        count = 0
        if len(begin) < (first[i + 1] - first[i]) * len(start):
            begin = np.empty((first[i + 1] - first[i]) * len(start), np.int64)
            end = np.empty(len(begin), np.int64)
        for y in range(x):
            j = order[y]
            for p in range(first[i], first[i + 1]):
                for q in range(first[j], first[j + 1]):
                    if start[p] < stop[q] and start[q] < stop[p]:
                        begin[count] = offset[j] + low[q] - high[p]
                        end[count] = offset[j] + high[q] - low[p]
                        count += 1
        rows = np.argsort(begin[:count])
        current, smallest, place = np.int64(0), INF + 1, np.int64(-1)
        for y in range(count + 1):
            spot = _aligned(current, align[i])
            until = INF if y == count else begin[rows[y]]
            if until >= spot:
                if spot <= hint[i] <= until and hint[i] % align[i] == 0:
                    place = hint[i]
                    break
                if until - current < smallest and not (first_fit and place >= 0):
                    smallest = until - current
                    place = spot
            if y < count:
                current = max(current, end[rows[y]])
        offset[i] = place
    return offset


@compiled
def strips(by_class, start, stop, n_classes, classes):
    """Colour the lifespans of each class with as few colours as possible. Returns (colour, colours per class).

    `by_class` lists the blocks of class 0 by start, then those of class 1, and so on.
    """
    n = len(by_class)
    colour = np.empty(n, np.int64)
    n_colours = np.zeros(n_classes, np.int64)
    # A binary heap of (stop, colour) of the class at hand.
    ends, owners = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    held, current = 0, -1
    for x in range(n):
        i = by_class[x]
        if classes[i] != current:
            current, held = classes[i], 0
        if held and ends[0] <= start[i]:
            c = owners[0]
            # Replace the root: sift down.
            y = 0
            while True:
                child = 2 * y + 1
                if child >= held:
                    break
                if child + 1 < held and ends[child + 1] < ends[child]:
                    child += 1
                if ends[child] >= stop[i]:
                    break
                ends[y], owners[y] = ends[child], owners[child]
                y = child
            ends[y], owners[y] = stop[i], c
        else:
            c = n_colours[current]
            n_colours[current] += 1
            y = held
            held += 1
            while y > 0 and ends[(y - 1) // 2] > stop[i]:
                ends[y], owners[y] = ends[(y - 1) // 2], owners[(y - 1) // 2]
                y = (y - 1) // 2
            ends[y], owners[y] = stop[i], c
        colour[i] = c
    return colour, n_colours


@compiled
def first_overlap(events, opens, low, high, n_slots):
    """The first event at which bytes are taken twice, or -1: a sweep over time with a tree over addresses.

    `events` lists pieces, closings before openings at equal steps; `low`, `high` are slots of the tree.
    """
    leaves = 1
    while leaves < n_slots:
        leaves *= 2
    most, lazy = np.zeros(2 * leaves, np.int32), np.zeros(2 * leaves, np.int32)
    for x in range(len(events)):
        p = events[x]
        change = np.int32(1) if opens[x] else np.int32(-1)
        lo, hi = low[p] + leaves, high[p] + leaves
        first, last = lo, hi - 1
        while lo < hi:
            if lo & 1:
                most[lo] += change
                lazy[lo] += change
                lo += 1
            if hi & 1:
                hi -= 1
                most[hi] += change
                lazy[hi] += change
            lo >>= 1
            hi >>= 1
        first >>= 1
        last >>= 1
        while first:
            most[first] = max(most[2 * first], most[2 * first + 1]) + lazy[first]
            if last != first:
                most[last] = max(most[2 * last], most[2 * last + 1]) + lazy[last]
            first >>= 1
            last >>= 1
        if most[1] > 1:
            return x
    return -1


@compiled
def drop(order, from_, to, height, align, n_times):
    """Put each block, in `order`, on top of the highest one placed so far that meets it.

    `from_[i]:to[i]` are the time slots of block i. A tree over time holds the tops.
    """
    leaves = 1
    while leaves < n_times:
        leaves *= 2
    most, all_of = np.zeros(2 * leaves, np.int64), np.zeros(2 * leaves, np.int64)
    offset = np.empty(len(order), np.int64)
    for x in range(len(order)):
        i = order[x]
        lo, hi = from_[i] + leaves, to[i] + leaves
        top = np.int64(0)
        a, b = lo, hi - 1
        while lo < hi:
            if lo & 1:
                top = max(top, most[lo])
                lo += 1
            if hi & 1:
                hi -= 1
                top = max(top, most[hi])
            lo >>= 1
            hi >>= 1
        y, z = a, b
        while y:
            top = max(top, all_of[y], all_of[z])
            y >>= 1
            z >>= 1
        place = _aligned(top, align[i])
        offset[i] = place
        top = place + height[i]
        lo, hi = a, b + 1
        while lo < hi:
            if lo & 1:
                most[lo], all_of[lo] = max(most[lo], top), max(all_of[lo], top)
                lo += 1
            if hi & 1:
                hi -= 1
                most[hi], all_of[hi] = max(most[hi], top), max(all_of[hi], top)
            lo >>= 1
            hi >>= 1
        y, z = a, b
        while y:
            most[y], most[z] = max(most[y], top), max(most[z], top)
            y >>= 1
            z >>= 1
    return offset


@compiled
def least_stack(height, align):
    """The least height of blocks that are all held at one step, over all orders from the bottom up.

    Of each set of blocks only the lowest top counts: whatever comes next lies no lower on a higher one.
    """
    k = len(height)
    top = np.full(1 << k, INF, np.int64)
    top[0] = 0
    for placed in range(1 << k):
        for j in range(k):
            if placed >> j & 1 == 0:
                now = _aligned(top[placed], align[j]) + height[j]
                top[placed | 1 << j] = min(top[placed | 1 << j], now)
    return top[-1]


@compiled
def tightest_gap(rows, near, spans, size, ceiling, align):
    """The offset of the tightest gap of `size` bytes below `ceiling` that is free over all spans, lowest first; or -1.

    `rows[:, near]`: start, stop, offset and end of what lies there, in any order, some perhaps twice. `spans` [2, P]:
    starts and stops.
    """
    low = np.empty(len(near), np.int64)
    high = np.empty(len(near), np.int64)
    count = 0
    for i in near:
        for p in range(spans.shape[1]):
            if rows[0, i] < spans[1, p] and rows[1, i] > spans[0, p]:
                at = count
                while at > 0 and low[at - 1] > rows[2, i]:
                    low[at], high[at] = low[at - 1], high[at - 1]
                    at -= 1
                low[at], high[at] = rows[2, i], rows[3, i]
                count += 1
                break
    best, best_gap, top = -1, INF, 0
    for i in range(count + 1):
        until = low[i] if i < count else ceiling
        begin = _aligned(top, align)
        if size <= until - begin < best_gap:
            best, best_gap = begin, until - begin
        if i < count:
            top = max(top, high[i])
    return best


@compiled
def _passes(v, sign, size, head, tail, since, step, load):
    """Count, or no longer count, the room that a tensor needs in a tier that it passes around a gap."""
    for t in range(max(0, since[v] + 1), min(since[v] + 1 + head[v], step[v], len(load))):
        load[t] += sign * size
    for t in range(max(0, step[v] - tail[v], since[v] + 1 + head[v]), min(step[v], len(load))):
        load[t] += sign * size


@compiled
def fill_tier(
    k, room, order, kind, which, lo, hi, size, at, tensor, since, step, produced, direct, head, tail,
    load, counted, gap, serve, base,
):  # fmt: skip
    """Let candidates into tier k in `order` while `load` [S] leaves room; what is let in is written down.

    `kind` 0: tensor `which` lies there throughout; 1: over the gap before visit `which`; 2: for that visit only.
    `counted` [V]: the load counts the visit already, and the steps on the way through the tier: `head` [V] after a
    gap begins and `tail` [V] before it ends.
    """
    n = len(load)
    for c in order:
        i, a, b, z = which[c], lo[c], hi[c], size[c]
        if kind[c] == 0:
            first, last = at[i], at[i + 1]
            fits = True
            for v in range(first, last):
                fits = fits and gap[v] != k
        else:
            first, last = i, i + 1
            if kind[c] == 1:
                first = i - 1
            fits = not (base[tensor[i]] == k or (kind[c] == 1 and gap[i] >= 0) or (kind[c] == 2 and serve[i] >= 0))
        if not fits:
            continue
        for sign in (-1, 1):
            # What is there for some of these visits already is not counted twice.
            for v in range(first, last):
                if counted[v] and step[v] < n:
                    load[step[v]] += sign * z
                if kind[c] == 0 or (kind[c] == 1 and v == i):
                    _passes(v, sign, z, head, tail, since, step, load)
            if sign == 1:
                break
            for t in range(a, b):
                if load[t] + z > room:
                    fits = False
                    break
            if fits:
                break
        if not fits:
            continue
        for t in range(a, b):
            load[t] += z
        for v in range(first, last):
            counted[v] = True
            if kind[c] == 0 or (kind[c] == 1 and v == i):
                head[v], tail[v] = 0, 0
            if direct and serve[v] < 0 and step[v] < n:
                serve[v] = k
        if kind[c] == 1:
            gap[i] = k
        elif kind[c] == 0:
            base[i] = k
            for v in range(first, last):
                if gap[v] < 0 and not produced[v]:
                    gap[v] = k


@compiled
def passing(k, must, n_leads, n, at, since, step, mode, produced, size, tensor, in_steps, out_steps, gap, serve, load):
    """Shapes [V], [V]: steps for which each tensor lies in tier k on its way to slower tiers and back, by gap.

    Assumes: a copy in a slower tier stays valid until the next write. The room is counted in `load`.
    """
    head, tail = np.zeros(n_leads, np.int64), np.zeros(n_leads, np.int64)
    for x in range(len(at) - 1):
        dirty = False
        for v in range(at[x], at[x + 1]):
            if produced[v]:
                dirty = True
                continue
            if gap[v] < 0:
                here = 0 <= serve[v] < k or (must and serve[v] < 0 and step[v] < n)
                if here:
                    tail[v] = in_steps[v]
                if dirty and v > at[x] and (0 <= serve[v - 1] < k or (must and serve[v - 1] < 0)):
                    head[v] = out_steps[v]
                _passes(v, 1, size[v], head, tail, since, step, load)
                dirty = False
            if mode[v] != 0:
                dirty = True
    return head, tail
