"""What a traced function is between jaxpr and graph: values, operands seen through views, steps, loops."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from tierplan.ir.dtypes import size_bytes
from tierplan.ir.graph import Attribute

Shape: TypeAlias = "tuple[int, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An array that an argument, a constant or a step provides. Two values are equal only when they are the same."""

    shape: Shape
    dtype: str

    @property
    def size(self) -> int:
        """Bytes."""
        return size_bytes(math.prod(self.shape), self.dtype)


@dataclass(frozen=True, slots=True)
class Operand:
    """A value as one reader sees it: through `views`, applied in order, that move no bytes.

    A view is `("reshape", shape)`, `("bitcast", dtype, shape)`, `("transpose", permutation)` or
    `("turn", loop, reverse)`: the slice of the leading axis that belongs to the present turn of that loop
    (counted from the back when `reverse`).
    """

    value: Value
    shape: Shape
    dtype: str
    views: tuple[tuple[Attribute, ...], ...] = ()

    @property
    def size(self) -> int:
        """Bytes that one full reading streams."""
        return size_bytes(math.prod(self.shape), self.dtype)

    @property
    def is_whole(self) -> bool:
        """Whether all bytes of the value are seen, in their order in memory."""
        return all(view[0] in ("reshape", "bitcast") for view in self.views)

    def reshaped(self, shape: Shape) -> "Operand":
        """The same elements under another shape."""
        if shape == self.shape:
            return self
        views = self.views
        if views and views[-1][0] == "reshape":
            views = views[:-1]
        if views or shape != self.value.shape or self.dtype != self.value.dtype:
            views = (*views, ("reshape", shape))
        return replace(self, shape=shape, views=views)

    def bitcast(self, dtype: str, shape: Shape) -> "Operand":
        """The same bytes read as another element type."""
        return replace(self, shape=shape, dtype=dtype, views=(*self.views, ("bitcast", dtype, shape)))

    def transposed(self, permutation: Shape) -> "Operand":
        """The same elements, axes permuted by the reader's own addressing."""
        shape = tuple(self.shape[axis] for axis in permutation)
        return replace(self, shape=shape, views=(*self.views, ("transpose", permutation)))

    def at_turn(self, loop: str, reverse: bool) -> "Operand":
        """The slice of the leading axis that belongs to the present turn of `loop`."""
        return replace(self, shape=self.shape[1:], views=(*self.views, ("turn", loop, reverse)))


@dataclass(frozen=True, slots=True)
class Literal:
    """A scalar written in the program itself; it lies in no memory."""

    value: Attribute
    dtype: str

    @property
    def shape(self) -> Shape:
        """Always a scalar."""
        return ()


Source: TypeAlias = Operand | Literal


@dataclass(frozen=True, slots=True)
class Count:
    """Arithmetic operations of one execution, by the unit that runs them, in `dtype`."""

    matrix: int = 0
    vector: int = 0
    dtype: str = "float32"
    streamed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One primitive, applied once."""

    primitive: str
    operands: tuple[Source, ...]
    results: tuple[Value, ...]
    attributes: Mapping[str, Attribute]
    count: Count
    notes: Mapping[str, Attribute]
    in_place: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """Steps that run as one operation; what only they use is never written to memory."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class LoopCarry:
    """`initial` enters as `body_in`; `body_out` is the next turn's `body_in`, and the value after the loop."""

    initial: Operand
    body_in: Value
    body_out: Value


@dataclass(frozen=True, slots=True)
class Stack:
    """Each turn of a loop writes `element` as its slice of `stacked`."""

    stacked: Value
    element: Operand


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """A loop. `controls` are values that decide whether it goes on; nobody else needs to read them."""

    name: str
    trips: int
    reverse: bool
    body: "tuple[Node, ...]"
    carries: tuple[LoopCarry, ...]
    stacks: tuple[Stack, ...]
    controls: tuple[Operand, ...] = ()

    @property
    def kept(self) -> set[Value]:
        """Values of the body that must be there when a turn ends."""
        return {c.body_out for c in self.carries} | {s.element.value for s in self.stacks}


Node: TypeAlias = Kernel | Repeat


def whole(value: Value) -> Operand:
    """A value as it lies in memory."""
    return Operand(value, value.shape, value.dtype)


def operands_of(steps: Iterable[Step]) -> Iterator[Operand]:
    """Yield what the steps read that is not a literal."""
    for step in steps:
        yield from (source for source in step.operands if isinstance(source, Operand))


def results_of(node: Node) -> set[Value]:
    """Values that exist because the node ran, and that later nodes may read."""
    if isinstance(node, Kernel):
        return {result for step in node.steps for result in step.results}
    return {c.body_out for c in node.carries} | {s.stacked for s in node.stacks}


def made_by(nodes: Iterable[Node]) -> set[Value]:
    """Values that the nodes make, loop bodies included."""
    made: set[Value] = set()
    for node in nodes:
        made |= results_of(node)
        if isinstance(node, Repeat):
            made |= made_by(node.body) | {carry.body_in for carry in node.carries}
    return made


def reads_of(node: Node) -> set[Value]:
    """Values from before the node that it reads."""
    if isinstance(node, Kernel):
        return {operand.value for operand in operands_of(node.steps)} - results_of(node)
    inner = {value for part in node.body for value in reads_of(part)}
    inner |= node.kept | {control.value for control in node.controls}
    return (inner - made_by((node,))) | {carry.initial.value for carry in node.carries}


def cost_of(nodes: Iterable[Node]) -> tuple[int, int]:
    """Operations, then bytes, of nodes that are not fused yet."""
    operations, moved = 0, 0
    for node in nodes:
        if isinstance(node, Repeat):
            inner = cost_of(node.body)
            operations, moved = operations + node.trips * inner[0], moved + node.trips * inner[1]
        else:
            operations += sum(step.count.matrix + step.count.vector for step in node.steps)
            moved += sum(value.size for value in reads_of(node) | results_of(node))
    return operations, moved


def live(nodes: Iterable[Node], needed: Iterable[Value]) -> tuple[Node, ...]:
    """The nodes without which `needed` could not be computed, in their order."""
    wanted = set(needed)
    kept: list[Node] = []
    for node in reversed(tuple(nodes)):
        if isinstance(node, Repeat):
            if not wanted & results_of(node):
                continue
            node = _live_loop(node, wanted)
        else:
            steps = _live_steps(node.steps, wanted)
            if not steps:
                continue
            node = Kernel(steps)
        kept.append(node)
        wanted |= reads_of(node)
    return tuple(reversed(kept))


def _live_steps(steps: tuple[Step, ...], wanted: set[Value]) -> tuple[Step, ...]:
    kept: list[Step] = []
    also: set[Value] = set()
    for step in reversed(steps):
        if any(result in wanted or result in also for result in step.results):
            kept.append(step)
            also.update(operand.value for operand in operands_of((step,)))
    return tuple(reversed(kept))


def _live_loop(loop: Repeat, wanted: set[Value]) -> Repeat:
    stacks = tuple(stack for stack in loop.stacks if stack.stacked in wanted)
    carries = [carry for carry in loop.carries if carry.body_out in wanted]
    while True:
        needed = {c.body_out for c in carries} | {s.element.value for s in stacks}
        needed |= {control.value for control in loop.controls}
        body = live(loop.body, needed)
        used = needed | {value for node in body for value in reads_of(node)}
        grown = [carry for carry in loop.carries if carry in carries or carry.body_in in used]
        if len(grown) == len(carries):
            return replace(loop, body=body, carries=tuple(grown), stacks=stacks)
        carries = grown
