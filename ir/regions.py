"""Regions of a graph: runs of operations that become one kernel, and what crosses their borders."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
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
class Held:
    """Bytes of a group that lie in scratch while operations `first` to `last` run."""

    group: str
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Border:
    """What a region reads from outside and writes to it, bytes by group, and what it holds in the meantime.

    Everything is read once and written once: `held` are the groups that are made and used inside, and those that
    several of its operations read.
    """

    reads: dict[str, int]
    writes: dict[str, int]
    held: tuple[Held, ...]

    @property
    def bytes(self) -> int:
        """Bytes that cross the border."""
        return sum(self.reads.values()) + sum(self.writes.values())

    @property
    def footprint(self) -> int:
        """The most bytes that are held at once."""
        at: dict[int, int] = defaultdict(int)
        for held in self.held:
            at[held.first] += held.bytes
            at[held.last + 1] -= held.bytes
        most = now = 0
        for step in sorted(at):
            now += at[step]
            most = max(most, now)
        return most


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
    """What crosses the border of a region.

    A group is read from outside where its content was not made inside, once however many operations read it; it is
    written where something outside may use it. An operation alone keeps its accesses as they are.
    """
    reads: dict[str, int] = {}
    writes: dict[str, int] = {}
    made: set[str] = set()
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    turns = bool(uses.loops[region.start])
    for number in range(region.start, region.stop):
        for group, use in uses.by_op[number].items():
            if use.read:
                if group in made or group in reads:
                    last[group] = number
                first.setdefault(group, number)
                if group not in made:
                    reads[group] = _together(uses.size[group], reads.get(group, 0), use.read)
            if use.write:
                writes[group] = _together(uses.size[group], writes.get(group, 0), use.write)
                if use.whole or (uses.is_made(group, region.start) and not turns):
                    first.setdefault(group, number)
                    made.add(group)
    if region.n_ops > 1:
        writes = {g: n for g, n in writes.items() if not uses.is_inside(g, region.start, region.stop)}
    held = tuple(
        Held(group, uses.size[group] if group in made else reads[group], first[group], at) for group, at in last.items()
    )
    return Border(reads, writes, held)


def _together(size: int, before: int, more: int) -> int:
    """Bytes of two accesses that share what they have in common, as far as their sizes tell."""
    return min(before + more, max(size, before, more))


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


def _leaving(uses: Uses, crossing: dict[str, int], members: Sequence[Op]) -> tuple[Access, ...]:
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
