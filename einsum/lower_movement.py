"""Primitives that move elements by changing indices: broadcasts, slices, transpositions, reshapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from tierplan.einsum.expressions import Expression, affine_expression, apply
from tierplan.einsum.lower_elementwise import Lower, Parameters
from tierplan.einsum.lower_values import (
    ZERO,
    Index,
    NoLoweringError,
    Shape,
    Value,
    flipped,
    number,
    scaled,
    view,
)
from tierplan.einsum.lower_writer import Writer


def transposed(value: Value, permutation: Shape) -> Value:
    """Axis n of the result is axis `permutation[n]` of the value."""

    def move(index: Index) -> Index:
        moved = dict(zip(permutation, index, strict=True))
        return tuple(moved[axis] for axis in range(len(moved)))

    return view(value, tuple(value.shape[axis] for axis in permutation), move)


def reshaped(writer: Writer, value: Value, shape: Shape, *, init: bool = False) -> Value:
    """The same elements in row-major order under another shape.

    Axes that are split only change the index; axes that are merged are written side by side first (with `init`,
    before anything runs).
    """
    if shape == value.shape:
        return value
    groups = _groups(value.shape, shape)
    if any(len(sources) > 1 for sources, _ in groups):
        value = _merged(writer, value, tuple(tuple(sources) for sources, _ in groups), init)
        groups = [([n], targets) for n, (_, targets) in enumerate(groups)]
    extents = value.shape

    def move(index: Index) -> Index:
        moved = [ZERO] * len(extents)
        for (source,), targets in groups:
            step = 1
            for axis in reversed(targets):
                moved[source] += scaled(index[axis], step)
                step *= shape[axis]
        return tuple(moved)

    return view(value, shape, move)


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """The finest runs of axes, old and new, that hold the same elements; axes of extent 1 belong to none."""
    olds = [axis for axis, extent in enumerate(old) if extent != 1]
    news = [axis for axis, extent in enumerate(new) if extent != 1]
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(olds):
        left, right = [olds[i]], [news[j]]
        i, j = i + 1, j + 1
        while (a := math.prod(old[x] for x in left)) != (b := math.prod(new[x] for x in right)):
            if a < b:
                left.append(olds[i])
                i += 1
            else:
                right.append(news[j])
                j += 1
        groups.append((left, right))
    return groups


def _merged(writer: Writer, value: Value, groups: tuple[Shape, ...], init: bool) -> Value:
    """The value with the axes of each group side by side in one."""
    shape = tuple(math.prod(value.shape[axis] for axis in group) for group in groups)
    kept = [axis for group in groups for axis in group]

    def body(index: Index, _: Index) -> Expression:
        moved = dict(zip(kept, index, strict=True))
        return value.at(tuple(moved.get(axis, ZERO) for axis in range(len(value.shape))))

    def place(index: Index, _: Index) -> Index:
        moved = dict(zip(kept, index, strict=True))
        merged: list[Index] = []
        for group in groups:
            total, step = ZERO, 1
            for axis in reversed(group):
                total, step = total + scaled(moved[axis], step), step * value.shape[axis]
            merged.append((total,))
        return tuple(total for (total,) in merged)

    inner = tuple(value.shape[axis] for axis in kept)
    return writer.einsum(writer.name("Flat"), inner, value.dtype, body, place=place, size=shape, init=init)


def _transpose(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    return [transposed(operands[0], cast("Shape", parameters["permutation"]))]


def _reshape(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    (value,) = operands
    if parameters.get("dimensions"):
        value = transposed(value, cast("Shape", parameters["dimensions"]))
    shape = parameters.get("new_sizes")
    if shape is None:
        raise NoLoweringError("a reshape without its sizes")
    return [reshaped(writer, value, cast("Shape", shape))]


def _broadcast(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    (value,) = operands
    axes, shape = cast("Shape", parameters["broadcast_dimensions"]), cast("Shape", parameters["shape"])

    def move(index: Index) -> Index:
        return tuple(
            ZERO if extent != shape[axis] else index[axis] for axis, extent in zip(axes, value.shape, strict=True)
        )

    return [view(value, shape, move)]


def _iota(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    axis, dtype = cast("int", parameters["dimension"]), str(parameters["dtype"])
    whole = not dtype.startswith(("float", "bfloat"))

    def at(index: Index) -> Expression:
        found = affine_expression(index[axis])
        return found if whole else apply("float", found)

    return [Value(cast("Shape", parameters["shape"]), dtype, at, depth=0 if whole else 1)]


def _empty(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    raise NoLoweringError("it only reserves memory")


def _slice(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    (value,) = operands
    starts, limits = (cast("Shape", parameters[key]) for key in ("start_indices", "limit_indices"))
    strides = cast("Shape", parameters.get("strides") or (1,) * len(starts))
    shape = tuple(-(-(b - a) // s) for a, b, s in zip(starts, limits, strides, strict=True))

    def move(index: Index) -> Index:
        return tuple(scaled(i, s) + number(a) for i, s, a in zip(index, strides, starts, strict=True))

    return [view(value, shape, move)]


def _split(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    (value,) = operands
    axis, start, parts = cast("int", parameters["axis"]), 0, list[Value]()
    for size in cast("Shape", parameters["sizes"]):
        first = start

        def move(index: Index, first: int = first) -> Index:
            return (*index[:axis], index[axis] + number(first), *index[axis + 1 :])

        parts.append(view(value, (*value.shape[:axis], size, *value.shape[axis + 1 :]), move))
        start += size
    return parts


def _rev(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    (value,) = operands
    axes = cast("Shape", parameters["dimensions"])

    def move(index: Index) -> Index:
        return tuple(flipped(i, value.shape[axis]) if axis in axes else i for axis, i in enumerate(index))

    return [view(value, value.shape, move)]


def _tile(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    (value,) = operands
    reps = cast("Shape", parameters["reps"])
    size = tuple(n * extent for n, extent in zip(reps, value.shape, strict=True))
    inner = tuple(extent for pair in zip(reps, value.shape, strict=True) for extent in pair)

    def place(index: Index, _: Index) -> Index:
        return tuple(scaled(index[2 * a], extent) + index[2 * a + 1] for a, extent in enumerate(value.shape))

    name = writer.name("Tile")
    return [writer.einsum(name, inner, value.dtype, lambda i, _: value.at(i[1::2]), place=place, size=size)]


MOVEMENT: dict[str, Lower] = {
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "iota": _iota,
    "empty": _empty,
    "empty2": _empty,
    "slice": _slice,
    "split": _split,
    "rev": _rev,
    "tile": _tile,
}
"""How each primitive that only changes indices is lowered."""
