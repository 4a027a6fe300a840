"""How long each step of the exact model takes at least: its own streams, and the copies beside it.

Everything is in whole ticks and rounds down. A begin time rounded down keeps each own time; bytes
moved, rounded down as sums over time, may gain less than a tick per copy and step, which each
constraint gives back: so the rounded times of a real run satisfy all constraints.
"""

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

from tierplan.ir.problem import NO_LINK, Effect, Problem
from tierplan.planner.exact_life import move_of

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from tierplan.planner.exact_grid import Grid, Model

_LARGEST = 1024  # numbers that stand for ratios: the solver's arithmetic is unsafe with larger ones
_FINEST = 64  # their denominator

What: TypeAlias = tuple[str, int]
"""A resource: ("tier", k), ("link", j) or ("compute", 0)."""


def access_loads(problem: Problem, access: int, tier: int) -> dict[What, Fraction]:
    """Seconds of each resource that an access uses when `tier` serves it."""
    tiers, links = problem.tiers, problem.links
    reads, writes = int(problem.access_read[access]), int(problem.access_write[access])
    loads: dict[What, Fraction] = defaultdict(Fraction)
    loads["tier", tier] = Fraction(reads) / Fraction(float(tiers.read_bandwidth[tier]))
    loads["tier", tier] += Fraction(writes) / Fraction(float(tiers.write_bandwidth[tier]))
    for link, n_bytes in ((int(tiers.read_link[tier]), reads), (int(tiers.write_link[tier]), writes)):
        if link != NO_LINK:
            loads["link", link] += Fraction(n_bytes) / Fraction(float(links.bandwidth[link]))
    return loads


def effect_loads(problem: Problem, effect: Effect) -> dict[What, Fraction]:
    """Seconds of each resource that an alternative adds to a step."""
    tiers, links = problem.tiers, problem.links
    loads: dict[What, Fraction] = defaultdict(Fraction)
    loads["compute", 0] = Fraction(effect.compute_s)
    for k, n_bytes in enumerate(effect.tier_read):
        loads["tier", k] += Fraction(n_bytes) / Fraction(float(tiers.read_bandwidth[k]))
    for k, n_bytes in enumerate(effect.tier_write):
        loads["tier", k] += Fraction(n_bytes) / Fraction(float(tiers.write_bandwidth[k]))
    for j, n_bytes in enumerate(effect.link):
        loads["link", j] += Fraction(n_bytes) / Fraction(float(links.bandwidth[j]))
    return loads


Terms: TypeAlias = "list[tuple[int, cp_model.IntVar]]"


def step_terms(model: "Model") -> "list[dict[What, Terms]]":
    """Per step and resource: ticks used by the step, as terms of a sum."""
    problem = model.problem
    terms: list[dict[What, Terms]] = [defaultdict(list) for _ in range(problem.n_steps)]
    for grid in model.grids:
        for (k, t), var in grid.serve.items():
            for what, seconds in access_loads(problem, grid.life.accesses[t], k).items():
                terms[t][what].append((min(model.clock.ticks(seconds), model.most_ticks + 1), var))
    for choice, group in zip(problem.choices, model.taken, strict=True):
        for alternative, var in zip(choice.alternatives, group, strict=True):
            for effect in alternative.effects:
                for what, seconds in effect_loads(problem, effect).items():
                    ticks = min(model.clock.ticks(seconds), 2 * model.most_ticks)
                    terms[effect.step][what].append((ticks, var))
    return terms


def add_times(model: "Model") -> None:
    """Bound each step from below by what it uses of each resource, copies included."""
    used = step_terms(model)
    copies: list[dict[What, list[_Moving]]] = [defaultdict(list) for _ in range(model.problem.n_steps)]
    for grid in model.grids:
        for pair in grid.life.pairs:
            _add_copies(model, grid, pair, copies)
    for t, seg in enumerate(model.seg):
        used[t]["compute", 0] += []
        for what in sorted({*used[t], *copies[t]}):
            base = model.clock.ticks(float(model.problem.compute_s[t])) if what[0] == "compute" else 0
            load = sum(ticks * var for ticks, var in used[t][what] if ticks) + base
            moving = copies[t][what]
            if not moving:
                model.cp.add(load <= seg)
                continue
            ratios, scale = ratios_below([share for share, _, _ in moving])
            moved = sum(ratio * (ticks - fly) for ratio, (_, ticks, fly) in zip(ratios, moving, strict=True) if ratio)
            model.cp.add(moved + scale * load <= scale * seg + scale - 1)


