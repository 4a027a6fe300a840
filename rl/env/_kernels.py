# pyright: basic
"""A step of the environment in one call: play, then write the mask and what changes of the observation."""

from numba import njit

from tierplan.rl._kernels import State, _bare_state, _bare_tables, mask_actions, reset, step

_AT, _N_QUEUE = 0, 4
_CEILING, _PEAK, _N_LIVE = 1, 2, 0


@njit(cache=True, error_model="numpy")
def _look(mean_s, mask, now, supply, tables, state):
    """Write the mask, how the tensor of the next visit lies, and what the last steps have left for copies."""
    tables, state = _bare_tables(tables), _bare_state(state)
    mask_actions(mask, tables, state)
    v, n_visits = state.head[_AT], len(tables.visits)
    now[:] = 0.0
    now[0] = v / n_visits
    now[1] = state.head[_N_QUEUE] / len(state.queue)
    capacity = tables.tiers[0].usable - tables.tiers[0].floor
    if capacity > 0:
        now[2] = (tables.tiers[0].usable - state.room[0, _CEILING]) / capacity
        now[3] = (state.room[0, _PEAK] - tables.tiers[0].floor) / capacity
    supply[:] = 0.0
    if v == n_visits:
        return
    visit = tables.visits[v]
    mine = state.tensors[visit.tensor]
    now[4] = mine.rect >= 0
    now[5] = mine.dirty
    now[6] = mine.pending
    now[7] = mine.base / len(tables.tiers)
    if capacity > 0:
        filled = 0
        for i in range(state.room[0, _N_LIVE]):
            rect = state.rects[state.live[0, i]]
            if rect.start <= visit.step < rect.stop:
                filled += rect.end - rect.offset
        now[8] = filled / capacity
    for i in range(len(supply)):
        u = visit.step - 1 - i
        if u < 0:
            break
        left = (state.steps[u].own - state.steps[u].busy) / mean_s if mean_s > 0.0 else 0.0
        supply[i] = left / (1.0 + left)


@njit(cache=True, error_model="numpy")
def begin(mean_s, mask, now, supply, tables, state):
    """Reset a play and look at it."""
    reset(tables, state)
    for v in range(len(state.moves)):
        state.moves[v].forced = 0
    state.head[5] = 0
    _look(mean_s, mask, now, supply, tables, state)


@njit(cache=True, error_model="numpy")
def act(action, mean_s, mask, now, supply, tables, state):
    """Play an action and look again; the seconds saved."""
    saved = step(action, tables, state)
    _look(mean_s, mask, now, supply, tables, state)
    return saved


@njit(cache=True, error_model="numpy")
def _of(states, b):
    return State(
        states.head[b], states.total[b], states.moves[b], states.served[b], states.tensors[b], states.rects[b],
        states.copies[b], states.steps[b], states.loads[b], states.used[b], states.live[b], states.room[b],
        states.queue[b], states.way[b],
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def begin_many(mean_s, masks, now, supply, tables, states):
    """Reset all plays."""
    for b in range(len(masks)):
        begin(mean_s, masks[b], now[b], supply[b], tables, _of(states, b))


@njit(cache=True, error_model="numpy")
def act_many(actions, mean_s, saved, over, masks, now, supply, tables, states):
    """Play one action in each play; one that was over begins anew instead, and saves nothing."""
    tables, states = _bare_tables(tables), _bare_state(states)
    for b in range(len(actions)):
        state = _of(states, b)
        if over[b]:
            begin(mean_s, masks[b], now[b], supply[b], tables, state)
            saved[b], over[b] = 0.0, False
        else:
            saved[b] = act(actions[b], mean_s, masks[b], now[b], supply[b], tables, state)
            over[b] = state.head[_AT] == len(tables.visits)


@njit(cache=True, error_model="numpy")
def profile(image, t, horizon, tables, state):
    """Write into `image` [T, R] which parts of the fastest tier are taken in the steps around t: 255, or 0.

    Row i is step `t - horizon + i`. What lies there throughout counts from the ceiling on.
    """
    n_rows, n_bins = image.shape
    low, high = tables.tiers[0].floor, tables.tiers[0].usable
    image[:] = 0
    if high <= low:
        return
    for i in range(-1, state.room[0, _N_LIVE]):
        start, stop, first, last = 0, len(tables.own), state.room[0, _CEILING], high
        if i >= 0:
            rect = state.rects[state.live[0, i]]
            start, stop, first, last = rect.start, rect.stop, rect.offset, rect.end
        a, b = (first - low) * n_bins // (high - low), -(-(last - low) * n_bins // (high - low))
        for row in range(max(0, start - t + horizon), min(n_rows, stop - t + horizon)):
            for j in range(a, b):
                image[row, j] = 255
