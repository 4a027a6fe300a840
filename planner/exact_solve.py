"""Solve the exact model with CP-SAT: hints, plans of its solutions, and cuts where no offsets fit them."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from fractions import Fraction
from typing import TYPE_CHECKING

from tierplan.ir.problem import Mode, Problem
from tierplan.planner.exact_life import Clock, Life, move_of
from tierplan.planner.exact_pack import Packing, conflict
from tierplan.planner.exact_plan import assemble, draft_of
from tierplan.planner.exact_retime import retimed
from tierplan.planner.exact_search import PROVED, Cut, Failed, Search

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from tierplan.planner.exact_grid import Model, Var

COARSE = 2**16  # ticks in the time of the best known plan while searching: with many more, propagation crawls
_FINE = 2**32  # ticks while proving that nothing better is left; the solver has been seen to err from 2**36 on
_FINER = 1.01  # a plan faster by this factor than the one that set the tick is worth another, finer, round
_PACKING_SHARE = 0.1
_HINT_SHARE = 0.2
_SUBSOLVERS = (
    "max_lp",
    "lb_tree_search",
)  # copies are a flow problem inside: without the full LP proofs take far longer


def solve(search: Search, all_lives: list[Life]) -> bool:
    """Solve the model once; whether another round may do better."""
    from ortools.sat.python import cp_model

    from tierplan.planner.exact_image import solution_of
    from tierplan.planner.exact_model import build

    clock, most_ticks = _clock(search, all_lives)
    model = build(search.problem, all_lives, clock, most_ticks)
    model.cp.add(sum(model.seg) >= clock.ticks(search.bound_s) - search.problem.n_steps)
    for cut in search.cuts:
        _add_cut(model, cut)
    if search.best is not None:
        _add_hints(model, solution_of(model, search.best), search)
    solver = _solver(search, most_ticks)
    search.failed = None
    status = solver.solve(model.cp, _watcher(search, model, all_lives))
    if status == cp_model.INFEASIBLE:
        search.infeasible = search.best is None
        return False
    search.raise_bound(solver.best_objective_bound * clock.unit_s)
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
    was_coarse, search.ticks = search.ticks == COARSE, _FINE
    return was_coarse and status == cp_model.OPTIMAL


def _retime(search: Search) -> None:
    """Shift the copies of the cheapest plan, and of the model's favourite, as long as that helps."""

    def goes_on() -> bool:
        return search.seconds_left > 0 and not search.is_proved

    for candidate in dict.fromkeys((search.latest, search.best)):
        if candidate is not None and candidate.copies and goes_on():
            search.offer(retimed(search.problem, candidate, search.cost, goes_on))


def _add_hints(model: "Model", values: "list[tuple[Var, bool]]", search: Search) -> None:
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


def _clock(search: Search, all_lives: list[Life]) -> tuple[Clock, int]:
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


def _solver(search: Search, most_ticks: int) -> "cp_model.CpSolver":
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(0.01, search.seconds_left)
    solver.parameters.num_workers = search.budget.workers
    solver.parameters.interleave_search = True  # repeatable, with any number of workers
    solver.parameters.subsolvers.extend(_SUBSOLVERS)
    solver.parameters.use_lns = search.ticks == COARSE
    solver.parameters.random_seed = search.budget.seed % 2**31
    solver.parameters.absolute_gap_limit = most_ticks * PROVED / 10
    return solver


def _watcher(search: Search, model: "Model", all_lives: list[Life]) -> "cp_model.CpSolverSolutionCallback":
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


def _learn(search: Search, failed: Failed) -> None:
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
