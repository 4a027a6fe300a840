"""Reductions over named axes, with a fast path for sums of products."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tierplan.einsum.arrays import Array, Frame, Named, aligned, evaluate_expression, operate, union
from tierplan.einsum.compute import filler
from tierplan.einsum.dtypes import is_float
from tierplan.einsum.expressions import Apply, Expression, rank_of
from tierplan.einsum.operators import REDUCES
from tierplan.einsum.statements import Einsum, Reduction
from tierplan.ir.errors import InvalidInputError

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def reduced_value(einsum: Einsum, frame: Frame, keep: tuple[str, ...] = ()) -> Named:
    """The expression, reduced; `present` marks output points that some iteration point reached, if any may not.

    Variables in `keep` are left for the caller to combine (an output at data-dependent coordinates).
    """
    frame = replace(frame, filtered=bool(einsum.filters))
    reductions = [r for r in einsum.reductions if not set(r.over) & set(keep)]
    over = tuple(v for r in reductions for v in r.over if v not in frame.bound)
    if over and not einsum.filters and all(r.operator == "add" for r in reductions):
        found = _sum_of_products(einsum.expression, over, frame)
        if found is not None:
            return found
    merged = isinstance(einsum.expression, Apply) and einsum.expression.merge is not None
    value = evaluate_expression(einsum.expression, frame, presence=merged)
    mask = _filter_mask(einsum, frame)
    if merged and value.present is not None:
        own = Named(value.axes, value.present)
        mask = own if mask is None else _both(own, mask, frame.xp)
    axes = union(value.axes, mask.axes if mask else (), over)
    shape = tuple(frame.sizes[rank_of(axis)] for axis in axes)
    array = frame.xp.broadcast_to(aligned(value, axes, frame.xp), shape)
    marks = None if mask is None else frame.xp.broadcast_to(aligned(mask, axes, frame.xp), shape)
    for reduction in reversed(reductions):
        array, axes, marks = _reduce(array, axes, marks, reduction, frame)
    return Named(axes, array, marks)


def _both(a: Named, b: Named, xp: Any) -> Named:
    axes = union(a.axes, b.axes)
    return Named(axes, aligned(a, axes, xp) & aligned(b, axes, xp))


def _filter_mask(einsum: Einsum, frame: Frame) -> Named | None:
    mask: Named | None = None
    for condition in einsum.filters:
        found = evaluate_expression(condition, frame)
        found = Named(found.axes, frame.xp.asarray(found.array).astype(bool))
        mask = found if mask is None else _both(mask, found, frame.xp)
    return mask


def _factors(node: Expression) -> list[Expression]:
    if isinstance(node, Apply) and node.operator == "multiply" and node.merge is None:
        return [factor for operand in node.operands for factor in _factors(operand)]
    return [node]


def _sum_of_products(node: Expression, over: tuple[str, ...], frame: Frame) -> Named | None:
    """The sum by a contraction, without the whole iteration space in memory; None if there is none to do."""
    factors = [evaluate_expression(factor, frame) for factor in _factors(node)]
    arrays = [f for f in factors if f.axes]
    scalars = [f.array for f in factors if not f.axes]
    axes = union(*(f.axes for f in arrays))
    if len(arrays) < 2 or len(axes) > len(_LETTERS):
        return None
    xp = frame.xp
    dtypes = [f.array.dtype for f in arrays]
    floating = [d for d in dtypes if is_float(d)]
    common = xp.result_type(*(floating or dtypes))
    if common == np.bool_:
        common = np.dtype(np.int64)
    letters = dict(zip(axes, _LETTERS, strict=False))
    kept = tuple(axis for axis in axes if axis not in over)
    inputs = ",".join("".join(letters[a] for a in f.axes) for f in arrays)
    formula = f"{inputs}->{''.join(letters[a] for a in kept)}"
    operands = [f.array.astype(common) for f in arrays]
    if xp is np:
        total = np.einsum(formula, *operands, optimize="greedy")
    else:
        total = xp.einsum(formula, *operands, precision="highest")
    scalars += [frame.sizes[rank_of(variable)] for variable in over if variable not in axes]
    for scalar in scalars:
        total = operate("multiply", [total, scalar], frame)
    return Named(kept, total)


Reduced = tuple[Array, tuple[str, ...], "Array | None"]


def _reduce(array: Array, axes: tuple[str, ...], marks: Array | None, reduction: Reduction, frame: Frame) -> Reduced:
    over = [axes.index(v) for v in reduction.over if v in axes]
    rest = tuple(axis for n, axis in enumerate(axes) if n not in over)
    if not over:
        return array, axes, marks
    xp = frame.xp
    operator = REDUCES.get(reduction.operator)
    identity = operator.identity if operator else frame.operators[reduction.operator].identity
    if marks is not None:
        array = xp.where(marks, array, filler(identity or 0, array, xp))
        if operator is None or not operator.populates:
            marks = xp.any(marks, axis=tuple(over))
    if operator is None:
        for axis in sorted(over, reverse=True):
            array = _fold(array, axis, reduction.operator, frame)
        return array, rest, marks
    if operator.populates:
        into = reduction.into or ""
        array, marks = _top(array, over[0], reduction, frame, marks)
        return array, (*rest, into), marks
    return _call(reduction.operator, array, tuple(over), xp), rest, marks


# The array function of each reduce operator, by its name in numpy's interface.
_CALLS = {
    "add": "sum", "multiply": "prod", "max": "max", "min": "min", "and": "all", "or": "any",
    "argmax": "argmax", "argmin": "argmin",
}  # fmt: skip


def _call(name: str, array: Array, over: tuple[int, ...], xp: Any) -> Array:
    if name in ("add", "multiply") and array.dtype.kind == "b":
        array = array.astype(int)
    return getattr(xp, _CALLS[name])(array, axis=over[0] if name.startswith("arg") else over)


def _top(array: Array, axis: int, reduction: Reduction, frame: Frame, marks: Array | None) -> tuple[Array, Any]:
    """Largest values, or their coordinates, first of equals first, on a new last axis."""
    xp = frame.xp
    moved = xp.moveaxis(array, axis, -1)
    n = frame.sizes[rank_of(reduction.into or "")]
    if n > moved.shape[-1]:
        raise InvalidInputError(
            f"{reduction.operator} takes {n} of only {moved.shape[-1]} coordinates of '{reduction.over[0]}'"
        )
    order = xp.flip(moved.shape[-1] - 1 - xp.argsort(xp.flip(moved, axis=-1), axis=-1, stable=True), axis=-1)
    order = order[..., :n]
    if marks is not None:
        marks = xp.take_along_axis(xp.moveaxis(marks, axis, -1), order, axis=-1)
    return (order if reduction.operator == "argtop" else xp.take_along_axis(moved, order, axis=-1)), marks


def _fold(array: Array, axis: int, operator: str, frame: Frame) -> Array:
    """A user's reduction, halving the axis each time: the operator is associative."""
    xp = frame.xp
    moved = xp.moveaxis(array, axis, 0)
    while moved.shape[0] > 1:
        half = moved.shape[0] // 2
        joined = operate(operator, [moved[: 2 * half : 2], moved[1 : 2 * half : 2]], frame)
        moved = xp.concatenate([joined, moved[2 * half :]]) if moved.shape[0] % 2 else joined
    return moved[0]
