"""What a little more of each resource would save, by the duals of the relaxation."""

import time
from collections.abc import Iterator
from threading import Event

import numpy as np

from tierplan.ir.problem import Floats, Problem
from tierplan.ir.scaled import Quantity, Resource, resources, scaled
from tierplan.planner.flow_model import Lp, build
from tierplan.planner.flow_rows import Matrix
from tierplan.planner.flow_solve import Solver, build_s
from tierplan.planner.flow_windows import demands, whole_run

_STEP = 1e-3  # by which a resource is changed to see how the rows change
_SHARE_SOLVING = 0.6  # of the time; the rest writes the rows down once for each resource


def marginal_seconds(problem: Problem, seconds: float, stop: Event | None = None) -> dict[Resource, float]:
    """For each resource, how fast the optimum of the relaxation falls: seconds per unit of relative growth.

    At an optimum, a small change of the rows changes the objective by their prices times the change, at the
    solution as it is (the envelope theorem). So each resource needs the rows once more, and no solve; a tenth of what
    comes is what 10 % more saves. A resource is left out if a little more of it makes other rows.

    Nothing is found for a problem too large to write down so often within the time, or that is not solved by then.

    Assumes: windows of time that were added as they were needed stay those that are needed.
    """
    until = time.perf_counter() + seconds
    wanted = resources(problem)
    if (len(wanted) + 2) * build_s(problem) > seconds:
        return {}
    solver = Solver(build(problem), stop)
    found = solver.settle(time.perf_counter() + _SHARE_SOLVING * (until - time.perf_counter()))
    if not found.solved:
        return {}
    prices = solver.prices()
    if not any(price.any() for price in prices):  # rows were added after the last solve
        if solver.run(max(0.0, until - time.perf_counter())) != "optimal":
            return {}
        prices = solver.prices()
    x, _ = solver.fractions()
    saved: dict[Resource, float] = {}
    for resource in wanted:
        if time.perf_counter() > until:
            break
        other, grown = _grown(problem, resource)
        change = _change(solver, build(other), prices, x)
        if change is not None:
            saved[resource] = max(0.0, -change / grown)
    return saved


def _grown(problem: Problem, resource: Resource) -> tuple[Problem, float]:
    """The problem with a little more of a resource, and the share by which it has grown: capacities by alignments."""
    if resource.quantity is not Quantity.CAPACITY:
        return scaled(problem, resource, 1 + _STEP), _STEP
    k, capacity = resource.index, float(problem.tiers.capacity[resource.index])
    other = scaled(problem, resource, 1 + max(_STEP, 1.5 * float(problem.tiers.alignment[k]) / capacity))
    return other, float(other.tiers.capacity[k]) / capacity - 1


def _change(solver: Solver, other: Lp, prices: list[Floats], x: Floats) -> float | None:
    """Seconds by which the objective changes with the rows of another machine; None if they are not the same rows."""
    lp, total = solver.lp, 0.0
    if other.n_columns != lp.n_columns:
        return None
    pairs = zip(solver.batches, _batches(solver, other), prices, strict=True)
    for rows, changed, price in pairs:
        if len(changed.row) != len(rows.row) or not (
            np.array_equal(rows.row, changed.row) and np.array_equal(rows.column, changed.column)
        ):
            return None
        price = np.where(rows.equal, price, np.maximum(price, 0.0))
        unit = np.where(changed.since != changed.until, other.unit_s / lp.unit_s, 1.0)
        total += float(np.dot(price, changed.lower * unit - rows.lower))
        moved = changed.value * unit[changed.row] - rows.value
        total -= float(np.dot(price[rows.row] * moved, x[rows.column]))
    return total * lp.unit_s


def _batches(solver: Solver, other: Lp) -> Iterator[Matrix]:
    """The rows that the solver has, of another machine."""
    yield other.rows
    yield whole_run(other, demands(other))
    mine, theirs = solver.lp.moves, other.moves
    ratio = np.ones(other.n_columns)
    slow = mine.alone_s > 0
    ratio[mine.column[slow]] = theirs.alone_s[slow] / mine.alone_s[slow] * solver.lp.unit_s / other.unit_s
    for rows in solver.batches[2:]:  # windows on links and single copies count time; those on flows count bytes
        timed = (rows.since != rows.until)[rows.row]
        value = np.where(timed, rows.value * ratio[rows.column], rows.value)
        yield Matrix(rows.row, rows.column, value, rows.lower, rows.equal, rows.since, rows.until)
