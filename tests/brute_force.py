"""Every plan of a tiny problem, one by one: the optimum that `exact` must reach, by literal search.

Stories of each tensor are all sets of at most `most_pieces` residencies (one per tier and run of
steps) and copies between them that the verifier allows; offsets are all multiples of the
alignment that some stack of the other tensors could give.
"""

import itertools
import math
from collections.abc import Iterator

import oracle

from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import NO_HOME, NO_LINK, Problem
from tierplan.ir.verify import violations
from tierplan.ir.violation import Rule

_SPACE = (Rule.ALIGNMENT, Rule.CAPACITY, Rule.SCRATCH, Rule.CHOICE)


class TooManyError(Exception):
    """There are more plans than can be tried."""


def cheapest(problem: Problem, *, most_pieces: int = 3, most_copies: int = 2, most_plans: int = 5_000) -> float | None:
    """Seconds of the cheapest legal plan; None if there is none.

    Units: seconds. Assumes: no plan gains by more residencies or copies per tensor than allowed here.
    Raises: TooManyError: the stories combine to more than `most_plans`.
    """
    stories = [list(_stories(problem, x, most_pieces, most_copies)) for x in range(problem.n_tensors)]
    if math.prod(len(of_tensor) for of_tensor in stories) > most_plans:
        raise TooManyError
    best: float | None = None
    choices = [range(len(choice.alternatives)) for choice in problem.choices]
    for told in itertools.product(*stories):
        copies = [copy for _, of_tensor in told for copy in of_tensor]
        for indices in itertools.product(*choices):
            taken = tuple(Taken(c, i) for c, i in enumerate(indices))
            residencies = _placed(problem, [r for of_tensor, _ in told for r in of_tensor], taken)
            if residencies is None:
                continue
            for order in itertools.permutations(copies):
                seconds = oracle.turn_s(problem, Plan(residencies, order, taken))
                best = seconds if best is None else min(best, seconds)
    return best


def _stories(
    problem: Problem, x: int, most_pieces: int, most_copies: int
) -> Iterator[tuple[list[Residency], list[Copy]]]:
    n = problem.n_steps
    spans = list(itertools.combinations(range(n + 1), 2))
    runs = [Residency(x, k, 0, start, stop) for k in range(problem.n_tiers) for start, stop in spans]
    wraps = problem.cyclic and problem.home[x] != NO_HOME
    moves = [
        Copy(x, s, d, start, done)
        for s, d in itertools.permutations(range(problem.n_tiers), 2)
        if problem.links.between(s, d) != NO_LINK
        for start in range(n)
        for done in range(start + 1, (start + n if wraps else n) + 1)
    ]
    for n_pieces in range(most_pieces + 1):
        for pieces in itertools.combinations(runs, n_pieces):
            if any(
                a.tier == b.tier and a.stop > b.start and b.stop > a.start for a, b in itertools.combinations(pieces, 2)
            ):
                continue  # fmt: skip
            for n_copies in range(min(most_copies, n_pieces) + 1):
                for copies in itertools.combinations(moves, n_copies):
                    if _holds(problem, x, pieces, copies):
                        yield list(pieces), list(copies)


def _holds(problem: Problem, x: int, pieces: tuple[Residency, ...], copies: tuple[Copy, ...]) -> bool:
    name = problem.tensor_names[x]
    for copy in copies:  # quick: most combinations leave the target or the source of a copy empty
        for tier in (copy.source, copy.target):
            if not any(r.tier == tier and r.start <= copy.start < r.stop for r in pieces):
                return False
    broken = violations(problem, Plan(pieces, copies))
    return not any(v.rule not in _SPACE and v.tensors == (name,) for v in broken)


def _placed(problem: Problem, residencies: list[Residency], taken: tuple[Taken, ...]) -> tuple[Residency, ...] | None:
    """The residencies at offsets where they fit, tried in every order; None if there are none.

    Runs of one tensor in one tier that touch, or wrap around the end of a turn, share an offset.
    """
    n = problem.n_steps
    placed: list[Residency] = []
    for k in range(problem.n_tiers):
        here = [r for r in residencies if r.tier == k]
        reserved = sum(problem.choices[t.choice].alternatives[t.alternative].reserved[k] for t in taken)
        room, alignment = int(problem.tiers.usable[k]) - reserved, int(problem.tiers.alignment[k])
        groups: dict[tuple[int, int], list[Residency]] = {}
        for r in here:
            wraps = problem.cyclic and problem.home[r.tensor] != NO_HOME and r.start == 0
            groups.setdefault((r.tensor, n if wraps and r.stop < n else r.stop), []).append(r)
        found = _stacked(problem, list(groups.values()), room, alignment)
        if found is None:
            return None
        placed += found
    return tuple(placed)


def _stacked(problem: Problem, groups: list[list[Residency]], room: int, alignment: int) -> list[Residency] | None:
    for order in itertools.permutations(groups):
        placed: list[Residency] = []
        for group in order:
            size = int(problem.size[group[0].tensor])
            below = [r for r in placed if any(r.start < q.stop and q.start < r.stop for q in group)]
            free = 0
            for r in sorted(below, key=lambda r: r.offset):
                if free + size <= r.offset:
                    break
                free = max(free, -(-(r.offset + int(problem.size[r.tensor])) // alignment) * alignment)
            if free + size > room:
                break
            placed += [Residency(r.tensor, r.tier, free, r.start, r.stop) for r in group]
        else:
            return placed
    return None
