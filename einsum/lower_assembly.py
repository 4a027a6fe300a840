"""Primitives that put arrays together, or blocks into them and out of them: concatenation, padding, dynamic slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from tierplan.einsum.expressions import Access, Expression, affine_expression, apply
from tierplan.einsum.lower_elementwise import Lower, Parameters
from tierplan.einsum.lower_values import (
    Index,
    NoLoweringError,
    Shape,
    Value,
    clamped,
    coordinate,
    number,
    scaled,
    view,
)
from tierplan.einsum.lower_writer import Writer


def guarded(value: Value, index: Index, outside: float) -> Expression:
    """The value at an index that may leave it, for a value that is one access (see `Writer.solid`)."""
    found = value.at(index)
    return replace(found, outside=outside) if isinstance(found, Access) else found


def concatenated(writer: Writer, parts: Sequence[Value], axis: int) -> Value:
    """The parts side by side along an axis.

    Of inputs it is laid out before anything runs; of computed parts it is a choice at every point.
    """
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    dtype = parts[0].dtype
    if writer.turn is None and all(part.tensor in writer.inputs for part in parts) and len(parts) > 1:
        name, start = writer.name("Side"), 0
        for part in parts:
            first = number(start)

            def place(index: Index, _: Index, first: Index = (first,)) -> Index:
                return (*index[:axis], index[axis] + first[0], *index[axis + 1 :])

            laid = writer.einsum(
                name, part.shape, dtype, lambda i, _, part=part: part.at(i), place=place, size=tuple(shape), init=True
            )
            start += part.shape[axis]
        return writer.written(writer.name("Concatenate"), laid)  # pyright: ignore[reportPossiblyUnboundVariable]
    solids = [writer.solid(part) for part in parts]

    def body(index: Index, _: Index) -> Expression:
        ends = [sum(part.shape[axis] for part in parts[: n + 1]) for n in range(len(parts))]
        found: Expression | None = None
        for part, end in zip(reversed(solids), reversed(ends), strict=True):
            moved = (*index[:axis], index[axis] + number(part.shape[axis] - end), *index[axis + 1 :])
            own = guarded(part, moved, 0)
            here = apply("less", affine_expression(index[axis]), end)
            found = own if found is None else apply("where", here, own, found)
        assert found is not None
        return found

    return writer.einsum(writer.name("Concatenate"), tuple(shape), dtype, body)


def _concatenate(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    axis = cast("int", parameters["dimension"])
    return [concatenated(writer, [part for part in operands if 0 not in part.shape], axis)]


def _stack(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    axis = cast("int", parameters["axis"])
    axis %= len(operands[0].shape) + 1

    def taller(value: Value) -> Value:
        shape = (*value.shape[:axis], 1, *value.shape[axis:])
        return view(value, shape, lambda index: (*index[:axis], *index[axis + 1 :]))

    parts = [taller(writer.solid(value) if value.depth else value) for value in operands]
    return [concatenated(writer, parts, axis)]


def _unstack(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    (value,) = operands
    axis = cast("int", parameters["axis"]) % len(value.shape)
    shape = (*value.shape[:axis], *value.shape[axis + 1 :])

    def part(n: int) -> Value:
        return view(value, shape, lambda index: (*index[:axis], number(n), *index[axis:]))

    return [part(n) for n in range(value.shape[axis])]


def dilated(writer: Writer, value: Value, steps: Shape, empty: float) -> Value:
    """The value with holes of `empty` between its elements: element n lies at `n * step`."""
    if all(step == 1 for step in steps):
        return value
    size = tuple((extent - 1) * step + 1 for extent, step in zip(value.shape, steps, strict=True))
    return writer.einsum(
        writer.name("Dilated"),
        value.shape,
        value.dtype,
        lambda index, _: value.at(index),
        place=lambda index, _: tuple(scaled(i, step) for i, step in zip(index, steps, strict=True)),
        size=size,
        empty=empty,
    )


def _pad(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    value, fill = operands
    edges = cast("tuple[tuple[int, int, int], ...]", parameters["padding_config"])
    steps = tuple(interior + 1 for _, _, interior in edges)
    if fill.constant is None and any(step > 1 for step in steps):
        raise NoLoweringError("interior padding with a value that is computed")
    outside = 0 if fill.constant is None else fill.constant
    inner = dilated(writer, value, steps, outside)
    shape = tuple(max(0, n + low + high) for n, (low, high, _) in zip(inner.shape, edges, strict=True))
    solid = writer.solid(inner)

    def moved(index: Index) -> Index:
        return tuple(i + number(-low) for i, (low, _, _) in zip(index, edges, strict=True))

    def body(index: Index, _: Index) -> Expression:
        found = guarded(solid, moved(index), outside)
        if fill.constant is not None:
            return found
        tests: list[Expression] = []
        for i, n in zip(moved(index), solid.shape, strict=True):
            at = affine_expression(i)
            tests += [apply("greater_equal", at, 0), apply("less", at, n)]
        return apply("where", conjunction(tests), found, fill.at(()))

    return [writer.einsum(writer.name("Pad"), shape, value.dtype, body)]


def conjunction(tests: Sequence[Expression]) -> Expression:
    """Whether all tests hold."""
    found = tests[0]
    for test in tests[1:]:
        found = apply("and", found, test)
    return found


def starts_of(writer: Writer, starts: Sequence[Value], shape: Shape, sizes: Shape) -> Index:
    """Where a block of `sizes` begins, moved inside `shape` as far as it must."""
    found: list[Access | int] = []
    for start, extent, size in zip(starts, shape, sizes, strict=True):
        last = extent - size
        if start.constant is not None or last == 0:
            found.append(min(max(int(start.constant or 0), 0), last))
            continue
        at = start.at(())
        inside = writer.einsum(
            writer.name("Start"), (), start.dtype, lambda i, _, at=at, last=last: clamped(at, 0, last)
        )
        access = inside.at(())
        assert isinstance(access, Access)
        found.append(access)
    return tuple(coordinate(at) for at in found)


def _dynamic_slice(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    value, *starts = operands
    sizes = cast("Shape", parameters["slice_sizes"])
    first = starts_of(writer, starts, value.shape, sizes)
    source = writer.solid(value) if value.depth else value
    return [view(source, sizes, lambda index: tuple(i + a for i, a in zip(index, first, strict=True)))]


def _dynamic_update(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    value, update, *starts = operands
    first = starts_of(writer, starts, value.shape, update.shape)
    solid = writer.solid(update)

    def body(index: Index, _: Index) -> Expression:
        tests: list[Expression] = []
        moved: list[Index] = []
        for i, a, n, extent in zip(index, first, update.shape, value.shape, strict=True):
            at = i + scaled(a, -1)
            moved.append((at,))
            if n < extent:
                tests += [
                    apply("greater_equal", affine_expression(at), 0),
                    apply("less", affine_expression(at), n),
                ]
        new = guarded(solid, tuple(at for (at,) in moved), 0)
        return apply("where", conjunction(tests), new, value.at(index)) if tests else new

    return [writer.einsum(writer.name("Updated"), value.shape, value.dtype, body)]


ASSEMBLY: dict[str, Lower] = {
    "concatenate": _concatenate,
    "stack": _stack,
    "unstack": _unstack,
    "pad": _pad,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update,
}
"""How each primitive that puts arrays together or takes blocks out of them is lowered."""
