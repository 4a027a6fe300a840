"""Gathers and scatters, and orders: sorting and the largest few.

A gather is an access at coordinates that other tensors hold; a scatter is an Einsum that writes at such coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from tierplan.einsum.expressions import Access, Affine, Constant, Expression, Term, apply
from tierplan.einsum.lower_assembly import conjunction
from tierplan.einsum.lower_elementwise import Lower, Parameters
from tierplan.einsum.lower_values import (
    ZERO,
    Index,
    NoLoweringError,
    Shape,
    Value,
    clamped,
    elementwise,
    not_a_number,
    number,
    placeholders,
    view,
)
from tierplan.einsum.lower_writer import Writer


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Where the blocks of a gather or a scatter lie in the operand.

    Axes of the operand: `window` ones are walked by a block, `single` ones have one coordinate per block, `batching`
    ones belong to axes of the indices. `starts` are the axes whose coordinates the indices hold.
    """

    shape: Shape
    sizes: Shape
    window: Shape
    starts: Shape
    batching: Shape
    of_batching: Shape
    clip: bool
    safe: bool

    def at(self, coordinates: Sequence[Affine], batch: Index, inside: Index) -> Index:
        """The coordinate in the operand of a point of a block."""
        moved = [ZERO] * len(self.shape)
        for axis, i in zip(self.window, inside, strict=True):
            moved[axis] += i
        for axis, i in zip(self.starts, coordinates, strict=True):
            moved[axis] += i
        for axis, position in zip(self.batching, self.of_batching, strict=True):
            moved[axis] += batch[position]
        return tuple(moved)


def _starts(writer: Writer, blocks: _Blocks, indices: Value) -> tuple[list[Value], Value | None]:
    """Per axis the first coordinate of each block, moved inside; and whether it was inside already, if that matters."""
    batch = indices.shape[:-1]
    moved: list[Value] = []
    for position, axis in enumerate(blocks.starts):
        last = blocks.shape[axis] - blocks.sizes[axis]

        def start(index: Index, _: Index, position: int = position, last: int = last) -> Expression:
            found = indices.at((*index, number(position)))
            return found if blocks.safe else clamped(found, 0, last)

        moved.append(writer.einsum(writer.name("Start"), batch, "int32", start))
    if blocks.safe or blocks.clip or not blocks.starts:
        return moved, None

    def inside(index: Index, _: Index) -> Expression:
        tests: list[Expression] = []
        for position, axis in enumerate(blocks.starts):
            found = indices.at((*index, number(position)))
            tests += [
                apply("greater_equal", found, 0),
                apply("less_equal", found, blocks.shape[axis] - blocks.sizes[axis]),
            ]
        return conjunction(tests)

    return moved, writer.einsum(writer.name("Inside"), batch, "bool", inside)


def _coordinates(starts: Sequence[Value], batch: Index) -> list[Affine]:
    found = [start.at(batch) for start in starts]
    return [Affine((Term(of=cast("Access", access)),)) for access in found]


def _numbers(parameters: Parameters) -> dict[str, Shape]:
    return dict(cast("tuple[tuple[str, Shape], ...]", parameters["dimension_numbers"]))


