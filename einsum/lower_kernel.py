"""Operations of traced programs: their instructions, read from an operation's attributes, as Einsums.

What one instruction makes and one other uses, element by element, is part of that other's expression; everything
else is written by an Einsum of its own. `lower_elementwise` and its neighbours say what each primitive means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Access, Affine, Term
from tierplan.einsum.lower_assembly import ASSEMBLY
from tierplan.einsum.lower_contraction import CONTRACTION
from tierplan.einsum.lower_elementwise import ELEMENTWISE, Lower
from tierplan.einsum.lower_gather import GATHER
from tierplan.einsum.lower_movement import MOVEMENT, reshaped, transposed
from tierplan.einsum.lower_reduction import REDUCTION
from tierplan.einsum.lower_values import MAX_INLINE, NoLoweringError, Value, flipped, literal, view
from tierplan.einsum.lower_writer import Writer
from tierplan.ir.graph import Attribute, Op, Tensor

PRIMITIVES: Mapping[str, Lower] = {**ELEMENTWISE, **MOVEMENT, **ASSEMBLY, **REDUCTION, **CONTRACTION, **GATHER}
"""How each primitive of a traced program is lowered."""

Turn = Callable[[str], Affine]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One primitive of an operation, with its operands as the operation's attributes spell them."""

    primitive: str
    operands: tuple[tuple[Attribute, ...], ...]
    parameters: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class Kept:
    """A result that the operation writes; `turn` is (loop, reverse) where it is one turn's slice of a stack."""

    value: Value
    turn: tuple[str, bool] | None = None


def is_traced(op: Op) -> bool:
    """Whether the operation says in its attributes how to run it."""
    return "stores" in op.attributes and ("operands" in op.attributes or "body" in op.attributes)


def instructions(op: Op) -> list[Instruction]:
    """The primitives of an operation, in their order.

    Raises: NoLoweringError: one of them is not known.
    """
    body = op.attributes.get("body")
    if body is None:
        kind = "copy" if op.kind == "copy" else op.kind
        parts = [(kind, op.attributes["operands"], tuple(op.attributes.items()))]
    else:
        parts = cast("list[tuple[str, Attribute, tuple[tuple[str, Attribute], ...]]]", body)
    found: list[Instruction] = []
    for primitive, operands, parameters in parts:
        if primitive not in PRIMITIVES:
            raise NoLoweringError(f"'{primitive}' has no lowering")
        found.append(Instruction(primitive, cast("tuple[tuple[Attribute, ...], ...]", operands), dict(parameters)))
    return found


def lower_traced(op: Op, tensors: Mapping[str, Tensor]) -> Cascade:
    """The cascade of one operation of a traced program.

    Its inputs are the operation's reads in their order, then one scalar per loop whose turn decides what is read;
    its outputs are the writes in their order, of a stacked result the slice of this turn. An operation that writes
    nothing only decides about a loop: then the decision is the output.

    Raises: NoLoweringError: the language has no form for it.
    """
    writer = Writer()
    reads = [tensors[access.tensor] for access in op.reads]
    inputs = [writer.read(f"In{n}", tensor.shape, tensor.dtype) for n, tensor in enumerate(reads)]

    def turn(loop: str) -> Affine:
        name = turn_input(loop)
        writer.read(name, (), "int32")
        return Affine((Term(of=Access(name)),))

    outputs: list[str] = []
    for n, kept in enumerate(lower_instructions(op, writer, inputs, turn)):
        value = kept.value
        if op.writes:
            held = tensors[op.writes[n].tensor].shape
            value = reshaped(writer, value, held if kept.turn is None else held[1:])
        fresh = value.tensor and value.tensor not in outputs and value.tensor not in writer.inputs
        outputs.append(value.tensor if fresh else writer.written(writer.name("Out"), value).tensor)
    return writer.cascade(outputs, op.kind.replace("-", "_"))


def turn_input(loop: str) -> str:
    """The name of the scalar input that says the turn of a loop.

    >>> turn_input("scan.0")
    'Turn_scan_0'
    """
    return f"Turn_{''.join(ch if ch.isalnum() else '_' for ch in loop)}"


def lower_instructions(op: Op, writer: Writer, inputs: Sequence[Value], turn: Turn) -> list[Kept]:
    """Write the operation's Einsums; returns what it writes, in the order of its writes, or else its last result.

    Raises: NoLoweringError: the language has no form for it.
    """
    steps = instructions(op)
    stores = cast("tuple[tuple[Attribute, ...], ...]", op.attributes["stores"]) or ((len(steps) - 1, 0),)
    uses = Counter((operand[1], operand[2]) for step in steps for operand in step.operands if operand[0] == "local")
    uses.update((store[0], store[1]) for store in stores)
    made: list[list[Value]] = []

    def source(operand: tuple[Attribute, ...]) -> Value:
        where, *rest = operand
        if where == "literal":
            return literal(rest[0])
        if where == "local":
            i, j, *views = rest
            return seen(made[cast("int", i)][cast("int", j)], views, writer, turn)
        return seen(inputs[cast("int", rest[0])], rest[1:], writer, turn)

    for number, step in enumerate(steps):
        results = PRIMITIVES[step.primitive](writer, step.parameters, [source(operand) for operand in step.operands])
        made.append(
            [_settled(writer, step.primitive, value, uses[number, place]) for place, value in enumerate(results)]
        )
    return [Kept(made[cast("int", i)][cast("int", j)], _turn_of(views)) for i, j, *views in stores]


def _turn_of(views: Sequence[Attribute]) -> tuple[str, bool] | None:
    if not views:
        return None
    _, loop, reverse = cast("tuple[str, str, bool]", views[0])
    return loop, reverse


def _settled(writer: Writer, primitive: str, value: Value, n_uses: int) -> Value:
    """The value, in a tensor when its arithmetic would be done more than once or grows too deep."""
    if value.depth and value.constant is None and (n_uses > 1 or value.depth > MAX_INLINE):
        return writer.written(writer.name(primitive), value)
    return value


def seen(value: Value, views: Sequence[Attribute], writer: Writer, turn: Turn) -> Value:
    """The value through the views of an operand.

    Raises: NoLoweringError: a view reads the bytes as another type.
    """
    for each in views:
        kind, *rest = cast("tuple[Attribute, ...]", each)
        if kind == "reshape":
            value = reshaped(writer, value, cast("tuple[int, ...]", rest[0]))
        elif kind == "transpose":
            value = transposed(value, cast("tuple[int, ...]", rest[0]))
        elif kind == "turn":
            value = _slice_of_turn(value, turn(str(rest[0])), bool(rest[1]))
        else:
            raise NoLoweringError("it reads the bytes of a tensor as another type")
    return value


def _slice_of_turn(value: Value, at: Affine, reverse: bool) -> Value:
    first = flipped(at, value.shape[0]) if reverse else at
    return view(value, value.shape[1:], lambda index: (first, *index))
