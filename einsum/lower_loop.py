"""Loops of a graph as one cascade each: the body, with the turn as an iterative rank.

What a turn hands to the next is an iterative tensor, `Carry[t + 1]` from `Carry[t]`; every other tensor of the body
has the rank `t` in front. A reversed loop reads and writes its stacks from the back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Access, Affine, Expression, Term, symbol
from tierplan.einsum.lower_kernel import Kept, is_traced, lower_instructions, turn_input
from tierplan.einsum.lower_movement import reshaped
from tierplan.einsum.lower_values import ZERO, Index, NoLoweringError, Value, flipped, number
from tierplan.einsum.lower_writer import Writer
from tierplan.ir.graph import Graph, Loop, Op, Tensor


@dataclass(frozen=True, slots=True)
class LoweredLoop:
    """A loop with its cascade, or the reason why it has none.

    `inputs` names the tensor of each of the cascade's inputs; further inputs are the turns of loops around this one.
    `outputs` names those of its outputs: what is carried, after the last turn, then what is stacked.
    """

    loop: Loop
    cascade: Cascade | None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    reason: str = ""


def lower_loops(graph: Graph) -> list[LoweredLoop]:
    """Every loop of a graph as a cascade with an iterative rank, where its body can be one."""
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    return [_lower(graph, loop, tensors) for loop in graph.loops]


def _lower(graph: Graph, loop: Loop, tensors: Mapping[str, Tensor]) -> LoweredLoop:
    inner = [o for o in graph.loops if o is not loop and loop.start <= o.start and o.stop <= loop.stop]
    if any(
        (o.start, o.stop) != (loop.start, loop.stop) or graph.loops.index(o) > graph.loops.index(loop) for o in inner
    ):
        return LoweredLoop(loop, None, reason="it holds another loop")
    if not loop.trips:
        return LoweredLoop(loop, None, reason="it never turns")
    try:
        return _Body(loop, tensors).lowered(graph.ops[loop.start : loop.stop])
    except NoLoweringError as reason:
        return LoweredLoop(loop, None, reason=str(reason))


class _Body:
    """The cascade of one loop while it is written."""

    def __init__(self, loop: Loop, tensors: Mapping[str, Tensor]) -> None:
        self.loop, self.tensors = loop, tensors
        self.writer = Writer(loop.trips)
        self.values: dict[str, Value] = {}
        self.inputs: list[str] = []
        self.stacks: dict[str, str] = {}
        for n, carry in enumerate(loop.carries):
            self._enter(f"Carry{n}", self._outside(carry.initial), carry.body_in)

    def _outside(self, name: str) -> Value:
        """A tensor from before the loop."""
        if name not in self.inputs:
            self.inputs.append(name)
        tensor = self.tensors[name]
        return self.writer.read(f"In{self.inputs.index(name)}", tensor.shape, tensor.dtype)

    def _enter(self, name: str, initial: Value, body_in: str) -> None:
        shape, turn = self.tensors[body_in].shape, self.writer.turn
        self.writer.turn = None
        initial = reshaped(self.writer, initial, shape, init=True)
        self.writer.turn = turn
        self.writer.einsum(name, shape, initial.dtype, lambda index, _: initial.at(index), init=True, turn=ZERO)
        self.values[body_in] = Value(shape, initial.dtype, _at(name, symbol("t")))

    def lowered(self, ops: tuple[Op, ...]) -> LoweredLoop:
        """Write the body, then what there is after the last turn."""
        for op in ops:
            if not is_traced(op):
                raise NoLoweringError(f"'{op.kind}' says nothing of how it runs")
            reads = [self.values.get(access.tensor) or self._outside(access.tensor) for access in op.reads]
            kept = lower_instructions(op, self.writer, reads, self._turn)
            for access, result in zip(op.writes, kept, strict=False):
                self._write(access.tensor, result)
        outputs: list[str] = []
        for n, carry in enumerate(self.loop.carries):
            after = reshaped(self.writer, self.values[carry.body_out], self.tensors[carry.body_in].shape)
            self.writer.einsum(
                f"Carry{n}", after.shape, after.dtype, lambda index, _, after=after: after.at(index),
                turn=symbol("t") + number(1),
            )  # fmt: skip
        self.writer.turn = None
        for n, carry in enumerate(self.loop.carries):
            before, after = self.tensors[carry.body_in], self.tensors[carry.body_out]
            last = Value(before.shape, after.dtype, _at(f"Carry{n}", number(self.loop.trips)))
            self.writer.written(f"Final{n}", reshaped(self.writer, last, after.shape))
            outputs.append(f"Final{n}")
        outputs += self.stacks.values()
        if not outputs:
            raise NoLoweringError("it hands nothing on")
        names = (*(carry.body_out for carry in self.loop.carries), *self.stacks)
        return LoweredLoop(self.loop, self.writer.cascade(outputs, "loop"), tuple(self.inputs), names)

    def _turn(self, loop: str) -> Affine:
        if loop == self.loop.name:
            return symbol("t")
        self.writer.read(turn_input(loop), (), "int32")
        return Affine((Term(of=Access(turn_input(loop))),))

    def _write(self, tensor: str, result: Kept) -> None:
        held = self.tensors[tensor].shape
        value = reshaped(self.writer, result.value, held if result.turn is None else held[1:])
        if result.turn is None:
            self.values[tensor] = self.writer.written(self.writer.name("Kept"), value) if value.depth else value
            return
        loop, reverse = result.turn
        if loop != self.loop.name:
            raise NoLoweringError("it stacks the results of another loop")
        at = flipped(symbol("t"), self.loop.trips) if reverse else symbol("t")
        name = self.writer.name("Stack")
        self.writer.einsum(name, value.shape, value.dtype, lambda index, _: value.at(index), turn=at)
        self.stacks[tensor] = name


def _at(name: str, turn: Affine) -> Callable[[Index], Expression]:
    def at(index: Index) -> Access:
        return Access(name, (turn, *index))

    return at
