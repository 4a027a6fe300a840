"""Supply in the relaxation: what copies move within a window of time, flows, resources and channels must carry."""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import Floats, Ints
from tierplan.planner.flow_model import Lp
from tierplan.planner.flow_rows import NOTHING, Matrix, Rows, Term, matrix
from tierplan.planner.flow_steps import Flow

_MOST_ENDS = 400  # window ends that are looked at, for each demand
_MOST_ROWS = 60  # rows added per demand and round
_VIOLATED = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What copies need: `amount[i]` times the fraction of move `move[i]`.

    It is a share of a flow's bytes; or, without a flow, units of time: on a resource that steps use too
    (`flow_steps.Streams`), or, without a resource, on the channels of a link.
    """

    flow: Flow | None
    resource: int | None
    move: Ints
    amount: Floats


def demands(lp: Lp) -> list[Demand]:
    """The demand on each flow, or on each tier and link if there are none; and on the channels of each link."""
    moves, links = lp.moves, lp.problem.links
    found: list[Demand] = []
    for flow in lp.flows:
        mine = np.flatnonzero((moves.source == flow.source) & (moves.target == flow.target))
        found.append(Demand(flow, None, mine, moves.size[mine] / flow.n_bytes))
    found += [] if lp.flows else _on_resources(lp)
    for j in range(len(links.names)):
        mine = np.flatnonzero(moves.link == j)
        found.append(Demand(None, None, mine, moves.alone_s[mine] / (int(links.channels[j]) * lp.unit_s)))
    return [demand for demand in found if len(demand.move)]


def _on_resources(lp: Lp) -> list[Demand]:
    problem, moves = lp.problem, lp.moves
    found: list[Demand] = []
    for k in range(problem.n_tiers):
        read = moves.source == k
        tiers = problem.tiers
        rate: Floats = np.where(read, tiers.read_bandwidth[k], tiers.write_bandwidth[k])
        mine = np.flatnonzero(read | (moves.target == k))
        found.append(Demand(None, k, mine, moves.size[mine] / rate[mine] / lp.unit_s))
    for j in range(len(problem.links.names)):
        mine = np.flatnonzero(moves.link == j)
        seconds = moves.size[mine] / float(problem.links.bandwidth[j])
        found.append(Demand(None, problem.n_tiers + j, mine, seconds / lp.unit_s))
    return found


def whole_run(lp: Lp, wanted: list[Demand]) -> Matrix:
    """For each demand the row over the whole run, or over one turn."""
    rows = Rows()
    for demand in wanted:
        _add(lp, rows, demand, 0, lp.problem.n_steps)
    return matrix(rows, lp.n_columns)


def violated(lp: Lp, wanted: list[Demand], x: Floats, begin: Floats) -> Matrix:
    """Rows that the fractions `x` and the beginnings of steps `begin` (in units of time) break."""
    rows = Rows()
    for demand in wanted:
        supply = begin - _streamed(lp, demand, x)
        if demand.flow is not None:
            supply = np.concatenate(([0.0], x[demand.flow.column[1:]]))
        for since, until in _worst_windows(lp, demand, x, supply):
            _add(lp, rows, demand, since, until)
    _add_slow_copies(lp, rows, x, begin)
    return matrix(rows, lp.n_columns)


def _add(lp: Lp, rows: Rows, demand: Demand, since: int, until: int) -> None:
    """What must be moved within the window `[since, until)` is moved within it."""
    moves, n = lp.moves, lp.problem.n_steps
    opens, done = moves.opens[demand.move], moves.done[demand.move]
    inside = (opens >= since) & (done <= until)
    if since < 0:
        inside |= (opens - n >= since) & (done - n <= until)
    if since == 0 and until == n and lp.problem.cyclic:
        inside[:] = True  # what one turn issues, one turn moves
    columns, amounts = moves.column[demand.move[inside]].tolist(), (-demand.amount[inside]).tolist()
    supply = NOTHING if demand.flow is None else demand.flow.moved(since, until)
    span = (since, until) if demand.flow is None else (0, 0)
    fixed, streamed = _streams_within(lp, demand, since, until)
    rows.extend(fixed, [*zip(columns, amounts, strict=True), *supply.terms, *streamed], span=span)


def _streams_within(lp: Lp, demand: Demand, since: int, until: int) -> tuple[float, list[Term]]:
    """Units of time that steps keep the resource of a demand busy, and the terms that lessen what is left."""
    if demand.resource is None:
        return 0.0, []
    n, streams, fixed = lp.problem.n_steps, lp.streams, 0.0
    terms: list[Term] = []
    for first, last in [(since, until)] if since >= 0 else [(since + n, n), (0, until)]:
        fixed += float(streams.fixed[demand.resource, first:last].sum()) / lp.unit_s
        part = slice(int(streams.at[first]), int(streams.at[last]))
        mine = streams.resource[part] == demand.resource
        busy = -streams.value[part][mine] / lp.unit_s
        terms += zip(streams.column[part][mine].tolist(), busy.tolist(), strict=True)
    return fixed, terms


def _streamed(lp: Lp, demand: Demand, x: Floats) -> Floats:
    """Shape [S + 1]: units of time for which the steps before each have kept the resource of a demand busy."""
    n, streams = lp.problem.n_steps, lp.streams
    if demand.resource is None:
        return np.zeros(n + 1)
    mine = streams.resource == demand.resource
    busy = np.bincount(streams.step[mine], streams.value[mine] * x[streams.column[mine]], minlength=n)
    return np.concatenate(([0.0], np.cumsum(streams.fixed[demand.resource] + busy))) / lp.unit_s


def _worst_windows(lp: Lp, demand: Demand, x: Floats, supply: Floats) -> list[tuple[int, int]]:
    """The windows whose demand exceeds their supply most, at most one for each beginning.

    `supply[t]`: what is supplied before step t; t = S for a whole run.
    """
    moves, n = lp.moves, lp.problem.n_steps
    load = demand.amount * x[moves.column[demand.move]]
    busy = load > _VIOLATED / 10
    opens, done, load = moves.opens[demand.move][busy], moves.done[demand.move][busy], load[busy]
    if lp.problem.cyclic:
        ahead = opens >= 0
        opens = np.concatenate((opens, opens[ahead] - n))
        done = np.concatenate((done, done[ahead] - n))
        load = np.concatenate((load, load[ahead]))
    since, until = _thinned(np.unique(opens)), _thinned(np.unique(done[done > 0]))
    if not len(since) or not len(until):
        return []

    def before(steps: Ints) -> Floats:
        return np.where(steps >= 0, supply[np.maximum(steps, 0)], supply[np.minimum(steps + n, n)] - supply[n])

    total, supplied = np.zeros(len(until)), before(until)
    order, place = np.argsort(-opens, kind="stable"), 0
    column = np.searchsorted(until, done)
    found: list[tuple[float, int, int]] = []
    for a in since[::-1].tolist():
        while place < len(order) and opens[order[place]] >= a:
            i = order[place]
            if column[i] < len(until):
                total[column[i]] += load[i]
            place += 1
        over = np.cumsum(total) - (supplied - before(np.array([a])))
        over[(until <= a) | (until - a > n)] = -np.inf
        best = int(np.argmax(over))
        if over[best] > _VIOLATED:
            found.append((float(over[best]), a, int(until[best])))
    found.sort(reverse=True)
    return [(a, b) for _, a, b in found[:_MOST_ROWS]]


def _thinned(steps: Ints) -> Ints:
    """At most so many of the steps, evenly chosen, the first and the last among them."""
    if len(steps) <= _MOST_ENDS:
        return steps
    return steps[np.unique(np.linspace(0, len(steps) - 1, _MOST_ENDS).astype(np.int64))]


def _add_slow_copies(lp: Lp, rows: Rows, x: Floats, begin: Floats) -> None:
    """A copy alone takes its latency and its bytes over the slowest of what it passes."""
    moves, n = lp.moves, lp.problem.n_steps
    opens = moves.opens
    since = np.where(opens >= 0, begin[np.maximum(opens, 0)], begin[np.minimum(opens + n, n)] - begin[n])
    over = x[moves.column] * moves.alone_s / lp.unit_s - (begin[moves.done] - since)
    worst = np.argsort(-over, kind="stable")[:_MOST_ROWS]
    for i in worst[over[worst] > _VIOLATED].tolist():
        term = (int(moves.column[i]), -float(moves.alone_s[i]) / lp.unit_s)
        rows.extend(0.0, [term], span=(int(opens[i]), int(moves.done[i])))
