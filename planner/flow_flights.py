"""Copies that wait until a tensor that does not fit beside them has left: rows that are added when they are broken."""

from dataclasses import dataclass, replace

import numpy as np

from tierplan.ir.problem import Floats, Ints
from tierplan.planner.flow_model import Lp
from tierplan.planner.flow_room import padded_sizes, spans_of_tier
from tierplan.planner.flow_rows import Matrix, Rows, matrix
from tierplan.planner.flow_stock import room_bytes

_VIOLATED = 1e-4
_MOST_ROWS = 300  # added in one round
_LEAST_SHARE = 1e-4  # of the whole run, that a copy must take alone


@dataclass(frozen=True, slots=True, eq=False)
class Flights:
    """What lies and what arrives in one tier, whose room is `limit` bytes.

    Column `lies[i]` says that `tensor[i]`, of `size[i]` bytes, takes room over steps `[start[i], stop[i])`. Column
    `fresh[j]` says that a copy of tensor `of[j]` was delivered for the visit at step `due[j]`: issued at step
    `opens[j]` at the earliest, and under way for at least `alone[j]` units of time.
    """

    limit: int
    lies: Ints
    tensor: Ints
    size: Ints
    start: Ints
    stop: Ints
    fresh: Ints
    of: Ints
    of_size: Ints
    due: Ints
    opens: Ints
    alone: Floats


def flights_of(lp: Lp) -> list[Flights]:
    """The tiers whose room can be short and in which copies may have to wait for room."""
    found: list[Flights] = []
    places, problem, moves = lp.places, lp.problem, lp.moves
    quickest: dict[tuple[int, int], float] = {}
    for x, k, alone_s in zip(moves.tensor.tolist(), moves.target.tolist(), moves.alone_s.tolist(), strict=True):
        quickest[x, k] = min(quickest.get((x, k), np.inf), alone_s / lp.unit_s)
    for k in np.flatnonzero(places.pressed).tolist():
        size, limit = padded_sizes(problem, k), room_bytes(problem, k)
        arrivals = [
            (place.fresh[k], place.visit.tensor, place.visit.step, place.visit.opens)
            for of_tensor in places.of_tensor
            for place in of_tensor
            if k in place.fresh and quickest[place.visit.tensor, k] > _LEAST_SHARE * problem.n_steps
        ]
        if not arrivals:
            continue
        fresh = np.array(arrivals, dtype=np.int64)
        lies = np.array(spans_of_tier(places, k, np.arange(1, problem.n_tensors + 1), None).found, dtype=np.int64)
        lies = lies.reshape(-1, 4)
        lies = lies[size[lies[:, 1] - 1] + int(size[fresh[:, 1]].max()) > limit]
        if not len(lies):
            continue
        of, tensor = fresh[:, 1], lies[:, 1] - 1
        alone = np.array([quickest[x, k] for x in of.tolist()])
        found.append(
            Flights(
                limit, lies[:, 0], tensor, size[tensor], lies[:, 2], lies[:, 3],
                fresh[:, 0], of, size[of], fresh[:, 2], fresh[:, 3], alone,
            )
        )  # fmt: skip
    return found


def with_waiting(lp: Lp, begin: Floats) -> Lp:
    """The relaxation with the rows that could be broken, whatever the fractions, where steps begin as in `begin`.

    So cases of it need not look for more of them.
    """
    more = waiting(lp, flights_of(lp), np.ones(lp.n_columns), begin)
    parts = [(getattr(lp.rows, name), getattr(more, name)) for name in Matrix.__dataclass_fields__]
    parts[0] = parts[0][0], parts[0][1] + lp.rows.n_rows
    return replace(lp, rows=Matrix(*(np.concatenate(pair) for pair in parts)))


def waiting(lp: Lp, all_flights: list[Flights], x: Floats, begin: Floats) -> Matrix:
    """Rows that the fractions `x` and the beginnings of steps `begin` break.

    If a tensor takes room in a tier at a step, and another one that does not fit beside it is fresh there at a later
    visit, then the copy is issued after that step: it is all under way between the step after and the visit.
    """
    rows = Rows()
    for flights in all_flights:
        for i, j, since in _broken(lp, flights, x, begin):
            alone = float(flights.alone[j])
            terms = [(int(flights.lies[i]), -alone), (int(flights.fresh[j]), -alone)]
            rows.extend(-alone, terms, span=(since, int(flights.due[j])))
    return matrix(rows, lp.n_columns)


def _broken(lp: Lp, flights: Flights, x: Floats, begin: Floats) -> list[tuple[int, int, int]]:
    """Entry, arrival, and the step after the last at which the entry takes room before the arrival."""
    n = lp.problem.n_steps
    there, coming = np.flatnonzero(x[flights.lies] > _VIOLATED), np.flatnonzero(x[flights.fresh] > _VIOLATED)
    both = x[flights.lies[there]][:, None] + x[flights.fresh[coming]][None, :] - 1.0
    meet = flights.size[there][:, None] + flights.of_size[coming][None, :] > flights.limit
    meet &= flights.tensor[there][:, None] != flights.of[coming][None, :]
    rows, columns = np.nonzero(meet & (both > _VIOLATED))
    i, j, more = there[rows], coming[columns], both[rows, columns]
    due, stop = flights.due[j], flights.stop[i]
    since = np.where(flights.start[i] < due, np.minimum(stop, due), stop - n if lp.problem.cyclic else -n)
    useful = (since > flights.opens[j]) & (since < due)
    i, j, more, since, due = i[useful], j[useful], more[useful], since[useful], due[useful]
    began = np.where(since >= 0, begin[np.maximum(since, 0)], begin[np.minimum(since + n, n)] - begin[n])
    over = flights.alone[j] * more - (begin[due] - began)
    worst = np.argsort(-over, kind="stable")[:_MOST_ROWS]
    worst = worst[over[worst] > _VIOLATED]
    return list(zip(i[worst].tolist(), j[worst].tolist(), since[worst].tolist(), strict=True))
