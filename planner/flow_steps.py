"""Time in the relaxation: what each step streams, and how long it takes at least."""

import itertools
from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import NO_LINK, Effect, Floats, Ints, Problem
from tierplan.planner.flow_places import Places
from tierplan.planner.flow_rows import NOTHING, Sum

_MOST_CONFIGURATIONS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Streams:
    """Seconds for which steps keep each resource busy: tier k is resource k, link j is resource K + j.

    `fixed[r, t]`, and `value[i]` times column `column[i]` at resource `resource[i]` and step `step[i]`.
    """

    fixed: Floats
    resource: Ints
    step: Ints
    column: Ints
    value: Floats
    at: Ints  # [S + 1]: entries are sorted by step


class _Use:
    """What one access keeps busy, by the tier that serves it: seconds by resource."""

    def __init__(self, problem: Problem, access: int) -> None:
        tiers, links = problem.tiers, problem.links
        read, write = int(problem.access_read[access]), int(problem.access_write[access])
        self.n_bytes = read + write
        self.of_tier: list[dict[int, float]] = []
        for k in range(problem.n_tiers):
            busy = {k: read / float(tiers.read_bandwidth[k]) + write / float(tiers.write_bandwidth[k])}
            for n_bytes, link in ((read, int(tiers.read_link[k])), (write, int(tiers.write_link[k]))):
                if link != NO_LINK:
                    resource = problem.n_tiers + link
                    busy[resource] = busy.get(resource, 0.0) + n_bytes / float(links.bandwidth[link])
            self.of_tier.append(busy)


def _effects(problem: Problem, taken: list[list[int]]) -> dict[int, list[tuple[int, Effect]]]:
    """By step, the columns of alternatives that change it, and how."""
    found: dict[int, list[tuple[int, Effect]]] = {}
    for choice, group in zip(problem.choices, taken, strict=True):
        for alternative, column in zip(choice.alternatives, group, strict=True):
            for effect in alternative.effects:
                found.setdefault(effect.step, []).append((column, effect))
    return found


def _effect_s(problem: Problem, effect: Effect) -> dict[int, float]:
    """Seconds that an effect keeps each resource busy."""
    tiers, links = problem.tiers, problem.links
    busy: dict[int, float] = {}
    for n_bytes, rate, first in (
        (effect.tier_read, tiers.read_bandwidth, 0),
        (effect.tier_write, tiers.write_bandwidth, 0),
        (effect.link, links.bandwidth, problem.n_tiers),
    ):
        for k, amount in enumerate(n_bytes):
            busy[first + k] = busy.get(first + k, 0.0) + amount / float(rate[k])
    return busy