def _gather(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    value, indices = operands
    numbers, sizes, mode = _numbers(parameters), cast("Shape", parameters["slice_sizes"]), str(parameters["mode"])
    batching = numbers["operand_batching_dims"]
    window = tuple(a for a in range(len(value.shape)) if a not in (*numbers["collapsed_slice_dims"], *batching))
    blocks = _Blocks(
        value.shape, sizes, window, numbers["start_index_map"], batching, numbers["start_indices_batching_dims"],
        "CLIP" in mode, "PROMISE" in mode,
    )  # fmt: skip
    if 0 in value.shape:
        raise NoLoweringError("an operand has no elements")
    starts, inside = _starts(writer, blocks, indices)
    source = (
        value if value.depth == 0 and isinstance(value.at(placeholders(value.shape)), Access) else writer.solid(value)
    )
    offset_axes, rank = numbers["offset_dims"], len(indices.shape) - 1 + len(window)
    batch_axes = tuple(a for a in range(rank) if a not in offset_axes)
    extents = dict(zip((*batch_axes, *offset_axes), (*indices.shape[:-1], *(sizes[a] for a in window)), strict=True))

    def body(index: Index, _: Index) -> Expression:
        batch = tuple(index[a] for a in batch_axes)
        block = tuple(index[a] for a in offset_axes)
        found = source.at(blocks.at(_coordinates(starts, batch), batch, block))
        if inside is None:
            return found
        return apply("where", inside.at(batch), found, _fill(parameters.get("fill_value"), value))

    shape = tuple(extents[a] for a in range(rank))
    return [writer.einsum(writer.name("Gather"), shape, value.dtype, body)]


def _fill(fill: object, value: Value) -> Expression:
    """What a gather returns outside: what it says, else NaN, or the smallest whole number (largest unsigned one)."""
    from tierplan.einsum.lower_reduction import identity

    if isinstance(fill, bool | int | float) and fill == fill:
        return Constant(fill if isinstance(fill, bool) else float(fill) if value.is_float else int(fill))
    if value.is_float:
        return not_a_number()
    if value.dtype == "bool":
        return Constant(True)
    return Constant(identity("min" if value.dtype.startswith("uint") else "max", value.dtype))


_COMBINED = {
    "scatter": "max", "scatter-add": "add", "scatter_add": "add", "scatter-sub": "add", "scatter_sub": "add",
    "scatter_mul": "multiply", "scatter-mul": "multiply", "scatter_min": "min", "scatter-min": "min",
    "scatter_max": "max", "scatter-max": "max",
}  # fmt: skip


def _scatter(primitive: str) -> Lower:
    """Combine the updates that meet, then join them with what was there.

    Assumes: where updates of a plain `scatter` meet, the largest is kept (JAX leaves it open).
    """

    def lower(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
        value, indices, updates = operands
        numbers, mode = _numbers(parameters), str(parameters["mode"])
        batching = numbers["operand_batching_dims"]
        window = tuple(a for a in range(len(value.shape)) if a not in (*numbers["inserted_window_dims"], *batching))
        window_axes = numbers["update_window_dims"]
        batch_axes = tuple(a for a in range(len(updates.shape)) if a not in window_axes)
        inner = dict(zip(window, (updates.shape[a] for a in window_axes), strict=True))
        sizes = tuple(inner.get(a, 1) for a in range(len(value.shape)))
        blocks = _Blocks(
            value.shape, sizes, window, numbers["scatter_dims_to_operand_dims"], batching,
            numbers["scatter_indices_batching_dims"], "CLIP" in mode, "PROMISE" in mode,
        )  # fmt: skip
        starts, inside = _starts(writer, blocks, indices)
        return [_joined(writer, primitive, value, updates, _Target(blocks, batch_axes, window_axes, starts, inside))]

    return lower


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the updates go, and which of them are dropped."""

    blocks: _Blocks
    batch_axes: Shape
    window_axes: Shape
    starts: Sequence[Value]
    inside: Value | None

    def place(self, index: Index) -> Index:
        """The coordinate in the operand of an element of the updates."""
        batch = tuple(index[a] for a in self.batch_axes)
        return self.blocks.at(_coordinates(self.starts, batch), batch, tuple(index[a] for a in self.window_axes))

    def kept(self, index: Index) -> tuple[Expression, ...]:
        """Filters: whether the element is written at all."""
        return () if self.inside is None else (self.inside.at(tuple(index[a] for a in self.batch_axes)),)


def _joined(writer: Writer, primitive: str, value: Value, updates: Value, target: _Target) -> Value:
    operator = _COMBINED[primitive]
    moving = {v for index in target.place(placeholders(updates.shape)) for v in index.variables}
    free = tuple(f"o{n}" for n in range(len(updates.shape)) if f"o{n}" not in moving)
    loose = tuple(int(v[1:]) for v in free)
    fixed = tuple(a for a in range(len(updates.shape)) if a not in loose)

    def whole(index: Index, reduced: Index) -> Index:
        found = dict(zip((*fixed, *loose), (*index, *reduced), strict=True))
        return tuple(found[a] for a in range(len(updates.shape)))

    def written(name: str, element: Expression | None, combine: str) -> Value:
        return writer.einsum(
            writer.name(name),
            tuple(updates.shape[a] for a in fixed),
            "bool" if element is not None else updates.dtype,
            lambda index, reduced: element if element is not None else updates.at(whole(index, reduced)),
            over=tuple(updates.shape[a] for a in loose),
            operator=combine,
            filters=lambda index, reduced: target.kept(whole(index, reduced)),
            place=lambda index, reduced: target.place(whole(index, reduced)),
            size=value.shape,
        )

    sums = written("Scattered", None, operator)
    if operator == "add":
        join = "subtract" if "sub" in primitive else "add"
        return writer.written(
            writer.name("Scatter"), elementwise(lambda parts: apply(join, *parts), value.dtype, value, sums)
        )
    hit = written("Reached", Constant(1), "max")

    def body(index: Index, _: Index) -> Expression:
        old, new = value.at(index), sums.at(index)
        joined = new if primitive == "scatter" else apply(operator, old, new)
        return apply("where", apply("greater", hit.at(index), 0), joined, old)

    return writer.einsum(writer.name("Scatter"), value.shape, value.dtype, body)


def _sort(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    """The order of the first operand, smallest first and the first of equals first; the others follow it."""
    axis, key = cast("int", parameters["dimension"]), operands[0]
    if cast("int", parameters.get("num_keys", 1)) > 1:
        raise NoLoweringError("a sort by several keys")
    if len(operands) == 1:
        return [_ordered(writer, key, axis, key.shape[axis], "top", ascending=True)]
    order = _ordered(writer, key, axis, key.shape[axis], "argtop", ascending=True)
    return [_taken(writer, value, order, axis) for value in operands]


def _taken(writer: Writer, value: Value, order: Value, axis: int) -> Value:
    source = value if value.tensor or value.depth == 0 else writer.solid(value)

    def body(index: Index, _: Index) -> Expression:
        at = Affine((Term(of=cast("Access", order.at(index))),))
        return source.at((*index[:axis], at, *index[axis + 1 :]))

    return writer.einsum(writer.name("Sorted"), order.shape, value.dtype, body)


def _ordered(writer: Writer, value: Value, axis: int, n: int, operator: str, *, ascending: bool) -> Value:
    """The first `n` along an axis (`top`), or where they lie (`argtop`)."""
    rest = tuple(extent for a, extent in enumerate(value.shape) if a != axis)
    dtype = "int32" if operator == "argtop" else value.dtype

    def body(index: Index, reduced: Index) -> Expression:
        found = value.at((*index[:axis], *reduced, *index[axis:-1]))
        if value.dtype == "bool":
            found = apply("int", found)
        return apply("negate", found) if ascending else found

    extents = (value.shape[axis],)
    top = writer.einsum(writer.name("Order"), (*rest, n), dtype, body, over=extents, operator=operator, into=True)

    def back(index: Index) -> Index:
        return (*index[:axis], *index[axis + 1 :], index[axis])

    turned = view(top, (*rest[:axis], n, *rest[axis:]), back)
    if operator == "argtop" or not ascending:
        return writer.written(writer.name("Ordered"), turned) if axis != len(rest) else top
    negated = elementwise(lambda parts: apply("negate", *parts), value.dtype, turned)
    return writer.written(writer.name("Sorted"), negated)


def _top_k(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    (value,) = operands
    k, axis = cast("int", parameters["k"]), cast("int", parameters.get("axis", len(value.shape) - 1))
    axis %= len(value.shape)
    return [_ordered(writer, value, axis, k, operator, ascending=False) for operator in ("top", "argtop")]


GATHER: dict[str, Lower] = {
    "gather": _gather,
    **{primitive: _scatter(primitive) for primitive in _COMBINED},
    "sort": _sort,
    "top_k": _top_k,
}
"""How gathers, scatters and orders are lowered."""
