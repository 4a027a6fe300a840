"""Stock and backlog in the relaxation: what lies in a tier ahead of visits, or until it has been copied away."""

import itertools

import numpy as np

from tierplan.ir.problem import Ints, Mode
from tierplan.planner.flow_places import Place, Places
from tierplan.planner.flow_rows import NOTHING, Sum
from tierplan.planner.flow_steps import Flow


def room_bytes(places: Places, tier: int) -> int:
    """The most bytes that can lie in a tier, each tensor's rounded up to the alignment, or be reserved there."""
    problem = places.problem
    most = sum(max(a.reserved[tier] for a in choice.alternatives) for choice in problem.choices)
    usable, alignment = int(problem.tiers.usable[tier]), int(problem.tiers.alignment[tier])
    return max(usable, most) + alignment - 1 if most else -(-usable // alignment) * alignment


def stocks_of(places: Places, flows: list[Flow]) -> dict[int, Ints]:
    """By tier whose room can be short, shape [S]: the column of its stock during each step.

    The stock of step t is what copies that are for a visit after t have moved by the end of t, as a share of
    `room_bytes`. It grows by no more than the flows into the tier bring, and shrinks by what each visit finds.

    Source: docs/bounds.md, "Stock".
    """
    problem, stocks = places.problem, dict[int, Ints]()
    n, rows = problem.n_steps, places.rows
    for tier in range(problem.n_tiers):
        into = [flow for flow in flows if flow.target == tier]
        if not places.pressed[tier] or not into:
            continue
        room = room_bytes(places, tier)
        due = _due(places, tier, room)
        stock = [Sum(0.0, ((places.column(), 1.0),)) for _ in range(n)]
        left = stock[n - 1] + due[n].times(-1.0)  # after the end
        if not due[n].is_zero:
            rows.at_least(0.0, left)
        before = left if problem.cyclic else NOTHING
        for t in range(n):
            if not due[t].is_zero:
                rows.at_least(0.0, before + due[t].times(-1.0))
            growth = stock[t] + before.times(-1.0) + due[t]
            rows.at_least(0.0, growth)
            brought = NOTHING
            for flow in into:
                brought = brought + flow.moved(t, t + 1).times(flow.n_bytes / room)
            rows.at_least(0.0, brought + growth.times(-1.0))
            before = stock[t]
        stocks[tier] = np.array([total.terms[0][0] for total in stock], dtype=np.int64)
    return stocks


def _due(places: Places, tier: int, room: int) -> list[Sum]:
    """Shape [S + 1]: the share of the room that copies bring for the visits of each step, and for the end."""
    terms: list[list[tuple[int, float]]] = [[] for _ in range(places.problem.n_steps + 1)]
    for place in itertools.chain.from_iterable(places.of_tensor):
        if tier in place.fresh:
            share = int(places.problem.size[place.visit.tensor]) / room
            terms[place.visit.step].append((place.fresh[tier], share))
    return [Sum(0.0, tuple(at_step)) for at_step in terms]


_MOST_READS = 6  # after a write, of which it is known whether the tensor leaves after them


def backlogs_of(places: Places, flows: list[Flow]) -> dict[int, Ints]:
    """By tier whose room can be short, shape [S]: the column of its backlog during each step.

    The backlog of step t is what must still be copied away, when t begins, of what was written in the tier and is
    no longer kept there for visits, as a share of `room_bytes`.

    Source: docs/bounds.md, "Backlog".
    """
    problem, backlogs = places.problem, dict[int, Ints]()
    n, rows = problem.n_steps, places.rows
    for tier in range(problem.n_tiers):
        out = [flow for flow in flows if flow.source == tier]
        if not places.pressed[tier] or not places.problem.tiers.direct[tier] or not out:
            continue
        room = room_bytes(places, tier)
        leaving = [NOTHING for _ in range(n)]  # after which the tensor is no longer kept, by the step after
        early = [NOTHING for _ in range(n + 1)]  # what of it may have been copied away already
        for start, last, fraction, size in _leaves(places, tier):
            share = fraction.times(size / room)
            if last + 1 < n or problem.cyclic:
                leaving[(last + 1) % n] += share
            for t in range(start + 1, last + 1):
                if t < n or problem.cyclic:
                    early[t % n] += share
        backlog = [places.fraction() for _ in range(n)]
        ahead = [NOTHING if total.is_zero else places.fraction() for total in early[:n]]
        for t in range(n):
            if not early[t].is_zero:
                rows.at_least(0.0, early[t] + ahead[t].times(-1.0))
            first = t == 0 and not problem.cyclic
            before = NOTHING if first else backlog[t - 1] + ahead[t - 1].times(-1.0)
            moved = NOTHING
            if not first:
                for flow in out:
                    moved = moved + flow.moved(t - 1, t).times(flow.n_bytes / room)
            now = backlog[t] + ahead[t].times(-1.0)
            rows.at_least(0.0, now + before.times(-1.0) + leaving[t].times(-1.0) + moved)
        backlogs[tier] = np.array([total.terms[0][0] for total in backlog], dtype=np.int64)
    return backlogs


def _leaves(places: Places, tier: int) -> list[tuple[int, int, Sum, int]]:
    """Each way to leave a tier after a write: the steps of the write and of the last visit, a fraction, and bytes.

    The fraction is that of the tensor which is kept in the tier from the write until that visit, but not until the
    next, which needs it. Steps of the turn after count on.
    """
    n, found = places.problem.n_steps, list[tuple[int, int, Sum, int]]()
    for of_tensor in places.of_tensor:
        size = int(places.problem.size[of_tensor[0].visit.tensor]) if of_tensor else 0
        for w, place in enumerate(of_tensor):
            if place.visit.mode is Mode.READ or tier not in place.lies:
                continue
            here, start, last = place.lies[tier], place.visit.step, place.visit.step
            fresh = NOTHING
            for after, step in _followers(of_tensor, w, n):
                kept = Sum(0.0, ((after.keep[tier], 1.0),)) if tier in after.keep else NOTHING
                least = here + kept.times(-1.0) + fresh.times(-1.0)
                if not here.is_zero:
                    leaves = places.fraction()
                    places.rows.at_least(0.0, leaves + least.times(-1.0))
                    found.append((start, last, leaves, size))
                if after.visit.mode is not Mode.READ or after.visit.is_end:
                    break
                here, last = kept, step
                if tier in after.fresh:
                    fresh = fresh + Sum(0.0, ((after.fresh[tier], 1.0),))
    return found


def _followers(of_tensor: list[Place], w: int, n: int) -> list[tuple[Place, int]]:
    """The visits after one, while each needs the value of the one before, with their steps."""
    circular = of_tensor[0].visit.before is not None and of_tensor[0].visit.before >= 0
    order = [(i, 0) for i in range(w + 1, len(of_tensor))]
    if circular:
        order += [(i, n) for i in range(w + 1)]
    found: list[tuple[Place, int]] = []
    for i, turn in order[: _MOST_READS + 1]:
        if of_tensor[i].visit.before is None:
            break
        found.append((of_tensor[i], of_tensor[i].visit.step + turn))
    return found
