# pyright: basic
"""The rules of mallocGame as a JAX function of one play, to be mapped over many: a twin of rl/_kernels.py.

Trajectories are those of the kernels, except that drop-backup is not played out: where it would begin, the play is
`stuck`, and over. Only what can still matter is in the state: steps up to `window` back, residencies still in sight.

Assumes: what rl/agent/twin_tables.py assumes; 64-bit floats (`jax.enable_x64`).
"""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from tierplan.rl.agent import twin_tables as t
from tierplan.rl.agent.twin_tables import Board

Array: TypeAlias = Any
_READ, _UPDATE, _PRODUCE = 0, 1, 2
COPY, KEEP, DROP = 0, 1, 2
N_ACTIONS = 3
NOWHERE = -1
_LONG_AGO = -(2**30)
_HIGH = 2**30
_DIRTY, _PENDING, _PINNED, _READY = 1, 2, 4, 8  # bits of `mine`; from the fourth on, when a copy may be taken
OWN, BUSY, RATE_IN, RATE_OUT = range(4)


class Play(NamedTuple):
    """One play. C residencies in sight, W steps back, Q write-backs under way, N tensors, V visits.

    `at`: the next visit, at step `step`. `served` [V]: 1 if tier 0 serves the visit. `mine` [N]: flags and the step
    from which the base is valid. `slot_*` [C]: residencies; `held`: could still be kept. `past` [4, W]: how long steps
    last, are promised to copies, and how fast copies run in and out; `issued` [W]: a copy is issued there; `issues`
    [2]: the same for this step and the next. `queue_*` [Q]; `room` [3]: ceiling in units, bytes beyond it, peak.
    `legal` [3], `start` and `offsets` [2] are what was found for the next visit: kept, or copied.
    """

    at: Array
    step: Array
    total_s: Array
    stuck: Array
    served: Array
    mine: Array
    slot_tensor: Array
    slot_offset: Array
    slot_end: Array
    slot_start: Array
    slot_stop: Array
    held: Array
    past: Array
    issued: Array
    issues: Array
    queue_tensor: Array
    queue_left: Array
    queue_cap: Array
    queue_start: Array
    queue_age: Array
    room: Array
    legal: Array
    start: Array
    offsets: Array


def begin(board: Board, window: int, slots: int, pending: int) -> Play:
    """A play at its first visit."""
    none, whole = jnp.int32(0), jnp.zeros((), jnp.float64)
    play = Play(
        none, none, whole, jnp.bool_(False),
        jnp.zeros(board.ints.shape[0], jnp.int8), jnp.zeros_like(board.blank),
        jnp.full(slots, NOWHERE, jnp.int32), jnp.zeros(slots, jnp.int32), jnp.zeros(slots, jnp.int32),
        jnp.full(slots, _LONG_AGO, jnp.int32), jnp.full(slots, _LONG_AGO, jnp.int32), jnp.zeros(slots, jnp.bool_),
        jnp.zeros((4, window), jnp.float64), jnp.zeros(window, jnp.bool_), jnp.zeros(2, jnp.bool_),
        jnp.full(pending, NOWHERE, jnp.int32), jnp.zeros(pending, jnp.float64), jnp.zeros(pending, jnp.float64),
        jnp.zeros(pending, jnp.int32), jnp.zeros(pending, jnp.int32),
        jnp.stack([board.room[1], board.room[2], board.room[0]]).astype(jnp.int32),
        jnp.zeros(3, jnp.bool_), none, jnp.zeros(2, jnp.int32),
    )  # fmt: skip
    return _look(board, _advance(board, play, board.ints[0, t.STEP], board.rates[:, 0]))


def is_over(board: Board, play: Play) -> Array:
    """Whether all visits were played, or none can be."""
    return play.stuck | (play.at >= board.scale[0])


def act(board: Board, play: Play, action: Array) -> tuple[Play, Array]:
    """Play the next visit; the play after it, and the seconds that it saves. What is not legal is the default."""
    ints, reals = board.ints[play.at], board.reals[play.at]
    over = is_over(board, play)
    action = _effective(ints, play, action)
    after, saved_s, passed = _do(board, play, action, ints, reals)
    after = after._replace(at=play.at + 1, total_s=play.total_s + saved_s)
    after = _look(board, _advance(board, after, board.ints[play.at + 1, t.STEP], passed))
    kept = jax.tree.map(lambda old, new: jnp.where(over, old, new), play, after)
    return kept, jnp.where(over, 0.0, saved_s)


