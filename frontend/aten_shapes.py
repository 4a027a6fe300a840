"""ATen operators that move elements: views, slices, look-ups, updates of parts, new arrays."""

import math
from collections.abc import Sequence

from tierplan.frontend.array_indexing import iota, scatter, scatter_along, take, take_along, top_k
from tierplan.frontend.array_ops import axis_of, number
from tierplan.frontend.aten_call import AtenCall, Handler
from tierplan.frontend.jaxpr_block import Literal, Source
from tierplan.frontend.onnx_elementwise import like

VIEWS = frozenset((
    "view", "unsqueeze", "squeeze", "transpose", "t", "permute", "select", "slice", "narrow", "expand", "expand_as",
    "split", "split_with_sizes", "chunk", "unbind", "detach", "alias", "unflatten", "getitem", "numpy_T", "movedim",
))  # fmt: skip
"""Operators whose results share memory with their operand."""


def _reshaped(call: AtenCall) -> Source:
    return call.ops.reshape(call.x(), call.shape)


def _same(call: AtenCall) -> Source:
    return call.ops.convert(call.x(), call.out()[1])


def _spread(call: AtenCall) -> Source:
    return call.ops.broadcast(call.x(), call.shape)


def _transposed(call: AtenCall) -> Source:
    x = call.ops.array(call.x())
    rank = len(x.shape)
    order = list(range(rank))
    if call.node.op == "permute":
        order = [axis_of(axis, rank) for axis in call.ints("dims")]
    elif call.node.op == "transpose":
        a, b = axis_of(call.whole("dim0", 0), rank), axis_of(call.whole("dim1", 1), rank)
        order[a], order[b] = b, a
    elif call.node.op == "movedim":
        sources = [axis_of(axis, rank) for axis in call.ints("source")]
        order = [axis for axis in order if axis not in sources]
        for target, axis in sorted(zip((axis_of(a, rank) for a in call.ints("destination")), sources, strict=True)):
            order.insert(target, axis)
    else:
        order.reverse()
    return call.ops.transpose(x, order)


def _selected(call: AtenCall) -> Source:
    x = call.ops.array(call.x())
    axis, index = axis_of(call.whole("dim", 0), len(x.shape)), call.whole("index", 0)
    index = index + x.shape[axis] if index < 0 else index
    return call.ops.reshape(call.ops.along(x, axis, index, index + 1), call.shape)


def _sliced(call: AtenCall) -> Source:
    x = call.ops.array(call.x())
    axis = axis_of(call.whole("dim", 0), len(x.shape))
    extent = x.shape[axis]
    start, end = call.whole("start", 0), call.whole("end", extent)
    start, end = (min(max(place + extent if place < 0 else place, 0), extent) for place in (start, end))
    if call.node.op == "narrow":
        end = start + call.whole("length", 0)
    return call.ops.along(x, axis, start, max(start, end), call.whole("step", 1))


def _split(call: AtenCall) -> Sequence[Source]:
    x = call.ops.array(call.x())
    axis = axis_of(call.whole("dim", 0), len(x.shape))
    sizes = [call.program.layout(name)[0][axis] for name in call.node.results]
    return call.ops.parts(x, axis, sizes)


def _unbound(call: AtenCall) -> Sequence[Source]:
    x = call.ops.array(call.x())
    axis = axis_of(call.whole("dim", 0), len(x.shape))
    parts = call.ops.parts(x, axis, [1] * len(call.node.results))
    return [call.ops.reshape(part, call.out(n)[0]) for n, part in enumerate(parts)]


def _joined(call: AtenCall) -> Source:
    rank = len(call.shape)
    parts = [part for part in call.many() if len(part.shape) == rank]  # PyTorch skips empty arrays of one axis
    parts = [call.ops.convert(part, call.out()[1]) for part in parts]
    return call.ops.concatenate(parts, call.whole("dim", 0))


def _stacked(call: AtenCall) -> Source:
    axis = axis_of(call.whole("dim", 0), len(call.shape))
    parts = [call.ops.reshape(part, (*part.shape[:axis], 1, *part.shape[axis:])) for part in call.many()]
    return call.ops.concatenate(parts, axis)


