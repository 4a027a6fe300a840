"""Room in the relaxation: what lies in a tier, or in the fastest tiers together, fits there at each step."""

import itertools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tierplan.ir.problem import Ints, Problem
from tierplan.planner.flow_places import Place, Places
from tierplan.planner.flow_rows import NOTHING, Sum
from tierplan.planner.flow_stock import room_bytes

_MOST_IN_ROOM = 12  # of a tensor that counts as large
_MUCH = 0.02  # of the room
_MOST_UNITS = 4

Lead: TypeAlias = Callable[[Place, int], int]
"""Steps for which a copy takes room in a tier before the visit that it is for; 1 is true of every copy."""


def largest_load(problem: Problem, alignment: int) -> int:
    """Bytes of all tensors in use at the worst step, each rounded up to the alignment."""
    start, stop = problem.lifespans()
    padded = -(-problem.size // alignment) * alignment
    change = np.zeros(problem.n_steps + 1, dtype=np.int64)
    np.add.at(change, start, padded)
    np.add.at(change, stop, -padded)
    return int(np.cumsum(change).max())


def padded_sizes(problem: Problem, tier: int) -> Ints:
    """Shape [N]: bytes, each rounded up to the alignment of a tier."""
    alignment = int(problem.tiers.alignment[tier])
    return -(-problem.size // alignment) * alignment


def pressed_tiers(problem: Problem) -> tuple[bool, ...]:
    """For each tier, whether all that is in use at some step may not fit there."""
    tiers, most = problem.tiers, _most_reserved(problem)
    loads = [largest_load(problem, int(alignment)) for alignment in tiers.alignment]
    return tuple(loads[k] + most[k] > int(tiers.usable[k]) for k in range(problem.n_tiers))


def short_groups(problem: Problem) -> tuple[int, ...]:
    """Each m of two or more, but not all, such that what is in use at some step may exceed the m fastest tiers."""
    load, room = largest_load(problem, 1), np.cumsum(problem.tiers.usable)
    return tuple(m for m in range(2, problem.n_tiers) if load > int(room[m - 1]))


def add_rooms(places: Places, taken: list[list[int]], stocks: dict[tuple[int, ...], list[Ints]], lead: Lead) -> None:
    """Add the rows of the rooms that can be short: single tiers, and the fastest tiers together.

    `stocks[tiers]`: by step, columns of what else lies in some tiers, ahead of visits or until it is copied away.

    Source: docs/bounds.md, "Room".
    """
    for k in range(places.problem.n_tiers):
        if places.pressed[k]:
            _add_tier(places, taken, k, stocks.get((k,)), lead)
    for m in places.short:
        _add_group(places, m, stocks.get(tuple(range(m))))


def _most_reserved(problem: Problem) -> list[int]:
    """For each tier, the most bytes that choices may reserve."""
    return [sum(max(a.reserved[k] for a in c.alternatives) for c in problem.choices) for k in range(problem.n_tiers)]


def _add_tier(places: Places, taken: list[list[int]], k: int, stock: list[Ints] | None, lead: Lead) -> None:
    """One tier; offsets waste what sizes lack to the alignment."""
    problem, padded = places.problem, padded_sizes(places.problem, k)
    limit = room_bytes(places.problem, k)
    for unit in (1, *_units(padded, limit)):
        whole = stock if unit == 1 else None
        spans = spans_of_tier(places, k, padded // unit, lead if whole is None else None)
        for choice, group in zip(problem.choices, taken, strict=True):
            for alternative, column in zip(choice.alternatives, group, strict=True):
                spans.add(column, alternative.reserved[k] // unit, 0, problem.n_steps)
        spans.add_rows(places, limit // unit, whole)


def _units(padded: Ints, limit: int) -> list[int]:
    """Sizes of large tensors of which a whole number leaves much of the room empty, those of most bytes first."""
    sizes, counts = np.unique(padded[(padded * _MOST_IN_ROOM >= limit) & (padded <= limit)], return_counts=True)
    order = np.argsort(-sizes * counts, kind="stable")
    return [unit for unit in sizes[order].tolist() if limit % unit >= limit * _MUCH][:_MOST_UNITS]


def spans_of_tier(places: Places, k: int, amount: Ints, lead: Lead | None) -> "Spans":
    """When each tensor takes its amount in a tier; what is fresh only from the visit on if there is no `lead`."""
    spans, amounts = Spans(places.problem.n_steps), list[int](amount.tolist())
    for place in itertools.chain.from_iterable(places.of_tensor):
        mine, step, since = amounts[place.visit.tensor], place.visit.step, place.visit.since
        if k in place.keep:
            spans.add(place.keep[k], mine, since + 1, step + 1)
        if k in place.fresh:
            spans.add(place.fresh[k], mine, step - (lead(place, k) if lead else 0), step + 1)
        if place.visit.before is None and k in place.lies:
            for column, _ in place.lies[k].terms:
                spans.add(column, mine, step, step + 1)
    return spans


def _add_group(places: Places, m: int, stock: list[Ints] | None) -> None:
    """The m fastest tiers together, wherever a tensor moves among them."""
    problem = places.problem
    spans = Spans(problem.n_steps)
    for place in itertools.chain.from_iterable(places.of_tensor):
        n_bytes, step = int(problem.size[place.visit.tensor]), place.visit.step
        if m in place.within:
            spans.add(place.within[m], n_bytes, place.visit.since + 1, step)
        for column, _ in (term for k, lies in place.lies.items() if k < m for term in lies.terms):
            spans.add(column, n_bytes, step, step + 1)
    spans.add_rows(places, int(problem.tiers.usable[:m].sum()), stock)


class Spans:
    """Runs of steps over which columns take bytes of a room; those that begin in the turn before are cut."""

    def __init__(self, n_steps: int) -> None:
        self.n = n_steps
        self.found: list[tuple[int, int, int, int]] = []

    def add(self, column: int, n_bytes: int, start: int, stop: int) -> None:
        """Add the run `[start, stop)`; never more than one turn."""
        if not n_bytes:
            return
        stop = min(stop, self.n)
        start = max(start, stop - self.n)
        if start < min(stop, 0):
            self.found.append((column, n_bytes, start + self.n, min(stop, 0) + self.n))
        if stop > max(start, 0):
            self.found.append((column, n_bytes, max(start, 0), stop))

    def add_rows(self, places: Places, limit: int, stock: list[Ints] | None) -> None:
        """Add a column for the share of the room that is taken at each step at which it may be short.

        It is that of such a step before, with what has begun since, without what has ended. `stock` comes on top.
        """
        table = np.array(self.found, dtype=np.int64).reshape(-1, 4)
        column, n_bytes, start, stop = (table[:, i] for i in range(4))
        if stock is None:
            steps = _tight_steps(self.n, start, stop)
            steps = steps[_loads(self.n, n_bytes, start, stop)[steps] > limit]
        else:
            steps = np.arange(self.n)
        first: list[int] = np.searchsorted(steps, start).tolist()
        last: list[int] = np.searchsorted(steps, stop).tolist()
        change: list[list[tuple[int, float]]] = [[] for _ in range(len(steps) + 1)]
        for c, share, a, b in zip(column.tolist(), (n_bytes / limit).tolist(), first, last, strict=True):
            if a < b:
                change[a].append((c, -share))
                change[b].append((c, share))
        before = NOTHING
        for t, terms in zip(steps.tolist(), change, strict=False):
            filled = places.fraction()
            places.rows.at_least(0.0, filled + before.times(-1.0) + Sum(0.0, tuple(terms)))
            if stock is not None:
                places.rows.at_least(-1.0, Sum(0.0, tuple((int(more[t]), -1.0) for more in stock)) + filled.times(-1.0))
            before = filled


def _loads(n_steps: int, n_bytes: Ints, start: Ints, stop: Ints) -> Ints:
    """Shape [S]: at least the bytes at each step if every tensor that can be there is; runs that meet count twice."""
    change = np.zeros(n_steps + 1, dtype=np.int64)
    np.add.at(change, start, n_bytes)
    np.add.at(change, stop, -n_bytes)
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
