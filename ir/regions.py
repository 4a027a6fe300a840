"""Regions of a graph: runs of operations that become one kernel, and what crosses their borders."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tierplan.ir.aliases import alias_groups
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Access, Graph, Op, TensorKind

FUSED = "fused"
"""Kind of an operation that stands for a region."""


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """Operations `[start, stop)` of a graph, run as one kernel."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise InvalidInputError(f"region [{self.start}, {self.stop}): need 0 <= start < stop")

    @property
    def n_ops(self) -> int:
        """How many operations it holds."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Use:
    """What one operation reads and writes of one alias group. `whole`: it writes all of the tensor."""

    read: int = 0
    write: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Uses:
    """Who uses what in a graph, by alias group.

    `by_op` has the uses of each operation; `first_write` and `last_use` are numbers of operations. What is `kept`
    outlives the program, or existed before it, or is handed from turn to turn of a loop: it is never an intermediate.
    `loops` [ops] tells apart operations that lie in different loops.
    """

    by_op: tuple[dict[str, Use], ...]
    first_use: dict[str, int]
    first_write: dict[str, int]
    last_use: dict[str, int]
    kept: frozenset[str]
    existing: frozenset[str]
    size: dict[str, int]
    groups: dict[str, str]
    loops: tuple[tuple[int, ...], ...]

    def is_inside(self, group: str, start: int, stop: int) -> bool:
        """Whether all that ever happens to the group happens in `[start, stop)`."""
        inside = start <= self.first_use[group] and self.last_use[group] < stop
        return inside and group not in self.kept

    def is_made(self, group: str, start: int) -> bool:
        """Whether the group has no content before operation `start`."""
        return group not in self.existing and self.first_write.get(group, -1) >= start


@dataclass(frozen=True, slots=True)
class Border:
    """What a region reads from outside and writes to it, bytes by group, and the most bytes that it holds at once.

    Everything is read once and written once: held are the groups that are made and used inside, and those that
    several of its operations read, from the first of these operations to the last.
    """

    reads: Mapping[str, int]
    writes: Mapping[str, int]
    footprint: int

    @property
    def bytes(self) -> int:
        """Bytes that cross the border."""
        return sum(self.reads.values()) + sum(self.writes.values())


class Growing:
    """The border of a region that grows by one operation at a time.

    A group is read from outside where its content was not made inside, once however many operations read it; it is
    written where something outside may use it. An operation alone keeps its accesses as they are.
    """

    def __init__(self, uses: Uses, start: int) -> None:
        self.uses = uses
        self.start = self.stop = start
        self.reads: dict[str, int] = {}
        self.writes: dict[str, int] = {}
        self.made: set[str] = set()
        self.footprint = 0
        self._first: dict[str, int] = {}
        self._held: dict[str, tuple[int, int]] = {}  # bytes, and the last operation that they are held for
        self._at: list[int] = []
        self._only: list[str] = []  # intermediates of the first operation, as long as it is alone
        self._turns = bool(uses.loops[start])

    def add(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Take in the next operation; by how much reads, and writes, of which groups change."""
        uses, number = self.uses, self.stop
        self.stop += 1
        self._at.append(0)
        read: list[tuple[str, int]] = []
        written: list[tuple[str, int]] = [(group, -self.writes.pop(group)) for group in self._only]
        self._only = []
        for group, use in uses.by_op[number].items():
            if use.read:
                again = group in self.made or group in self.reads
                self._first.setdefault(group, number)
                if group not in self.made:
                    read.append((group, _raise(self.reads, uses.size[group], group, use.read)))
                if again:
                    self._hold(group, number)
            if use.write:
                written.append((group, _raise(self.writes, uses.size[group], group, use.write)))
                if use.whole or (uses.is_made(group, self.start) and not self._turns):
                    self._first.setdefault(group, number)
                    self.made.add(group)
            if group in self.writes and uses.is_inside(group, self.start, self.stop):
                if number == self.start:
                    self._only.append(group)
                else:
                    written.append((group, -self.writes.pop(group)))
        return read, written

    def _hold(self, group: str, last: int) -> None:
        n_bytes = max(self.uses.size[group] if group in self.made else 0, self.reads.get(group, 0))
        before, until = self._held.get(group, (0, self._first[group] - 1))
        self._held[group] = n_bytes, last
        for at in range(self._first[group] - self.start, last + 1 - self.start):
            self._at[at] += n_bytes - before if at + self.start <= until else n_bytes
            self.footprint = max(self.footprint, self._at[at])


def _raise(total: dict[str, int], size: int, group: str, more: int) -> int:
    """Add to the bytes of a group; two accesses share what they have in common, as far as their sizes tell."""
    before = total.get(group, 0)
    total[group] = min(before + more, max(size, before, more))
    return total[group] - before