def _taken(call: AtenCall) -> Source:
    return take(call.ops, call.x(), call.x("index"), call.whole("dim", 0), wrap=False)


def _embedding(call: AtenCall) -> Source:
    return take(call.ops, call.x("weight"), call.x("indices"), 0, wrap=False)


def _gathered(call: AtenCall) -> Source:
    return take_along(call.ops, call.x(), call.x("index"), call.whole("dim", 0))


def _indexed(call: AtenCall) -> Source:
    """Advanced indices that follow each other; several are flattened into one."""
    ops, x = call.ops, call.ops.array(call.x())
    given = call.optional("indices")
    axes = [axis for axis, index in enumerate(given) if index is not None]
    indices = [index for index in given if index is not None]
    if not axes or axes != list(range(axes[0], axes[-1] + 1)) or any(index.dtype == "bool" for index in indices):
        return ops.streamed("index", call.sources(), [call.out()])[0]
    flat: Source = indices[0]
    for axis, index in zip(axes[1:], indices[1:], strict=True):
        flat = ops.elementwise("add", ops.elementwise("mul", flat, like(x.shape[axis], flat)), index)
    joined = math.prod(x.shape[axis] for axis in axes)
    table = ops.reshape(x, (*x.shape[: axes[0]], joined, *x.shape[axes[-1] + 1 :]))
    return take(ops, table, flat, axes[0])


def _index_put(call: AtenCall) -> Source:
    ops, x = call.ops, call.ops.array(call.x())
    indices = call.optional("indices")
    if any(index is None or index.dtype == "bool" for index in indices):
        return ops.streamed("index_put", call.sources(), [call.out()])[0]
    columns = [index for index in indices if index is not None]
    shape = ops.elementwise("add", *columns[:2]).shape if len(columns) > 1 else columns[0].shape
    at = ops.concatenate([ops.reshape(ops.broadcast(c, shape), (*shape, 1)) for c in columns], -1)
    values = ops.broadcast(ops.convert(call.x("values"), x.dtype), (*shape, *x.shape[len(columns) :]))
    primitive = "scatter-add" if call.flag("accumulate") else "scatter"
    return scatter(ops, primitive, x, at, values, len(columns))


def _scattered(primitive: str) -> Handler:
    def run(call: AtenCall) -> Source:
        x, index = call.ops.array(call.x()), call.ops.array(call.x("index"))
        new = call.ops.broadcast(call.ops.convert(call.x("src", "value"), x.dtype), index.shape)
        return scatter_along(call.ops, primitive, x, index, new, call.whole("dim", 0))

    return run


def _copied(call: AtenCall) -> Source:
    return call.ops.convert(call.ops.broadcast(call.x("src"), call.shape), call.out()[1])


