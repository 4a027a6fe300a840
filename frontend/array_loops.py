"""Loops as array operations: recurrent layers that scan over time, and what any loop needs to be written down."""

from collections.abc import Callable, Sequence

from tierplan.frontend.array_layers import affine
from tierplan.frontend.array_ops import ArrayOps, number
from tierplan.frontend.jaxpr_block import LoopCarry, Operand, Repeat, Source, Stack, Value, results_of, whole
from tierplan.frontend.jaxpr_region import Region, made_here, stored
from tierplan.ir.errors import InvalidInputError

Activation = Callable[[ArrayOps, Source], Source]
Turn = Callable[[list[Operand], list[Operand]], tuple[Sequence[Source], Sequence[Source]]]


def repeated(
    ops: ArrayOps,
    trips: int,
    initial: Sequence[Source],
    scanned: Sequence[Source],
    turn: Turn,
    *,
    reverse: bool = False,
    kind: str = "scan",
) -> tuple[list[Source], list[Operand]]:
    """Run `turn` once for each slice of the leading axis of `scanned`, handing values on from turn to turn.

    `turn` gets what is handed on and the slices, and returns what is handed on and what is stacked.
    Returns what the last turn hands on, and the stacks.
    """
    if trips == 0:
        raise InvalidInputError("a loop that runs no turn has no result to stack")
    name, body = ops.loop_name(kind), Region()
    entering = [Value(source.shape, source.dtype) for source in initial]
    slices = [ops.array(source).at_turn(name, reverse) for source in scanned]
    with ops.inside(body):
        carried, elements = turn([whole(value) for value in entering], slices)
        taken: set[Value] = set()
        outs = [made_here(out, body, taken, ops.notes) for out in carried]
        for before, out in zip(initial, outs, strict=True):
            if (before.shape, before.dtype) != (out.shape, out.dtype):
                raise InvalidInputError(
                    f"a loop hands on {out.dtype}{list(out.shape)} where {before.dtype}{list(before.shape)} entered"
                )
        inner = {value for node in body.nodes if isinstance(node, Repeat) for value in results_of(node)}
        taken |= inner
        written = [made_here(element, body, taken, ops.notes) for element in elements]
    stacks = [ops.value((trips, *element.shape), element.dtype) for element in written]
    ready = [stored(source, ops.region, ops.notes) for source in initial]
    carries = [LoopCarry(before, value, out.value) for before, value, out in zip(ready, entering, outs, strict=True)]
    parts = tuple(Stack(value, element) for value, element in zip(stacks, written, strict=True))
    ops.region.put(Repeat(name, trips, reverse, tuple(body.nodes), tuple(carries), parts, tuple(body.controls)))
    return [*outs], [whole(value) for value in stacks]


def _gate(ops: ArrayOps, x: Source, h: Source, function: Activation) -> Source:
    return function(ops, ops.elementwise("add", x, h))


