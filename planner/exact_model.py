"""The exact model: variables and rules of where tensors lie, when they are copied, and what is taken of each choice.

The model leaves out offsets (`planner/exact_pack.py`) and the order in which a link serves its
copies: it lets them share what steps leave as they like. All else is docs/semantics.md, so
each legal plan has a solution here that takes no longer (`planner/exact_image.py` builds it), and
the least objective is a lower bound on the simulated time of every legal plan.
"""

from typing import TYPE_CHECKING

from tierplan.ir.problem import NO_HOME, Keep, Mode, Problem
from tierplan.planner.exact_grid import Grid, Model, Var
from tierplan.planner.exact_life import Clock, Life
from tierplan.planner.exact_times import add_times

if TYPE_CHECKING:
    from ortools.sat.python import cp_model


def build(problem: Problem, lives: list[Life], clock: Clock, most_ticks: int) -> Model:
    """The model of all legal plans of `problem` of which no step, with its wait, takes more than `most_ticks`."""
    model = _empty(problem, clock, most_ticks)
    model.grids += [_grid(model.cp, problem, life) for life in lives]
    for grid in model.grids:
        _add_validity(model, grid)
        _add_service(model, grid)
        _add_flights(model, grid)
    _add_capacity(model)
    add_times(model)
    model.cp.minimize(sum(model.seg))
    return model


def _empty(problem: Problem, clock: Clock, most_ticks: int) -> Model:
    from ortools.sat.python import cp_model

    cp = cp_model.CpModel()
    taken = [
        [cp.new_bool_var(f"take_{c}_{i}") for i in range(len(choice.alternatives))]
        for c, choice in enumerate(problem.choices)
    ]
    for group in taken:
        cp.add_exactly_one(group)
    seg = [cp.new_int_var(0, most_ticks, f"seg_{t}") for t in range(problem.n_steps)]
    return Model(problem, clock, cp, [], taken, seg, most_ticks)


def _grid(cp: "cp_model.CpModel", problem: Problem, life: Life) -> Grid:
    grid, x = Grid(life), life.tensor
    for t, live in enumerate(life.live):
        for k in life.tiers if live and life.modes.get(t) is not Mode.PRODUCE else ():
            grid.valid[k, t] = cp.new_bool_var(f"valid_{x}_{k}_{t}")
        for s, d in life.pairs if life.flies(t) else ():
            grid.fly[s, d, t] = cp.new_bool_var(f"fly_{x}_{s}_{d}_{t}")
            grid.begin[s, d, t] = cp.new_bool_var(f"begin_{x}_{s}_{d}_{t}")
    direct = [k for k in life.tiers if problem.tiers.direct[k]]
    for t, mode in life.modes.items():
        for k in direct:
            same = mode is Mode.UPDATE or (mode is Mode.READ and k == direct[0])
            grid.serve[k, t] = grid.valid[k, t] if same else cp.new_bool_var(f"serve_{x}_{k}_{t}")
    return grid


def _add_validity(model: Model, grid: Grid) -> None:
    """A tier holds a valid copy if it did after the step before, or if a copy is done."""
    cp, life, home = model.cp, grid.life, int(model.problem.home[grid.life.tensor])
    for (k, t), valid in grid.valid.items():
        before = life.before(t)
        if before is None:
            if model.problem.cyclic or home == NO_HOME or k != home:
                cp.add(valid == 0)
            continue
        terms = [(coefficient, var) for s, d in life.pairs if d == k for coefficient, var in grid.done(s, d, t)]
        after = grid.serve.get((k, before)) if life.writes(before) else grid.valid.get((k, before))
        if after is not None:
            terms.append((1, after))
        cp.add(valid <= sum(coefficient * var for coefficient, var in terms))
    for t, live in enumerate(life.live):
        if live and life.modes.get(t) is not Mode.PRODUCE:
            cp.add_bool_or([grid.valid[k, t] for k in life.tiers])
    keep = Keep(int(model.problem.keep[life.tensor]))
    if keep is Keep.HOME and not model.problem.cyclic:
        end = grid.valid.get((home, life.n_steps))
        cp.add_bool_or([end] if end is not None else [])


