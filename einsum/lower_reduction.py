"""Reductions, running reductions as iterative ranks, and reductions over sliding windows (pooling)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

from tierplan.einsum.expressions import Access, Affine, Constant, Expression, Term, apply
from tierplan.einsum.lower_assembly import dilated, guarded
from tierplan.einsum.lower_elementwise import LOG_ADD_EXP, Lower, Parameters
from tierplan.einsum.lower_values import ZERO, Index, NoLoweringError, Shape, Value, flipped, number, scaled
from tierplan.einsum.lower_writer import Writer

_SMALLEST = {
    "int8": -(2**7), "int16": -(2**15), "int32": -(2**31), "int64": -(2**63) + 1,
    "uint8": 0, "uint16": 0, "uint32": 0, "uint64": 0,
}  # fmt: skip
_LARGEST = {
    "int8": 2**7 - 1, "int16": 2**15 - 1, "int32": 2**31 - 1, "int64": 2**63 - 1,
    "uint8": 2**8 - 1, "uint16": 2**16 - 1, "uint32": 2**32 - 1, "uint64": 2**63 - 1,
}  # fmt: skip


def identity(operator: str, dtype: str) -> float:
    """The value of a reduction over nothing, in the type of its elements."""
    if operator == "max":
        return _SMALLEST.get(dtype, -math.inf)
    if operator == "min":
        return _LARGEST.get(dtype, math.inf)
    return 1 if operator == "multiply" else 0


def _split_axes(shape: Shape, axes: Shape) -> tuple[Shape, Callable[[Index, Index], Index]]:
    """The extents that are kept, and how kept and reduced indices make one of the whole."""
    kept = tuple(extent for axis, extent in enumerate(shape) if axis not in axes)

    def whole(index: Index, reduced: Index) -> Index:
        inside = dict(zip(axes, reduced, strict=True))
        rest = iter(index)
        return tuple(inside[axis] if axis in inside else next(rest) for axis in range(len(shape)))

    return kept, whole


def _reduce(operator: str, wanted: str) -> Lower:
    def lower(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
        (value,) = operands
        axes = cast("Shape", parameters["axes"])
        logic = operator in ("and", "or")
        if logic and value.dtype != "bool":
            raise NoLoweringError(f"bitwise {operator} over whole numbers")
        dtype = str(parameters.get("index_dtype", value.dtype))
        kept, whole = _split_axes(value.shape, axes)
        return [
            writer.einsum(
                writer.name(wanted),
                kept,
                dtype,
                lambda index, reduced: value.at(whole(index, reduced)),
                over=tuple(value.shape[axis] for axis in axes),
                operator=operator,
            )
        ]

    return lower


def _running(operator: str, wanted: str) -> Lower:
    """A running reduction: element i + 1 of an iterative rank from element i."""

    def lower(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
        (value,) = operands
        axis, reverse = cast("int", parameters["axis"]), bool(parameters["reverse"])
        extent, rest = value.shape[axis], tuple(n for a, n in enumerate(value.shape) if a != axis)
        name = writer.name("Running")
        join = writer.defined(LOG_ADD_EXP) if operator == LOG_ADD_EXP.name else operator
        first = -math.inf if join == LOG_ADD_EXP.name else identity(operator, value.dtype)

        def moved(index: Index) -> Index:
            i, *others = index
            i = flipped(i, extent) if reverse else i
            return (*others[:axis], i, *others[axis:])

        def place(index: Index, _: Index) -> Index:
            return (index[0] + number(1), *index[1:])

        def body(index: Index, _: Index) -> Expression:
            prefix = () if writer.turn is None else (writer.turn,)
            return apply(join, Access(name, (*prefix, *index)), value.at(moved(index)))

        size = (extent + 1, *rest)
        writer.einsum(
            name,
            rest,
            value.dtype,
            lambda index, _: Constant(first),
            place=lambda index, _: (ZERO, *index),
            size=size,
            init=True,
        )
        running = writer.einsum(name, (extent, *rest), value.dtype, body, place=place, size=size)

        def result(index: Index, _: Index) -> Expression:
            i, others = index[axis], (*index[:axis], *index[axis + 1 :])
            last = number(extent) + scaled(i, -1) if reverse else i + number(1)
            return running.at((last, *others))

        return [writer.einsum(writer.name(wanted), value.shape, value.dtype, result)]

    return lower


def _windows(parameters: Parameters, shape: Shape) -> tuple[Shape, Shape, tuple[tuple[int, int], ...], Shape, Shape]:
    """Window, strides, padding, and the dilations of operand and window."""
    ones = (1,) * len(shape)
    window = cast("Shape", parameters["window_dimensions"])
    strides = cast("Shape", parameters["window_strides"])
    padding = cast("tuple[tuple[int, int], ...]", parameters["padding"])
    base = cast("Shape", parameters.get("base_dilation", ones))
    return window, strides, padding, base, cast("Shape", parameters.get("window_dilation", ones))


def window_counts(
    shape: Shape, window: Shape, strides: Shape, padding: Sequence[tuple[int, int]], step: Shape
) -> Shape:
    """Places that a window takes along each axis.

    >>> window_counts((5,), (2,), (2,), ((0, 1),), (1,))
    (3,)
    """
    return tuple(
        max(0, (n + low + high - ((k - 1) * d + 1)) // s + 1)
        for n, k, s, (low, high), d in zip(shape, window, strides, padding, step, strict=True)
    )


def _window(operator: str, wanted: str) -> Lower:
    def lower(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
        (value,) = operands
        window, strides, padding, base, step = _windows(parameters, value.shape)
        nothing = identity(operator, value.dtype)
        inner = writer.solid(dilated(writer, value, base, nothing))
        shape = window_counts(inner.shape, window, strides, padding, step)
        axes = [axis for axis, k in enumerate(window) if k > 1]
        outside = None if all(pair == (0, 0) for pair in padding) else nothing

        def body(index: Index, reduced: Index) -> Expression:
            inside = dict(zip(axes, reduced, strict=True))
            moved = tuple(
                scaled(i, strides[a]) + scaled(inside.get(a, ZERO), step[a]) + number(-padding[a][0])
                for a, i in enumerate(index)
            )
            return inner.at(moved) if outside is None else guarded(inner, moved, outside)

        over = tuple(window[axis] for axis in axes)
        name = writer.name(wanted)
        return [writer.einsum(name, shape, value.dtype, body, over=over, operator=operator)]

    return lower


def _select_and_scatter_add(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    """Each source element is added where its window has its largest element, the first of equals.

    Assumes: the selection is `ge`, as in the gradient of pooling by maximum.
    """
    source, operand = operands
    window, strides, padding, _, _ = _windows(parameters, operand.shape)
    axes = [axis for axis, k in enumerate(window) if k > 1]
    solid = writer.solid(operand)
    shape, n_axes = source.shape, len(operand.shape)
    taps = tuple(window[axis] for axis in axes)

    def corner(index: Index, inside: Sequence[Affine]) -> Index:
        moved = dict(zip(axes, inside, strict=True))
        return tuple(scaled(index[a], strides[a]) + moved.get(a, ZERO) + number(-padding[a][0]) for a in range(n_axes))

    def tap(index: Index, _: Index) -> Index:
        total, step = ZERO, 1
        for position in reversed(range(len(taps))):
            total, step = total + scaled(index[n_axes + position], step), step * taps[position]
        return (*index[:n_axes], total)

    windows = writer.einsum(
        writer.name("Window"),
        (*shape, *taps),
        operand.dtype,
        lambda index, _: guarded(solid, corner(index[:n_axes], index[n_axes:]), identity("max", operand.dtype)),
        place=tap,
        size=(*shape, math.prod(taps)),
    )
    chosen = writer.einsum(
        writer.name("Chosen"),
        shape,
        "int32",
        lambda index, reduced: windows.at((*index, *reduced)),
        over=(math.prod(taps),),
        operator="argmax",
    )
    offsets: list[Value] = []
    step = math.prod(taps)
    for position, extent in enumerate(taps):
        step //= extent

        def offset(index: Index, _: Index, step: int = step, extent: int = extent) -> Expression:
            return apply("remainder", apply("floor_divide", chosen.at(index), step), extent)

        offsets.append(writer.einsum(writer.name(f"Tap{position}"), shape, "int32", offset))

    def place(index: Index, _: Index) -> Index:
        found = [offset.at(index) for offset in offsets]
        assert all(isinstance(access, Access) for access in found)
        return corner(index, [Affine((Term(of=cast("Access", access)),)) for access in found])

    name = writer.name("SelectAndScatterAdd")
    return [writer.einsum(name, shape, source.dtype, lambda i, _: source.at(i), place=place, size=operand.shape)]


REDUCTION: dict[str, Lower] = {
    "reduce_sum": _reduce("add", "Sum"),
    "reduce_max": _reduce("max", "Max"),
    "reduce_min": _reduce("min", "Min"),
    "reduce_prod": _reduce("multiply", "Product"),
    "reduce_and": _reduce("and", "All"),
    "reduce_or": _reduce("or", "Any"),
    "argmax": _reduce("argmax", "Argmax"),
    "argmin": _reduce("argmin", "Argmin"),
    "cumsum": _running("add", "Cumsum"),
    "cumprod": _running("multiply", "Cumprod"),
    "cummax": _running("max", "Cummax"),
    "cummin": _running("min", "Cummin"),
    "cumlogsumexp": _running(LOG_ADD_EXP.name, "Cumlogsumexp"),
    "reduce_window_sum": _window("add", "WindowSum"),
    "reduce_window_max": _window("max", "WindowMax"),
    "reduce_window_min": _window("min", "WindowMin"),
    "select_and_scatter_add": _select_and_scatter_add,
}
"""How each reduction is lowered."""
