"""Offsets in one tier for residencies whose steps are fixed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """Residencies of one tensor in one tier that share an offset: `pieces` are their half-open runs of steps."""

    tensor: int
    tier: int
    size: int
    pieces: tuple[tuple[int, int], ...]

    def meets(self, other: "Block") -> bool:
        """Whether the two lie there at one step."""
        return any(a < d and c < b for a, b in self.pieces for c, d in other.pieces)

    @property
    def n_steps(self) -> int:
        """Steps covered."""
        return sum(stop - start for start, stop in self.pieces)


@dataclass(frozen=True, slots=True)
class Packing:
    """Offsets of `blocks`; None if there are none, which is certain only if it `proved` that."""

    blocks: tuple[Block, ...]
    offsets: tuple[int, ...] | None
    proved: bool = False


def pack(blocks: Sequence[Block], room: int, alignment: int, seconds: float) -> Packing:
    """Offsets of all blocks within `room` bytes: first fit in several orders, then CP-SAT for at most `seconds`."""
    for order in _orders(blocks):
        offsets = _first_fit(blocks, order, room, alignment)
        if offsets is not None:
            return Packing(tuple(blocks), offsets)
    if room < 0 or any(block.size > room for block in blocks):
        return Packing(tuple(blocks), None, proved=True)
    return _search(blocks, room, alignment, seconds)


def _orders(blocks: Sequence[Block]) -> Iterator[list[int]]:
    every = range(len(blocks))
    yield sorted(every, key=lambda i: (-blocks[i].n_steps, -blocks[i].size, i))
    yield sorted(every, key=lambda i: (-blocks[i].size, -blocks[i].n_steps, i))
    yield sorted(every, key=lambda i: (-blocks[i].size * blocks[i].n_steps, i))
    yield sorted(every, key=lambda i: (blocks[i].pieces, -blocks[i].size, i))


def _first_fit(blocks: Sequence[Block], order: Sequence[int], room: int, alignment: int) -> tuple[int, ...] | None:
    """Each block at the lowest offset that those placed before leave free; None if one does not fit."""
    offsets = dict[int, int]()
    for i in order:
        block, offset = blocks[i], 0
        for low, high in sorted(
            (offsets[j], offsets[j] + blocks[j].size) for j in offsets if blocks[j].size and block.meets(blocks[j])
        ):
            if block.size == 0 or offset + block.size <= low:
                break
            offset = max(offset, -(-high // alignment) * alignment)
        if offset + block.size > room:
            return None
        offsets[i] = offset
    return tuple(offsets[i] for i in range(len(blocks)))


def _search(blocks: Sequence[Block], room: int, alignment: int, seconds: float) -> Packing:
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    places = [model.new_int_var(0, (room - block.size) // alignment, "") for block in blocks]
    steps: list[cp_model.IntervalVar] = []
    spans: list[cp_model.IntervalVar] = []
    for block, place in zip(blocks, places, strict=True):
        for start, stop in block.pieces if block.size else ():
            steps.append(model.new_fixed_size_interval_var(start, stop - start, ""))
            spans.append(model.new_interval_var(place * alignment, block.size, place * alignment + block.size, ""))
    model.add_no_overlap_2d(steps, spans)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(0.01, seconds)
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Packing(tuple(blocks), tuple(solver.value(place) * alignment for place in places))
    return Packing(tuple(blocks), None, proved=status == cp_model.INFEASIBLE)


def conflict(packing: Packing, room: int, alignment: int, seconds: float) -> tuple[Block, ...]:
    """Blocks of a proved failure, without those whose absence is quickly seen to leave it a failure."""
    blocks = list(packing.blocks)
    for block in packing.blocks:
        fewer = [b for b in blocks if b is not block]
        trial = pack(fewer, room, alignment, seconds / len(packing.blocks))
        if trial.offsets is None and trial.proved:
            blocks = fewer
    return tuple(blocks)