def _add_service(model: Model, grid: Grid) -> None:
    """An access is served by the fastest direct tier with a valid copy, or with room if it produces."""
    cp, life = model.cp, grid.life
    for t, mode in life.modes.items():
        serving = sorted(k for k, step in grid.serve if step == t)
        cp.add_exactly_one([grid.serve[k, t] for k in serving])
        if mode is Mode.UPDATE:  # other copies go stale: they may as well leave now
            for k in life.tiers:
                if k not in serving:
                    cp.add(grid.valid[k, t] == 0)
        if mode is Mode.READ:
            for place, k in enumerate(serving[1:], 1):
                cp.add_implication(grid.serve[k, t], grid.valid[k, t])
                for faster in serving[:place]:
                    cp.add_at_most_one([grid.serve[k, t], grid.valid[faster, t]])


def _add_flights(model: Model, grid: Grid) -> None:
    """A copy's source stays valid, its target is reserved and becomes valid when the copy is done."""
    cp, life = model.cp, grid.life
    for s, d, t in grid.fly:
        fly, begin = grid.fly[s, d, t], grid.begin[s, d, t]
        cp.add_implication(fly, grid.valid[s, t])
        cp.add_implication(begin, fly)
        before = life.before(t)
        flew = None if before is None else grid.fly.get((s, d, before))
        if flew is None:
            cp.add(begin == fly)
        else:
            cp.add_at_most_one([begin, flew])
            cp.add_bool_or([begin, flew, fly.negated()])
        after = (t + 1) % life.n_steps if life.circular else t + 1
        done = grid.done(s, d, after)
        cp.add(sum(coefficient * var for coefficient, var in done) <= grid.valid.get((d, after), 0))
    for k in life.tiers:
        for t in range(life.n_steps):
            arriving = [grid.fly[s, d, t] for s, d in life.pairs if d == k and (s, d, t) in grid.fly]
            if arriving:
                cp.add_at_most_one([*arriving, grid.valid[k, t]])
    if life.circular:
        for s, d in life.pairs:
            whole = [grid.fly[s, d, t] for t in range(life.n_steps) if (s, d, t) in grid.fly]
            if len(whole) == life.n_steps:
                cp.add_bool_or([fly.negated() for fly in whole])


def _add_capacity(model: Model) -> None:
    """At each step the bytes reserved in a tier, each rounded up to its alignment, fit in it."""
    for k in range(model.problem.n_tiers):
        lying: list[list[tuple[Grid, Var]]] = [
            [(grid, var) for grid in model.grids for var in grid.lies(k, t)] for t in range(model.problem.n_steps)
        ]
        reserved = [
            (alternative.reserved[k], var)
            for choice, group in zip(model.problem.choices, model.taken, strict=True)
            for alternative, var in zip(choice.alternatives, group, strict=True)
        ]
        most = sum(max(a.reserved[k] for a in choice.alternatives) for choice in model.problem.choices)
        if most > int(model.problem.tiers.usable[k]):
            model.cp.add(sum(n_bytes * var for n_bytes, var in reserved) <= int(model.problem.tiers.usable[k]))
        for group in lying:
            _add_room(model, k, group, reserved, most)


def _add_room(model: Model, k: int, group: list[tuple[Grid, Var]], reserved: list[tuple[int, Var]], most: int) -> None:
    """The bytes of one step in one tier; offsets that are multiples of the alignment waste what sizes lack to it."""
    room, alignment = int(model.problem.tiers.usable[k]), int(model.problem.tiers.alignment[k])
    sizes = [grid.life.size for grid, _ in group]
    padded = [-(-size // alignment) * alignment for size in sizes]
    loads = [(padded, room + alignment - 1)] + ([(sizes, room)] if padded != sizes else [])
    for load, limit in loads:
        if _largest_load(group, load) + most <= limit:
            continue
        total = sum(size * var for size, (_, var) in zip(load, group, strict=True))
        taken = sum(n_bytes * var for n_bytes, var in reserved)
        model.cp.add(total + taken <= limit)


def _largest_load(group: list[tuple[Grid, Var]], sizes: list[int]) -> int:
    """Bytes if every tensor lay there that can."""
    largest: dict[int, int] = {}
    for size, (grid, _) in zip(sizes, group, strict=True):
        largest[grid.life.tensor] = max(size, largest.get(grid.life.tensor, 0))
    return sum(largest.values())
