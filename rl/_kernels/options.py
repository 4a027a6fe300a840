# pyright: basic, reportCallIssue=false
"""What may be played at the next visit, and what would come of it; `options` keeps what was found out."""

from tierplan.ir.problem import Mode
from tierplan.rl._kernels.frame import Play, inlined, inner
from tierplan.rl._kernels.room import find, pin_offset
from tierplan.rl._kernels.ways import find_way
from tierplan.rl._kernels.writebacks import can_write_back, go_on, may_return
from tierplan.rl.tables import AT, KNOWN

READ, UPDATE, PRODUCE = int(Mode.READ), int(Mode.UPDATE), int(Mode.PRODUCE)


@inlined
def stays_until(v, g: Play):
    """Until when what visit v leaves in a fast tier stays there if it is not written back."""
    visit = g.visits[v]
    if visit.next_step < 0:
        return visit.step + 1
    return min(visit.next_step + 1, len(g.base_own))


@inlined
def ends_elsewhere(v, g: Play):
    """Whether what visit v leaves must be valid in its base at the end, and nothing uses it before."""
    visit = g.visits[v]
    return visit.next < 0 and visit.next_step >= 0 and g.tensors[visit.tensor].returns > 0


@inlined
def pins(v, g: Play):
    """Whether to keep a tensor at visit v means to let it lie there throughout the turn."""
    visit = g.visits[v]
    return visit.mode != PRODUCE and visit.first > 0 and g.tensors[visit.tensor].circular > 0


@inlined
def way_row(action, g: Play):
    """Where in `way` the hops of an action stand; those that lead out of the base stand last."""
    return min(action, len(g.tiers) - 1) * len(g.tiers)


@inlined
def _fits(v, action, k, stop, g: Play):
    """Whether the tensor may be laid into tier k from visit v on."""
    visit = g.visits[v]
    offset = find(k, visit.step, stop, g.tensors[visit.tensor].size, visit.step, g)
    g.options[action].offset = offset
    return offset >= 0


@inlined
def _reaches(v, action, k, must, g: Play):
    """Whether the tensor can be copied to tier k for visit v."""
    g.options[action].hops = find_way(v, k, way_row(action, g), must, g)
    return g.options[action].hops > 0


@inlined
def _lies_well(v, g: Play):
    """Whether a tensor that could still be kept in a fast tier may be used there by visit v."""
    visit = g.visits[v]
    tier = g.rects[g.placed[visit.tensor].rect].tier
    if g.tiers[tier].direct == 0:
        return False
    if visit.mode != UPDATE:
        return True
    return can_write_back(v, tier, g) if ends_elsewhere(v, g) else may_return(v, tier, g)


@inlined
def _waits(v, g: Play):
    """Whether visit v reads what is being written back: it is used where it lies, until that is over."""
    visit = g.visits[v]
    return g.placed[visit.tensor].pending > 0 and visit.mode == READ


@inner
def _may_keep(v, action, g: Play):
    visit = g.visits[v]
    mine = g.placed[visit.tensor]
    if visit.mode == PRODUCE:
        return not ends_elsewhere(v, g) and may_return(v, 0, g) and _fits(v, action, 0, stays_until(v, g), g)
    if mine.dirty > 0:
        return _waits(v, g) or not ends_elsewhere(v, g)
    if pins(v, g):
        return g.tensors[visit.tensor].settles > 0 and pin_offset(visit.tensor, 0, g) >= 0
    return mine.rect >= 0 and _lies_well(v, g)


@inner
def _may_copy(v, action, g: Play):
    visit = g.visits[v]
    mine = g.placed[visit.tensor]
    if visit.mode == PRODUCE:
        return action == 0 and can_write_back(v, 0, g) and _fits(v, action, 0, len(g.base_own), g)
    if mine.dirty > 0:
        return action == 0 and not _waits(v, g) and can_write_back(v, g.rects[mine.rect].tier, g)
    if action >= mine.base or g.tiers[action].direct == 0:
        return False
    if visit.mode == UPDATE and visit.next_step >= 0 and not can_write_back(v, action, g):
        return False
    return _reaches(v, action, action, False, g)


@inner
def _may_settle(v, action, k, g: Play):
    """Whether a tensor may lie in tier k, faster than its base, for as long as it lives, from its first visit on."""
    visit = g.visits[v]
    fixed = g.tensors[visit.tensor]
    if visit.first == 0 or fixed.settles == 0 or k > g.placed[visit.tensor].base or g.tiers[k].direct == 0:
        return False
    if fixed.circular > 0:
        return pin_offset(visit.tensor, k, g) >= 0
    return _fits(v, action, k, fixed.stop, g)


@inner
def _may_load(v, action, base, g: Play):
    """Whether what steps cannot use where it lies can be brought for visit v to where they can."""
    near, ends = g.tiers[base].load, ends_elsewhere(v, g)
    if g.visits[v].mode != READ and ends and not can_write_back(v, near, g):
        return False
    if g.visits[v].mode == PRODUCE:
        return _fits(v, action, near, len(g.base_own) if ends else stays_until(v, g), g)
    return _reaches(v, action, near, True, g)


@inner
def may_play(v, action, g: Play):
    """Whether `action` may be played at visit v, which is next."""
    visit = g.visits[v]
    mine, keep = g.placed[visit.tensor], len(g.tiers) - 1
    if action < 0 or action > 2 * keep:
        return False
    if mine.base == 0:
        return action == keep
    if action == keep:
        return _may_keep(v, action, g)
    if action < keep:
        return _may_copy(v, action, g)
    if visit.mode != PRODUCE and mine.dirty > 0:
        return False
    k = action - keep
    if k != mine.base:
        return _may_settle(v, action, k, g)
    return g.tiers[k].direct > 0 or _may_load(v, action, k, g)


@inner
def default(v, g: Play):
    """What is played where nothing else is asked for: leave it in its base, or where it had to stay."""
    visit = g.visits[v]
    mine, keep = g.placed[visit.tensor], len(g.tiers) - 1
    if mine.base == 0:
        return keep
    if visit.mode != PRODUCE and mine.dirty > 0:
        return keep if _waits(v, g) or not ends_elsewhere(v, g) else 0
    if visit.mode != PRODUCE and g.tiers[mine.base].direct == 0 and mine.rect >= 0 and _lies_well(v, g):
        return keep
    return keep + mine.base


@inner
def look(mask, g: Play):
    """Write into `mask` [2K - 1] which actions may be played next: 1, or 0. Where none may, the default backs up."""
    mask[:] = 0
    v = g.head[AT]
    if v >= len(g.visits):
        return
    go_on(g.visits[v].step, g)
    none = True
    for action in range(len(mask)):
        legal = may_play(v, action, g)
        g.options[action].legal = legal
        if legal:
            mask[action] = 1
            none = False
    g.head[KNOWN] = v
    if none:
        mask[default(v, g)] = 1
