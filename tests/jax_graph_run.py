"""Run a graph that was traced from a JAX function, in plain numpy, from nothing but what the graph itself says.

Memory is one row of bytes per tensor, or per alias group: an update in place that was not allowed to be one, a
donated argument overwritten too early, a slice of the wrong turn all give wrong numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes  # noqa: F401  (numpy learns bfloat16)
import numpy as np

from tierplan.ir.graph import Graph, Loop, Op

Array = Any


def run(graph: Graph, values: Mapping[str, Array]) -> dict[str, Array]:
    """The content of every tensor once the graph has run on `values`, arrays by tensor name."""
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    rows = {t.alias or t.name: np.full(t.size, 0xA5, np.uint8) for t in graph.tensors}
    turns: dict[str, int] = {}
    trips = {loop.name: loop.trips for loop in graph.loops}

    def store(name: str, value: Array) -> None:
        tensor = tensors[name]
        flat = np.ascontiguousarray(value).astype(tensor.dtype).reshape(-1).view(np.uint8)
        row = rows[tensor.alias or name]
        assert flat.size == row.size, f"{name}: {flat.size} bytes into {row.size}"
        row[:] = flat

    def content(name: str) -> Array:
        tensor = tensors[name]
        return rows[tensor.alias or name].view(np.dtype(tensor.dtype)).reshape(tensor.shape).copy()

    def place(loop: str, reverse: bool) -> int:
        return trips[loop] - 1 - turns[loop] if reverse else turns[loop]

    def seen(value: Array, views: Sequence[Any]) -> Array:
        for view in views:
            if view[0] == "reshape":
                value = value.reshape(view[1])
            elif view[0] == "bitcast":
                value = np.ascontiguousarray(value).reshape(-1).view(np.dtype(view[1])).reshape(view[2])
            elif view[0] == "transpose":
                value = value.transpose(view[1])
            else:
                value = value[place(view[1], view[2])]
        return value

    def execute(op: Op) -> None:
        if "body" in op.attributes:
            body: Any = op.attributes["body"]
        else:
            body = ((op.kind, op.attributes["operands"], tuple(op.attributes.items())),)
        made: list[list[Array]] = []
        inputs = [content(access.tensor) for access in op.reads]
        for primitive, operands, parameters in body:
            found: list[Array] = []
            for where, *rest in operands:
                if where == "literal":
                    found.append(np.asarray(rest[0]))
                elif where == "local":
                    found.append(seen(made[rest[0]][rest[1]], rest[2:]))
                else:
                    found.append(seen(inputs[rest[0]], rest[1:]))
            results = _PRIMITIVES[primitive](dict(parameters), *found)
            made.append(results if isinstance(results, list) else [results])
        for access, (i, j, *views) in zip(op.writes, op.attributes["stores"], strict=True):
            if views:
                _, loop, reverse = views[0]
                stacked = content(access.tensor)
                stacked[place(loop, reverse)] = made[i][j].reshape(stacked.shape[1:])
                store(access.tensor, stacked)
            else:
                store(access.tensor, made[i][j])

    def block(start: int, stop: int, inside: frozenset[str]) -> None:
        index = start
        while index < stop:
            loop = next((p for p in graph.loops if p.start == index and p.name not in inside and p.stop <= stop), None)
            if loop is None:
                execute(graph.ops[index])
                index += 1
            else:
                repeat(loop, inside | {loop.name})
                index = loop.stop

    def repeat(loop: Loop, inside: frozenset[str]) -> None:
        entering = [content(carry.initial) for carry in loop.carries]
        for turn in range(loop.trips):
            for carry, value in zip(loop.carries, entering, strict=True):
                store(carry.body_in, value)
            turns[loop.name] = turn
            block(loop.start, loop.stop, inside)
            entering = [content(carry.body_out) for carry in loop.carries]

    for name, value in values.items():
        store(name, value)
    block(0, len(graph.ops), frozenset())
    return {name: content(name) for name in tensors}


def _dot(parameters: Mapping[str, Any], left: Array, right: Array) -> Array:
    (left_sum, right_sum), (left_batch, right_batch) = parameters["dimension_numbers"]
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left_axes = [next(letters) for _ in left.shape]
    right_axes = [next(letters) for _ in right.shape]
    for a, b in zip((*left_sum, *left_batch), (*right_sum, *right_batch), strict=True):
        right_axes[b] = left_axes[a]
    out = [left_axes[a] for a in left_batch]
    out += [axis for i, axis in enumerate(left_axes) if i not in (*left_sum, *left_batch)]
    out += [axis for i, axis in enumerate(right_axes) if i not in (*right_sum, *right_batch)]
    made = np.einsum(f"{''.join(left_axes)},{''.join(right_axes)}->{''.join(out)}", left, right)
    permutation = parameters.get("result_permutation")
    return made.transpose(permutation) if permutation else made


def _broadcast(parameters: Mapping[str, Any], value: Array) -> Array:
    shape, axes = parameters["shape"], parameters["broadcast_dimensions"]
    spread = [1] * len(shape)
    for axis, target in enumerate(axes):
        spread[target] = value.shape[axis]
    return np.broadcast_to(value.reshape(spread), shape)


def _iota(parameters: Mapping[str, Any]) -> Array:
    shape, dimension = parameters["shape"], parameters["dimension"]
    row = np.arange(shape[dimension]).reshape([-1 if i == dimension else 1 for i in range(len(shape))])
    return np.broadcast_to(row, shape).astype(parameters["dtype"])


def _slice(parameters: Mapping[str, Any], value: Array) -> Array:
    strides = parameters.get("strides") or (1,) * value.ndim
    bounds = zip(parameters["start_indices"], parameters["limit_indices"], strides, strict=True)
    return value[tuple(slice(*bound) for bound in bounds)]


def _starts(shape: Sequence[int], sizes: Sequence[int], indices: Sequence[Array]) -> list[int]:
    return [min(max(int(i), 0), extent - size) for i, extent, size in zip(indices, shape, sizes, strict=True)]


def _dynamic_slice(parameters: Mapping[str, Any], value: Array, *indices: Array) -> Array:
    sizes = parameters["slice_sizes"]
    starts = _starts(value.shape, sizes, indices)
    return value[tuple(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))]


def _dynamic_update(parameters: Mapping[str, Any], value: Array, update: Array, *indices: Array) -> Array:
    starts = _starts(value.shape, update.shape, indices)
    value = value.copy()
    value[tuple(slice(a, a + n) for a, n in zip(starts, update.shape, strict=True))] = update
    return value


def _pad(parameters: Mapping[str, Any], value: Array, fill: Array) -> Array:
    widths = [(low, high) for low, high, _ in parameters["padding_config"]]
    return np.pad(value, widths, constant_values=fill.item())


def _plain(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda parameters, *operands: function(*operands)


def _reduce(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda parameters, value: function(value, axis=tuple(parameters["axes"]))


def _erf(value: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(value)


_PRIMITIVES: dict[str, Callable[..., Any]] = {
    "add": _plain(np.add), "add_any": _plain(np.add), "sub": _plain(np.subtract), "mul": _plain(np.multiply),
    "div": _plain(np.true_divide), "max": _plain(np.maximum), "min": _plain(np.minimum), "neg": _plain(np.negative),
    "abs": _plain(np.abs), "sign": _plain(np.sign), "exp": _plain(np.exp), "log": _plain(np.log),
    "sin": _plain(np.sin), "cos": _plain(np.cos), "tanh": _plain(np.tanh), "sqrt": _plain(np.sqrt),
    "rsqrt": _plain(lambda x: 1 / np.sqrt(x)), "logistic": _plain(lambda x: 1 / (1 + np.exp(-x))),
    "square": _plain(np.square), "log1p": _plain(np.log1p), "erf": _plain(_erf), "floor": _plain(np.floor),
    "lt": _plain(np.less), "le": _plain(np.less_equal), "gt": _plain(np.greater), "ge": _plain(np.greater_equal),
    "eq": _plain(np.equal), "ne": _plain(np.not_equal), "and": _plain(np.logical_and), "or": _plain(np.logical_or),
    "not": _plain(np.logical_not), "copy": _plain(np.copy), "copy_p": _plain(np.copy),
    "select_n": _plain(lambda which, *cases: np.where(which, cases[1], cases[0])),
    "clamp": _plain(lambda low, x, high: np.clip(x, low, high)),
    "integer_pow": lambda parameters, x: x ** parameters["y"],
    "convert_element_type": lambda parameters, x: x.astype(parameters["new_dtype"]),
    "reduce_sum": _reduce(np.sum), "reduce_max": _reduce(np.max), "reduce_min": _reduce(np.min),
    "reduce_prod": _reduce(np.prod), "cumsum": lambda parameters, x: np.cumsum(x, parameters["axis"]),
    "transpose": lambda parameters, x: x.transpose(parameters["permutation"]),
    "rev": lambda parameters, x: np.flip(x, parameters["dimensions"]),
    "concatenate": lambda parameters, *xs: np.concatenate(xs, parameters["dimension"]),
    "split": lambda parameters, x: np.split(x, np.cumsum(parameters["sizes"])[:-1], parameters["axis"]),
    "dot_general": _dot, "broadcast_in_dim": _broadcast, "iota": _iota, "slice": _slice, "pad": _pad,
    "dynamic_slice": _dynamic_slice, "dynamic_update_slice": _dynamic_update,
}  # fmt: skip
