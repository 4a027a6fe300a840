"""How a region of a graph can run as one kernel: whether it may, what it holds in scratch, and how long it computes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tierplan.einsum.lower import lower_graph
from tierplan.einsum.traversal import SharedRank, Walks, walks_of
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, Op
from tierplan.ir.loops import executions
from tierplan.ir.machine import Machine
from tierplan.ir.regions import Growing, Region, Uses, uses_of
from tierplan.sim.fusion_tiling import Tiling

MOST_OPS = 64
"""Operations in one region, unless the user says otherwise. A layer of a model has 10 to 20."""

_MOST_RANKS = 6


@dataclass(frozen=True, slots=True)
class Form:
    """One way to run a region as one kernel.

    Cut into `slices` of a shared rank, all operations of a pass work at once and intermediates live a slice at a
    time; with one slice every intermediate is held whole and operations run one after the other.
    Units: `footprint` is the bytes held in scratch, `compute_s` seconds of arithmetic of one execution.
    """

    slices: int
    n_passes: int
    footprint: int
    compute_s: float


@dataclass(frozen=True, slots=True)
class Fusable:
    """A graph on a machine, with what decides which of its regions may fuse.

    `limit` is the scratch in bytes, `most_ops` the most operations of a region; `work_s` [ops] are the seconds of
    the matrix and the vector unit for one execution, `trips` [ops] how often an operation runs. Two runs of operations
    of equal `likeness` [ops], as the layers of a model are, have the same forms; those found are `known`. Operations
    that are `alone` fuse with no other.
    """

    graph: Graph
    uses: Uses
    walks: Walks
    limit: int
    most_ops: int
    work_s: tuple[tuple[float, float], ...]
    trips: tuple[int, ...]
    likeness: tuple[int, ...]
    known: dict[tuple[int, ...], tuple[Form, ...]]
    alone: frozenset[int] = frozenset()


def fusable(
    graph: Graph,
    machine: Machine,
    limit: int,
    *,
    most_ops: int = MOST_OPS,
    seconds: Callable[[Op], float | None] | None = None,
    alone: frozenset[int] = frozenset(),
) -> Fusable:
    """What there is to know of a graph before its regions are looked at; `seconds` as in `sim.lowering.lower`.

    Raises: InvalidInputError: a negative limit, or regions of no operation.
    """
    if limit < 0:
        raise InvalidInputError(f"scratch of {limit} bytes for fused regions; need 0 or more")
    if most_ops < 1:
        raise InvalidInputError(f"regions of at most {most_ops} operations; need 1 or more")

    def work(op: Op) -> tuple[float, float]:
        told = seconds(op) if seconds is not None else None
        if told is not None:
            return told, 0.0
        return op.matrix_ops / machine.matrix.rate(op.dtype), op.vector_ops / machine.vector.rate(op.dtype)

    uses = uses_of(graph)
    walks = walks_of(lower_graph(graph), {t.name: t for t in graph.tensors})
    work_s = tuple(work(op) for op in graph.ops)
    likeness = _likeness(graph, uses, walks, work_s, most_ops)
    return Fusable(graph, uses, walks, limit, most_ops, work_s, tuple(executions(graph)), likeness, {}, alone)


def _likeness(
    graph: Graph, uses: Uses, walks: Walks, work_s: Sequence[tuple[float, float]], far: int
) -> tuple[int, ...]:
    """A number per operation, the same for two that do the same with tensors used equally far before and after.

    Uses that are `far` away or farther are in no region with the operation.
    """
    after: list[dict[str, int]] = [{} for _ in graph.ops]
    before: list[dict[str, int]] = [{} for _ in graph.ops]
    forth = range(len(graph.ops))
    for gaps, order in ((before, forth), (after, reversed(forth))):
        seen: dict[str, int] = {}
        for number in order:
            for group in uses.by_op[number]:
                gaps[number][group] = min(abs(number - seen.get(group, -far if order is forth else number + far)), far)
                seen[group] = number
    numbers: dict[object, int] = {}
    found: list[int] = []
    for number, op in enumerate(graph.ops):
        groups = tuple(
            (
                use, uses.size[group], before[number][group], after[number][group],
                group in uses.kept, group in uses.existing, uses.first_write.get(group) == number,
            )
            for group, use in uses.by_op[number].items()
        )  # fmt: skip
        roles = tuple(list(uses.by_op[number]).index(uses.groups[a.tensor]) for a in (*op.reads, *op.writes))
        key = (id(walks.ops[number].cascade), op.dtype, work_s[number], uses.loops[number], groups, roles)
        found.append(numbers.setdefault(key, len(numbers)))
    return tuple(found)


class Candidate:
    """A region that grows by one operation at a time, and the ways in which it can run."""

    def __init__(self, program: Fusable, start: int) -> None:
        self.program = program
        self.growing = Growing(program.uses, start)
        self.alone_s = 0.0
        self._tiled = Growing(program.uses, start)  # as far as the region has been cut along ranks
        self._tilings = [Tiling(program.walks, self._tiled, rank) for rank in _ranks_at(program.walks, start)]

    def add(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]] | None:
        """Take in the next operation; by how much reads and writes change. None if there is none to take in."""
        program, number = self.program, self.growing.stop
        start = self.growing.start
        if number == len(program.graph.ops) or number - start == program.most_ops:
            return None
        if program.uses.loops[number] != program.uses.loops[start]:
            return None
        if number != start and program.alone & {number, start}:
            return None
        self.alone_s += max(program.work_s[number])
        return self.growing.add()

    def forms(self) -> tuple[Form, ...]:
        """The ways to run the region as one kernel of which none is beaten in both arithmetic time and footprint.

        Empty if it needs more bytes than there is scratch for, in one pass or in several. One operation alone is
        always a kernel.
        """
        growing = self.growing
        if growing.stop - growing.start == 1:
            return (Form(1, 1, 0, self.alone_s),)
        like = self.program.likeness[growing.start : growing.stop]
        if like not in self.program.known:
            self.program.known[like] = self._unbeaten()
        return self.program.known[like]

    def _unbeaten(self) -> tuple[Form, ...]:
        growing = self.growing
        while self._tiled.stop < growing.stop:
            number = self._tiled.stop
            self._tiled.add()
            for tiling in self._tilings:
                tiling.add(number, *self.program.work_s[number])
        found = [
            Form(tiling.rank.extent, tiling.n_passes, tiling.held, tiling.compute_s)
            for tiling in self._tilings
            if tiling.legal
        ]
        found.append(Form(1, growing.stop - growing.start, growing.footprint, self.alone_s))
        kept: list[Form] = []
        for form in sorted(found, key=lambda form: (form.compute_s, form.footprint)):
            if form.footprint <= self.program.limit and all(form.footprint < other.footprint for other in kept):
                kept.append(form)
        return tuple(kept)


def forms_of(program: Fusable, region: Region) -> tuple[Form, ...]:
    """The ways to run a region as one kernel; empty if it may not be one."""
    candidate = Candidate(program, region.start)
    while candidate.growing.stop < region.stop:
        if candidate.add() is None:
            return ()
    return candidate.forms()


def _ranks_at(walks: Walks, start: int) -> Sequence[SharedRank]:
    """Ranks along which a region that begins at `start` may be cut: those of its first two operations."""
    near = {start, start + 1}
    return [rank for rank in walks.shared if near & rank.variables.keys()][:_MOST_RANKS]