def _effective(ints: Array, play: Play, action: Array) -> Array:
    default = default_action(ints, play)
    action = jnp.where(play.legal[action], action, default)
    return jnp.where(play.legal[action], action, KEEP)


def default_action(ints: Array, play: Play) -> Array:
    """Leave it in its base, or where it had to stay."""
    mine, mode = play.mine[ints[t.TENSOR]], ints[t.MODE]
    stays = ((mine & _PENDING) > 0) & (mode == _READ) | (ints[t.ENDS] == 0)
    far = jnp.where((mode != _PRODUCE) & ((mine & _DIRTY) > 0), jnp.where(stays, KEEP, COPY), DROP)
    return jnp.where((mine & _PINNED) > 0, KEEP, far)


# --- Time of steps --------------------------------------------------------------------------------------------------


def _in_fast(board: Board, served: Array, first: Array, step: Array) -> Array:
    """Bytes that the visits of a step read and write in tier 0."""
    places = first + jnp.arange(board.group.shape[0], dtype=jnp.int32)
    places = jnp.minimum(places, served.shape[0] - 1)
    here = (board.ints[places, t.STEP] == step) & (served[places] > 0)
    return jnp.where(here[:, None], board.reals[places, : t.WRITE + 1], 0.0).sum(axis=0)


def _lasts(board: Board, step: Array, moved: Array) -> Array:
    """Shape [3]: how long a step lasts if tier 0 serves these bytes of it, and how fast copies run in and out."""
    loads = board.step_loads[step]
    bytes_ = loads[:-1] + moved[0] * board.read_moves + moved[1] * board.write_moves
    busy = jnp.maximum(bytes_, 0.0) / board.speeds
    tiers, links = busy[:2] + busy[2:4], busy[4:]
    own = jnp.maximum(jnp.maximum(loads[-1], tiers.max()), links.max(initial=0.0))
    return jnp.stack([own, _rate(board, 0, own, tiers, links), _rate(board, 1, own, tiers, links)])


def _rate(board: Board, way: int, own: Array, tiers: Array, links: Array) -> Array:
    """Bytes per second at which a copy alone runs beside a step: way 0 into tier 0, way 1 out of it."""
    link = board.links[way]
    source, target = (1, 0) if way == 0 else (0, 1)
    full = jnp.stack([board.speeds[4 + link], board.speeds[source], board.speeds[2 + target]])
    busy = jnp.stack([links[link], tiers[source], tiers[target]])
    free = 1.0 - busy / jnp.where(own > 0, own, 1.0)
    return jnp.where(link >= 0, jnp.where(free > 1e-12, free * full, 0.0).min(), 0.0)


# --- Playing --------------------------------------------------------------------------------------------------------


