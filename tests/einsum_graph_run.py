"""Run a graph operation by operation, each through the cascade that it is lowered to.

Memory is one row of bytes per tensor or alias group, as in `jax_graph_run`.
"""

import numpy as np

from tierplan.einsum.execute import execute
from tierplan.einsum.lower import lower_graph
from tierplan.einsum.lower_functions import FUNCTIONS
from tierplan.einsum.lower_kernel import turn_input


def run_cascades(graph, values, backend="numpy"):
    """The content of every tensor once the graph has run; an operation without a cascade is an error."""
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    rows = {t.alias or t.name: np.full(t.size, 0xA5, np.uint8) for t in graph.tensors}
    turns, trips = {}, {loop.name: loop.trips for loop in graph.loops}
    lowered = lower_graph(graph)

    def store(name, value):
        tensor = tensors[name]
        value = np.asarray(value)
        assert value.size == tensor.n_elements, f"{name}: {value.shape} into {tensor.shape}"
        rows[tensor.alias or name][:] = np.ascontiguousarray(value.astype(tensor.dtype)).reshape(-1).view(np.uint8)

    def content(name):
        tensor = tensors[name]
        return rows[tensor.alias or name].view(np.dtype(tensor.dtype)).reshape(tensor.shape).copy()

    def step(entry):
        op, cascade = entry.op, entry.cascade
        assert cascade is not None, f"{op.name}: {entry.reason}"
        inputs = dict(zip(cascade.inputs, (content(access.tensor) for access in op.reads), strict=False))
        inputs |= {
            turn_input(loop): np.asarray(turn) for loop, turn in turns.items() if turn_input(loop) in cascade.inputs
        }
        made = execute(cascade, inputs, backend=backend, operators=FUNCTIONS)
        assert len(cascade.outputs) == max(len(op.writes), 1)
        for access, name, (_, _, *views) in zip(op.writes, cascade.outputs, op.attributes["stores"], strict=False):
            value = np.asarray(made[name])
            if views:
                _, loop, reverse = views[0]
                stacked = content(access.tensor)
                stacked[trips[loop] - 1 - turns[loop] if reverse else turns[loop]] = value
                value = stacked
            store(access.tensor, value)

    def block(start, stop, inside):
        index = start
        while index < stop:
            loop = next((p for p in graph.loops if p.start == index and p.name not in inside and p.stop <= stop), None)
            if loop is None:
                step(lowered[index])
                index += 1
            else:
                repeat(loop, inside | {loop.name})
                index = loop.stop

    def repeat(loop, inside):
        entering = [content(carry.initial) for carry in loop.carries]
        for turn in range(loop.trips):
            for carry, value in zip(loop.carries, entering, strict=True):
                store(carry.body_in, value)
            turns[loop.name] = turn
            block(loop.start, loop.stop, inside)
            entering = [content(carry.body_out) for carry in loop.carries]
        turns.pop(loop.name, None)

    for name, value in values.items():
        store(name, value)
    block(0, len(graph.ops), frozenset())
    return {name: content(name) for name in tensors}
