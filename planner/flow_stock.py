"""Stock in the relaxation: what copies have moved into a tier ahead of the visits that it is for takes room there."""

import itertools

import numpy as np

from tierplan.ir.problem import Ints
from tierplan.planner.flow_places import Places
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