def _do(board: Board, play: Play, action: Array, ints: Array, reals: Array) -> tuple[Play, Array, Array]:
    """Play a legal action; the play, seconds saved, and how the present step lasts now."""
    x, now, mode = ints[t.TENSOR], play.step, ints[t.MODE]
    mine = play.mine[x]
    dirty, pinned = (mine & _DIRTY) > 0, (mine & _PINNED) > 0
    held = play.held & (play.slot_tensor == x)
    produces = mode == _PRODUCE
    drops, pins = (action == DROP) & ~pinned, (action == KEEP) & (ints[t.PINS] > 0) & ~produces & ~pinned
    writes_in = produces & (action != DROP) & ~pinned
    goes_on = ~produces & dirty & ~pins & ~pinned & ~drops
    keeps = ~produces & ~dirty & (action == KEEP) & ~pins & ~pinned
    copies = ~produces & ~dirty & (action == COPY) & ~pinned
    ends, next_step = ints[t.ENDS] > 0, ints[t.NEXT_STEP]

    pending = (mine & _PENDING) > 0
    cancels = pending & ((drops & produces) | writes_in | (goes_on & ((mode == _UPDATE) | (next_step < 0))))
    pending &= ~cancels
    leaves = writes_in | (goes_on & ~pending) | ((keeps | copies) & (mode == _UPDATE))
    back = jnp.where(writes_in | goes_on, action == COPY, copies | ends)
    # what lies there ends (leaves without a next use), stays until that, or until it is written back
    done = (leaves | keeps | copies | goes_on) & (next_step < 0) & (leaves | ~goes_on)
    enqueues = leaves & ~done & back
    dirty = jnp.where(leaves, ~done, dirty & ~(drops & produces))
    serves_next = leaves & ~done & ~back & (ints[t.NEXT] >= 0)

    play = _booked(play, copies, reals)
    places = writes_in | copies
    play = _placed(play, places, action == COPY, copies, held & (places | drops), ints)
    held = play.held & (play.slot_tensor == x)
    stop = jnp.where(leaves & ~done & ~back, ints[t.STAYS], jnp.where(enqueues, _end(board), now + 1))
    play = play._replace(
        slot_stop=jnp.where(held & (leaves | keeps), stop, play.slot_stop),
        held=play.held & ~(held & done),
    )
    play = _queued(play, x, cancels, enqueues, ints, reals)
    play, served, gained = _pinned(board, play, pins, x)
    here = (writes_in | goes_on | keeps | copies) & (served[play.at] == 0)
    nxt = jnp.maximum(ints[t.NEXT], 0)
    there = serves_next & (served[nxt] == 0)
    before = _in_fast(board, served, ints[t.GROUP], now)
    nxt_ints = board.ints[nxt]
    before_next = _in_fast(board, served, nxt_ints[t.GROUP], nxt_ints[t.STEP])
    served = served.at[jnp.where(here, play.at, served.shape[0])].set(1, mode="drop")
    served = served.at[jnp.where(there, nxt, served.shape[0])].set(1, mode="drop")
    after = before + jnp.where(here, reals[: t.WRITE + 1], 0.0)
    after_next = before_next + jnp.where(there, board.reals[nxt, : t.WRITE + 1], 0.0)
    lasts = _lasts(board, now, after)
    saved = jnp.where(here, _lasts(board, now, before)[0] - lasts[0], 0.0)
    step = nxt_ints[t.STEP]
    saved += jnp.where(there, _lasts(board, step, before_next)[0] - _lasts(board, step, after_next)[0], 0.0)
    flags = (
        jnp.where(dirty, _DIRTY, 0) + jnp.where(pending | enqueues, _PENDING, 0) + jnp.where(pinned | pins, _PINNED, 0)
    )
    mine = (mine & ~(_READY - 1)) | flags
    return play._replace(served=served, mine=play.mine.at[x].set(mine)), saved + gained, lasts


def _end(board: Board) -> Array:
    """S, the number of steps."""
    return board.ints[board.ints.shape[0] - 1, t.STEP]


def _supply(play: Play, cap: Array) -> tuple[Array, Array]:
    """Shapes [W]: bytes that past steps can still carry into tier 0, and how fast."""
    free = play.past[OWN] - play.past[BUSY]
    rate = jnp.minimum(cap, play.past[RATE_IN])
    return jnp.where(free > 0, free * rate, 0.0), rate


def _sums(supply: Array) -> Array:
    """Shape [W]: what each step and all later ones carry."""
    w = supply.shape[0]
    later = jnp.arange(w)[None, :] >= jnp.arange(w)[:, None]
    return jnp.where(later, supply[None, :], 0.0).sum(axis=1)


def _booked(play: Play, copies: Array, reals: Array) -> Play:
    """Promise spare time from `start` on to a copy."""
    window = play.past.shape[1]
    place = jnp.arange(window, dtype=jnp.int32)
    first = play.start - (play.step - window)
    supply, rate = _supply(play, reals[t.CAP_IN])
    supply = jnp.where(place >= first, supply, 0.0)
    sums = _sums(supply)
    left = reals[t.WANTED_IN] - (sums[0] - sums)
    takes = copies & (supply > 0) & (left > 0)
    busy = jnp.where(supply >= left, play.past[BUSY] + left / jnp.where(rate > 0, rate, 1.0), play.past[OWN])
    return play._replace(
        past=play.past.at[BUSY].set(jnp.where(takes, busy, play.past[BUSY])),
        issued=play.issued | (copies & (place == first)),
    )


