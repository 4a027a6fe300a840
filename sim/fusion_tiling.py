"""A region cut into slices of one shared rank: what it holds, and in how many passes it runs."""

from collections import defaultdict
from dataclasses import dataclass, field

from tierplan.einsum.traversal import SharedRank, Stream, Walks
from tierplan.ir.regions import Growing


@dataclass(slots=True)
class _Touched:
    """How the operations of a region touch one group."""

    levels: set[int] = field(default_factory=set[int])
    dimensions: set[int | None] = field(default_factory=set[int | None])
    flat: bool = False
    sliced_ops: int = 0
    whole_ops: int = 0
    read_inside: bool = False
    gathered: bool = False

    @property
    def streams(self) -> bool:
        """Whether a slice at a time is enough."""
        return not self.flat and len(self.levels) == 1 and len(self.dimensions) == 1


class Tiling:
    """A region that grows by one operation at a time and is cut along one rank.

    `held` are the bytes that lie in scratch: a slice of what streams from its maker to its readers, and all of
    what is touched in two passes, of what every slice needs, and of what is gathered over slices.
    Assumes: slices of one element of the rank; what is held is held for the whole kernel. An operation that does not
    walk the rank runs between two passes. An operation's tensors of its own are tiled by the operation itself, as
    they are in a kernel of its own, but for those that live from pass to pass.
    """

    def __init__(self, walks: Walks, growing: Growing, rank: SharedRank) -> None:
        self.walks = walks
        self.growing = growing
        self.rank = rank
        self.legal = True
        self.held = 0
        self.n_passes = 1
        self._streams: dict[str, Stream] = {}
        self._dimension: dict[str, int | None] = {}
        self._touched: dict[str, _Touched] = defaultdict(_Touched)
        self._part: dict[str, int] = {}
        self._work: dict[int, tuple[float, float]] = {}
        self._alone_s = 0.0

    @property
    def compute_s(self) -> float:
        """Seconds of arithmetic: in each pass the units work side by side, passes follow one another."""
        return self._alone_s + sum(max(work) for work in self._work.values())

    def add(self, number: int, matrix_s: float, vector_s: float) -> None:
        """Take in an operation that `growing` has just taken in."""
        variable = self.rank.variables.get(number)
        if variable is None or self.walks.walked[number] is None:
            self._alone_s += max(matrix_s, vector_s)
            self._add_whole(number)
        else:
            level = self._add_sliced(number, variable)
            before = self._work.get(level, (0.0, 0.0))
            self._work[level] = before[0] + matrix_s, before[1] + vector_s
        for group, use in self.growing.uses.by_op[number].items():
            if use.write and group not in self.growing.made and (group in self.growing.reads or use.read):
                self.legal = False  # a state that is changed in part and read: which slice reads which part is not told
            self._settle(group)

    def _add_whole(self, number: int) -> None:
        uses = self.growing.uses.by_op[number]
        level = max((self._streams[group][0] for group in uses if group in self._streams), default=1)
        for group, use in uses.items():
            touched = self._touched[group]
            touched.flat = True
            touched.whole_ops += 1
            touched.read_inside |= bool(use.read) and group in self.growing.made
            if use.write:
                self._streams[group] = level, False
                self._dimension[group] = None

    def _add_sliced(self, number: int, variable: str) -> int:
        walks, groups = self.walks, self.growing.uses.groups
        walked = walks.walked[number]
        assert walked is not None
        state: dict[str, Stream] = {}
        inputs = [(groups[tensor], name) for tensor, name in walks.inputs(number)]
        for group, name in inputs:
            if group in self._streams:
                level, streams = self._streams[group]
                at = self._dimension[group]
                state[name] = level, streams and at is not None and at == walks.dimension(number, name, variable)
        found = walked.along(variable, state)
        outputs = [(groups[tensor], name) for tensor, name in walks.outputs(number)]
        for group, name in (*inputs, *outputs):
            touched = self._touched[group]
            touched.sliced_ops += 1
            touched.levels |= found.levels.get(name, frozenset())
            touched.flat |= name in found.flat
            touched.dimensions.add(walks.dimension(number, name, variable))
        for group, _ in inputs:
            self._touched[group].read_inside |= group in self._streams
        for group, name in outputs:
            self._touched[group].gathered |= name in found.flat
            self._streams[group] = found.state.get(name, (found.level, False))
            self._dimension[group] = walks.dimension(number, name, variable)
        self.held += walks.live_bytes(number, found.live)
        self.n_passes = max(self.n_passes, found.level)
        return found.level

    def _settle(self, group: str) -> None:
        """Count the bytes that a group holds anew."""
        part = self._bytes(group)
        self.held += part - self._part.get(group, 0)
        self._part[group] = part

    def _bytes(self, group: str) -> int:
        growing, touched = self.growing, self._touched[group]
        alone = touched.sliced_ops == 0 and touched.whole_ops == 1
        entering = 0 if touched.streams or alone else growing.reads.get(group, 0)
        if group not in growing.made:
            return entering
        size = growing.uses.size[group]
        if touched.read_inside:
            return max(entering, -(-size // self.rank.extent) if touched.streams else size)
        return max(entering, size if touched.gathered else 0)
