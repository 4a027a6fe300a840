"""Pairs of tensors that do not fit in a tier together: rows of the relaxation that are added when they are broken."""

from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import Floats, Ints
from tierplan.planner.flow_places import Places
from tierplan.planner.flow_room import Lead, padded_sizes, spans_of_tier
from tierplan.planner.flow_rows import Matrix, Rows, matrix
from tierplan.planner.flow_stock import room_bytes

_VIOLATED = 1e-4
_MOST_ROWS = 300  # added for a tier and round


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """What may lie in a tier: column `column[i]` says that tensor `tensor[i]` does, over steps `[start[i], stop[i])`.

    `large`: tensors of which no two fit, by bytes the largest first.
    """

    column: Ints
    tensor: Ints
    start: Ints
    stop: Ints
    size: Ints
    limit: int
    large: tuple[int, ...]


def crowds_of(places: Places, lead: Lead) -> list[Crowd]:
    """The tiers whose room can be short and in which a tensor may lie that takes more than half of it."""
    found: list[Crowd] = []
    n_tensors = places.problem.n_tensors
    for k in np.flatnonzero(places.pressed).tolist():
        size, limit = padded_sizes(places.problem, k), room_bytes(places.problem, k)
        spans = spans_of_tier(places, k, np.arange(1, n_tensors + 1), lead)
        table = np.array(spans.found, dtype=np.int64).reshape(-1, 4)
        tensor = table[:, 1] - 1
        there = np.unique(tensor)
        large = there[(2 * size[there] > limit) & (size[there] <= limit)]
        if len(large):
            order = large[np.argsort(-size[large], kind="stable")].tolist()
            found.append(Crowd(table[:, 0], tensor, table[:, 2], table[:, 3], size[tensor], limit, tuple(order)))
    return found


def together(crowds: list[Crowd], x: Floats, n_columns: int) -> Matrix:
    """Rows that the fractions `x` break: a large tensor and another one that is too large to lie beside it."""
    rows = Rows()
    for crowd in crowds:
        found: list[tuple[float, int, int, int]] = []
        for one in crowd.large:
            found += _beside(crowd, one, x)
        found.sort(reverse=True)
        for _, one, other, t in found[:_MOST_ROWS]:
            mine = (crowd.tensor == one) & (crowd.start <= t) & (t < crowd.stop)
            rows.extend(-1.0, [(c, -1.0) for c in (*crowd.column[mine].tolist(), int(crowd.column[other]))])
    return matrix(rows, n_columns)


def _beside(crowd: Crowd, one: int, x: Floats) -> list[tuple[float, int, int, int]]:
    """What is there at the same step as a large tensor: by how much it is too much, the tensor, the entry, the step."""
    mine = crowd.tensor == one
    change = np.zeros(int(crowd.stop.max()) + 1)
    np.add.at(change, crowd.start[mine], x[crowd.column[mine]])
    np.add.at(change, crowd.stop[mine], -x[crowd.column[mine]])
    share = np.cumsum(change)
    size = int(crowd.size[np.argmax(mine)])
    others = np.flatnonzero(~mine & (crowd.size + size > crowd.limit) & (x[crowd.column] > _VIOLATED))
    found: list[tuple[float, int, int, int]] = []
    for i in others.tolist():
        start = int(crowd.start[i])
        t = start + int(np.argmax(share[start : int(crowd.stop[i])]))
        over = float(share[t] + x[crowd.column[i]]) - 1.0
        if over > _VIOLATED:
            found.append((over, one, i, t))
    return found
