"""ONNX operators that move elements: shapes, slices, look-ups, updates of parts."""

import math
from collections.abc import Sequence

import numpy as np

from tierplan.frontend.array_indexing import gather_blocks, iota, scatter, scatter_along, take, take_along, top_k
from tierplan.frontend.array_ops import MOST_ELEMENTS, axis_of, number
from tierplan.frontend.jaxpr_block import Operand, Source
from tierplan.frontend.onnx_call import Call, Handler, Result, UnknownNumbersError
from tierplan.frontend.onnx_elementwise import like
from tierplan.frontend.onnx_model import DTYPES, Array, Stored
from tierplan.ir.errors import InvalidInputError

_COMBINED = {"none": "scatter", "add": "scatter-add", "mul": "scatter_mul", "max": "scatter_max", "min": "scatter_min"}


def _constant(call: Call) -> Result:
    for name, value in call.attributes.items():
        if isinstance(value, Stored):
            raise AssertionError("stored tensors are entered by the reader")
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
    raise InvalidInputError(f"{call.node} holds no numbers")


def _shape(call: Call) -> Array:
    shape = call.shape()
    start, end = call.whole("start", 0), call.whole("end", len(shape))
    return np.array(shape[start:end], np.int64)


def _reshape(call: Call) -> Source:
    x = call.x()
    asked = list(call.ints("shape")) if "shape" in call.attributes else call.numbers(1, "the new extents")
    if any(extent < -1 for extent in asked) or asked.count(-1) > 1:
        raise InvalidInputError(f"{call.node}: {asked} is no shape")
    if not call.whole("allowzero", 0):
        asked = [x.shape[n] if extent == 0 and n < len(x.shape) else extent for n, extent in enumerate(asked)]
    rest = math.prod(extent for extent in asked if extent != -1)
    total = math.prod(x.shape)
    if -1 in asked and (not rest or total % rest):
        raise InvalidInputError(f"{call.node}: shape {x.shape} cannot become {asked}")
    return call.ops.reshape(x, [total // rest if extent == -1 else extent for extent in asked])


def _flatten(call: Call) -> Source:
    x = call.x()
    axis = call.whole("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    return call.ops.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _squeeze(call: Call) -> Source:
    x = call.x()
    axes = call.axes(1)
    gone = [n for n, e in enumerate(x.shape) if e == 1] if axes is None else [axis_of(a, len(x.shape)) for a in axes]
    return call.ops.reshape(x, [extent for n, extent in enumerate(x.shape) if n not in gone])


def _unsqueeze(call: Call) -> Source:
    x, axes = call.x(), call.axes(1) or []
    rank = len(x.shape) + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    extents = iter(x.shape)
    if len(new) != len(axes):
        raise InvalidInputError(f"{call.node} names an axis twice")
    return call.ops.reshape(x, [1 if n in new else next(extents) for n in range(rank)])


def _transpose(call: Call) -> Source:
    x = call.x()
    return call.ops.transpose(x, call.ints("perm", tuple(reversed(range(len(x.shape))))))


def _expand(call: Call) -> Source:
    x, asked = call.x(), call.numbers(1, "the new extents")
    rank = max(len(asked), len(x.shape))
    own, asked = [1] * (rank - len(x.shape)) + [*x.shape], [1] * (rank - len(asked)) + asked
    return call.ops.broadcast(x, [a if b == 1 else b for a, b in zip(own, asked, strict=True)])


def _tile(call: Call) -> Source:
    x, times = call.ops.array(call.x()), call.numbers(1, "the repeats")
    if len(times) != len(x.shape) or any(n < 0 for n in times):
        raise InvalidInputError(f"{call.node}: repeats {times} for shape {x.shape}")
    wide = call.ops.reshape(x, [part for extent in x.shape for part in (1, extent)])
    spread = call.ops.broadcast(wide, [part for n, e in zip(times, x.shape, strict=True) for part in (n, e)])
    return call.ops.reshape(spread, [n * e for n, e in zip(times, x.shape, strict=True)])


def _split(call: Call) -> Sequence[Source]:
    x, n = call.x(), len(call.wanted)
    axis = axis_of(call.whole("axis", 0), len(x.shape))
    extent = x.shape[axis]
    if "split" in call.attributes:
        sizes = list(call.ints("split"))
    elif call.has(1):
        sizes = call.numbers(1, "the sizes of the parts")
    else:
        size = -(-extent // max(1, n))
        sizes = [max(0, min(size, extent - size * part)) for part in range(n)]
    if len(sizes) < n or sum(sizes) != extent or any(size < 0 for size in sizes):
        raise InvalidInputError(f"{call.node}: parts of {sizes} for an axis of {extent}")
    return call.ops.parts(x, axis, sizes)


def _slice(call: Call) -> Source:
    if "starts" in call.attributes:
        starts, ends = list(call.ints("starts")), list(call.ints("ends"))
        axes, steps = list(call.ints("axes", range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = call.numbers(1, "where it starts"), call.numbers(2, "where it ends")
        axes = call.numbers(3, "the axes") if call.has(3) else list(range(len(starts)))
        steps = call.numbers(4, "the steps") if call.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise InvalidInputError(f"{call.node}: {len(starts)} starts, {len(ends)} ends, {len(axes)} axes")
    x: Source = call.ops.array(call.x())
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = _sliced(call, x, start, end, axis_of(axis, len(x.shape)), step)
    return x


def _sliced(call: Call, x: Source, start: int, end: int, axis: int, step: int) -> Source:
    extent = x.shape[axis]
    start, end = (place + extent if place < 0 else place for place in (start, end))
    if step > 0:
        start, end = min(max(start, 0), extent), min(max(end, 0), extent)
        return call.ops.along(x, axis, start, max(start, end), step)
    if step == 0:
        raise InvalidInputError(f"{call.node} steps by 0")
    start, end = min(max(start, -1), extent - 1), min(max(end, -1), extent - 1)
    turned = call.ops.apply("rev", [x], x.shape, x.dtype, dimensions=(axis,))
    first, last = extent - 1 - start, extent - 1 - end
    return call.ops.along(turned, axis, first, max(first, last), -step)


def _pad(call: Call) -> Source:
    x = call.ops.array(call.x())
    rank = len(x.shape)
    asked = list(call.ints("pads")) if "pads" in call.attributes else call.numbers(1, "the padding")
    axes = [axis_of(a, rank) for a in call.numbers(3, "the axes")] if call.has(3) else list(range(rank))
    if len(asked) != 2 * len(axes):
        raise InvalidInputError(f"{call.node}: {len(asked)} numbers of padding for {len(axes)} axes")
    widths = [(0, 0)] * rank
    for n, axis in enumerate(axes):
        widths[axis] = asked[n], asked[n + len(axes)]
    mode = call.text("mode", "constant")
    if mode == "constant":
        fill = call.maybe(2) or like(call.real("value", 0.0), x)
        return call.ops.pad(x, widths, call.ops.reshape(fill, ()) if isinstance(fill, Operand) else fill)
    for axis, (low, high) in enumerate(widths):
        if (low, high) != (0, 0):
            x = call.ops.array(
                take(call.ops, x, call.ops.constant(_mirrored(call, x.shape[axis], low, high, mode)), axis)
            )
    return x


def _mirrored(call: Call, extent: int, low: int, high: int, mode: str) -> Array:
    if not 0 < low + extent + high <= 2**24 or not extent:
        raise InvalidInputError(f"{call.node}: padding of {low} and {high} around {extent} is absurd")
    places = np.arange(-low, extent + high)
    if mode == "wrap":
        return (places % extent).astype(np.int32)
    if mode == "edge":
        return np.clip(places, 0, extent - 1).astype(np.int32)
    period = max(1, 2 * (extent - 1))
    places = np.abs(places) % period
    return np.where(places >= extent, period - places, places).astype(np.int32)


def _gather(call: Call) -> Source:
    x, indices = call.x(0), call.known(1)
    axis = axis_of(call.whole("axis", 0), len(x.shape))
    if indices is not None and indices.size == 1:
        place = int(indices.reshape(-1)[0])
        place = place + x.shape[axis] if place < 0 else place
        part = call.ops.along(x, axis, place, place + 1)
        return call.ops.reshape(part, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    return take(call.ops, x, call.x(1), axis)


def _scatter_blocks(call: Call) -> Source:
    primitive = _COMBINED.get(call.text("reduction", "none"), "scatter")
    return scatter(call.ops, primitive, call.x(0), call.x(1), call.x(2), call.shape(1)[-1])


def _scatter_along(call: Call) -> Source:
    primitive = _COMBINED.get(call.text("reduction", "none"), "scatter")
    return scatter_along(call.ops, primitive, call.x(0), call.x(1), call.x(2), call.whole("axis", 0))


def _depth_to_space(call: Call) -> Source:
    n, c, h, w = _image(call)
    b = call.whole("blocksize", 1)
    _check_blocks(call, b, c % (b * b) if b > 0 else 1)
    if call.text("mode", "DCR") == "DCR":
        x, order = call.ops.reshape(call.x(), (n, b, b, c // (b * b), h, w)), (0, 3, 4, 1, 5, 2)
    else:
        x, order = call.ops.reshape(call.x(), (n, c // (b * b), b, b, h, w)), (0, 1, 4, 2, 5, 3)
    return call.ops.reshape(call.ops.transpose(x, order), (n, c // (b * b), h * b, w * b))


def _space_to_depth(call: Call) -> Source:
    n, c, h, w = _image(call)
    b = call.whole("blocksize", 1)
    _check_blocks(call, b, h % b + w % b if b > 0 else 1)
    x = call.ops.reshape(call.x(), (n, c, h // b, b, w // b, b))
    return call.ops.reshape(call.ops.transpose(x, (0, 3, 5, 1, 2, 4)), (n, c * b * b, h // b, w // b))


def _image(call: Call) -> tuple[int, int, int, int]:
    if len(call.shape()) != 4:
        raise InvalidInputError(f"{call.node} needs an image of 4 axes, not of shape {call.shape()}")
    n, c, h, w = call.shape()
    return n, c, h, w


def _check_blocks(call: Call, size: int, rest: int) -> None:
    if size < 1 or rest:
        raise InvalidInputError(f"{call.node}: blocks of {size} do not divide shape {call.shape()}")


def _constant_of_shape(call: Call) -> Source:
    shape = call.numbers(0, "the extents")
    if any(extent < 0 for extent in shape) or math.prod(shape) > MOST_ELEMENTS:
        raise InvalidInputError(f"{call.node}: shape {shape} is absurd")
    stored = call.attributes.get("value")
    known = stored.known if isinstance(stored, Stored) else None
    value = 0.0 if known is None else known.reshape(-1)[0].item()
    dtype = stored.dtype if isinstance(stored, Stored) else "float32"
    return call.ops.broadcast(number(value, dtype), shape)


def _range(call: Call) -> Source:
    start, limit, step = (call.known(n) for n in range(3))
    if start is None or limit is None or step is None:
        raise UnknownNumbersError(f"{call.node}: its bounds are known only when the model runs")
    first, last, by = (float(bound.reshape(())) for bound in (start, limit, step))
    if not by or not math.isfinite((last - first) / by) or (last - first) / by > MOST_ELEMENTS:
        raise InvalidInputError(f"{call.node}: from {first} to {last} by {by} is absurd")
    n = max(0, math.ceil((last - first) / by))
    places = iota(call.ops, (n,), 0, str(start.dtype))
    scaled = call.ops.elementwise("mul", places, like(by, places)) if by != 1 else places
    return call.ops.elementwise("add", scaled, like(first, places)) if first else scaled


def _one_hot(call: Call) -> Source:
    ops, indices, depth = call.ops, call.x(0), call.numbers(1, "the depth")[0]
    values = ops.array(call.x(2))
    axis = axis_of(call.whole("axis", -1), len(indices.shape) + 1)
    shape = (*indices.shape[:axis], depth, *indices.shape[axis:])
    wide = ops.reshape(indices, (*indices.shape[:axis], 1, *indices.shape[axis:]))
    wide = ops.select(ops.elementwise("lt", wide, like(0, wide)), ops.elementwise("add", wide, like(depth, wide)), wide)
    hit = ops.elementwise("eq", ops.convert(wide, "int64"), iota(ops, shape, axis, "int64"))
    off, on = (ops.reshape(part, ()) for part in ops.parts(values, 0, [1, 1]))
    return ops.select(hit, on, off)


def _triangle(call: Call) -> Source:
    ops, x = call.ops, call.x()
    by = call.numbers(1, "the diagonal")[0] if call.has(1) else 0
    rows, columns = iota(ops, x.shape[-2:], 0, "int32"), iota(ops, x.shape[-2:], 1, "int32")
    upper = bool(call.whole("upper", 1))
    shifted = ops.elementwise("add", rows, like(by, rows))
    seen = ops.elementwise("ge" if upper else "le", columns, shifted)
    return ops.select(ops.broadcast(seen, x.shape), x, like(0, x))


def _eye(call: Call) -> Source:
    ops, shape = call.ops, call.shape()
    dtype = DTYPES.get(call.whole("dtype", 1), "float32")
    rows, columns = iota(ops, shape, 0, "int32"), iota(ops, shape, 1, "int32")
    return ops.convert(
        ops.elementwise("eq", columns, ops.elementwise("add", rows, like(call.whole("k", 0), rows))), dtype
    )


def _top_k(call: Call) -> Sequence[Source]:
    x = call.x()
    k = call.whole("k", 1) if "k" in call.attributes else call.numbers(1, "how many it takes")[0]
    axis = call.whole("axis", -1)
    largest = bool(call.whole("largest", 1))
    source = x if largest else call.ops.elementwise("neg", x)
    values, places = top_k(call.ops, source, k, axis, "int64")
    return [values if largest else call.ops.elementwise("neg", values), places]


def _reverse_sequence(call: Call) -> Source:
    """Assumes: every sequence has the full length."""
    x, axis = call.ops.array(call.x()), call.whole("time_axis", 0)
    return call.ops.apply("rev", [x], x.shape, x.dtype, dimensions=(axis_of(axis, len(x.shape)),))


def _compress(call: Call) -> Source:
    x = call.ops.array(call.x())
    x = x if "axis" in call.attributes else call.ops.reshape(x, (math.prod(x.shape),))
    with call.ops.noted(extent_assumed="everything is kept"):
        return call.ops.streamed("Compress", [x, call.x(1)], [(x.shape, x.dtype)])[0]


def _unique(call: Call) -> Sequence[Source]:
    x = call.ops.array(call.x())
    n = x.shape[call.whole("axis", 0)] if "axis" in call.attributes else math.prod(x.shape)
    first = x.shape if "axis" in call.attributes else (n,)
    layouts = [(first, x.dtype), *(((n,), "int64") for _ in range(len(call.wanted) - 1))]
    with call.ops.noted(extent_assumed="no two elements are equal"):
        return call.ops.streamed("Unique", [x], layouts)


def _suppressed(call: Call) -> Source:
    boxes, scores = call.x(0), call.x(1)
    known = call.known(2)
    most = min(boxes.shape[1], int(known.reshape(-1)[0]) if known is not None else boxes.shape[1])
    with call.ops.noted(extent_assumed="as many boxes as may be selected"):
        shape = (scores.shape[0] * scores.shape[1] * max(0, most), 3)
        return call.ops.streamed("NonMaxSuppression", [boxes, scores], [(shape, "int64")])[0]


def _non_zero(call: Call) -> Source:
    x = call.ops.array(call.x())
    with call.ops.noted(extent_assumed="every element is not zero"):
        shape = (max(1, len(x.shape)), math.prod(x.shape))
        return call.ops.streamed("NonZero", [x], [(shape, "int64")])[0]


BOUNDED = ("NonZero", "Compress", "Unique", "NonMaxSuppression")
"""Operators whose results have a shape that data decide: the largest one is taken."""

SHAPES: dict[str, Handler] = {
    "Constant": _constant, "Shape": _shape, "Size": lambda call: np.array(math.prod(call.shape()), np.int64),
    "Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Transpose": _transpose,
    "Expand": _expand, "Tile": _tile, "Split": _split, "Slice": _slice, "Pad": _pad, "Gather": _gather,
    "Concat": lambda call: call.ops.concatenate([call.x(n) for n in range(len(call.entries))], call.whole("axis", 1)),
    "GatherElements": lambda call: take_along(call.ops, call.x(0), call.x(1), call.whole("axis", 0)),
    "GatherND": lambda call: gather_blocks(call.ops, call.x(0), call.x(1), call.whole("batch_dims", 0)),
    "ScatterElements": _scatter_along, "Scatter": _scatter_along, "ScatterND": _scatter_blocks,
    "DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth, "ConstantOfShape": _constant_of_shape,
    "Range": _range, "OneHot": _one_hot, "Trilu": _triangle, "EyeLike": _eye, "TopK": _top_k, "NonZero": _non_zero,
    "ReverseSequence": _reverse_sequence, "Compress": _compress, "Unique": _unique, "NonMaxSuppression": _suppressed,
}  # fmt: skip
"""Operators that move elements."""
