"""Lower bounds on the simulated time of every legal plan, and what a program lacks in room."""

import numpy as np

from tierplan.ir.problem import NO_HOME, NO_LINK, Floats, Ints, Keep, Mode, Problem


def first_bound(problem: Problem) -> float:
    """Seconds that no plan can beat: compute, and compulsory bytes over bandwidth.

    The largest of
    - the sum over steps of the larger of compute and streamed bytes over what all direct tiers
      together can stream;
    - for each tier, the bytes that cannot lie in it and the faster ones at the same time, over
      what the slower ones can deliver.

    Assumes nothing about the plan; alternatives of choices may lower compute and streams, so
    each step counts with the least that any combination of alternatives leaves.
    """
    return max(_streaming_bound(problem), *_crossing_bounds(problem), 0.0)


def _least_effects(problem: Problem) -> tuple[Floats, Ints]:
    """Shapes [S], [S]: the least that choices add to compute seconds and to streamed bytes of each step."""
    compute = np.zeros(problem.n_steps)
    streams = np.zeros(problem.n_steps, dtype=np.int64)
    for choice in problem.choices:
        of_choice = np.zeros((len(choice.alternatives), problem.n_steps))
        bytes_of_choice = np.zeros((len(choice.alternatives), problem.n_steps), dtype=np.int64)
        for row, alternative in enumerate(choice.alternatives):
            for effect in alternative.effects:
                of_choice[row, effect.step] += effect.compute_s
                bytes_of_choice[row, effect.step] += sum(effect.tier_read) + sum(effect.tier_write)
        compute += of_choice.min(axis=0)
        streams += np.minimum(bytes_of_choice.min(axis=0), 0)
    return compute, streams


def _streaming_bound(problem: Problem) -> float:
    compute, change = _least_effects(problem)
    streamed = np.bincount(problem.access_step, problem.access_read + problem.access_write, minlength=problem.n_steps)
    streams = np.maximum(streamed + change, 0) / _streaming_rate(problem)
    return float(np.maximum(problem.compute_s + compute, streams).sum())


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
    below, the tensor is copied up whole.
    """
    if problem.choices:
        return []
    tiers = problem.tiers
    read, whole = _bytes_needed(problem)
    bounds: list[float] = []
    for k in range(problem.n_tiers - 1):
        needed = read if tiers.direct[k + 1 :].any() else whole
        existing = problem.home != NO_HOME
        below = existing & (problem.home > k) if not problem.cyclic else existing
        room = int(tiers.usable[: k + 1].sum()) if problem.cyclic else 0
        crossing = int(needed[below].sum()) - room
        rate = _rate_from_below(problem, k)
        bounds.append(max(0, crossing) / rate if rate > 0 else 0.0)
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


def _rate_from_below(problem: Problem, k: int) -> float:
    """Bytes per second that can come out of the tiers slower than k: streamed by steps, or copied up."""
    tiers, links = problem.tiers, problem.links
    rate_of_tiers = float(tiers.read_bandwidth[k + 1 :].sum())
    crossing = (links.source > k) & (links.target <= k)
    used = set(np.flatnonzero(crossing).tolist())
    unlinked = 0.0
    for tier in range(k + 1, problem.n_tiers):
        if not tiers.direct[tier]:
            continue
        if tiers.read_link[tier] == NO_LINK:
            unlinked += float(tiers.read_bandwidth[tier])
        else:
            used.add(int(tiers.read_link[tier]))
    return min(rate_of_tiers, unlinked + float(links.bandwidth[sorted(used)].sum()))


def bytes_missing(problem: Problem) -> dict[str, int]:
    """For each tier, the bytes that lack at the worst step if all data had to lie in it and the faster ones."""
    load = _load(problem)
    room = np.cumsum(problem.tiers.usable)
    worst = int(load.max()) if len(load) else 0
    return {name: max(0, worst - int(room[k])) for k, name in enumerate(problem.tiers.names)}


def direct_bytes_missing(problem: Problem) -> int:
    """Bytes by which the operands of some step exceed all tiers that steps can use."""
    operands = np.bincount(problem.access_step, problem.size[problem.access_tensor], minlength=problem.n_steps)
    return max(0, int(operands.max()) - int(problem.tiers.usable[problem.tiers.direct].sum()))


def is_infeasible(problem: Problem) -> bool:
    """Whether room alone proves that no plan exists."""
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