def ratios_below(ratios: Sequence[Fraction]) -> tuple[list[int], int]:
    """Whole numbers over one denominator, all small, that are at most `ratios` and close to them.

    >>> ratios_below([Fraction(31, 7), Fraction(1, 2)]), ratios_below([Fraction(1001, 1000)])
    (([62, 7], 14), ([1], 1))
    """
    best, least, at = [min(_LARGEST, int(ratio)) for ratio in ratios], Fraction(len(ratios)), 1
    for scale in range(1, _FINEST + 1):
        numbers = [int(ratio * scale) for ratio in ratios]
        loss = sum((ratio - Fraction(p, scale)) / max(ratio, 1) for p, ratio in zip(numbers, ratios, strict=True))
        if max(numbers) <= _LARGEST and loss < least:
            best, least, at = numbers, loss, scale
    return best, at


_Moving: TypeAlias = "tuple[Fraction, cp_model.LinearExpr, cp_model.IntVar]"
"""Share of a resource per tick of link time, ticks of link time moved in a step, and whether the copy is under way."""


def _add_copies(model: "Model", grid: "Grid", pair: tuple[int, int], copies: "list[dict[What, list[_Moving]]]") -> None:
    """What the copies of a tensor over one pair of tiers move in each step: in all, the whole tensor."""
    problem, (s, d) = model.problem, pair
    move = move_of(problem, grid.life.size, s, d)
    link_ticks, latency_ticks = model.clock.ticks(move.link_s), model.clock.ticks(move.latency_s)
    if not any((s, d, t) in grid.fly for t in range(problem.n_steps)):
        return
    if model.clock.ticks(move.alone_s + move.latency_s) > model.most_ticks:  # takes longer than any plan that matters
        for t in range(problem.n_steps):
            if (s, d, t) in grid.fly:
                model.cp.add(grid.fly[s, d, t] == 0)
        return
    moved = _spread(model, grid, pair, link_ticks)
    waited = _spread(model, grid, pair, latency_ticks)
    bandwidth = Fraction(float(problem.links.bandwidth[move.link]))
    shares: dict[What, Fraction] = {
        ("link", move.link): Fraction(1),
        ("tier", s): bandwidth / Fraction(float(problem.tiers.read_bandwidth[s])),
        ("tier", d): bandwidth / Fraction(float(problem.tiers.write_bandwidth[d])),
    }
    (p,), q = ratios_below([move.alone_s / move.link_s if grid.life.size else Fraction(1)])
    for t in range(problem.n_steps):
        if (s, d, t) not in grid.fly:
            continue
        fly = grid.fly[s, d, t]
        if link_ticks:
            for what, share in shares.items():
                copies[t][what].append((share, moved[t], fly))
        if latency_ticks or (link_ticks and p > q):
            model.cp.add(p * (moved[t] - fly) + q * (waited[t] - fly) <= q * (model.seg[t] + 1))


def _spread(model: "Model", grid: "Grid", pair: tuple[int, int], total: int) -> "dict[int, cp_model.LinearExpr]":
    """Ticks of each step that add up to `total` over the flight of each copy."""
    (s, d), life = pair, grid.life
    steps = [t for t in range(life.n_steps) if (s, d, t) in grid.fly]
    if total == 0:
        return {t: 0 * grid.fly[s, d, t] for t in steps}
    left = {t: model.cp.new_int_var(0, total, f"left_{life.tensor}_{s}_{d}_{t}") for t in steps}
    spent: dict[int, cp_model.LinearExpr] = {}
    for t in steps:
        model.cp.add(left[t] <= total * grid.fly[s, d, t])
        model.cp.add(left[t] >= total * grid.begin[s, d, t])
        after = (t + 1) % life.n_steps if life.circular else t + 1
        if after in left:
            spent[t] = left[t] - left[after] + total * grid.begin[s, d, after]
            model.cp.add(spent[t] >= 0)
        else:
            spent[t] = left[t]
        before = life.before(t)
        if before is None or before not in left:
            model.cp.add(left[t] == total * grid.begin[s, d, t])
    return spent
