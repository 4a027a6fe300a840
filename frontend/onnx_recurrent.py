"""ONNX's recurrent layers: one or two directions of LSTM, GRU and plain RNN, as loops over time."""

from collections.abc import Mapping, Sequence

from tierplan.frontend.array_loops import Activation, gru, lstm, rnn
from tierplan.frontend.array_ops import number
from tierplan.frontend.jaxpr_block import Source
from tierplan.frontend.onnx_call import Call, Handler
from tierplan.frontend.onnx_elementwise import hard_sigmoid, like, softplus, softsign
from tierplan.ir.errors import InvalidInputError, unknown_name


def _simple(primitive: str) -> Activation:
    return lambda ops, x: ops.elementwise(primitive, x)


_ACTIVATIONS: Mapping[str, Activation] = {
    "sigmoid": _simple("logistic"), "tanh": _simple("tanh"), "softplus": softplus, "hardsigmoid": hard_sigmoid,
    "relu": lambda ops, x: ops.elementwise("max", x, like(0, x)), "affine": lambda ops, x: x, "softsign": softsign,
}  # fmt: skip
_N_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


def _recurrent(call: Call) -> Sequence[Source | None]:
    """The layers of all directions over all times.

    Assumes: every sequence of the batch has the full length.
    """
    ops, kind = call.ops, call.node.op
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}.get(
        call.text("direction", "forward")
    )
    w, r = call.x(1), call.x(2)
    hidden = r.shape[-1] if len(r.shape) == 3 else 0
    if directions is None or len(w.shape) != 3 or r.shape != (len(directions), _N_GATES[kind] * hidden, hidden):
        raise InvalidInputError(f"{call.node}: weights of shapes {w.shape} and {r.shape} for its direction")
    batch_first = bool(call.whole("layout", 0))
    x = ops.transpose(call.x(0), (1, 0, 2)) if batch_first else ops.array(call.x(0))
    functions = _functions(call, len(directions))
    n_states = 2 if kind == "LSTM" else 1
    outs: list[Source] = []
    lasts: list[list[Source]] = []
    for number_, reverse in enumerate(directions):
        states = [_state(call, 5 + n, number_, x.shape[1], hidden, batch_first) for n in range(n_states)]
        stack, after = _direction(call, x, number_, states, functions[number_], reverse)
        outs.append(ops.reshape(stack, (x.shape[0], 1, x.shape[1], hidden)))
        lasts.append(after)
    y: Source = ops.concatenate(outs, 1)
    finals: list[Source] = [
        ops.concatenate([ops.reshape(after[n], (1, x.shape[1], hidden)) for after in lasts], 0) for n in range(n_states)
    ]
    if batch_first:
        y, finals = ops.transpose(y, (2, 0, 1, 3)), [ops.transpose(final, (1, 0, 2)) for final in finals]
    return [y, *finals]


def _functions(call: Call, n_directions: int) -> list[list[Activation]]:
    names = call.texts("activations") or _DEFAULTS[call.node.op] * n_directions
    per = len(_DEFAULTS[call.node.op])
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise unknown_name(f"activation function of {call.node}", name, _ACTIVATIONS)
    if len(names) != per * n_directions:
        raise InvalidInputError(f"{call.node} names {len(names)} activation functions; need {per * n_directions}")
    return [[_ACTIVATIONS[name.lower()] for name in names[per * d : per * d + per]] for d in range(n_directions)]


def _state(call: Call, index: int, direction: int, batch: int, hidden: int, batch_first: bool) -> Source:
    ops, given = call.ops, call.maybe(index)
    if given is None:
        return ops.broadcast(number(0, call.x(0).dtype), (batch, hidden))
    return ops.reshape(ops.along(given, 1 if batch_first else 0, direction, direction + 1), (batch, hidden))


def _row(call: Call, index: int, direction: int) -> Source | None:
    given = call.maybe(index)
    if given is None:
        return None
    part = call.ops.along(given, 0, direction, direction + 1)
    return call.ops.reshape(part, part.shape[1:])


def _direction(
    call: Call, x: Source, direction: int, states: list[Source], functions: Sequence[Activation], reverse: bool
) -> tuple[Source, list[Source]]:
    ops = call.ops
    w, r = _row(call, 1, direction), _row(call, 2, direction)
    assert w is not None
    assert r is not None
    both = _row(call, 3, direction)
    gates = w.shape[0]
    halves: list[Source] = [] if both is None else [*ops.parts(both, 0, [gates, gates])]
    if call.node.op == "LSTM":
        peeps = _row(call, 7, direction)
        hidden = gates // 4
        peepholes = [] if peeps is None else ops.parts(peeps, 0, [hidden] * 3)
        stacks, after = lstm(
            ops, x, (w, r), halves, (states[0], states[1]), functions=functions, peepholes=peepholes, reverse=reverse
        )
    elif call.node.op == "GRU":
        biases = (halves[0], halves[1]) if halves else (None, None)
        linear = bool(call.whole("linear_before_reset", 0))
        stacks, after = gru(
            ops, x, (w, r), biases, states[0], functions=functions, linear_before_reset=linear, reverse=reverse
        )
    else:
        stacks, after = rnn(ops, x, (w, r), halves, states[0], function=functions[0], reverse=reverse)
    return stacks[0], after


RECURRENT: dict[str, Handler] = {"LSTM": _recurrent, "GRU": _recurrent, "RNN": _recurrent}
"""Recurrent layers."""
