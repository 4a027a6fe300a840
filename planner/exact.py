"""Exact: CP-SAT over tiers, intervals, copies and choices together; proves optimality on small problems."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import math
import time
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import Mode, Problem
from tierplan.ir.verify import violations
from tierplan.planner.bounds import bytes_missing, first_bound, is_infeasible
from tierplan.planner.contract import Budget, Cost
from tierplan.planner.exact_life import Clock, Life, lives, move_of
from tierplan.planner.exact_pack import Block, Packing, conflict
from tierplan.planner.exact_plan import Draft, assemble, draft_of
from tierplan.planner.exact_retime import retimed

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from tierplan.planner.exact_grid import Model, Var

PROVED = 1e-7  # a cost this close to the bound, relatively, is the best possible: the rest is rounding to ticks
MOST_CELLS = 100_000  # larger models would need gigabytes
_CELLS_PER_S = 2_000  # built in time: a model that would take all of the budget to build is not begun
_COARSE = 2**16  # ticks in the time of the best known plan while searching: with many more, propagation crawls
_FINE = 2**32  # ticks while proving that nothing better is left; the solver has been seen to err from 2**36 on
_FINER = 1.01  # a plan faster by this factor than the one that set the tick is worth another, finer, round
_PACKING_SHARE = 0.1
_HINT_SHARE = 0.2
_BOUND_SHARE = 0.3  # of the budget, for the relaxation
_LOCAL_SHARE = 0.2
_CASES_SHARE = 0.3  # of what is left then
_SHORTEST_S = 0.02
_SUBSOLVERS = (
    "max_lp",
    "lb_tree_search",
)  # copies are a flow problem inside: without the full LP proofs take far longer


def plan(problem: Problem, budget: Budget, *, start: Plan | None = None, cost: Cost) -> Outcome:
    """Search all legal plans for the cheapest, and prove how good it is.

    The model (`planner/exact_model.py`) is a relaxation: offsets are fitted to each of its
    solutions, and sets of residencies that do not fit are forbidden until one fits; each plan
    found is simulated by `cost`. The bound is that of the relaxation, so a plan that costs as much
    is OPTIMAL; where the order of copies on a link costs time that the relaxation does not see,
    a gap remains and the plan is FEASIBLE.

    Before that, the linear relaxation (`planner/flow_solve.py`) bounds the time, local search improves the first plan -
    `start`, or that of `greedy` - and cases are told apart (`planner/flow_branch.py`), which often proves it already.
    A proved `bound_s` of the budget counts too.

    A problem whose model would be larger than
    `MOST_CELLS`, or than can be built within the budget, is only searched for plans that leave
    each tensor in one tier; its bound is then that of the relaxation, and `notes` say so.

    Assumes: a cyclic program settles, so that each turn takes as long as the one before.
    Deterministic for a seed and any number of workers, if the budget lasts.
    """
    search = _Search(problem, budget, cost, time.perf_counter(), max(first_bound(problem), budget.bound_s))
    try:
        _run(search, start)
    except (KeyboardInterrupt, MemoryError):
        search.interrupted = True
    return search.outcome()


@dataclass(frozen=True, slots=True)
class Cut:
    """Residencies that no offsets fit together while these alternatives are taken."""

    blocks: tuple[Block, ...]
    taken: tuple[Taken, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A solution of the model for which no offsets were found."""

    draft: Draft
    packing: Packing


@dataclass(slots=True)
class _Search:
    """What a search has found so far."""

    problem: Problem
    budget: Budget
    cost: Cost
    began: float
    bound_s: float
    best: Plan | None = None
    best_s: float = math.inf
    infeasible: bool = False
    interrupted: bool = False
    cuts: list[Cut] = field(default_factory=list[Cut])
    failed: Failed | None = None
    latest: Plan | None = None  # of the best solution of the model
    ticks: int = _COARSE
    notes: list[str] = field(default_factory=list[str])

    @property
    def seconds_left(self) -> float:
        return self.budget.seconds - (time.perf_counter() - self.began)

    @property
    def is_proved(self) -> bool:
        return self.best_s <= self.bound_s * (1 + max(PROVED, self.budget.gap)) or self.budget.stopped

    def offer(self, candidate: Plan) -> None:
        """Keep a plan if it is cheaper than the best, and legal."""
        self.latest = candidate
        seconds = self.cost(candidate)
        if seconds < self.best_s and not any(violations(self.problem, candidate)):
            self.best, self.best_s = candidate, seconds

    def outcome(self) -> Outcome:
        """The answer, whenever the search ends."""
        seconds = time.perf_counter() - self.began
        if self.best is None:
            status = Status.INFEASIBLE if self.infeasible else Status.GAVE_UP
            missing = bytes_missing(self.problem) if self.infeasible else {}
            return Outcome("exact", status, None, None, self.bound_s, seconds, missing, tuple(self.notes))
        status = Status.OPTIMAL if self.best_s <= self.bound_s * (1 + PROVED) else Status.FEASIBLE
        bound_s = min(self.bound_s, self.best_s)
        return Outcome("exact", status, self.best, self.best_s, bound_s, seconds, {}, tuple(self.notes))


