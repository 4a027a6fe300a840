"""The rules of a plan, checked one by one. Slow and obvious on purpose; shares no code with any planner."""

import heapq
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterator

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.holdings import holding_violations
from tierplan.ir.plan import Plan, Residency
from tierplan.ir.problem import NO_LINK, Problem
from tierplan.ir.violation import Rule, Violation


def violations(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Yield every rule that `plan` breaks; a legal plan yields nothing.

    Of several tensors that overlap in one place, at least one pair is told.

    Raises: InvalidInputError: the plan names a tensor, tier or choice that the problem lacks.
    """
    _check_indices(problem, plan)
    yield from _choice(problem, plan)
    yield from _space(problem, plan)
    yield from _overlap(problem, plan)
    yield from _links(problem, plan)
    yield from _ends(problem, plan)
    yield from holding_violations(problem, plan)


def _check_indices(problem: Problem, plan: Plan) -> None:
    for item in (*plan.residencies, *plan.copies):
        if item.tensor >= problem.n_tensors:
            raise InvalidInputError(f"the plan names tensor {item.tensor}; the problem has {problem.n_tensors}")
    tiers = [r.tier for r in plan.residencies] + [k for c in plan.copies for k in (c.source, c.target)]
    if any(tier >= problem.n_tiers for tier in tiers):
        raise InvalidInputError(f"the plan names tier {max(tiers)}; the machine has {problem.n_tiers}")
    for taken in plan.taken:
        known = 0 <= taken.choice < len(problem.choices)
        if not known or not 0 <= taken.alternative < len(problem.choices[taken.choice].alternatives):
            raise InvalidInputError(f"the plan takes alternative {taken.alternative} of choice {taken.choice}: unknown")


def _choice(problem: Problem, plan: Plan) -> Iterator[Violation]:
    n_taken = Counter(taken.choice for taken in plan.taken)
    for index, choice in enumerate(problem.choices):
        if n_taken[index] != 1:
            yield Violation(Rule.CHOICE, f"{n_taken[index]} alternatives of '{choice.name}' are taken; need one")


def reserved_bytes(problem: Problem, plan: Plan, tier: int) -> int:
    """Bytes that the alternatives taken by `plan` keep for themselves at the top of a tier."""
    return sum(problem.choices[t.choice].alternatives[t.alternative].reserved[tier] for t in plan.taken)


def _space(problem: Problem, plan: Plan) -> Iterator[Violation]:
    usable = [int(problem.tiers.usable[k]) - reserved_bytes(problem, plan, k) for k in range(problem.n_tiers)]
    for k, room in enumerate(usable):
        if room < 0 and plan.taken:
            detail = f"the alternatives taken reserve {-room} B more of {problem.tiers.names[k]} than plans may use"
            yield Violation(Rule.CAPACITY, detail, (), 0, problem.n_steps, problem.tiers.names[k], -room)
    for r in plan.residencies:
        end = r.offset + int(problem.size[r.tensor])
        capacity, alignment = int(problem.tiers.capacity[r.tier]), int(problem.tiers.alignment[r.tier])
        name, tier = problem.tensor_names[r.tensor], problem.tiers.names[r.tier]
        where = f"'{name}' at [{r.offset}, {end}) of {tier} over steps [{r.start}, {r.stop})"
        if end > capacity:
            yield Violation(
                Rule.CAPACITY, f"{where}: {tier} has {capacity} B", (name,), r.start, r.stop, tier, end - capacity
            )
        elif end > usable[r.tier]:
            over = end - usable[r.tier]
            detail = f"{where}: plans may use the first {usable[r.tier]} B"
            yield Violation(Rule.SCRATCH, detail, (name,), r.start, r.stop, tier, over)
        if r.offset % alignment:
            detail = f"{where}: the offset is no multiple of {alignment}"
            yield Violation(Rule.ALIGNMENT, detail, (name,), r.start, r.stop, tier, r.offset % alignment)


def _overlap(problem: Problem, plan: Plan) -> Iterator[Violation]:
    by_tier: dict[int, list[Residency]] = defaultdict(list)
    for r in plan.residencies:
        if problem.size[r.tensor] > 0:
            by_tier[r.tier].append(r)
    for tier, group in by_tier.items():
        yield from _overlap_in_tier(problem, problem.tiers.names[tier], sorted(group, key=lambda r: r.start))
    yield from _twice(problem, plan)


def _overlap_in_tier(problem: Problem, tier: str, by_start: list[Residency]) -> Iterator[Violation]:
    """Sweep over time with the live residencies sorted by offset: a new one can only touch its neighbours."""
    live: list[tuple[int, int, int]] = []  # (offset, end, index)
    ends: list[tuple[int, int]] = []  # (stop, index)
    for index, r in enumerate(by_start):
        while ends and ends[0][0] <= r.start:
            gone = heapq.heappop(ends)[1]
            offset = by_start[gone].offset
            live.pop(bisect_left(live, (offset, offset + int(problem.size[by_start[gone].tensor]), gone)))
        end = r.offset + int(problem.size[r.tensor])
        place = bisect_left(live, (r.offset, end, index))
        clash = [
            live[p][2] for p in (place - 1, place) if 0 <= p < len(live) and live[p][0] < end and r.offset < live[p][1]
        ]
        for other in (by_start[i] for i in clash):
            names = (problem.tensor_names[other.tensor], problem.tensor_names[r.tensor])
            start, stop = r.start, min(r.stop, other.stop)
            other_end = other.offset + int(problem.size[other.tensor])
            shared = min(end, other_end) - max(r.offset, other.offset)
            detail = f"'{names[0]}' and '{names[1]}' share {shared} B of {tier} over steps [{start}, {stop})"
            yield Violation(Rule.OVERLAP, detail, names, start, stop, tier, shared)
        if not clash:
            insort(live, (r.offset, end, index))
            heapq.heappush(ends, (r.stop, index))


def _twice(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """The same tensor twice in one tier at one time: which of the two would an operation mean?"""
    seen: dict[tuple[int, int], Residency] = {}
    for r in sorted(plan.residencies, key=lambda r: (r.start, r.stop)):
        before = seen.get((r.tensor, r.tier))
        if before is not None and before.stop > r.start:
            name, tier = problem.tensor_names[r.tensor], problem.tiers.names[r.tier]
            detail = f"'{name}' lies twice in {tier} at step {r.start}"
            yield Violation(Rule.OVERLAP, detail, (name,), r.start, before.stop, tier, int(problem.size[r.tensor]))
        if before is None or before.stop < r.stop:
            seen[r.tensor, r.tier] = r


def _links(problem: Problem, plan: Plan) -> Iterator[Violation]:
    for c in plan.copies:
        if problem.links.between(c.source, c.target) == NO_LINK:
            name = problem.tensor_names[c.tensor]
            source, target = problem.tiers.names[c.source], problem.tiers.names[c.target]
            detail = f"'{name}' is copied from {source} to {target} at step {c.start}, but no link leads there"
            yield Violation(Rule.NO_LINK, detail, (name,), c.start, c.done, target, int(problem.size[c.tensor]))


def _ends(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Nothing reaches beyond the last step, but copies that wrap around the end of a cyclic program."""
    n = problem.n_steps
    for r in plan.residencies:
        if r.stop > n:
            name = problem.tensor_names[r.tensor]
            detail = f"'{name}' lies over [{r.start}, {r.stop}), but the program has {n} steps"
            yield Violation(Rule.UNJUSTIFIED_RESIDENCY, detail, (name,), r.start, r.stop)
    for c in plan.copies:
        name = problem.tensor_names[c.tensor]
        if c.start >= n or (c.done > n and not problem.cyclic):
            detail = f"the copy of '{name}' over [{c.start}, {c.done}) is not done when the program ends at step {n}"
            yield Violation(Rule.LATE_COPY, detail, (name,), c.start, c.done)
        elif c.done - c.start > n:
            detail = f"the copy of '{name}' over [{c.start}, {c.done}) takes longer than a turn of {n} steps"
            yield Violation(Rule.CYCLE, detail, (name,), c.start, c.done)
