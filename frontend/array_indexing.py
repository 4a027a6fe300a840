"""Reading and writing at computed places, as array operations: look-ups, gathers, scatters, the largest elements."""

from collections.abc import Sequence

import numpy as np

from tierplan.frontend.array_ops import ArrayOps, axis_of, number
from tierplan.frontend.jaxpr_block import Operand, Source
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Attribute


def take(ops: ArrayOps, table: Source, indices: Source, axis: int, *, wrap: bool = True) -> Operand:
    """Slices of `table` along an axis, one per index; negative indices count from the end with `wrap`."""
    x = ops.array(table)
    axis = axis_of(axis, len(x.shape))
    at = _wrapped(ops, indices, x.shape[axis]) if wrap else indices
    rank = len(indices.shape)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    offsets = tuple(n for n in range(len(shape)) if not axis <= n < axis + rank)
    numbers = _gather_numbers(offsets, (axis,), (axis,))
    sizes = tuple(1 if n == axis else extent for n, extent in enumerate(x.shape))
    return gather(ops, x, ops.reshape(at, (*indices.shape, 1)), shape, sizes, numbers)


def gather(
    ops: ArrayOps,
    operand: Operand,
    indices: Operand,
    shape: Sequence[int],
    sizes: Sequence[int],
    numbers: tuple[tuple[str, tuple[int, ...]], ...],
) -> Operand:
    """Blocks of an array, as `jax.lax.gather` finds them; indices are inside."""
    return ops.apply(
        "gather", [operand, indices], shape, operand.dtype, dimension_numbers=numbers, slice_sizes=tuple(sizes),
        indices_are_sorted=False, unique_indices=False, mode="CLIP", fill_value=None,
    )  # fmt: skip


def take_along(ops: ArrayOps, table: Source, indices: Source, axis: int) -> Operand:
    """`result[i, j, k] = table[i, indices[i, j, k], k]` for axis 1, and so on."""
    x, at = ops.array(table), ops.array(indices)
    axis = axis_of(axis, len(x.shape))
    limits = [e if n == axis else at.shape[n] for n, e in enumerate(x.shape)]
    x = ops.slice(x, [0] * len(limits), limits)
    others = tuple(n for n in range(len(x.shape)) if n != axis)
    column = ops.reshape(_wrapped(ops, at, x.shape[axis]), (*at.shape, 1))
    numbers = _gather_numbers((), (axis,), (axis,), others)
    return gather(ops, x, column, at.shape, (1,) * len(x.shape), numbers)


def _gather_numbers(
    offsets: tuple[int, ...], collapsed: tuple[int, ...], starts: tuple[int, ...], batching: tuple[int, ...] = ()
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return (
        ("offset_dims", offsets), ("collapsed_slice_dims", collapsed), ("start_index_map", starts),
        ("operand_batching_dims", batching), ("start_indices_batching_dims", batching),
    )  # fmt: skip


def gather_blocks(ops: ArrayOps, table: Source, indices: Source, batch: int) -> Operand:
    """ONNX's GatherND: the last axis of the indices holds coordinates; `batch` leading axes belong together."""
    x, at = ops.array(table), ops.array(indices)
    depth = at.shape[-1]
    if x.shape[:batch] != at.shape[:batch] or batch + depth > len(x.shape):
        raise InvalidInputError(f"indices {at.shape} do not address an array of shape {x.shape}")
    starts = tuple(range(batch, batch + depth))
    shape = (*at.shape[:-1], *x.shape[batch + depth :])
    offsets = tuple(range(len(at.shape) - 1, len(shape)))
    sizes = tuple(1 if n < batch + depth else e for n, e in enumerate(x.shape))
    return gather(ops, x, at, shape, sizes, _gather_numbers(offsets, starts, starts, tuple(range(batch))))


def scatter(ops: ArrayOps, primitive: str, table: Source, indices: Source, updates: Source, depth: int) -> Operand:
    """Blocks of `updates` put where the last axis of the indices says, `depth` coordinates each."""
    x, at, new = ops.array(table), ops.array(indices), ops.array(updates)
    starts = tuple(range(depth))
    windows = tuple(range(len(at.shape) - 1, len(new.shape)))
    if new.shape != (*at.shape[:-1], *x.shape[depth:]):
        raise InvalidInputError(f"updates {new.shape} at indices {at.shape} do not fit an array of shape {x.shape}")
    numbers = (
        ("update_window_dims", windows), ("inserted_window_dims", starts), ("scatter_dims_to_operand_dims", starts),
        ("operand_batching_dims", ()), ("scatter_indices_batching_dims", ()),
    )  # fmt: skip
    return ops.apply(
        primitive, [x, at, new], x.shape, x.dtype, dimension_numbers=numbers, indices_are_sorted=False,
        unique_indices=False, mode="CLIP",
    )  # fmt: skip


def scatter_along(ops: ArrayOps, primitive: str, table: Source, indices: Source, updates: Source, axis: int) -> Operand:
    """`table[i, indices[i, j, k], k] = updates[i, j, k]` for axis 1, and so on."""
    x, at = ops.array(table), ops.array(indices)
    axis = axis_of(axis, len(x.shape))
    wrapped = _wrapped(ops, at, x.shape[axis])
    columns: list[Source] = []
    for n in range(len(x.shape)):
        if n == axis:
            columns.append(ops.reshape(wrapped, (*at.shape, 1)))
        else:
            columns.append(ops.reshape(iota(ops, at.shape, n, at.dtype), (*at.shape, 1)))
    return scatter(ops, primitive, x, ops.concatenate(columns, -1), updates, len(x.shape))


def iota(ops: ArrayOps, shape: Sequence[int], axis: int, dtype: str) -> Operand:
    """Each element holds its place along an axis."""
    return ops.apply("iota", [], shape, dtype, dtype=dtype, shape=tuple(shape), dimension=axis, sharding=None)


def _wrapped(ops: ArrayOps, indices: Source, extent: int) -> Source:
    known = ops.contents.get(indices.value) if isinstance(indices, Operand) else None
    if known is not None and bool(np.greater_equal(known, 0).all()):
        return indices
    if not isinstance(indices, Operand):
        value = indices.value
        return number(value + extent if isinstance(value, int) and value < 0 else int(float(str(value))), indices.dtype)
    negative = ops.elementwise("lt", indices, number(0, indices.dtype))
    return ops.select(negative, ops.elementwise("add", indices, number(extent, indices.dtype)), indices)


def top_k(ops: ArrayOps, source: Source, k: int, axis: int, index_dtype: str) -> list[Operand]:
    """The largest k along an axis, and where they lie."""
    x = ops.array(source)
    axis = axis_of(axis, len(x.shape))
    if not 0 <= k <= x.shape[axis]:
        raise InvalidInputError(f"cannot take the largest {k} of {x.shape[axis]}")
    last = len(x.shape) - 1
    order = [n for n in range(len(x.shape)) if n != axis] + [axis]
    turned = ops.transpose(x, order)
    shape = (*turned.shape[:-1], k)
    attributes: dict[str, Attribute] = {"k": k, "operand": None, "axis": last}
    made = ops.steps("top_k", [turned], [(shape, x.dtype), (shape, "int32")], attributes)
    back = [order.index(n) for n in range(len(x.shape))]
    values, places = (ops.transpose(part, back) for part in made)
    return [values, ops.array(ops.convert(places, index_dtype))]
