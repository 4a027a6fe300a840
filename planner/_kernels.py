# pyright: basic
"""Compiled loops of offset allocation: neighbours, the canonical search, best fit, and a check."""

import numpy as np
from numba import njit

INF = np.int64(2**62)

SOLVED, EXHAUSTED, PAUSED = 1, 0, 2

# Columns of a search frame.
A, B, LAST, BLOCK, LIMIT, MOVES, LOWS, PENDING, ARENA, HASH, HATLESS, OWNER, KEY = range(13)
N_COLUMNS = 13

# Switches of the search, bits of `rules`.
CANONICAL, INFERENCE, DOMINANCE, FLOOR, DECOMPOSITION, HATLESS_RULE, BLOCKED, SYMMETRY, NOGOODS, FULL, STAIRS = (
    1 << k for k in range(11)
)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _undo(shape, state, frames, low_mark, move_mark, moves_top, lows_top):
    """Take back recorded changes down to the marks."""
    for x in range(lows_top - 1, low_mark - 1, -1):
        state.low[state.low_at[x]] = state.low_was[x]
    for x in range(moves_top - 1, move_mark - 1, -1):
        j = state.moved[x]
        state.minimum[j] = state.moved_from[x]
        state.key[j] = state.minimum[j] * len(state.key) + state.rank[j]


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
            mark = np.uint64(0)
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
        i = -1
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
