"""The fractions, all 0 or 1, by which a legal plan is a solution of the relaxation: docs/bounds.md, literally."""

from dataclasses import dataclass, field

from tierplan.ir.plan import Copy, Plan
from tierplan.ir.problem import Mode, Problem
from tierplan.planner.flow_model import Lp
from tierplan.planner.flow_places import Place


@dataclass
class _Past:
    """What is known of one tensor: since which step each tier holds a valid copy, and which copies were delivered."""

    valid: dict[int, int] = field(default_factory=dict)
    delivered: list[tuple[int, Copy]] = field(default_factory=list)


def columns_of(lp: Lp, plan: Plan) -> dict[int, float]:
    """The value of each column that says where tensors lie and what is copied, and of each alternative."""
    values: dict[int, float] = {}
    for taken in plan.taken:
        for alternative, column in enumerate(lp.taken[taken.choice]):
            values[column] = float(alternative == taken.alternative)
    for places in lp.places.of_tensor:
        if places:
            _tell(lp.problem, plan, places, values)
    return values


def _tell(problem: Problem, plan: Plan, places: list[Place], values: dict[int, float]) -> None:
    """Follow one tensor through two turns, and note what holds at the visits of the second."""
    n, x = problem.n_steps, places[0].visit.tensor
    residencies = [r for r in plan.residencies if r.tensor == x]
    copies = [c for c in plan.copies if c.tensor == x]
    wraps_into = {c.target for c in copies if c.done > n}
    past, flying = _Past(), dict.fromkeys((c for c in copies if c.done > n), True)
    circular = places[0].visit.before is not None and places[0].visit.before >= 0
    turns = 2 if problem.cyclic else 1
    for turn in range(turns):
        last = turn == turns - 1
        for t in range(n + 1):
            now = turn * n + t
            ended = dict(past.valid)  # a copy delivered as a stay begins anew goes on with what ended
            if t < n:
                for r in residencies:
                    goes_on = (
                        t == 0
                        and circular
                        and any(q.stop == n and (q.tier, q.offset) == (r.tier, r.offset) for q in residencies)
                    )
                    if r.stop == t or (r.start == t and not goes_on):
                        past.valid.pop(r.tier, None)
                    if r.start == t == 0 and turn == 0 and circular and goes_on and r.tier not in wraps_into:
                        past.valid[r.tier] = -n
                    if r.start == t == 0 and not problem.cyclic and r.tier == problem.home[x]:
                        past.valid[r.tier] = -1
                if t == 0 and turn > 0:
                    begins = {r.tier for r in residencies if r.start == 0}
                    past.valid = {k: since for k, since in past.valid.items() if k in begins}
            for copy in [c for c in flying if t in (c.done, c.done - n)]:
                if flying.pop(copy) and any(
                    r.tier == copy.target and r.start <= min(t, n - 1) < r.stop for r in residencies
                ):
                    past.delivered.append((now, copy))
                    past.valid.setdefault(copy.target, ended.get(copy.target, now))
            if t < n:
                flying |= {c: c.source in past.valid for c in copies if c.start == t}
            for place in (p for p in places if p.visit.step == t):
                _visit(problem, plan, place, past, now, n, values if last else {})
                if place.visit.mode is not Mode.READ:
                    flying = dict.fromkeys(flying, False)


def _visit(problem: Problem, plan: Plan, place: Place, past: _Past, now: int, n: int, values: dict[int, float]) -> None:
    visit, t = place.visit, place.visit.step
    direct = [k for k in range(problem.n_tiers) if problem.tiers.direct[k]]
    if visit.mode is Mode.PRODUCE:
        lying = {r.tier for r in plan.residencies if r.tensor == visit.tensor and r.start <= t < r.stop}
        arriving = {
            c.target for c in plan.copies
            if c.tensor == visit.tensor and (c.start <= t < c.done or c.start <= t + n < c.done)
        }  # fmt: skip
        serving = min(k for k in direct if k in lying - arriving)
        for k, lies in place.lies.items():
            values |= {column: float(k == serving) for column, _ in lies.terms}
        past.valid = {serving: now}
        return
    serving = -1 if visit.is_end else min(k for k in direct if k in past.valid)
    since = now - t + visit.since
    here = {serving: past.valid[serving]} if visit.mode is Mode.UPDATE else dict(past.valid)
    for k, column in place.keep.items():
        values[column] = float(k in here and here[k] <= max(since, -1))
    for k, column in place.fresh.items():
        values[column] = float(k in here and here[k] > since)
    for (j, k), column in place.load.items():
        values[column] = float(any((c.source, c.target) == (j, k) and since < at <= now for at, c in past.delivered))
    for k, share in place.serve.items():
        if len(share.terms) == 1 and share.constant == 0.0:
            values.setdefault(share.terms[0][0], float(k == serving))
    if visit.mode is Mode.UPDATE:
        past.valid = {serving: now}