def lstm(
    ops: ArrayOps,
    x: Source,
    weights: tuple[Source, Source],
    biases: Sequence[Source],
    state: tuple[Source, Source],
    *,
    gates: str = "iofc",
    functions: Sequence[Activation],
    peepholes: Sequence[Source] = (),
    reverse: bool = False,
    stacked: bool = True,
) -> tuple[list[Operand], list[Source]]:
    """One direction of an LSTM over x [time, batch, width]; weights [4 hidden, width] and [4 hidden, hidden].

    The products with the inputs are done for all times at once. `gates` is their order in the weights; peepholes
    are for input, output and forget gate. Returns the hidden states of all times, and the last states.
    """
    w, r = weights
    hidden = r.shape[-1]
    inputs: Source = ops.dot(x, w, ((2,), (1,)))
    for bias in biases:
        inputs = ops.elementwise("add", inputs, bias)
    f, g, h_function = functions

    def turn(carried: list[Operand], slices: list[Operand]) -> tuple[Sequence[Source], Sequence[Source]]:
        h, c = carried
        total = ops.elementwise("add", slices[0], ops.dot(h, r, ((1,), (1,))))
        part = dict(zip(gates, ops.parts(total, 1, [hidden] * 4), strict=True))
        pre: dict[str, Source] = {**part}
        if peepholes:
            for name, peep in (("i", peepholes[0]), ("f", peepholes[2])):
                pre[name] = ops.elementwise("add", pre[name], ops.elementwise("mul", peep, c))
        kept = ops.elementwise("mul", f(ops, pre["f"]), c)
        cell = ops.elementwise("add", kept, ops.elementwise("mul", f(ops, pre["i"]), g(ops, pre["c"])))
        if peepholes:
            pre["o"] = ops.elementwise("add", pre["o"], ops.elementwise("mul", peepholes[1], cell))
        out = ops.elementwise("mul", f(ops, pre["o"]), h_function(ops, cell))
        return [out, cell], [out] if stacked else []

    after, stacks = repeated(ops, x.shape[0], state, [inputs], turn, reverse=reverse, kind="lstm")
    return stacks, after


def gru(
    ops: ArrayOps,
    x: Source,
    weights: tuple[Source, Source],
    biases: tuple[Source | None, Source | None],
    state: Source,
    *,
    gates: str = "zrh",
    functions: Sequence[Activation],
    linear_before_reset: bool,
    reverse: bool = False,
) -> tuple[list[Operand], list[Source]]:
    """One direction of a GRU; as `lstm`, with one state and three gates."""
    w, r = weights
    hidden = r.shape[-1]
    inputs: Source = affine(ops, ops.dot(x, w, ((2,), (1,))), None, biases[0])
    f, g = functions
    rows = dict(zip(gates, ops.parts(r, 0, [hidden] * 3), strict=True))
    offsets = dict(zip(gates, ops.parts(biases[1], 0, [hidden] * 3), strict=True)) if biases[1] is not None else {}

    def product(h: Source, gate: str) -> Source:
        return affine(ops, ops.dot(h, rows[gate], ((1,), (1,))), None, offsets.get(gate))

    def turn(carried: list[Operand], slices: list[Operand]) -> tuple[Sequence[Source], Sequence[Source]]:
        h = carried[0]
        part = dict(zip(gates, ops.parts(slices[0], 1, [hidden] * 3), strict=True))
        z = _gate(ops, part["z"], product(h, "z"), f)
        reset = _gate(ops, part["r"], product(h, "r"), f)
        if linear_before_reset:
            inner: Source = ops.elementwise("mul", reset, product(h, "h"))
        else:
            inner = product(ops.elementwise("mul", reset, h), "h")
        new = _gate(ops, part["h"], inner, g)
        fresh = ops.elementwise("mul", ops.elementwise("sub", number(1, z.dtype), z), new)
        out = ops.elementwise("add", fresh, ops.elementwise("mul", z, h))
        return [out], [out]

    after, stacks = repeated(ops, x.shape[0], [state], [inputs], turn, reverse=reverse, kind="gru")
    return stacks, after


def rnn(
    ops: ArrayOps,
    x: Source,
    weights: tuple[Source, Source],
    biases: Sequence[Source],
    state: Source,
    *,
    function: Activation,
    reverse: bool = False,
) -> tuple[list[Operand], list[Source]]:
    """One direction of a plain recurrent layer."""
    inputs: Source = ops.dot(x, weights[0], ((2,), (1,)))
    for bias in biases:
        inputs = ops.elementwise("add", inputs, bias)

    def turn(carried: list[Operand], slices: list[Operand]) -> tuple[Sequence[Source], Sequence[Source]]:
        out = _gate(ops, slices[0], ops.dot(carried[0], weights[1], ((1,), (1,))), function)
        return [out], [out]

    after, stacks = repeated(ops, x.shape[0], [state], [inputs], turn, reverse=reverse, kind="rnn")
    return stacks, after