def streams_of(places: Places, taken: list[list[int]]) -> Streams:
    """What steps stream, as functions of the columns."""
    problem = places.problem
    n, n_resources = problem.n_steps, problem.n_tiers + len(problem.links.names)
    fixed = np.zeros((n_resources, n))
    rows: list[tuple[int, int, int, float]] = []
    for place in itertools.chain.from_iterable(places.of_tensor):
        if place.visit.is_end:
            continue
        use, t = _Use(problem, place.visit.access), place.visit.step
        for k, share in place.serve.items():
            for resource, seconds in use.of_tier[k].items():
                fixed[resource, t] += share.constant * seconds
                rows += [(t, resource, column, c * seconds) for column, c in share.terms if seconds]
    for t, effects in _effects(problem, taken).items():
        for column, effect in effects:
            rows += [(t, resource, column, s) for resource, s in _effect_s(problem, effect).items() if s]
    rows.sort(key=lambda row: row[0])
    step = np.array([row[0] for row in rows], dtype=np.int64)
    return Streams(
        fixed=fixed,
        resource=np.array([row[1] for row in rows], dtype=np.int64),
        step=step,
        column=np.array([row[2] for row in rows], dtype=np.int64),
        value=np.array([row[3] for row in rows], dtype=np.float64),
        at=np.searchsorted(step, np.arange(n + 1)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """What all copies from one tier to another have moved before each step, as a share of `n_bytes`.

    `column[t]` holds it for t = 1 ... S; before step 0 it is nothing. `rates`: bytes per second by resource.
    """

    source: int
    target: int
    link: int
    n_bytes: int
    column: Ints
    rates: tuple[tuple[int, float], ...]

    def moved(self, since: int, until: int) -> Sum:
        """The share moved from the beginning of step `since` (in the turn before if negative) to that of `until`."""
        n = len(self.column) - 1
        ends = [(until, 1.0), (since, -1.0)] if since >= 0 else [(n, 1.0), (since + n, -1.0), (until, 1.0)]
        return Sum(0.0, tuple((int(self.column[t]), sign) for t, sign in ends if t > 0))


def flows_of(places: Places) -> list[Flow]:
    """A flow for each pair of tiers that copies may connect; it never runs backwards."""
    problem = places.problem
    tiers, links, n = problem.tiers, problem.links, problem.n_steps
    n_bytes: dict[tuple[int, int], int] = {}
    for place in itertools.chain.from_iterable(places.of_tensor):
        for pair in place.load:
            n_bytes[pair] = n_bytes.get(pair, 0) + int(problem.size[place.visit.tensor])
    flows: list[Flow] = []
    for (j, k), total in sorted(n_bytes.items()):
        if not total:
            continue
        link = links.between(j, k)
        rates = (
            (j, float(tiers.read_bandwidth[j])),
            (k, float(tiers.write_bandwidth[k])),
            (problem.n_tiers + link, float(links.bandwidth[link])),
        )
        column = np.array([-1, *(places.column() for _ in range(n))], dtype=np.int64)
        flow = Flow(j, k, link, total, column, rates)
        for t in range(1, n):
            places.rows.at_least(0.0, flow.moved(t, t + 1))
        flows.append(flow)
    return flows


def add_steps(places: Places, taken: list[list[int]], streams: Streams, flows: list[Flow], unit_s: float) -> Floats:
    """Add the rows that say how long each step takes at least; shape [S]: seconds whatever the columns are.

    Source: docs/bounds.md, "The time of a step".
    """
    problem, rows = places.problem, places.rows
    effects = _effects(problem, taken)
    by_step: list[list[tuple[_Use, dict[int, Sum]]]] = [[] for _ in range(problem.n_steps)]
    for place in itertools.chain.from_iterable(places.of_tensor):
        if not place.visit.is_end:
            by_step[place.visit.step].append((_Use(problem, place.visit.access), place.serve))
    least_s = np.zeros(problem.n_steps)
    for t, uses in enumerate(by_step):
        here = effects.get(t, [])
        least_s[t] = max(0.0, float(problem.compute_s[t]) + sum(min(0.0, e.compute_s) for _, e in here))
        compute = Sum(0.0, tuple((column, -e.compute_s / unit_s) for column, e in here if e.compute_s))
        rows.at_least(float(problem.compute_s[t]) / unit_s, compute, span=(t, t + 1))
        covered = _add_configurations(places, t, uses, here, flows, unit_s)
        busy = _busy(streams, t)
        for resource in sorted(busy.keys() | {r for flow in flows for r, _ in flow.rates}):
            mine = busy.get(resource, NOTHING)
            moving = NOTHING
            for flow in flows:
                for rate in (rate for r, rate in flow.rates if r == resource):
                    moving = moving + flow.moved(t, t + 1).times(flow.n_bytes / rate)
            most = mine.constant + sum(max(0.0, c) for _, c in mine.terms)
            if not moving.is_zero or (most > least_s[t] and (here or not covered)):
                rows.at_least(0.0, (mine + moving).times(-1.0 / unit_s), span=(t, t + 1))
    return least_s


def _busy(streams: Streams, t: int) -> dict[int, Sum]:
    """Seconds that step t keeps each resource busy."""
    terms: dict[int, list[tuple[int, float]]] = {}
    for i in range(int(streams.at[t]), int(streams.at[t + 1])):
        terms.setdefault(int(streams.resource[i]), []).append((int(streams.column[i]), float(streams.value[i])))
    used = set(terms) | set(np.flatnonzero(streams.fixed[:, t]).tolist())
    return {r: Sum(float(streams.fixed[r, t]), tuple(terms.get(r, ()))) for r in sorted(used)}


def _add_configurations(
    places: Places,
    t: int,
    uses: list[tuple[_Use, dict[int, Sum]]],
    effects: list[tuple[int, Effect]],
    flows: list[Flow],
    unit_s: float,
) -> bool:
    """Let the step take the mean of what it takes under each assignment of tiers to its accesses.

    Accesses beyond the number that can be enumerated are left out. Returns whether the rows imply
    that the step takes as long as each resource is busy.
    """
    problem = places.problem
    if any(min((e.compute_s, *e.tier_read, *e.tier_write, *e.link)) < 0 for _, e in effects):
        return False
    uses = [(use, serve) for use, serve in uses if use.n_bytes and serve]
    uses.sort(key=lambda pair: -max(max(pair[0].of_tier[k].values()) for k in pair[1]))
    chosen: list[tuple[_Use, dict[int, Sum]]] = []
    n_configurations = 1
    for use, serve in uses:
        if n_configurations * len(serve) <= _MOST_CONFIGURATIONS:
            n_configurations *= len(serve)
            chosen.append((use, serve))
    compute = float(problem.compute_s[t])
    loads = {tiers: _together(chosen, tiers) for tiers in itertools.product(*(serve for _, serve in chosen))}
    seconds = [(tiers, max([compute, *busy.values()])) for tiers, busy in loads.items()]
    if max(s for _, s in seconds) <= compute:
        return len(chosen) == len(uses)
    undecided = [i for i, (_, serve) in enumerate(chosen) if len(serve) > 1]
    if len(undecided) < 2:
        total = Sum(seconds[0][1]) if not undecided else NOTHING
        for i in undecided:
            for tiers, s in seconds:
                total = total + chosen[i][1][tiers[i]].times(s)
        places.rows.at_least(0.0, total.times(-1.0 / unit_s), span=(t, t + 1))
        if undecided and len(chosen) == len(uses) and not effects:
            i = undecided[0]
            shares = [(chosen[i][1][tiers[i]], loads[tiers], s) for tiers, s in seconds]
            _add_leftovers(places, t, shares, flows, unit_s)
        return len(chosen) == len(uses)
    weight = {tiers: places.column() for tiers, _ in seconds}
    places.rows.extend(1.0, [(column, 1.0) for column in weight.values()], equal=True)
    for i in undecided:
        for k in list(chosen[i][1])[:-1]:
            mine = tuple((column, 1.0) for tiers, column in weight.items() if tiers[i] == k)
            places.rows.at_least(0.0, Sum(0.0, mine) + chosen[i][1][k].times(-1.0), equal=True)
    whole = len(chosen) == len(uses) and not effects
    shares = [(Sum(0.0, ((weight[tiers], 1.0),)), loads[tiers], s) for tiers, s in seconds]
    _add_leftovers(places, t, shares if whole else [], flows, unit_s)
    places.rows.extend(0.0, [(weight[tiers], -s / unit_s) for tiers, s in seconds], span=(t, t + 1))
    return len(chosen) == len(uses)


def _together(chosen: list[tuple[_Use, dict[int, Sum]]], tiers: tuple[int, ...]) -> dict[int, float]:
    """Seconds that each resource is busy if each access is served from its tier of `tiers`."""
    busy: dict[int, float] = {}
    for (use, _), k in zip(chosen, tiers, strict=True):
        for resource, seconds in use.of_tier[k].items():
            busy[resource] = busy.get(resource, 0.0) + seconds
    return busy


def _add_leftovers(
    places: Places, t: int, shares: list[tuple[Sum, dict[int, float], float]], flows: list[Flow], unit_s: float
) -> None:
    """While a step runs, a copy moves what the busiest resource on its way leaves; while none runs, all it can.

    `shares`: for each assignment of tiers its fraction, the seconds each resource is busy, and those the step takes.
    """
    for flow in flows if shares else ():
        rate = min(rate for _, rate in flow.rates)
        total = Sum(0.0)
        for fraction, busy, seconds in shares:
            left = min((seconds - busy.get(r, 0.0)) * r_rate for r, r_rate in flow.rates)
            total = total + fraction.times((left / rate - seconds) / unit_s)
        moving = flow.moved(t, t + 1).times(-flow.n_bytes / rate / unit_s)
        places.rows.at_least(0.0, total + moving, span=(t, t + 1))