def _placed(play: Play, places: Array, second: Array, copies: Array, freed: Array, ints: Array) -> Play:
    """Lay the tensor down where it was found to fit; what could be kept in its place cannot any longer."""
    kept = play.held & ~freed
    offset = play.offsets[jnp.where(second, 1, 0)]
    end = offset + ints[t.UNITS]
    window = play.past.shape[1]
    free = ~play.held & (play.slot_stop <= play.step - window)
    slot = jnp.where(places, jnp.argmax(free), play.held.shape[0]).astype(jnp.int32)
    meets = (play.slot_offset < end) & (play.slot_end > offset)
    kept &= ~(places & meets)
    start = jnp.where(copies, play.start, play.step)
    return play._replace(
        slot_tensor=play.slot_tensor.at[slot].set(ints[t.TENSOR], mode="drop"),
        slot_offset=play.slot_offset.at[slot].set(offset, mode="drop"),
        slot_end=play.slot_end.at[slot].set(end, mode="drop"),
        slot_start=play.slot_start.at[slot].set(start, mode="drop"),
        slot_stop=play.slot_stop.at[slot].set(play.step + 1, mode="drop"),
        held=kept.at[slot].set(True, mode="drop"),
        room=play.room.at[2].set(jnp.where(places, jnp.maximum(play.room[2], end), play.room[2])),
    )


def _queued(play: Play, x: Array, cancels: Array, enqueues: Array, ints: Array, reals: Array) -> Play:
    """Take a write-back of tensor x out of the queue, and put one in."""
    queue = jnp.where(cancels & (play.queue_tensor == x), NOWHERE, play.queue_tensor)
    i = jnp.where(enqueues, jnp.argmax(queue == NOWHERE), queue.shape[0]).astype(jnp.int32)
    return play._replace(
        queue_tensor=queue.at[i].set(x, mode="drop"),
        queue_left=play.queue_left.at[i].set(reals[t.WANTED_OUT], mode="drop"),
        queue_cap=play.queue_cap.at[i].set(reals[t.CAP_OUT], mode="drop"),
        queue_start=play.queue_start.at[i].set(play.step + 1, mode="drop"),
        queue_age=play.queue_age.at[i].set(play.at, mode="drop"),
        issues=play.issues.at[1].set(play.issues[1] | enqueues),
    )


def _pinned(board: Board, play: Play, pins: Array, x: Array) -> tuple[Play, Array, Array]:
    """Let tensor x lie in tier 0 throughout the turn: all its visits are served there; seconds saved."""

    def more(carry: tuple[Array, Array, Array]) -> Array:
        return carry[0] >= 0

    def serve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        v, served, saved = carry
        at = jnp.maximum(v, 0)
        ints = board.ints[at]
        before = _in_fast(board, served, ints[t.GROUP], ints[t.STEP])
        fresh = served[at] == 0
        after = before + jnp.where(fresh, board.reals[at, : t.WRITE + 1], 0.0)
        step = ints[t.STEP]
        saved += _lasts(board, step, before)[0] - _lasts(board, step, after)[0]
        return ints[t.AFTER], served.at[at].set(1), saved

    first = jnp.where(pins, play.at, NOWHERE)
    _, served, saved = jax.lax.while_loop(more, serve, (first, play.served, jnp.zeros((), jnp.float64)))
    ceiling = jnp.where(pins, play.offsets[0], play.room[0])
    beyond = jnp.where(pins, 0, play.room[1])
    return play._replace(room=jnp.stack([ceiling, beyond, play.room[2]])), served, saved


# --- Write-backs, as steps pass -------------------------------------------------------------------------------------