def uses_of(graph: Graph) -> Uses:
    """Who uses what in a graph."""
    groups = alias_groups(graph)
    tensors = {t.name: t for t in graph.tensors}
    size: dict[str, int] = defaultdict(int)
    for tensor in graph.tensors:
        size[groups[tensor.name]] = max(size[groups[tensor.name]], tensor.size)
    existing = {groups[t.name] for t in graph.tensors if t.kind.exists_at_start}
    kept = existing | {groups[t.name] for t in graph.tensors if t.kind is TensorKind.OUTPUT}
    kept |= {groups[n] for loop in graph.loops for c in loop.carries for n in (c.initial, c.body_in, c.body_out)}
    by_op: list[dict[str, Use]] = []
    first_use: dict[str, int] = {}
    first_write: dict[str, int] = {}
    last_use: dict[str, int] = {}
    for number, op in enumerate(graph.ops):
        uses: dict[str, Use] = {}
        for access in op.reads:
            group = groups[access.tensor]
            use = uses.get(group, Use())
            uses[group] = replace(use, read=use.read + access.bytes)
        for access in op.writes:
            group = groups[access.tensor]
            use = uses.get(group, Use())
            whole = use.whole or access.bytes >= tensors[access.tensor].size
            uses[group] = replace(use, write=use.write + access.bytes, whole=whole)
            first_write.setdefault(group, number)
        for group in uses:
            first_use.setdefault(group, number)
            last_use[group] = number
        by_op.append(uses)
    loops = tuple(
        tuple(n for n, loop in enumerate(graph.loops) if loop.start <= at < loop.stop) for at in range(len(graph.ops))
    )
    return Uses(
        tuple(by_op), first_use, first_write, last_use, frozenset(kept), frozenset(existing), dict(size), groups, loops
    )


def border(uses: Uses, region: Region) -> Border:
    """What crosses the border of a region."""
    growing = Growing(uses, region.start)
    while growing.stop < region.stop:
        growing.add()
    return Border(growing.reads, growing.writes, growing.footprint)


def fused(graph: Graph, regions: Iterable[Region]) -> Graph:
    """The graph in which each region is one operation; intermediates vanish, arithmetic adds up.

    Operations in no region stay what they are. Regions of one operation change nothing.

    Raises: InvalidInputError: regions overlap, reach beyond the graph, or cross the border of a loop.
    """
    wanted = sorted(region for region in regions if region.n_ops > 1)
    uses = uses_of(graph)
    _check(graph, uses, wanted)
    starts = {region.start: region for region in wanted}
    ops: list[Op] = []
    place = [0] * (len(graph.ops) + 1)
    number = 0
    while number < len(graph.ops):
        region = starts.get(number, Region(number, number + 1))
        ops.append(graph.ops[number] if region.n_ops == 1 else _fused_op(graph, uses, region))
        for at in range(region.start, region.stop):
            place[at + 1] = len(ops)
        number = region.stop
    named = {access.tensor for op in ops for access in (*op.reads, *op.writes)}
    carried = {name for loop in graph.loops for c in loop.carries for name in (c.initial, c.body_in, c.body_out)}
    tensors = tuple(
        t for t in graph.tensors if t.name in named | carried or t.kind.exists_at_start or t.kind is TensorKind.OUTPUT
    )
    loops = tuple(replace(loop, start=place[loop.start], stop=place[loop.stop]) for loop in graph.loops)
    return replace(graph, tensors=tensors, ops=tuple(ops), loops=loops)


def region_name(ops: Sequence[Op]) -> str:
    """What the operation that stands for these is called.

    >>> read = Op("a.q", "matmul", (), ())
    >>> region_name([read, Op("a.out", "matmul", (), ())])
    'a.q..a.out'
    """
    return ops[0].name if len(ops) == 1 else f"{ops[0].name}..{ops[-1].name}"


def _check(graph: Graph, uses: Uses, regions: Sequence[Region]) -> None:
    for earlier, later in pairwise(regions):
        if later.start < earlier.stop:
            raise InvalidInputError(f"regions [{earlier.start}, {earlier.stop}) and [{later.start}, ...) overlap")
    for region in regions:
        if region.stop > len(graph.ops):
            raise InvalidInputError(f"region [{region.start}, {region.stop}) reaches beyond the last operation")
        if len(set(uses.loops[region.start : region.stop])) > 1:
            raise InvalidInputError(f"region [{region.start}, {region.stop}) crosses the border of a loop")


def _fused_op(graph: Graph, uses: Uses, region: Region) -> Op:
    members = graph.ops[region.start : region.stop]
    found = border(uses, region)
    heaviest = max(members, key=lambda op: (op.matrix_ops + op.vector_ops, op.matrix_ops))
    return Op(
        region_name(members),
        FUSED,
        tuple(Access(_enters_as(graph, uses, region, group), n_bytes) for group, n_bytes in found.reads.items()),
        _leaving(uses, found.writes, members),
        sum(op.matrix_ops for op in members),
        sum(op.vector_ops for op in members),
        heaviest.dtype,
        {"members": tuple(op.name for op in members)},
        all(op.streamed for op in members),
    )


def _enters_as(graph: Graph, uses: Uses, region: Region, group: str) -> str:
    """The name under which a region first reads a group: one that its own operations have not written before."""
    written: set[str] = set()
    for op in graph.ops[region.start : region.stop]:
        for access in op.reads:
            if uses.groups[access.tensor] == group and access.tensor not in written:
                return access.tensor
        written.update(access.tensor for access in op.writes)
    earlier = (a.tensor for op in reversed(graph.ops[: region.start]) for a in op.writes)
    return next((name for name in earlier if uses.groups[name] == group), group)


def _leaving(uses: Uses, crossing: Mapping[str, int], members: Sequence[Op]) -> tuple[Access, ...]:
    """An access per name that is written to outside; the bytes of a group stand with the name that is written last."""
    names: dict[str, dict[str, None]] = {group: {} for group in crossing}
    for access in (access for op in members for access in op.writes):
        of_group = names.get(uses.groups[access.tensor])
        if of_group is not None:
            of_group.pop(access.tensor, None)
            of_group[access.tensor] = None
    return tuple(
        Access(name, crossing[group] if name == next(reversed(of_group)) else 0)
        for group, of_group in names.items()
        for name in of_group
    )
