"""Exact: proves how good a plan is on small problems, by cases of the relaxation and by CP-SAT with offsets."""

import time

from tierplan.ir.outcome import Outcome
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner.bounds import first_bound, is_infeasible
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.exact_life import lives
from tierplan.planner.exact_relax import improve, relax
from tierplan.planner.exact_search import Search
from tierplan.planner.exact_solve import COARSE, solve

MOST_CELLS = 20_000  # with more, CP-SAT has been seen to prove less in a minute than cases of the relaxation
_CELLS_PER_S = 2_000  # built in time: a model that would take all of the budget to build is not begun
_CASES_SHARE = 0.5  # of what the relaxation leaves, at most, before the exact model is built


def plan(problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome:
    """Search all legal plans for the cheapest, and prove how good it is.

    The linear relaxation (`planner/flow_solve.py`) bounds the time. Local search improves the first plan - `start`,
    that of `greedy`, or the relaxation rounded - while cases of the relaxation are told apart
    (`planner/flow_branch.py`), which often proves it already.

    What is still open is given to CP-SAT. Its model (`planner/exact_model.py`) leaves out offsets: they are fitted to
    each of its solutions, and sets of residencies that do not fit are forbidden until one fits; each plan
    found is simulated by `cost`. A plan that costs as much as the bound is OPTIMAL; where the order of copies on a link
    costs time that the model does not see, a gap remains and the plan is FEASIBLE.

    For a problem whose model would be larger than `MOST_CELLS`, or than can be built within the budget, cases and
    local search go on instead, and `notes` say so. A proved `bound_s` of the budget counts too.

    Assumes: a cyclic program settles, so that each turn takes as long as the one before.
    """
    from tierplan.planner.local.state import warm

    warm()  # what is compiled once for an installation is not part of the budget
    bound_s = max(first_bound(problem), budget.bound_s)
    search = Search(problem, budget, cost, COARSE, time.perf_counter(), bound_s)
    try:
        _run(search, start)
    except (KeyboardInterrupt, MemoryError):
        search.interrupted = True
    return search.outcome()


def _run(search: Search, start: Plan | None) -> None:
    problem = search.problem
    if start is not None and not any(violations(problem, start)):
        search.best, search.best_s = start, search.cost(start)
    if is_infeasible(problem):
        search.infeasible = True
        return
    if start is None:
        from tierplan.planner.greedy import plan as greedy_plan

        first = greedy_plan(problem, search.budget, cost=search.cost).plan
        if first is not None:
            search.offer(first)
    found = relax(search)
    if search.is_over:
        return
    all_lives = lives(problem)
    n_cells = sum(life.n_cells for life in all_lives)
    most = min(MOST_CELLS, int(_CELLS_PER_S * search.budget.seconds))
    if n_cells > most:
        search.notes.append(
            f"too large for CP-SAT: about {n_cells} variables, {most} at most in this budget; the bound is that of "
            "cases of the relaxation, and the plan that of local search"
        )
        improve(search, found, search.seconds_left)
        return
    improve(search, found, min(_CASES_SHARE * search.seconds_left, n_cells / _CELLS_PER_S))
    while not search.is_over:
        if not solve(search, all_lives):
            return