def _advance(board: Board, play: Play, until: Array, passed: Array) -> Play:
    """Go on to step `until`; `passed` is how the present step lasts. Write-backs run beside the steps on the way."""
    window = play.past.shape[1]
    now = play.step
    moves = until - now
    steps = until - window + jnp.arange(window, dtype=jnp.int32)
    fresh = board.rates[:, jnp.clip(steps, 0, board.rates.shape[1] - 1)]
    fresh = jnp.where(steps < 0, 0.0, jnp.where(steps == now, passed[:, None], fresh))
    fresh = jnp.stack([fresh[0], jnp.zeros(window, jnp.float64), fresh[1], fresh[2]])
    shift = jnp.minimum(moves, window)
    old = jax.lax.dynamic_slice(jnp.concatenate([play.past, play.past], axis=1), (jnp.int32(0), shift), (4, window))
    issued = jax.lax.dynamic_slice(jnp.concatenate([play.issued, play.issued]), (shift,), (window,))
    issued = jnp.where(steps < now, issued, (steps == now) & play.issues[0] | (steps == now + 1) & play.issues[1])
    past = jnp.where(steps < now, old, fresh)
    issues = jnp.where(moves == 0, play.issues, jnp.stack([(moves == 1) & play.issues[1], jnp.bool_(False)]))
    play = play._replace(step=until, past=past, issued=issued, issues=issues)
    return _run_queue(board, play, now, passed)


