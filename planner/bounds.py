"""Lower bounds on the simulated time of every legal plan, and what a program lacks in room."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tierplan.ir.problem import NO_HOME, NO_LINK, Floats, Ints, Keep, Mode, Problem
from tierplan.planner.cases import MOST, Case, cases, n_combinations


@dataclass(frozen=True, slots=True, eq=False)
class Bounded:
    """A case, and the seconds that no plan of it can beat."""

    case: Case
    bound_s: float


@lru_cache(maxsize=4)
def bounded_cases(problem: Problem) -> tuple[Bounded, ...]:
    """The cases of a problem that room alone does not rule out, the least bound first."""
    found = [Bounded(case, _bound(case.problem)) for case in cases(problem) if not lacks_room(case.problem)]
    return tuple(sorted(found, key=lambda bounded: bounded.bound_s))


def first_bound(problem: Problem) -> float:
    """Seconds that no plan can beat: compute, and compulsory bytes over bandwidth.

    The largest of
    - the sum over steps of the largest of compute, of streamed bytes over what all direct tiers together can
      stream, and of what choices add to a tier or link over its bandwidth;
    - for each tier, the bytes that cannot lie in it and the faster ones at the same time, over
      what the slower ones can deliver.

    Assumes nothing about the plan. Of few combinations of alternatives the one with the least bound counts; of many,
    each step counts with the least that any alternative adds.
    """
    found = bounded_cases(problem)
    return found[0].bound_s if found else _bound(problem)


def _bound(problem: Problem) -> float:
    return max(_streaming_bound(problem), *_crossing_bounds(problem), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Added:
    """The least that choices add. Shapes: seconds [S]; bytes [K, S], [K, S], [L, S]."""

    compute_s: Floats
    read: Ints
    write: Ints
    link: Ints


def _least_added(problem: Problem) -> _Added:
    n_steps, n_tiers, n_links = problem.n_steps, problem.n_tiers, len(problem.links.names)
    compute = np.zeros(n_steps)
    least = [np.zeros((n, n_steps), dtype=np.int64) for n in (n_tiers, n_tiers, n_links)]
    for choice in problem.choices:
        n = len(choice.alternatives)
        of_choice = np.zeros((n, n_steps))
        n_bytes = [np.zeros((n, len(added), n_steps), dtype=np.int64) for added in least]
        for row, alternative in enumerate(choice.alternatives):
            for effect in alternative.effects:
                of_choice[row, effect.step] += effect.compute_s
                for into, added in zip(n_bytes, (effect.tier_read, effect.tier_write, effect.link), strict=True):
                    if added:
                        into[row, :, effect.step] += np.array(added, dtype=np.int64)
        compute += of_choice.min(axis=0)
        for into, added in zip(least, n_bytes, strict=True):
            into += added.min(axis=0)
    return _Added(compute, *least)


def _streaming_bound(problem: Problem) -> float:
    added, tiers, links = _least_added(problem), problem.tiers, problem.links
    streamed = np.bincount(problem.access_step, problem.access_read + problem.access_write, minlength=problem.n_steps)
    change = (added.read + added.write)[tiers.direct].sum(axis=0)
    own = np.maximum(problem.compute_s + added.compute_s, (streamed + change) / _streaming_rate(problem))
    for n_bytes, rate in (
        (added.read, tiers.read_bandwidth),
        (added.write, tiers.write_bandwidth),
        (added.link, links.bandwidth),
    ):
        if len(n_bytes):
            own = np.maximum(own, (n_bytes / rate[:, None]).max(axis=0))
    return float(np.maximum(own, 0.0).sum())


def _streaming_rate(problem: Problem) -> float:
    """Bytes per second that steps can stream at most, reads and writes together, from all direct tiers."""
    tiers, links = problem.tiers, problem.links

    def through(bandwidth: float, link: int) -> float:
        return bandwidth if link == NO_LINK else min(bandwidth, float(links.bandwidth[link]))

    total = 0.0
    for k in np.flatnonzero(tiers.direct).tolist():
        read, write = float(tiers.read_bandwidth[k]), float(tiers.write_bandwidth[k])
        behind = through(read, int(tiers.read_link[k])) + through(write, int(tiers.write_link[k]))
        total += min(max(read, write), behind)
    return total


def _crossing_bounds(problem: Problem) -> list[float]:
    """For each cut between tier k and k+1: what exists, is used, and cannot all lie above, must cross.

    Of a tensor that lies below the cut at step 0, at least the bytes that some step reads must cross
    it once: the step reads them below, or the tensor was copied up. If no step can use what lies
    below, the tensor is copied up whole. What choices add to the same tiers and links takes its time too; what they
    take away is taken away.
    """
    tiers, added = problem.tiers, _least_added(problem)
    read, whole = _bytes_needed(problem)
    bounds: list[float] = []
    for k in range(problem.n_tiers - 1):
        needed = read if tiers.direct[k + 1 :].any() else whole
        existing = problem.home != NO_HOME
        below = existing & (problem.home > k) if not problem.cyclic else existing
        usable = np.maximum(0, tiers.usable - _least_reserved(problem))
        room = int(usable[: k + 1].sum()) if problem.cyclic else 0
        crossing = max(0, int(needed[below].sum()) - room)
        bounds.append(_seconds_from_below(problem, k, crossing, added))
    return bounds


def _bytes_needed(problem: Problem) -> tuple[Ints, Ints]:
    """Shapes [N], [N]: bytes of each tensor, as it is at the start, that some step must read; its size if it is used.

    A step that reads after others have written may read what they wrote: those bytes do not count.
    """
    order = np.lexsort((problem.access_step, problem.access_tensor))
    tensor = problem.access_tensor[order]
    produces = problem.access_mode[order] == Mode.PRODUCE
    total = np.cumsum(problem.access_write[order]) - problem.access_write[order]
    first = np.searchsorted(tensor, tensor)
    written = total - total[first] if len(order) else total
    n_produced = np.cumsum(produces)
    before = n_produced - produces - (n_produced[first] - produces[first] if len(order) else 0) == 0
    counts = before & ~produces
    needed = np.where(counts, np.maximum(problem.access_read[order] - written, 0), 0)
    read = np.zeros(problem.n_tensors, dtype=np.int64)
    np.maximum.at(read, tensor, needed)
    whole = np.zeros(problem.n_tensors, dtype=np.int64)
    whole[tensor[counts]] = problem.size[tensor[counts]]
    return np.minimum(read, problem.size), whole


def _seconds_from_below(problem: Problem, k: int, crossing: int, added: _Added) -> float:
    """Seconds for bytes to come out of the tiers slower than k: streamed by steps, or copied up."""
    tiers, links = problem.tiers, problem.links
    of_tiers = (crossing + float(added.read[k + 1 :].sum())) / float(tiers.read_bandwidth[k + 1 :].sum())
    across = (links.source > k) & (links.target <= k)
    used = set(np.flatnonzero(across).tolist())
    unlinked = 0.0
    for tier in range(k + 1, problem.n_tiers):
        if not tiers.direct[tier]:
            continue
        if tiers.read_link[tier] == NO_LINK:
            unlinked += float(tiers.read_bandwidth[tier])
        else:
            used.add(int(tiers.read_link[tier]))
    rate = unlinked + float(links.bandwidth[sorted(used)].sum())
    of_links = (crossing + float(added.link[sorted(used)].sum())) / rate if rate > 0 else 0.0
    return max(0.0, of_tiers, of_links)


def bytes_missing(problem: Problem) -> dict[str, int]:
    """For each tier, the bytes that lack at the worst step if all data had to lie in it and the faster ones."""
    load = _load(problem)
    room = np.cumsum(np.maximum(0, problem.tiers.usable - _least_reserved(problem)))
    worst = int(load.max()) if len(load) else 0
    return {name: max(0, worst - int(room[k])) for k, name in enumerate(problem.tiers.names)}


def direct_bytes_missing(problem: Problem) -> int:
    """Bytes by which the operands of some step exceed all tiers that steps can use."""
    operands = np.bincount(problem.access_step, problem.size[problem.access_tensor], minlength=problem.n_steps)
    usable = np.maximum(0, problem.tiers.usable - _least_reserved(problem))
    return max(0, int(operands.max()) - int(usable[problem.tiers.direct].sum()))


def is_infeasible(problem: Problem) -> bool:
    """Whether room alone proves that no plan exists."""
    if 1 < n_combinations(problem) <= MOST:
        return not bounded_cases(problem)
    return lacks_room(problem)


def _least_reserved(problem: Problem) -> Ints:
    """Shape [K]: the fewest bytes that choices reserve in each tier."""
    least = [np.array([a.reserved for a in choice.alternatives]).min(axis=0) for choice in problem.choices]
    return np.array([[0] * problem.n_tiers, *least], dtype=np.int64).sum(axis=0)


def lacks_room(problem: Problem, *, directly: bool = False) -> bool:
    """Whether data is larger than all tiers at some step; `directly`: than those that steps can use."""
    if directly:
        usable = np.maximum(0, problem.tiers.usable - _least_reserved(problem))
        return int(_load(problem).max(initial=0)) > int(usable[problem.tiers.direct].sum())
    if (_least_reserved(problem) > problem.tiers.usable).any():
        return True
    return bytes_missing(problem)[problem.tiers.names[-1]] > 0 or direct_bytes_missing(problem) > 0


def _load(problem: Problem) -> Ints:
    """Shape [S]: bytes that must lie somewhere at each step, whatever the plan.

    A tensor lies somewhere at each access, and between two accesses unless the later one
    produces it anew; before the first if it exists, after the last if it must survive.
    """
    n = problem.n_steps
    order = np.lexsort((problem.access_step, problem.access_tensor))
    tensor, step = problem.access_tensor[order], problem.access_step[order]
    produces = problem.access_mode[order] == Mode.PRODUCE
    if len(order) == 0:
        return np.zeros(n, dtype=np.int64)
    first = np.flatnonzero(np.diff(tensor, prepend=-1) > 0)
    last = np.append(first[1:] - 1, len(order) - 1)
    needed_before = (problem.home[tensor[first]] != NO_HOME) & ~produces[first]
    needed_after = (problem.keep[tensor[first]] != Keep.NOTHING) | (needed_before & problem.cyclic)
    until = np.append(step[1:], n)
    until[produces[np.append(np.arange(1, len(order)), 0)]] = 0
    until[last] = np.where(needed_after, n, 0)
    until = np.maximum(until, step + 1)
    since = step.copy()
    since[first[needed_before]] = 0
    change = np.zeros(n + 1, dtype=np.int64)
    np.add.at(change, since, problem.size[tensor])
    np.add.at(change, until, -problem.size[tensor])
    return np.cumsum(change)[:-1]
