"""Operations along one shared rank: in which pass each runs, and what must be held between passes.

A rank that several operations walk is found from the tensors that they share. If all of a region walks it in one pass,
a slice of each intermediate is enough; what is touched in two passes, or what every slice needs, is held whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.dependence import dependence_order, iterations
from tierplan.einsum.expressions import Access, rank_of
from tierplan.einsum.lower import LoweredOp
from tierplan.einsum.passes import levels_along, moves_forward, views_of
from tierplan.einsum.shapes import signatures
from tierplan.einsum.sizes import evaluate, partial
from tierplan.einsum.statements import Einsum
from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Tensor

Stream = tuple[int, bool]
"""The level of a tensor in a traversal, and whether it streams: can be used while it is made."""


class Walked:
    """A cascade with what every traversal of it asks for."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        self.views = views_of(cascade)
        self.order: list[Einsum] = [*cascade.init, *dependence_order(cascade)]
        self.ahead = iterations(cascade)
        self.sizes = partial(cascade)
        self.inputs = frozenset(cascade.inputs)
        self._known: dict[tuple[str, tuple[tuple[str, Stream], ...]], Traversed] = {}

    @cached_property
    def elements(self) -> dict[str, int]:
        """Elements of each tensor, as far as its shape is known."""
        found: dict[str, int] = {}
        for tensor, shape in signatures(self.cascade).items():
            n = 1
            for extent in shape:
                n *= evaluate(extent, self.sizes)
            found[tensor] = n
        return found

    def accesses(self) -> Iterator[Access]:
        """Every access, written and read."""
        for einsum in self.order:
            yield einsum.output
            yield from einsum.reads

    def along(self, variable: str, state: Mapping[str, Stream]) -> Traversed:
        """The cascade along one rank variable, when `state` tells how its inputs come."""
        key = variable, tuple(sorted(state.items()))
        if key not in self._known:
            self._known[key] = _traversed(self, variable, dict(state))
        return self._known[key]


@dataclass(frozen=True, slots=True)
class Traversed:
    """One operation along a rank: the pass in which it ends, and how it touches each of its tensors.

    `levels` and `flat` are by tensor of the cascade: the passes that touch it, and whether some access does not move
    with the rank. `streams` are the outputs that can be used while they are made; `live` the tensors of the operation's
    own that must be held whole.
    """

    level: int
    levels: Mapping[str, frozenset[int]]
    flat: frozenset[str]
    state: Mapping[str, Stream]
    live: tuple[str, ...]


def _traversed(walked: Walked, variable: str, state: dict[str, Stream]) -> Traversed:
    numbers = levels_along(variable, walked.order, walked.ahead, state)
    levels: dict[str, set[int]] = defaultdict(set)
    flat: set[str] = set()
    gathered: set[str] = set()
    for einsum, number in zip(walked.order, numbers, strict=True):
        for access in (einsum.output, *einsum.reads):
            name = walked.views.get(access.tensor, access.tensor)
            if number is not None:
                levels[name].add(number)
            if not moves_forward(access, variable):
                flat.add(name)
                if access is einsum.output and number is not None:
                    gathered.add(name)
    outer = walked.inputs | set(walked.cascade.outputs)
    live = tuple(n for n, at in levels.items() if n not in outer and (n in gathered or (len(at) > 1 and n not in flat)))
    own = {name: state[name] for name in walked.cascade.outputs if name in state}
    level = max((number for number in numbers if number is not None), default=1)
    return Traversed(level, {n: frozenset(at) for n, at in levels.items()}, frozenset(flat), own, live)


