"""What a solution of the relaxation wishes for one tensor, in whole numbers."""

from tierplan.ir.problem import Floats, Keep
from tierplan.planner.flow_model import Lp
from tierplan.planner.flow_places import Place
from tierplan.planner.flow_rows import Sum
from tierplan.planner.flow_tell import Wish

_ROUNDING = 1e-9


def value(x: Floats, total: Sum) -> float:
    """What an expression is worth in a solution."""
    return total.constant + sum(c * float(x[column]) for column, c in total.terms)


def wish(lp: Lp, x: Floats, places: list[Place], threshold: float, *, spread: bool = False) -> Wish:
    """For each visit the fastest tier such that it and the faster ones serve at least `threshold`.

    The tensor is kept there since the visit before if most of what lies there is; with `spread`, at as many
    thresholds as the fraction that is kept says.
    """
    tiers: list[int] = []
    kept: list[bool] = []
    for place in places:
        serve = place.serve or place.lies
        total, before, chosen = 0.0, 0.0, max(serve, default=0)
        for k in sorted(serve):
            before, total = total, total + value(x, serve[k])
            if total >= threshold - _ROUNDING:
                chosen = k
                break
        if place.visit.is_end and place.lies:
            chosen = max(place.lies, key=lambda k: (value(x, place.lies[k]), k))
        tiers.append(chosen)
        keep = float(x[place.keep[chosen]]) if chosen in place.keep else 0.0
        fresh = float(x[place.fresh[chosen]]) if chosen in place.fresh else 0.0
        if spread:
            stays = keep if chosen == 0 else min(keep, within(x, place, chosen))
            kept.append(fresh <= _ROUNDING or threshold - before <= stays - _ROUNDING)
        else:
            kept.append(keep >= fresh or keep >= threshold)
    return Wish(_base(lp, x, places, threshold), tuple(tiers), tuple(kept))


def _base(lp: Lp, x: Floats, places: list[Place], threshold: float) -> int:
    """Where the tensor lies when no faster tier holds it."""
    problem, first = lp.problem, places[0].visit
    size = int(problem.size[first.tensor])
    tiers = [k for k in range(problem.n_tiers) if size <= int(problem.tiers.usable[k])]
    direct = [k for k in tiers if problem.tiers.direct[k]]
    if problem.keep[first.tensor] == Keep.HOME and not problem.cyclic:
        return int(problem.home[first.tensor])
    if first.before is not None and first.before < 0:
        return int(problem.home[first.tensor])
    gaps = [place for place in places if place.visit.before is not None]
    for k in tiers[:-1]:
        if (gaps or k in direct) and all(within(x, place, k) >= threshold - _ROUNDING for place in gaps):
            return k
    return tiers[-1] if tiers else 0


def within(x: Floats, place: Place, k: int) -> float:
    """The fraction that stays in tier k and the faster ones since the visit before."""
    if any(j not in place.keep and j in place.lies and place.lies[j].constant == 1.0 for j in range(k + 1)):
        return 1.0
    if k + 1 in place.within:
        return float(x[place.within[k + 1]])
    return sum(float(x[place.keep[j]]) for j in range(k + 1) if j in place.keep)


def split(x: Floats, places: list[Place]) -> float:
    """How far the tensor is from being whole: the largest distance of a fraction around it from 0 and 1."""
    columns = [c for place in places for group in (place.keep, place.fresh) for c in group.values()]
    columns += [c for place in places if place.visit.before is None for s in place.lies.values() for c, _ in s.terms]
    return max((min(float(x[c]), 1.0 - float(x[c])) for c in columns), default=0.0)


def bounds_of(places: list[Place], wanted: Wish) -> dict[int, tuple[float, float]]:
    """The bounds on columns under which the relaxation does as is wished."""
    bounds: dict[int, tuple[float, float]] = {}
    for place, tier, kept in zip(places, wanted.tier, wanted.kept, strict=True):
        if place.visit.before is None:
            for k, lies in place.lies.items():
                bounds |= {c: (1.0, 1.0) if k == tier else (0.0, 0.0) for c, _ in lies.terms}
            continue
        for k in place.keep.keys() | place.fresh.keys():
            keep, fresh = place.keep.get(k), place.fresh.get(k)
            mine = k == tier
            if keep is not None and (mine or k < wanted.base):
                whole = mine and (kept or fresh is None)
                bounds[keep] = (1.0, 1.0) if whole else (0.0, 0.0)
            if fresh is not None and (mine or k < wanted.base):
                whole = mine and not (kept and keep is not None)
                bounds[fresh] = (1.0, 1.0) if whole else (0.0, 0.0)
    return bounds