def _run(search: _Search, start: Plan | None) -> None:
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
    _relax(search)
    if search.is_proved or search.infeasible or search.seconds_left <= 0:
        return
    all_lives = lives(problem)
    n_cells = sum(life.n_cells for life in all_lives)
    most = min(MOST_CELLS, int(_CELLS_PER_S * search.budget.seconds))
    static = n_cells > most
    if static:
        search.notes.append(
            f"too large to be solved exactly: about {n_cells} variables, {most} at most in this budget; the bound is "
            "that of the relaxation, and the plan of local search"
        )
    while not search.is_proved and search.seconds_left > 0 and not search.interrupted and not search.infeasible:
        if not _solve(search, all_lives, static):
            return


def _relax(search: _Search) -> None:
    """Bound the time by the linear relaxation, improve the plan by local search, and tell cases apart."""
    from tierplan.planner.flow_branch import raise_bound
    from tierplan.planner.flow_solve import build_s, relax
    from tierplan.planner.local.plan import plan as local

    problem, budget = search.problem, search.budget
    if search.is_proved or build_s(problem) > _BOUND_SHARE * budget.seconds:
        return
    found = relax(problem, _BOUND_SHARE * budget.seconds, budget.stop)
    search.bound_s = max(search.bound_s, found.bound_s)
    search.infeasible = found.infeasible and search.best is None
    if search.is_proved or search.infeasible or search.seconds_left <= 0 or search.best is None:
        return
    seconds = max(_SHORTEST_S, min(_LOCAL_SHARE * budget.seconds, search.seconds_left))
    share = replace(budget, seconds=seconds, bound_s=search.bound_s)
    better = local(problem, share, start=search.best, cost=search.cost).plan
    if better is not None:
        search.offer(better)
    if not found.solved or search.is_proved:
        return

    def told(bound_s: float) -> float:
        search.bound_s = max(search.bound_s, bound_s)
        return search.best_s

    raise_bound(found, time.perf_counter() + _CASES_SHARE * search.seconds_left, told=told, stop=budget.stop)


def _solve(search: _Search, all_lives: list[Life], static: bool) -> bool:
    """Solve the model once; whether another round may do better."""
    from ortools.sat.python import cp_model

    from tierplan.planner.exact_image import solution_of
    from tierplan.planner.exact_model import build, build_static

    clock, most_ticks = _clock(search, all_lives)
    model = (build_static if static else build)(search.problem, all_lives, clock, most_ticks)
    for cut in search.cuts:
        _add_cut(model, cut)
    if search.best is not None and not static:
        _add_hints(model, solution_of(model, search.best), search)
    solver = _solver(search, most_ticks)
    search.failed = None
    status = solver.solve(model.cp, _watcher(search, model, all_lives))
    if not static:
        if status == cp_model.INFEASIBLE:
            search.infeasible = search.best is None
            return False
        search.bound_s = max(search.bound_s, solver.best_objective_bound * clock.unit_s)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return False
    _retime(search)
    if search.failed is not None and search.failed.packing.proved:
        _learn(search, search.failed)
        return True
    if search.best is None:
        return False
    if search.best_s * _FINER < most_ticks * clock.unit_s:
        return True
    was_coarse, search.ticks = search.ticks == _COARSE, _FINE
    return was_coarse and status == cp_model.OPTIMAL and not static


def _retime(search: _Search) -> None:
    """Shift the copies of the cheapest plan, and of the model's favourite, as long as that helps."""

    def goes_on() -> bool:
        return search.seconds_left > 0 and not search.is_proved

    for candidate in dict.fromkeys((search.latest, search.best)):
        if candidate is not None and candidate.copies and goes_on():
            search.offer(retimed(search.problem, candidate, search.cost, goes_on))


def _add_hints(model: "Model", values: "list[tuple[Var, bool]]", search: _Search) -> None:
    """Hint the best plan so far, times included, so that the search begins with it."""
    from ortools.sat.python import cp_model

    for var, value in values:
        model.cp.add_hint(var, value)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.fix_variables_to_their_hinted_value = True
    solver.parameters.max_time_in_seconds = max(0.01, _HINT_SHARE * search.seconds_left)
    if solver.solve(model.cp) in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        model.cp.clear_hints()
        for index in range(len(model.cp.proto.variables)):
            var = model.cp.get_int_var_from_proto_index(index)
            model.cp.add_hint(var, solver.value(var))