@dataclass(frozen=True, slots=True)
class SharedRank:
    """A rank that several operations walk: its extent, and the rank variable of each operation that has it."""

    extent: int
    variables: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Walks:
    """The operations of a graph with their cascades, and the ranks that they share, the most shared first."""

    ops: tuple[LoweredOp, ...]
    walked: tuple[Walked | None, ...]
    shared: tuple[SharedRank, ...]
    tensors: Mapping[str, Tensor]

    def inputs(self, number: int) -> Iterator[tuple[str, str]]:
        """For each read of an operation: the tensor of the graph, and its name in the cascade."""
        cascade = self.ops[number].cascade
        if cascade is not None:
            for access, name in zip(self.ops[number].op.reads, cascade.inputs, strict=False):
                yield access.tensor, name

    def outputs(self, number: int) -> Iterator[tuple[str, str]]:
        """For each write of an operation: the tensor of the graph, and its name in the cascade."""
        cascade = self.ops[number].cascade
        if cascade is not None:
            for access, name in zip(self.ops[number].op.writes, cascade.outputs, strict=False):
                yield access.tensor, name

    def dimension(self, number: int, name: str, variable: str) -> int | None:
        """The one dimension in which all accesses of a cascade to a tensor move with a rank variable."""
        walked = self.walked[number]
        assert walked is not None
        found = {
            d
            for access in walked.accesses()
            if access.tensor == name or walked.views.get(access.tensor) == name
            for d, index in enumerate(access.indices)
            if variable in index.variables
        }
        return found.pop() if len(found) == 1 else None

    def live_bytes(self, number: int, names: Sequence[str]) -> int:
        """Bytes of tensors of an operation's own, in the element type of its arithmetic."""
        walked = self.walked[number]
        assert walked is not None
        elements = sum(walked.elements[name] for name in names)
        return -(-elements * BITS[self.ops[number].op.dtype] // 8)


def walks_of(ops: Sequence[LoweredOp], tensors: Mapping[str, Tensor]) -> Walks:
    """The ranks that operations share through the tensors that they hand on."""
    known: dict[int, Walked | None] = {}
    walked: list[Walked | None] = []
    for lowered in ops:
        if lowered.cascade is None:
            walked.append(None)
            continue
        if id(lowered.cascade) not in known:
            known[id(lowered.cascade)] = _walk(lowered.cascade)
        walked.append(known[id(lowered.cascade)])
    bare = Walks(tuple(ops), tuple(walked), (), tensors)
    return Walks(bare.ops, bare.walked, tuple(_shared_ranks(bare)), tensors)


def _walk(cascade: Cascade) -> Walked | None:
    try:
        walked = Walked(cascade)
        return walked if walked.elements else None
    except InvalidInputError:  # a shape that only values tell
        return None


def _shared_ranks(walks: Walks) -> list[SharedRank]:
    sets = _Sets()
    for number, walked in enumerate(walks.walked):
        if walked is None:
            continue
        for tensor, name in (*walks.inputs(number), *walks.outputs(number)):
            shape = walks.tensors[tensor].shape
            for access in walked.accesses():
                if access.tensor != name or len(access.indices) != len(shape):
                    continue
                for d, index in enumerate(access.indices):
                    variable = index.variable
                    if variable and walked.sizes.get(rank_of(variable)) == shape[d]:
                        sets.join((number, variable), (tensor, d))
    members: dict[object, list[tuple[int, str]]] = defaultdict(list)
    for node in sets.nodes():
        if isinstance(node[0], int):
            members[sets.root(node)].append((node[0], str(node[1])))
    found: list[SharedRank] = []
    for nodes in members.values():
        variables: dict[int, str] = {}
        for number, variable in nodes:
            if number not in variables or _is_kept(walks, number, variable):
                variables[number] = variable
        number, variable = next(iter(variables.items()))
        walked = walks.walked[number]
        assert walked is not None
        extent = walked.sizes[rank_of(variable)]
        if extent > 1 and len(variables) > 1:
            found.append(SharedRank(extent, dict(sorted(variables.items()))))
    return sorted(found, key=lambda rank: -len(rank.variables))


def _is_kept(walks: Walks, number: int, variable: str) -> bool:
    """Whether the first result of an operation moves with the variable: of two that share a rank, this one is taken."""
    walked = walks.walked[number]
    assert walked is not None
    first = walked.cascade.outputs[0]
    return any(e.name == first and variable in e.output_variables for e in walked.order)


class _Sets:
    """Union-find over rank variables of operations and dimensions of tensors."""

    def __init__(self) -> None:
        self._parent: dict[tuple[int | str, str | int], tuple[int | str, str | int]] = {}

    def root(self, node: tuple[int | str, str | int]) -> tuple[int | str, str | int]:
        while (parent := self._parent.setdefault(node, node)) != node:
            self._parent[node] = self._parent[parent]
            node = parent
        return node

    def join(self, a: tuple[int | str, str | int], b: tuple[int | str, str | int]) -> None:
        self._parent[self.root(a)] = self.root(b)

    def nodes(self) -> list[tuple[int | str, str | int]]:
        return list(self._parent)
