"""Room in the relaxation: what lies in a tier, or in the fastest tiers together, fits there at each step."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from tierplan.ir.problem import Floats, Ints, Problem
from tierplan.planner.flow_places import Place, Places
from tierplan.planner.flow_rows import Matrix, Rows, matrix
from tierplan.planner.flow_stock import room_bytes

_FIRST_ROWS = 12  # rows of each room to begin with
_MOST_ROWS = 60  # rows added per room and round
_VIOLATED = 1e-6

Lead: TypeAlias = Callable[[Place, int], int]
"""Steps for which a copy takes room in a tier before the visit that it is for; 1 is true of every copy."""


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """Entry i: column `column[i]` takes the share `share[i]` of the room over steps `[start[i], stop[i])`.

    `reserved[i]` is the share that column `reserving[i]` takes at every step. `steps`: those at which the room may be
    short, without those whose occupants are all there at a step beside them as well. `stock[i, t]`: a column of what
    else lies there at step t, ahead of visits or until it is copied away (`flow_stock`); no row i if that is not known.
    """

    column: Ints
    start: Ints
    stop: Ints
    share: Floats
    reserving: Ints
    reserved: Floats
    steps: Ints
    stock: Ints

    def row(self, rows: Rows, t: int) -> None:
        """Add the row of step t."""
        there = (self.start <= t) & (t < self.stop)
        terms = zip(self.column[there].tolist(), (-self.share[there]).tolist(), strict=True)
        stock = [(int(columns[t]), -1.0) for columns in self.stock]
        rows.extend(-1.0, [*terms, *stock, *zip(self.reserving.tolist(), (-self.reserved).tolist(), strict=True)])

    def filled(self, x: Floats) -> Floats:
        """Shape [S + 1]: the share of the room that is taken at each step."""
        n = int(self.steps[-1]) + 1 if len(self.steps) else 0
        change = np.zeros(max(n, int(self.stop.max(initial=0))) + 1)
        np.add.at(change, self.start, self.share * x[self.column])
        np.add.at(change, self.stop, -self.share * x[self.column])
        change = np.cumsum(change) + float(self.reserved @ x[self.reserving])
        change[: self.stock.shape[1]] += x[self.stock].sum(axis=0)
        return change


def largest_load(problem: Problem, alignment: int) -> int:
    """Bytes of all tensors in use at the worst step, each rounded up to the alignment."""
    start, stop = problem.lifespans()
    padded = -(-problem.size // alignment) * alignment
    change = np.zeros(problem.n_steps + 1, dtype=np.int64)
    np.add.at(change, start, padded)
    np.add.at(change, stop, -padded)
    return int(np.cumsum(change).max())


def pressed_tiers(problem: Problem) -> tuple[bool, ...]:
    """For each tier, whether all that is in use at some step may not fit there."""
    tiers, most = problem.tiers, _most_reserved(problem)
    loads = [largest_load(problem, int(alignment)) for alignment in tiers.alignment]
    return tuple(loads[k] + most[k] > int(tiers.usable[k]) for k in range(problem.n_tiers))


def short_groups(problem: Problem) -> tuple[int, ...]:
    """Each m of two or more, but not all, such that what is in use at some step may exceed the m fastest tiers."""
    load, room = largest_load(problem, 1), np.cumsum(problem.tiers.usable)
    return tuple(m for m in range(2, problem.n_tiers) if load > int(room[m - 1]))


def rooms_of(places: Places, taken: list[list[int]], stocks: dict[int, list[Ints]], lead: Lead) -> list[Room]:
    """The rooms that can be short: single tiers, then the fastest tiers together."""
    pressed = [k for k in range(places.problem.n_tiers) if places.pressed[k]]
    return [_of_tier(places, taken, k, stocks.get(k), lead) for k in pressed] + [
        _of_group(places, m) for m in places.short
    ]


def first_rows(rooms: list[Room], n_columns: int) -> Matrix:
    """A few rows of each room, evenly chosen."""
    rows = Rows()
    for room in rooms:
        chosen = np.linspace(0, len(room.steps) - 1, _FIRST_ROWS).astype(np.int64) if len(room.steps) else room.steps
        for t in room.steps[np.unique(chosen)].tolist():
            room.row(rows, t)
    return matrix(rows, n_columns)


def overfull(rooms: list[Room], x: Floats, n_columns: int) -> Matrix:
    """Rows that the fractions `x` break: the worst steps, no two of them close to each other."""
    rows = Rows()
    for room in rooms:
        filled = room.filled(x)[room.steps] if len(room.steps) else np.zeros(0)
        over = np.flatnonzero(filled > 1.0 + _VIOLATED)
        blocks = (
            np.array_split(over, _MOST_ROWS) if len(over) > _MOST_ROWS else [over[i : i + 1] for i in range(len(over))]
        )
        for block in blocks:
            room.row(rows, int(room.steps[block[np.argmax(filled[block])]]))
    return matrix(rows, n_columns)


def _most_reserved(problem: Problem) -> list[int]:
    """For each tier, the most bytes that choices may reserve."""
    return [sum(max(a.reserved[k] for a in c.alternatives) for c in problem.choices) for k in range(problem.n_tiers)]


def _of_tier(places: Places, taken: list[list[int]], k: int, stock: list[Ints] | None, lead: Lead) -> Room:
    """One tier; offsets waste what sizes lack to the alignment."""
    problem = places.problem
    alignment = int(problem.tiers.alignment[k])
    padded = -(-problem.size // alignment) * alignment
    most = _most_reserved(problem)[k]
    limit = room_bytes(places, k)
    spans = _Spans(problem.n_steps)
    for place in itertools.chain.from_iterable(places.of_tensor):
        x, step, since = place.visit.tensor, place.visit.step, place.visit.since
        if k in place.keep:
            spans.add(place.keep[k], x, since + 1, step + 1)
        if k in place.fresh:
            spans.add(place.fresh[k], x, step - (lead(place, k) if stock is None else 0), step + 1)
        if place.visit.before is None and k in place.lies:
            for column, _ in place.lies[k].terms:
                spans.add(column, x, step, step + 1)
    reserved = [
        (column, alternative.reserved[k] / limit)
        for choice, group in zip(problem.choices, taken, strict=True)
        for alternative, column in zip(choice.alternatives, group, strict=True)
    ]
    room = spans.room(padded, limit, limit - most, reserved)
    return room if stock is None else replace(room, steps=np.arange(problem.n_steps), stock=np.stack(stock))


def _of_group(places: Places, m: int) -> Room:
    """The m fastest tiers together, wherever a tensor moves among them."""
    problem = places.problem
    limit = int(problem.tiers.usable[:m].sum())
    spans = _Spans(problem.n_steps)
    for place in itertools.chain.from_iterable(places.of_tensor):
        x, step = place.visit.tensor, place.visit.step
        if m in place.within:
            spans.add(place.within[m], x, place.visit.since + 1, step)
        for column, _ in (term for k, lies in place.lies.items() if k < m for term in lies.terms):
            spans.add(column, x, step, step + 1)
    return spans.room(problem.size, limit, limit // m, [])


class _Spans:
    """Runs of steps over which columns take the room of a tensor; those that begin in the turn before are cut."""

    def __init__(self, n_steps: int) -> None:
        self.n = n_steps
        self.found: list[tuple[int, int, int, int]] = []

    def add(self, column: int, tensor: int, start: int, stop: int) -> None:
        """Add the run `[start, stop)`; never more than one turn."""
        stop = min(stop, self.n)
        start = max(start, stop - self.n)
        if start < min(stop, 0):
            self.found.append((column, tensor, start + self.n, min(stop, 0) + self.n))
        if stop > max(start, 0):
            self.found.append((column, tensor, max(start, 0), stop))

    def room(self, size: Ints, limit: int, harmless: int, reserved: list[tuple[int, float]]) -> Room:
        """The room of `limit` bytes; steps at which all tensors take at most `harmless` bytes are left out."""
        table = np.array(self.found, dtype=np.int64).reshape(-1, 4)
        column, tensor, start, stop = (table[:, i].copy() for i in range(4))
        steps = _tight_steps(self.n, start, stop)
        return Room(
            column, start, stop, size[tensor] / limit,
            np.array([c for c, _ in reserved], dtype=np.int64), np.array([s for _, s in reserved], dtype=np.float64),
            steps[_loads(self.n, size, tensor, start, stop)[steps] > harmless],
            np.zeros((0, 0), dtype=np.int64),
        )  # fmt: skip


def _loads(n_steps: int, size: Ints, tensor: Ints, start: Ints, stop: Ints) -> Ints:
    """Shape [S]: at least the bytes at each step if every tensor that can be there is; runs that meet count twice."""
    change = np.zeros(n_steps + 1, dtype=np.int64)
    np.add.at(change, start, size[tensor])
    np.add.at(change, stop, -size[tensor])
    return np.cumsum(change)[:-1]


def _tight_steps(n_steps: int, start: Ints, stop: Ints) -> Ints:
    """Steps whose occupants are not all there at the step before or after as well."""
    begins = np.zeros(n_steps + 1, dtype=np.bool_)
    ends = np.zeros(n_steps + 1, dtype=np.bool_)
    begins[start] = True
    ends[stop] = True
    ends[n_steps] = True
    steps = np.arange(n_steps)
    last_begin = np.maximum.accumulate(np.where(begins[:-1], steps, -1))
    last_end = np.maximum.accumulate(np.where(ends[:-1], steps, -1))
    return steps[ends[1:] & ((last_begin >= last_end) | (last_end <= 0))]