def _clock(search: _Search, all_lives: list[Life]) -> tuple[Clock, int]:
    """The length of a tick, and how many the best known plan, or any, may take."""
    if search.best is not None:
        clock = Clock(max(search.best_s, 1e-12) / search.ticks)
        return clock, clock.ticks(search.best_s) + 1
    seconds = _most_seconds(search.problem, all_lives)
    return Clock(max(seconds, 1e-12) / search.ticks), search.ticks


def _most_seconds(problem: Problem, all_lives: list[Life]) -> float:
    """Seconds within which every placement could be run: all loads and copies one after another."""
    from tierplan.planner.exact_times import access_loads, effect_loads

    total = Fraction(float(problem.compute_s.sum()))
    for choice in problem.choices:
        for effect in (e for alternative in choice.alternatives for e in alternative.effects):
            total += sum(max(Fraction(0), seconds) for seconds in effect_loads(problem, effect).values())
    for life in all_lives:
        for access in life.accesses.values():
            total += sum(sum(access_loads(problem, access, k).values()) for k in range(problem.n_tiers))
        for s, d in life.pairs:
            move = move_of(problem, life.size, s, d)
            total += (move.alone_s + move.latency_s) * problem.n_steps
    return float(total) * 1.01


def _solver(search: _Search, most_ticks: int) -> "cp_model.CpSolver":
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(0.01, search.seconds_left)
    solver.parameters.num_workers = search.budget.workers
    solver.parameters.interleave_search = True  # repeatable, with any number of workers
    solver.parameters.subsolvers.extend(_SUBSOLVERS)
    solver.parameters.use_lns = search.ticks == _COARSE
    solver.parameters.random_seed = search.budget.seed % 2**31
    solver.parameters.absolute_gap_limit = most_ticks * PROVED / 10
    return solver


def _watcher(search: _Search, model: "Model", all_lives: list[Life]) -> "cp_model.CpSolverSolutionCallback":
    """A callback that makes a plan of each solution and stops the solver when nothing better is left."""
    from ortools.sat.python import cp_model

    class Watcher(cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self) -> None:
            try:
                draft = draft_of(model, self.boolean_value)
                seconds = max(0.05, _PACKING_SHARE * search.seconds_left)
                made = assemble(search.problem, all_lives, draft, seconds)
                if isinstance(made, Packing):
                    search.failed = Failed(draft, made)
                    return
                search.failed = None
                search.offer(made)
            except KeyboardInterrupt:
                search.interrupted = True
            bound_s = max(search.bound_s, self.best_objective_bound * model.clock.unit_s)
            if search.interrupted or search.best_s <= bound_s * (1 + PROVED):
                self.stop_search()

    return Watcher()


def _learn(search: _Search, failed: Failed) -> None:
    """Forbid a set of residencies of one tier for which no offsets exist, under alternatives that reserve as much."""
    k = failed.packing.blocks[0].tier
    problem, taken = search.problem, failed.draft.taken
    reserved = [(t, problem.choices[t.choice].alternatives[t.alternative].reserved[k]) for t in taken]
    room, alignment = int(problem.tiers.usable[k]), int(problem.tiers.alignment[k])
    room -= sum(n_bytes for _, n_bytes in reserved)
    blocks = conflict(failed.packing, room, alignment, _PACKING_SHARE * search.seconds_left)
    least = [min(a.reserved[k] for a in choice.alternatives) for choice in problem.choices]
    search.cuts.append(Cut(blocks, tuple(t for t, n_bytes in reserved if n_bytes > least[t.choice])))


def _add_cut(model: "Model", cut: Cut) -> None:
    """Not all of these residencies: one is shorter, or is left and taken up again on its way, or less is reserved."""
    grids = {grid.life.tensor: grid for grid in model.grids}
    broken = [model.taken[t.choice][t.alternative].negated() for t in cut.taken]
    for block in cut.blocks:
        grid, k = grids[block.tensor], block.tier
        steps = [t for start, stop in block.pieces for t in range(start, stop)]
        for t in steps:
            lies = model.cp.new_bool_var("")
            model.cp.add(sum(grid.lies(k, t)) == lies)
            broken.append(lies.negated())
        head = block.pieces[-1][0]
        for t in (t for t in steps if t != head):
            broken += [grid.begin[s, d, t] for s, d in grid.life.pairs if d == k and (s, d, t) in grid.begin]
            if (k, t) in grid.serve and grid.life.modes[t] is Mode.PRODUCE:
                broken.append(grid.serve[k, t])
    model.cp.add_bool_or(broken)
