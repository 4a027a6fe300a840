"""The relaxation as a linear program: places, room in each tier, and time."""

import itertools
from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import Floats, Ints, Problem
from tierplan.planner.bounds import first_bound
from tierplan.planner.flow_pairs import Crowd, crowds_of
from tierplan.planner.flow_places import Place, Places, places_of
from tierplan.planner.flow_room import Lead, add_rooms, pressed_tiers, short_groups
from tierplan.planner.flow_rows import Matrix, matrix
from tierplan.planner.flow_steps import Flow, Streams, add_steps, flows_of, streams_of
from tierplan.planner.flow_stock import backlogs_of, groups_of, stocks_of


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """Everything that copies may move, one entry per column: over which link, between which steps.

    `opens` may lie in the turn before. `alone_s`: least seconds of the whole copy, its latency included.
    """

    column: Ints
    tensor: Ints
    link: Ints
    source: Ints
    target: Ints
    opens: Ints
    done: Ints
    size: Ints
    alone_s: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Lp:
    """The relaxation of a problem: find fractions and times that make the last step end early.

    `taken[c][i]` is the column of alternative i of choice c. `least_s`: seconds that each step takes at least.
    `unit_s`: the seconds that one unit of time in the rows stands for.
    """

    problem: Problem
    places: Places
    taken: list[list[int]]
    streams: Streams
    flows: list[Flow]
    moves: Moves
    rows: Matrix
    n_columns: int
    unit_s: float
    least_s: Floats
    crowds: list[Crowd]


def build(problem: Problem, lead: Lead | None = None, *, flows: bool = True) -> Lp:
    """The relaxation without the rows of windows of time, which are added as they are needed.

    Without `flows`, copies only share the time of tiers and links with steps over whole windows, not within
    each step: a smaller program, and a weaker bound. With a `lead` of more than one step it bounds
    nothing, but comes closer to what plans can do.

    Source: docs/bounds.md.
    """
    places = places_of(problem, pressed_tiers(problem), short_groups(problem))
    taken = [[places.column() for _ in choice.alternatives] for choice in problem.choices]
    for group in taken:
        places.rows.extend(1.0, [(column, 1.0) for column in group], equal=True)
    unit_s = (first_bound(problem) or 1.0) / problem.n_steps
    streams = streams_of(places, taken)
    moving = flows_of(places) if flows else []
    least_s = add_steps(places, taken, streams, moving, unit_s)
    stocks: dict[tuple[int, ...], list[Ints]] = {}
    if lead is None and moving:
        groups = groups_of(places)
        for found in (stocks_of(places, moving, groups), backlogs_of(places, moving, groups)):
            for tiers, column in found.items():
                stocks.setdefault(tiers, []).append(column)
    add_rooms(places, taken, stocks, lead or _least_lead)
    return Lp(
        problem, places, taken, streams, moving, _moves(places),
        matrix(places.rows, places.n_columns), places.n_columns, unit_s, least_s,
        crowds_of(places, lead or _least_lead),
    )  # fmt: skip


def _least_lead(_place: Place, _tier: int) -> int:
    return 1


def _moves(places: Places) -> Moves:
    problem = places.problem
    tiers, links = problem.tiers, problem.links
    link_of = {pair: links.between(*pair) for pair in places.pairs}
    rows = [
        (column, place.visit.tensor, link_of[j, k], j, k, place.visit.opens, place.visit.step)
        for place in itertools.chain.from_iterable(places.of_tensor)
        for (j, k), column in place.load.items()
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 7)
    size, link, source, target = problem.size[table[:, 1]], table[:, 2], table[:, 3], table[:, 4]
    rate = np.minimum(links.bandwidth[link], tiers.write_bandwidth[target])
    rate = np.minimum(rate, tiers.read_bandwidth[source])
    for k, curve in enumerate(tiers.read_curve):
        if curve:
            chunks, rates = zip(*curve, strict=True)
            of_tier = source == k
            rate[of_tier] = np.minimum(rate[of_tier], np.interp(size[of_tier], chunks, rates))
    latency = links.latency_s[link] + tiers.latency_s[source]
    return Moves(table[:, 0], table[:, 1], link, source, target, table[:, 5], table[:, 6], size, latency + size / rate)