def _padded(call: AtenCall) -> Source:
    x, asked = call.ops.array(call.x()), call.ints("pad")
    if call.text("mode", "constant") != "constant":
        return call.ops.streamed("pad", [x], [call.out()])[0]
    widths = [(0, 0)] * len(x.shape)
    for n in range(len(asked) // 2):
        widths[-1 - n] = asked[2 * n], asked[2 * n + 1]
    return call.ops.pad(x, widths, like(call.real("value", 0.0), x))


def _flipped(call: AtenCall) -> Source:
    x = call.ops.array(call.x())
    axes = tuple(axis_of(axis, len(x.shape)) for axis in call.ints("dims"))
    return call.ops.apply("rev", [x], x.shape, x.dtype, dimensions=axes)


def _rolled(call: AtenCall) -> Source:
    x = call.ops.array(call.x())
    for shift, axis in zip(call.ints("shifts"), call.ints("dims"), strict=True):
        extent = max(1, x.shape[axis])
        cut = -shift % extent
        x = call.ops.concatenate(call.ops.parts(x, axis_of(axis, len(x.shape)), [cut, extent - cut])[::-1], axis)
    return x


def _repeated(call: AtenCall) -> Source:
    x, times = call.ops.array(call.x()), call.ints("repeats")
    shape = (*(1,) * (len(times) - len(x.shape)), *x.shape)
    wide = call.ops.reshape(x, [part for extent in shape for part in (1, extent)])
    spread = call.ops.broadcast(wide, [part for n, e in zip(times, shape, strict=True) for part in (n, e)])
    return call.ops.reshape(spread, call.shape)


def _triangle(call: AtenCall) -> Source:
    ops, x = call.ops, call.x()
    rows, columns = (iota(ops, x.shape[-2:], axis, "int32") for axis in range(2))
    shifted = ops.elementwise("add", rows, number(call.whole("diagonal", 0), "int32"))
    seen = ops.elementwise("ge" if call.node.op == "triu" else "le", columns, shifted)
    return ops.select(ops.broadcast(seen, x.shape), x, like(0, x))


def _filled(value: float) -> Handler:
    def run(call: AtenCall) -> Source:
        shape, dtype = call.out()
        fill = call.maybe("fill_value", "value", "s", dtype=dtype) if call.node.op in _FULL else number(value, dtype)
        return call.ops.broadcast(call.ops.convert(fill or number(value, dtype), dtype), shape)

    return run


_FULL = ("full", "full_like", "new_full", "fill", "scalar_tensor")


def _counted(call: AtenCall) -> Source:
    (n,), dtype = call.out()
    start, step = call.real("start", 0.0), call.real("step", 1.0)
    places = iota(call.ops, (n,), 0, dtype)
    scaled = places if step == 1 else call.ops.elementwise("mul", places, like(step, places))
    return call.ops.elementwise("add", scaled, like(start, places)) if start else scaled


def _one_hot(call: AtenCall) -> Source:
    ops, x = call.ops, call.x()
    column = ops.reshape(x, (*x.shape, 1))
    places = iota(ops, call.shape, len(call.shape) - 1, x.dtype)
    return ops.convert(ops.elementwise("eq", column, places), call.out()[1])


def _largest(call: AtenCall) -> Sequence[Source]:
    x = call.x()
    largest = call.flag("largest", True)
    source = x if largest else call.ops.elementwise("neg", x)
    values, places = top_k(call.ops, source, call.whole("k", 1), call.whole("dim", -1), "int64")
    return [values if largest else call.ops.elementwise("neg", values), places]


def _sorted(call: AtenCall) -> Sequence[Source]:
    ops, x = call.ops, call.ops.array(call.x())
    axis = axis_of(call.whole("dim", -1), max(1, len(x.shape)))
    key = ops.elementwise("neg", x) if call.flag("descending") else x
    places = iota(ops, x.shape, axis, "int64")
    layouts = [(x.shape, x.dtype), (x.shape, "int64")]
    made, at = ops.steps("sort", [key, places], layouts, {"dimension": axis, "num_keys": 1, "is_stable": True})
    return [ops.elementwise("neg", made) if call.flag("descending") else made, at]


def _extent(call: AtenCall) -> Source:
    return Literal(call.x().shape[call.whole("dim", 0)], "int64")


SHAPES: dict[str, Handler] = {
    **dict.fromkeys((
        "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "flatten", "unflatten", "view_as", "reshape_as",
    ), _reshaped),
    **dict.fromkeys((
        "contiguous", "clone", "detach", "alias", "lift_fresh_copy", "dropout", "feature_dropout", "to", "_to_copy",
        "type_as", "getitem", "positive",
    ), _same),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _spread),
    **dict.fromkeys(("transpose", "t", "permute", "movedim", "numpy_T"), _transposed),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "empty", "empty_like", "new_empty", "zero"), _filled(0)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), _filled(1)),
    **dict.fromkeys(_FULL, _filled(0)),
    "select": _selected, "slice": _sliced, "narrow": _sliced, "unbind": _unbound, "cat": _joined, "stack": _stacked,
    "index_select": _taken, "embedding": _embedding, "gather": _gathered, "index": _indexed, "index_put": _index_put,
    "scatter": _scattered("scatter"), "scatter_add": _scattered("scatter-add"), "copy": _copied,
    "constant_pad_nd": _padded, "pad": _padded, "flip": _flipped, "roll": _rolled, "repeat": _repeated,
    "tril": _triangle, "triu": _triangle, "arange": _counted, "one_hot": _one_hot, "topk": _largest, "sort": _sorted,
    "sym_size": _extent,
}  # fmt: skip
"""Operators that move elements."""