def _run_queue(board: Board, play: Play, first: Array, passed: Array) -> Play:
    """Let write-backs run beside the steps from `first` on, in order of issue."""
    window, until = play.past.shape[1], play.step
    older = play.queue_age[None, :] < play.queue_age[:, None]
    waiting = play.queue_tensor != NOWHERE

    def more(carry: tuple[Array, Array, Array, Array]) -> Array:
        u, _, done, _ = carry
        return (u < until) & (waiting & (done < 0)).any()

    def run(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        u, left, done, busy = carry
        lasts = jnp.where(u == first, passed, board.rates[:, u])
        rate = jnp.minimum(play.queue_cap, lasts[t.RATE_OUT])
        runs = waiting & (done < 0) & (play.queue_start <= u) & (rate > 0)
        need = jnp.where(runs, left / jnp.where(rate > 0, rate, 1.0), 0.0)
        free = lasts[t.OWN] - jnp.where(older, need[None, :], 0.0).sum(axis=1)
        runs &= free > 0
        ends = runs & (rate * free >= left)
        left = jnp.where(runs & ~ends, left - rate * free, left)
        done = jnp.where(ends, u + 1, done)
        spent = jnp.minimum(need.sum(), lasts[t.OWN])
        place = u - (until - window)
        place = jnp.where(place >= 0, place, window)
        return u + 1, left, done, busy.at[place].set(spent, mode="drop")

    start = (first, play.queue_left, jnp.full_like(play.queue_start, NOWHERE), play.past[BUSY])
    _, left, done, busy = jax.lax.while_loop(more, run, start)
    written = waiting & (done >= 0)
    mine = play.mine.at[jnp.where(written, play.queue_tensor, play.mine.shape[0])].set(done * _READY, mode="drop")
    match = written[:, None] & (play.queue_tensor[:, None] == play.slot_tensor[None, :]) & play.held[None, :]
    stop = jnp.where(match, done[:, None], NOWHERE).max(axis=0)
    return play._replace(
        mine=mine,
        past=play.past.at[BUSY].set(busy),
        queue_left=left,
        queue_tensor=jnp.where(written, NOWHERE, play.queue_tensor),
        slot_stop=jnp.where(match.any(axis=0), stop, play.slot_stop),
    )


# --- What may be played ---------------------------------------------------------------------------------------------


def _look(board: Board, play: Play) -> Play:
    """Find out what may be played next, and where it would lie."""
    ints, reals = board.ints[play.at], board.reals[play.at]
    x, now, mode = ints[t.TENSOR], play.step, ints[t.MODE]
    mine = play.mine[x]
    dirty, pending, pinned = (mine & _DIRTY) > 0, (mine & _PENDING) > 0, (mine & _PINNED) > 0
    reads, updates, produces = mode == _READ, mode == _UPDATE, mode == _PRODUCE
    ends, end = ints[t.ENDS] > 0, _end(board)
    may_return = _may_return(board, play, ints, reals)
    queued = (play.queue_tensor != NOWHERE).sum()
    can_write = (
        (board.links[1] >= 0) & (queued < play.queue_tensor.shape[0]) & (ints[t.NEXT_STEP] > now + 1) & may_return
    )

    start = _latest(board, play, ints, reals, mine // _READY)
    to_end = produces | updates & (ints[t.NEXT_STEP] >= 0)
    kept_at = _offset(board, play, now, ints[t.STAYS], ints)
    copied_at = _offset(board, play, jnp.where(produces, now, start), jnp.where(to_end, end, now + 1), ints)
    low = _below_ceiling(play, ints)
    pins = (ints[t.PINS] > 0) & ~produces
    may_pin = (ints[t.PINS] > 1) & (low >= 0) & (low >= play.room[2])
    held = (play.held & (play.slot_tensor == x)).any()

    waits = pending & reads
    keep_dirty = waits | ~ends
    keep_clean = jnp.where(pins, may_pin, held & (reads | jnp.where(ends, can_write, may_return)))
    keep = jnp.where(produces, ~ends & may_return & (kept_at >= 0), jnp.where(dirty, keep_dirty, keep_clean))
    copy_clean = (start >= 0) & (copied_at >= 0) & (can_write | ~updates | (ints[t.NEXT_STEP] < 0))
    copy_dirty = ~waits & can_write
    copy = jnp.where(produces, can_write & (copied_at >= 0), jnp.where(dirty, copy_dirty, copy_clean))
    legal = jnp.stack([copy & ~pinned, keep | pinned, (produces | ~dirty) & ~pinned])
    last = play.at >= board.scale[0]
    unreturned = (play.queue_tensor != NOWHERE) & (_returns(board, play.queue_age) > 0)
    stuck = play.stuck | jnp.where(last, unreturned.any(), ~legal.any())
    kept_at = jnp.where(pins, low, kept_at)
    return play._replace(
        legal=legal & ~last, stuck=stuck, start=start, offsets=jnp.stack([kept_at, copied_at]).astype(jnp.int32)
    )


def _returns(board: Board, visits: Array) -> Array:
    return board.ints[visits, t.RETURNS]


def _may_return(board: Board, play: Play, ints: Array, reals: Array) -> Array:
    """Whether what must be valid in its base at the end can surely get there."""
    waiting = jnp.where(play.queue_tensor != NOWHERE, play.queue_left, 0.0).sum()
    wanted = reals[t.WANTED_OUT] + jnp.where(ints[t.NEXT] < 0, waiting, 0.0)
    surely = (board.links[1] >= 0) & (board.promised[jnp.maximum(ints[t.MAY_AFTER], 0)] >= wanted)
    return (ints[t.RETURNS] <= 0) | surely


def _latest(board: Board, play: Play, ints: Array, reals: Array, ready: Array) -> Array:
    """The latest step at which a copy can be issued so that spare time completes it in time; NOWHERE if none."""
    window = play.past.shape[1]
    place = jnp.arange(window, dtype=jnp.int32)
    steps = play.step - window + place
    supply, _ = _supply(play, reals[t.CAP_IN])
    sums = _sums(supply)
    # a copy must be over when one that was promised already is issued after it
    later = (place[None, :] > place[:, None]) & play.issued[None, :]
    taken = jnp.where(later, sums[None, :], 0.0).max(axis=1)
    fits = (steps >= jnp.maximum(jnp.maximum(ints[t.OPENS], ready), 0)) & (sums - taken >= reals[t.WANTED_IN])
    return jnp.where((board.links[0] >= 0) & fits, steps, NOWHERE).max()


def _below_ceiling(play: Play, ints: Array) -> Array:
    """The highest offset, in units, at which the tensor lies below the ceiling; negative if there is none."""
    return play.room[0] - ints[t.UNITS] + 1 - (play.room[1] < ints[t.REST])


def _offset(board: Board, play: Play, start: Array, stop: Array, ints: Array) -> Array:
    """The lowest offset, in units, that is free over [start, stop); NOWHERE if there is none."""
    size = ints[t.UNITS]
    meets = (play.slot_start < stop) & (start < play.slot_stop)
    low = jnp.where(meets, play.slot_offset, _HIGH)
    high = jnp.where(meets, play.slot_end, _LONG_AGO)
    tops = jnp.concatenate([jnp.where(meets, play.slot_end, _HIGH), board.room[:1]])
    clash = (low[None, :] < tops[:, None] + size) & (high[None, :] > tops[:, None])
    free = ~clash.any(axis=1) & (tops <= _below_ceiling(play, ints))
    slot = (~play.held & (play.slot_stop <= play.step - play.past.shape[1])).any()
    best = jnp.where(free, tops, _HIGH).min()
    return jnp.where(slot & (best < _HIGH), best, NOWHERE)
