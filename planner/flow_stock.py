"""Stock and backlog in the relaxation: what lies in tiers ahead of visits, or until it has been copied away."""

import itertools
from dataclasses import dataclass, field

import numpy as np

from tierplan.ir.problem import Ints, Mode, Problem
from tierplan.planner.flow_places import Place, Places
from tierplan.planner.flow_rows import NOTHING, Sum
from tierplan.planner.flow_steps import Flow


def room_bytes(problem: Problem, tier: int) -> int:
    """The most bytes that can lie in a tier, each tensor's rounded up to the alignment, or be reserved there."""
    most = sum(max(a.reserved[tier] for a in choice.alternatives) for choice in problem.choices)
    usable, alignment = int(problem.tiers.usable[tier]), int(problem.tiers.alignment[tier])
    return max(usable, most) + alignment - 1 if most else -(-usable // alignment) * alignment


@dataclass(slots=True)
class Group:
    """One tier, or the fastest tiers together, with its room in bytes: what lies in it and what crosses its border.

    `found`: by tensor and visit, whether it lies there because a copy brought it since the visit before.
    """

    tiers: tuple[int, ...]
    room: int
    found: dict[tuple[int, int], Sum] = field(default_factory=dict[tuple[int, int], Sum])

    def here(self, place: Place) -> Sum:
        """Whether the tensor lies in the group at a visit; may count each tier that it lies in."""
        total = NOTHING
        for k in self.tiers:
            total = total + place.lies.get(k, NOTHING)
        return total

    def kept(self, place: Place) -> Sum:
        """Whether it has been in the group at every step since the visit before."""
        columns, key = (place.keep, self.tiers[0]) if len(self.tiers) == 1 else (place.within, len(self.tiers))
        return Sum(0.0, ((columns[key], 1.0),)) if key in columns else NOTHING

    def into(self, flows: list[Flow]) -> list[Flow]:
        """The flows that enter the group."""
        return [flow for flow in flows if flow.target in self.tiers and flow.source not in self.tiers]

    def out_of(self, flows: list[Flow]) -> list[Flow]:
        """The flows that leave it."""
        return [flow for flow in flows if flow.source in self.tiers and flow.target not in self.tiers]


def groups_of(places: Places) -> list[Group]:
    """The single tiers, and the fastest tiers together, whose room can be short."""
    usable = places.problem.tiers.usable
    single = [Group((k,), room_bytes(places.problem, k)) for k in range(places.problem.n_tiers) if places.pressed[k]]
    groups = single + [Group(tuple(range(m)), int(usable[:m].sum())) for m in places.short]
    for group in groups:
        for place in itertools.chain.from_iterable(places.of_tensor):
            group.found[place.visit.tensor, place.visit.step] = _found(places, group, place)
    return groups


def _found(places: Places, group: Group, place: Place) -> Sum:
    """Whether the tensor lies in the group at a visit because a copy brought it since the visit before."""
    if len(group.tiers) == 1:
        return Sum(0.0, tuple((place.fresh[k], 1.0) for k in group.tiers if k in place.fresh))
    if not any(k in group.tiers and j not in group.tiers for j, k in place.load):
        return NOTHING
    found, kept, served = places.fraction(), group.kept(place), NOTHING
    places.rows.at_least(-1.0, (found + kept).times(-1.0))
    for k in group.tiers:
        served = served + place.serve.get(k, NOTHING)
        if k in place.lies:
            places.rows.at_least(0.0, found + kept + place.lies[k].times(-1.0))
    if not served.is_zero:
        places.rows.at_least(0.0, found + kept + served.times(-1.0))
    return found


def stocks_of(places: Places, flows: list[Flow], groups: list[Group]) -> dict[tuple[int, ...], Ints]:
    """By tiers whose room can be short, shape [S]: the column of their stock during each step.

    The stock of step t is what copies that are for a visit after t have moved by the end of t, as a share of
    the room. It grows by no more than the flows into the tiers bring, and shrinks by what each visit finds.

    Source: docs/bounds.md, "Stock".
    """
    problem, stocks = places.problem, dict[tuple[int, ...], Ints]()
    n, rows = problem.n_steps, places.rows
    for group in groups:
        into = group.into(flows)
        if not into:
            continue
        due = _due(places, group)
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
                brought = brought + flow.moved(t, t + 1).times(flow.n_bytes / group.room)
            rows.at_least(0.0, brought + growth.times(-1.0))
            before = stock[t]
        stocks[group.tiers] = np.array([total.terms[0][0] for total in stock], dtype=np.int64)
    return stocks


def _due(places: Places, group: Group) -> list[Sum]:
    """Shape [S + 1]: the share of the room that copies bring for the visits of each step, and for the end."""
    terms: list[list[tuple[int, float]]] = [[] for _ in range(places.problem.n_steps + 1)]
    for place in itertools.chain.from_iterable(places.of_tensor):
        share = int(places.problem.size[place.visit.tensor]) / group.room
        terms[place.visit.step] += group.found[place.visit.tensor, place.visit.step].times(share).terms
    return [Sum(0.0, tuple(at_step)) for at_step in terms]


_MOST_READS = 6  # after a write, of which it is known whether the tensor leaves after them


def backlogs_of(places: Places, flows: list[Flow], groups: list[Group]) -> dict[tuple[int, ...], Ints]:
    """By tiers whose room can be short, shape [S]: the column of their backlog during each step.

    The backlog of step t is what must still be copied away, when t begins, of what was written in the tiers and is
    no longer kept there for visits, as a share of the room.

    Source: docs/bounds.md, "Backlog".
    """
    problem, backlogs = places.problem, dict[tuple[int, ...], Ints]()
    n, rows = problem.n_steps, places.rows
    for group in groups:
        out = group.out_of(flows)
        if not out or not problem.tiers.direct[list(group.tiers)].any():
            continue
        leaving = [NOTHING for _ in range(n)]  # after which the tensor is no longer kept, by the step after
        early = [NOTHING for _ in range(n + 1)]  # what of it may have been copied away already
        for start, last, fraction, size in _leaves(places, group):
            share = fraction.times(size / group.room)
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
                    moved = moved + flow.moved(t - 1, t).times(flow.n_bytes / group.room)
            now = backlog[t] + ahead[t].times(-1.0)
            rows.at_least(0.0, now + before.times(-1.0) + leaving[t].times(-1.0) + moved)
        backlogs[group.tiers] = np.array([total.terms[0][0] for total in backlog], dtype=np.int64)
    return backlogs


def _leaves(places: Places, group: Group) -> list[tuple[int, int, Sum, int]]:
    """Each way to leave a group after a write: the steps of the write and of the last visit, a fraction, and bytes.

    The fraction is that of the tensor which is kept in the group from the write until that visit, but not until the
    next, which needs it. Steps of the turn after count on.
    """
    n, found = places.problem.n_steps, list[tuple[int, int, Sum, int]]()
    for of_tensor in places.of_tensor:
        size = int(places.problem.size[of_tensor[0].visit.tensor]) if of_tensor else 0
        for w, place in enumerate(of_tensor):
            here, start, last = group.here(place), place.visit.step, place.visit.step
            if place.visit.mode is Mode.READ or here.is_zero:
                continue
            left = NOTHING
            for after, step in _followers(of_tensor, w, n):
                leaves = places.fraction()
                left = left + leaves
                places.rows.at_least(0.0, left + group.kept(after) + here.times(-1.0))
                found.append((start, last, leaves, size))
                if after.visit.mode is not Mode.READ or after.visit.is_end:
                    break
                last = step
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
