"""The least memory for temporaries beside room that is already there and sometimes empty.

Rooms are blocks of fixed size (results, arguments that results replace) that temporaries may use while a room's owner
does not. All rooms and the temporaries' own memory stand in one column of addresses, with a wall above each room, so
that the search for offsets finds both; what lies above the last wall is the memory that the temporaries take.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.buffers import NONE, Allocation
from tierplan.ir.outcome import Status
from tierplan.planner.offsets import allocate

Runs = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Something that needs an address: its bytes, and the half-open runs of steps in which it needs them."""

    name: str
    size: int
    runs: Runs


@dataclass(frozen=True, slots=True)
class Packed:
    """Bytes that the temporaries take, a proved lower bound on them, and how many lie in rooms.

    `offset` gives each temporary's address in their own memory; -1 for one that lies in a room.
    """

    height: int
    lower_bound: int
    n_in_rooms: int
    status: Status
    offset: tuple[int, ...]


def pack(
    wanted: Sequence[Wanted],
    rooms: Sequence[Wanted],
    *,
    alignment: int,
    budget: float,
    seed: int = 0,
    max_nodes: int | None = None,
) -> Packed:
    """Offsets for `wanted` that need the least memory beside `rooms`.

    Units: bytes, steps; `budget` in seconds.
    """
    if not wanted:
        return Packed(0, 0, 0, Status.OPTIMAL, ())
    end = max(stop for each in (*wanted, *rooms) for _, stop in each.runs)
    least = min(each.size for each in wanted)
    usable = [room for room in rooms if room.size >= least and _free(room, end)]
    if not usable:
        return _search(wanted, [], end, alignment, budget, seed, max_nodes)
    shared = _search(wanted, usable, end, alignment, 0.7 * budget, seed, max_nodes)
    if shared.status is Status.OPTIMAL:
        return shared
    plain = _search(wanted, [], end, alignment, 0.3 * budget, seed, max_nodes)
    best = min((shared, plain), key=lambda packed: packed.height)
    return Packed(best.height, shared.lower_bound, best.n_in_rooms, Status.FEASIBLE, best.offset)


def _free(room: Wanted, end: int) -> bool:
    """Whether a room is empty at some step."""
    return sum(stop - start for start, stop in room.runs) < end


def _search(
    wanted: Sequence[Wanted],
    rooms: Sequence[Wanted],
    end: int,
    alignment: int,
    budget: float,
    seed: int,
    max_nodes: int | None,
) -> Packed:
    rows: list[tuple[int, int, int, int, int]] = []
    base = 0
    for room in rooms:
        rows += [(start, stop, room.size, base, NONE) for start, stop in room.runs]
        base = -(-(base + room.size) // alignment) * alignment
        rows.append((0, end, alignment, base, NONE))
        base += alignment
    first = len(rows)
    owner: list[int] = []
    for number, each in enumerate(wanted):
        alias = number if len(each.runs) > 1 else NONE
        rows += [(start, stop, each.size, NONE, alias) for start, stop in each.runs]
        owner += [number] * len(each.runs)
    start, stop, size, fixed, alias = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    found = allocate(
        start, stop, size, alignment=alignment, fixed=fixed, alias=alias, budget=budget, seed=seed, max_nodes=max_nodes
    )
    return _told(found, wanted, owner, first, base)


def _told(found: Allocation, wanted: Sequence[Wanted], owner: Sequence[int], first: int, base: int) -> Packed:
    offsets = [0] * len(wanted)
    for number, offset in zip(owner, found.offset[first:], strict=True):
        offsets[number] = int(offset) - base if offset >= base else -1
    tops = [offset + each.size for offset, each in zip(offsets, wanted, strict=True) if offset >= 0]
    height = max(tops, default=0)
    bound = max(0, found.lower_bound - base)
    status = Status.OPTIMAL if height == bound else Status.FEASIBLE
    return Packed(height, bound, offsets.count(-1), status, tuple(offsets))
