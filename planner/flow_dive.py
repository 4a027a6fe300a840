"""Dive: make the fractions of a relaxation whole, a few tensors at a time, and solve again in between."""

import time
from threading import Event

from tierplan.ir.problem import Problem
from tierplan.planner.flow_model import build
from tierplan.planner.flow_solve import Relaxation, Solver, realistic_lead
from tierplan.planner.flow_tell import Wish
from tierplan.planner.flow_wish import bounds_of, split, wish

_SPLIT = 0.02
_ROUNDS = 8
_SHARE = 0.3  # of the bytes that are still split, those made whole in one round


def dive(
    found: Relaxation, slack: float, until: float, stop: Event | None = None
) -> tuple[Relaxation, dict[int, Wish]]:
    """A solution whose tensors are whole, largest first, and what it wishes for each.

    Copies take room for `slack` times as long as they need alone at the pace of `found`. If whole tensors
    contradict each other, the clock says `until`, or `stop` is set, the rest stays split.
    """
    solver = Solver(build(found.lp.problem, realistic_lead(found, slack)), stop)
    current = solver.settle(until)
    if not current.solved or current.infeasible:
        current = found
    fixed: dict[int, Wish] = {}
    for _ in range(_ROUNDS):
        if time.perf_counter() > until or current is found:
            break
        chosen = _largest_split(found.lp.problem, current, fixed)
        if not chosen:
            break
        bounds: dict[int, tuple[float, float]] = {}
        debt: dict[int, float] = {}  # by size: fractions that were rounded away so far
        for x in chosen:
            places = current.lp.places.of_tensor[x]
            size = int(found.lp.problem.size[x])
            rounded, error = _whole(current, x, debt.get(size, 0.0))
            debt[size] = error
            fixed[x] = rounded
            bounds |= bounds_of(places, rounded)
        solver.fix(bounds)
        after = solver.settle(until)
        if after.infeasible or not after.solved:
            break
        current = after
    return current, fixed


def _whole(current: Relaxation, x: int, debt: float) -> tuple[Wish, float]:
    """The wish for a tensor, and what is owed to tensors of its size after it."""
    lp, places = current.lp, current.lp.places.of_tensor[x]
    fractions = [1.0 - t / 16 for t in range(16)]
    low = wish(lp, current.x, places, 1.0)  # as little as possible in faster tiers
    high = wish(lp, current.x, places, 1e-6)
    if low == high:
        return low, debt
    level = next((f for f in fractions if wish(lp, current.x, places, f) != low), 0.0)
    if level + debt >= 0.5:
        threshold = min(level, 0.5) if level > 1e-6 else 1e-6
        return wish(lp, current.x, places, threshold), debt + level - 1.0
    return low, debt + level


def _largest_split(problem: Problem, current: Relaxation, fixed: dict[int, Wish]) -> list[int]:
    """The largest tensors that are split, up to a share of all split bytes."""
    of_tensor = current.lp.places.of_tensor
    broken = [x for x, places in enumerate(of_tensor) if x not in fixed and split(current.x, places) > _SPLIT]
    broken.sort(key=lambda x: -int(problem.size[x]))
    wanted, chosen = _SHARE * float(sum(int(problem.size[x]) for x in broken)), list[int]()
    for x in broken:
        chosen.append(x)
        wanted -= int(problem.size[x])
        if wanted <= 0 and len(chosen) * 8 >= min(len(broken), 8):
            break
    return chosen
