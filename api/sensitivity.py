"""How the time of a turn changes as one part of a machine becomes smaller or larger, slower or faster.

The problem is lowered once; each point changes one number of it and is planned anew. Legality knows no bandwidth, so
the plan of the machine as it is stays legal at every bandwidth, and at every larger capacity; so do plans that were
found at less capacity. Each point keeps the fastest of these and of what its own search finds. So more capacity is
never slower here, though a search with a budget may find less where there is more to search.

Assumes: what exists before a program that runs once lies in the same tier at every capacity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tierplan.ir.errors import InvalidInputError, nearest
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Floats, Links, Problem, Tiers
from tierplan.ir.verify import violations
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import simulate

CAPACITY, BANDWIDTH = "capacity", "bandwidth"
FACTORS = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Knob:
    """A number of a machine that is scaled: the capacity or bandwidth of a tier, or the bandwidth of a link."""

    what: str
    name: str
    is_link: bool = False

    @property
    def label(self) -> str:
        """As users write it."""
        return f"{self.name} {self.what}"


@dataclass(frozen=True, slots=True)
class Point:
    """The time of a turn with one knob at a factor; None where no plan was found. `own`: found by the search there."""

    knob: Knob
    factor: float
    time_s: float | None
    bound_s: float
    own: bool
    fits: bool


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The time as it is, and all points, knob by knob with factors that rise."""

    base_s: float
    base: Plan
    points: tuple[Point, ...]


def knobs_of(problem: Problem) -> tuple[Knob, ...]:
    """Capacity and bandwidth of each tier, then the bandwidth of each link."""
    tiers = [Knob(what, name) for name in problem.tiers.names for what in (CAPACITY, BANDWIDTH)]
    return (*tiers, *(Knob(BANDWIDTH, name, is_link=True) for name in problem.links.names))


def chosen_knobs(problem: Problem, names: Sequence[str]) -> tuple[Knob, ...]:
    """The knobs of the tiers and links of these names; all where none is given.

    Raises: InvalidInputError: the machine has no such tier or link.
    """
    every = knobs_of(problem)
    known = {knob.name for knob in every}
    for name in names:
        if name not in known:
            guess = nearest(name, known)
            hint = f"; did you mean '{guess}'?" if guess else ""
            raise InvalidInputError(
                f"the machine has no tier or link '{name}'{hint} It has: {', '.join(sorted(known))}"
            )
    return tuple(knob for knob in every if not names or knob.name in names)


def read_factors(text: str) -> tuple[float, ...]:
    """Factors, sorted: `0.5,1,2,4`.

    Raises: InvalidInputError: not numbers, or none that is positive and finite.
    """
    try:
        factors = sorted({float(word) for word in text.split(",")})
    except ValueError:
        raise InvalidInputError(f"--factors is '{text}'; write numbers like 0.5,1,2,4") from None
    if not all(0 < factor < float("inf") for factor in factors):
        raise InvalidInputError(f"--factors is '{text}'; each must be positive and finite")
    return tuple(factors)


def scaled(problem: Problem, knob: Knob, factor: float) -> Problem:
    """The same problem on a machine with one number scaled. Scratch stays what it is; tiers keep a byte at least."""
    if knob.is_link:
        at = problem.links.names.index(knob.name)
        return replace(problem, links=_faster_link(problem.links, at, factor))
    at = problem.tiers.names.index(knob.name)
    change = _larger_tier if knob.what == CAPACITY else _faster_tier
    return replace(problem, tiers=change(problem.tiers, at, factor))


def _times(values: Floats, at: int, factor: float) -> Floats:
    changed = values.copy()
    changed[at] *= factor
    return changed


def _faster_link(links: Links, at: int, factor: float) -> Links:
    return replace(links, bandwidth=_times(links.bandwidth, at, factor))


def _faster_tier(tiers: Tiers, at: int, factor: float) -> Tiers:
    curve = tuple((chunk, rate * factor) for chunk, rate in tiers.read_curve[at])
    return replace(
        tiers, read_bandwidth=_times(tiers.read_bandwidth, at, factor),
        write_bandwidth=_times(tiers.write_bandwidth, at, factor),
        read_curve=(*tiers.read_curve[:at], curve, *tiers.read_curve[at + 1 :]),
    )  # fmt: skip


def _larger_tier(tiers: Tiers, at: int, factor: float) -> Tiers:
    capacity, usable = tiers.capacity.copy(), tiers.usable.copy()
    scratch = int(capacity[at] - usable[at])
    capacity[at] = max(int(capacity[at] * factor), scratch + 1)
    usable[at] = capacity[at] - scratch
    return replace(tiers, capacity=capacity, usable=usable)


def sensitivity(
    problem: Problem,
    knobs: Sequence[Knob],
    factors: Sequence[float],
    *,
    planner: str,
    budget: Budget,
    told: Callable[[str], None] = lambda _: None,
) -> Sensitivity:
    """Plan the problem as it is, then with each knob at each factor.

    `told` is called with what is planned next. Every search starts from the best plan so far that is legal there.

    Raises: InvalidInputError: the problem as it is has no plan within the budget.
    """
    told("the machine as it is")
    search = find_planner(planner)
    first = search(problem, budget, cost=Simulated(problem))
    if first.plan is None:
        raise InvalidInputError(
            f"no plan for the machine as it is ({first.status.value}); give a longer --budget or another machine"
        )
    base_s = simulate(problem, first.plan).time_s
    points: list[Point] = []
    for knob in knobs:
        known = [first.plan]
        for factor in sorted(factors):
            told(f"{knob.label} x {factor:g}")
            point, plan = _point(problem, knob, factor, known, planner, budget)
            points.append(point)
            if plan is not None:
                known.append(plan)
    return Sensitivity(base_s, first.plan, tuple(points))


def _point(
    problem: Problem, knob: Knob, factor: float, known: Sequence[Plan], planner: str, budget: Budget
) -> tuple[Point, Plan | None]:
    there = scaled(problem, knob, factor)
    legal = [plan for plan in known if not any(True for _ in violations(there, plan))]
    times = [simulate(there, plan).time_s for plan in legal]
    start = legal[int(np.argmin(times))] if legal else None
    best_s, best, own, bound_s = (min(times) if times else None), start, False, 0.0
    if factor != 1.0:
        found = find_planner(planner)(there, budget, start=start, cost=Simulated(there))
        bound_s = found.bound_s
        if found.plan is not None and not any(True for _ in violations(there, found.plan)):
            seconds = simulate(there, found.plan).time_s
            if best_s is None or seconds < best_s:
                best_s, best, own = seconds, found.plan, True
    return Point(knob, factor, best_s, bound_s, own, best is not None), best
