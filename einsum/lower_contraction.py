"""Matrix products with any dimension numbers, and convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tierplan.einsum.expressions import Expression
from tierplan.einsum.lower_assembly import dilated, guarded
from tierplan.einsum.lower_elementwise import Lower, Parameters
from tierplan.einsum.lower_reduction import window_counts
from tierplan.einsum.lower_values import ZERO, Index, NoLoweringError, Shape, Value, number, scaled
from tierplan.einsum.lower_writer import Writer

_Pair = tuple[Shape, Shape]


def _dot_general(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    """Batch axes first, then the free axes of the left operand, then those of the right one."""
    left, right = operands
    (left_sum, right_sum), (left_batch, right_batch) = cast("tuple[_Pair, _Pair]", parameters["dimension_numbers"])
    left_free = tuple(a for a in range(len(left.shape)) if a not in (*left_sum, *left_batch))
    right_free = tuple(a for a in range(len(right.shape)) if a not in (*right_sum, *right_batch))
    shape = tuple(left.shape[a] for a in (*left_batch, *left_free)) + tuple(right.shape[a] for a in right_free)
    order = cast("Shape", parameters.get("result_permutation") or tuple(range(len(shape))))

    def body(index: Index, summed: Index) -> Expression:
        made = dict(zip(order, index, strict=True))
        batch = [made[n] for n in range(len(left_batch))]
        rest = [made[n] for n in range(len(left_batch), len(made))]
        lefts = dict(zip((*left_batch, *left_free, *left_sum), (*batch, *rest[: len(left_free)], *summed), strict=True))
        rights = dict(
            zip((*right_batch, *right_free, *right_sum), (*batch, *rest[len(left_free) :], *summed), strict=True)
        )
        return left.at(tuple(lefts[a] for a in range(len(lefts)))) * right.at(
            tuple(rights[a] for a in range(len(rights)))
        )

    over = tuple(left.shape[axis] for axis in left_sum)
    dtype = str(parameters.get("preferred_element_type") or left.dtype)
    return [writer.einsum(writer.name("Dot"), tuple(shape[n] for n in order), dtype, body, over=over)]


def _convolution(writer: Writer, parameters: Parameters, operands: Sequence[Value]) -> Sequence[Value]:
    """`Y[b, g*F + f, p] = X[b, g*C + c, p*S + r*D - low] * W[g*F + f, c, r]`, whatever the order of the axes.

    Points of the padding count as zeros, as do the holes of a dilated image.
    """
    image, kernel = operands
    specs = dict(cast("tuple[tuple[str, Shape], ...]", parameters["dimension_numbers"]))
    strides, step = (cast("Shape", parameters[key]) for key in ("window_strides", "rhs_dilation"))
    padding = cast("tuple[tuple[int, int], ...]", parameters["padding"])
    features, batches = (cast("int", parameters[key]) for key in ("feature_group_count", "batch_group_count"))
    groups = features * batches
    if features > 1 and batches > 1:
        raise NoLoweringError("groups of features and of batches at once")
    lhs, rhs, out = specs["lhs_spec"], specs["rhs_spec"], specs["out_spec"]
    steps = dict(zip(lhs[2:], cast("Shape", parameters["lhs_dilation"]), strict=True))
    image = writer.solid(dilated(writer, image, tuple(steps.get(axis, 1) for axis in range(len(lhs))), 0))
    sizes, taps = tuple(image.shape[a] for a in lhs[2:]), tuple(kernel.shape[a] for a in rhs[2:])
    places = window_counts(sizes, taps, strides, padding, step)
    n_batch, n_out, n_in = image.shape[lhs[0]] // batches, kernel.shape[rhs[0]] // groups, kernel.shape[rhs[1]]
    leaves = any(
        low > 0 or (p - 1) * s + (k - 1) * d - low >= n
        for (low, _), p, s, k, d, n in zip(padding, places, strides, taps, step, sizes, strict=True)
    )

    def parts(index: Index) -> tuple[Index, Index]:
        """(group, batch, feature) and the place; without groups the group is 0."""
        if groups == 1:
            return (ZERO, *index[:2]), index[2:]
        return index[:3], index[3:]

    def body(index: Index, reduced: Index) -> Expression:
        (group, b, f), place = parts(index)
        channel, inside = reduced[0], reduced[1:]
        at = [ZERO] * len(lhs)
        at[lhs[0]] = b + scaled(group, n_batch) if batches > 1 else b
        at[lhs[1]] = channel + scaled(group, n_in) if features > 1 else channel
        for n, axis in enumerate(lhs[2:]):
            at[axis] = scaled(place[n], strides[n]) + scaled(inside[n], step[n]) + number(-padding[n][0])
        weight = [ZERO] * len(rhs)
        weight[rhs[0]], weight[rhs[1]] = f + scaled(group, n_out), channel
        for n, axis in enumerate(rhs[2:]):
            weight[axis] = inside[n]
        pixel = guarded(image, tuple(at), 0) if leaves else image.at(tuple(at))
        return pixel * kernel.at(tuple(weight))

    def place(index: Index, _: Index) -> Index:
        (group, b, f), places = parts(index)
        at = [ZERO] * len(out)
        at[out[0]], at[out[1]] = b, f + scaled(group, n_out)
        for n, axis in enumerate(out[2:]):
            at[axis] = places[n]
        return tuple(at)

    extents = (n_batch, n_out, *places)
    size = [0] * len(out)
    for axis, extent in zip(out, (n_batch, n_out * groups, *places), strict=True):
        size[axis] = extent
    dtype = str(parameters.get("preferred_element_type") or image.dtype)
    return [
        writer.einsum(
            writer.name("Convolution"),
            extents if groups == 1 else (groups, *extents),
            dtype,
            body,
            over=(n_in, *taps),
            place=place,
            size=tuple(size),
        )
    ]


CONTRACTION: dict[str, Lower] = {"dot_general": _dot_general, "conv_general_dilated": _convolution}
"""How each product is lowered."""
