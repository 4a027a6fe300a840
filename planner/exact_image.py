"""The solution of the exact model that a legal plan stands for: a hint for the solver, and the proof of its bound.

A plan may contain copies that deliver nothing new and residencies that nobody needs. They are left
out: without them a plan takes no more room, and copies that share links as they like take no
longer. What remains is a solution of the model with an objective of at most the plan's time.
"""

from dataclasses import dataclass, field

from tierplan.ir.plan import Copy, Plan, Residency
from tierplan.ir.problem import Mode, Problem
from tierplan.planner.exact_grid import Grid, Model, Var
from tierplan.planner.exact_life import Life


@dataclass(slots=True)
class Image:
    """What is true of one tensor: which (tier, step) are valid and serve, which (source, target, step) fly."""

    valid: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    serve: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    fly: set[tuple[int, int, int]] = field(default_factory=set[tuple[int, int, int]])
    begin: set[tuple[int, int, int]] = field(default_factory=set[tuple[int, int, int]])


def image_of(problem: Problem, plan: Plan, life: Life) -> Image:
    """The image of a legal plan for one tensor."""
    lies = [r for r in plan.residencies if r.tensor == life.tensor]
    copies = sorted((c for c in plan.copies if c.tensor == life.tensor), key=lambda c: (c.done, c.start))
    image, n = Image(), life.n_steps
    for t, tiers in enumerate(_follow(problem, life, lies, copies, image)):
        if t < len(life.live) and life.live[t] and life.modes.get(t) is not Mode.PRODUCE:
            if life.modes.get(t) is Mode.UPDATE:
                tiers = {k for k in tiers if (k, t) in image.serve}
            image.valid |= {(k, t) for k in tiers}
    for c in copies:
        window = [t % n for t in range(c.start, c.done)]
        arrival = c.done % n if life.circular else c.done
        known = any((c.target, t) in image.valid for t in window)
        under_way = any(d == c.target and t in window for _, d, t in image.fly)
        if not known and not under_way and (c.target, arrival) in image.valid:
            image.fly |= {(c.source, c.target, t) for t in window}
            image.begin.add((c.source, c.target, c.start))
    return image


def _follow(problem: Problem, life: Life, lies: list[Residency], copies: list[Copy], image: Image) -> list[set[int]]:
    """The tiers with a valid copy as each step runs, and at the end, in the steady state; fills `image.serve`."""
    n, home = problem.n_steps, int(problem.home[life.tensor])
    current: set[int] = set()
    offsets: dict[int, int] = {}
    taken_up: dict[Copy, bool] = {}
    told: list[set[int]] = []
    for turn in range(3 if life.circular else 1):
        told = []
        for t in range(n + 1):
            ending = {r.tier: r.offset for r in lies if r.stop == t}
            if t < n:
                current -= ending.keys()
            for r in (r for r in lies if r.start == t):
                stays = t == 0 and life.circular and (turn == 0 or offsets.get(r.tier) == r.offset)
                stays = stays and any((q.stop, q.tier, q.offset) == (n, r.tier, r.offset) for q in lies)
                wraps = any(c.target == r.tier and c.done > n for c in copies)
                at_home = t == 0 and not problem.cyclic and r.tier == home
                if at_home or (stays and turn == 0 and not wraps):
                    current.add(r.tier)
                elif not stays:
                    current.discard(r.tier)
            for c in copies:
                lying = any(r.tier == c.target and r.start <= min(t, n - 1) < r.stop for r in lies)
                if (c.done == t or (c.done - n == t > 0)) and taken_up.pop(c, False) and lying:
                    current.add(c.target)
            told.append(set(current))
            if t == n:
                offsets = ending
                current &= {r.tier for r in lies if r.stop == n}
                current -= {
                    k
                    for k in current
                    if life.circular and not any((r.start, r.tier, r.offset) == (0, k, ending.get(k)) for r in lies)
                }
                break
            for c in (c for c in copies if c.start == t):
                taken_up[c] = c.source in current
            _run(problem, life, lies, t, current, image)
    return told


def _run(problem: Problem, life: Life, lies: list[Residency], t: int, current: set[int], image: Image) -> None:
    mode = life.modes.get(t)
    if mode is None:
        return
    where = {r.tier for r in lies if r.start <= t < r.stop} if mode is Mode.PRODUCE else current
    direct = [k for k in where if problem.tiers.direct[k]]
    if not direct:
        return
    image.serve -= {(k, t) for k in range(problem.n_tiers)}
    image.serve.add((min(direct), t))
    if mode is not Mode.READ:
        current.clear()
        current.add(min(direct))


def solution_of(model: Model, plan: Plan) -> list[tuple[Var, bool]]:
    """The values that a legal plan gives to the yes-or-no variables of the model."""
    values: list[tuple[Var, bool]] = []
    for grid in model.grids:
        values += _values(grid, image_of(model.problem, plan, grid.life))
    alternatives = {(t.choice, t.alternative) for t in plan.taken}
    for c, group in enumerate(model.taken):
        values += [(var, (c, i) in alternatives) for i, var in enumerate(group)]
    return values


def _values(grid: Grid, image: Image) -> list[tuple[Var, bool]]:
    values = [(var, key in image.valid) for key, var in grid.valid.items()]
    values += [(var, key in image.fly) for key, var in grid.fly.items()]
    values += [(var, key in image.begin) for key, var in grid.begin.items()]
    values += [(var, key in image.serve) for key, var in grid.serve.items() if var is not grid.valid.get(key)]
    return values
