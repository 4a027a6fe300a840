"""Evaluation of one Einsum on arrays with named axes, the same for numpy and for JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tierplan.einsum.compute import compute, filler
from tierplan.einsum.dtypes import is_float
from tierplan.einsum.expressions import (
    Access,
    Affine,
    Apply,
    Constant,
    Expression,
    Symbol,
    at,
    is_variable,
    rank_of,
)
from tierplan.einsum.operators import MAPS, MERGES
from tierplan.einsum.sizes import evaluate
from tierplan.einsum.statements import OperatorDefinition
from tierplan.ir.errors import InvalidInputError

Array = Any  # a numpy or a JAX array


@dataclass(frozen=True, slots=True)
class Named:
    """An array whose axes are rank variables; `present` marks the points that hold something."""

    axes: tuple[str, ...]
    array: Array
    present: Array | None = None


@dataclass(slots=True)
class Frame:
    """What an evaluation sees: arrays, shapes, coordinates of the loops around it, operators.

    `windows[tensor][d]` says that dimension d keeps only that many coordinates, used in turn.
    """

    xp: Any
    sizes: Mapping[str, int]
    arrays: dict[str, Array]
    operators: Mapping[str, OperatorDefinition]
    functions: Mapping[str, Callable[..., Array]]
    empty: Mapping[str, float]
    windows: Mapping[str, Mapping[int, int]]
    lengths: Mapping[str, tuple[int, ...]]
    bound: dict[str, Array] = field(default_factory=dict[str, Array])
    filtered: bool = False

    @property
    def checks_values(self) -> bool:
        """Whether coordinates computed from values can be looked at (not inside a JAX trace)."""
        return self.xp is np


def aligned(named: Named, axes: tuple[str, ...], xp: Any) -> Array:
    """The array with its axes in the order of `axes`, and length 1 where it has none."""
    order = [named.axes.index(axis) for axis in axes if axis in named.axes]
    array = xp.transpose(named.array, order) if order != sorted(order) else named.array
    shape = iter(np.shape(array))
    return xp.reshape(array, tuple(next(shape) if axis in named.axes else 1 for axis in axes))


def union(*parts: tuple[str, ...]) -> tuple[str, ...]:
    """Axes of all parts, in order of appearance."""
    return tuple(dict.fromkeys(axis for part in parts for axis in part))


def evaluate_expression(node: Expression, frame: Frame, presence: bool = False) -> Named:
    """The value of an expression at every point that its own rank variables span."""
    match node:
        case Constant(value=value):
            return Named((), value)
        case Symbol(name=name):
            return _evaluate_symbol(name, frame)
        case Access():
            value = read(node, frame)
            if presence and node.tensor in frame.empty:
                return Named(value.axes, value.array, value.array != frame.empty[node.tensor])
            return value
        case Apply():
            return _evaluate_apply(node, frame, presence)
        case _:
            raise InvalidInputError(f"{type(node).__name__} cannot be evaluated")


def _evaluate_symbol(name: str, frame: Frame) -> Named:
    if not is_variable(name):
        return Named((), frame.sizes[name])
    if name in frame.bound:
        return Named((), frame.bound[name])
    return Named((name,), frame.xp.arange(frame.sizes[rank_of(name)]))


def _evaluate_apply(node: Apply, frame: Frame, presence: bool) -> Named:
    presence = presence or node.merge is not None
    operands = [evaluate_expression(operand, frame, presence) for operand in node.operands]
    axes = union(*(operand.axes for operand in operands))
    values = [aligned(operand, axes, frame.xp) if operand.axes else operand.array for operand in operands]
    if node.merge is not None:
        return _merged(node, operands, values, axes, frame)
    present = None
    if presence:
        marks = [aligned(Named(o.axes, o.present), axes, frame.xp) for o in operands if o.present is not None]
        if marks and (node.operator in ("multiply", "and") or len(marks) == len(operands)):
            both = node.operator in ("multiply", "and")
            join = frame.xp.logical_and if both else frame.xp.logical_or
            present = marks[0]
            for mark in marks[1:]:
                present = join(present, mark)
    return Named(axes, operate(node.operator, values, frame), present)


def _merged(node: Apply, operands: list[Named], values: list[Array], axes: tuple[str, ...], frame: Frame) -> Named:
    """Touch the points that the merge operator names; an absent operand stands for the identity."""
    xp = frame.xp
    operator = MAPS.get(node.operator)
    marks = [xp.asarray(True) if o.present is None else aligned(Named(o.axes, o.present), axes, xp) for o in operands]
    filled = [
        value if operator is None or identity is None else xp.where(mark, value, filler(identity, value, xp))
        for value, mark, identity in zip(
            values, marks, (operator.left, operator.right) if operator else (None, None), strict=True
        )
    ]
    if node.operator == "left" or node.operator == "right":
        filled = values
    left, right = marks
    both, only_left, only_right, neither = MERGES[node.merge or "pass_through"]
    touched = (
        (left & right & both) | (left & ~right & only_left) | (~left & right & only_right)
        | (~left & ~right & neither)
    )  # fmt: skip
    value = operate(node.operator, filled, frame)
    return Named(axes, xp.where(touched, value, filler(0, value, xp)), touched)


def operate(name: str, values: list[Array], frame: Frame) -> Array:
    """A map operator on aligned arrays."""
    own = frame.operators.get(name)
    if own is not None:
        return _operate_own(own, values, frame)
    return compute(name, values, frame.xp)


def _operate_own(own: OperatorDefinition, values: list[Array], frame: Frame) -> Array:
    if own.body is None:
        if own.name not in frame.functions:
            raise InvalidInputError(
                f"operator '{own.name}' has no definition; pass a function for it, operators={{'{own.name}': f}}"
            )
        return frame.functions[own.name](*values)
    bound = dict(zip(own.parameters, values, strict=True))
    inner = Frame(frame.xp, frame.sizes, {}, frame.operators, frame.functions, frame.empty, {}, {}, bound)
    return evaluate_expression(own.body, inner).array


@dataclass(frozen=True, slots=True)
class Place:
    """Where one dimension of an access lies: a coordinate, a run of them, a split, or one per point."""

    scalar: Array | None = None
    run: tuple[str, int, int] | None = None
    split: tuple[str, ...] = ()
    coordinates: Named | None = None


def place(index: Affine, dimension: int, access: Access, frame: Frame) -> Place:
    """How the index of one dimension is served; only the last of the four forms costs a gather."""
    length = frame.lengths[access.tensor][dimension]
    window = frame.windows.get(access.tensor, {}).get(dimension)
    free = [v for v in index.variables if v not in frame.bound]
    if not free and not index.accesses:
        scalar = _scalar(index, frame)
        if window is not None:
            return Place(scalar=scalar % window)
        if access.outside is None and not frame.filtered:
            return Place(scalar=scalar)
    elif not index.accesses and access.outside is None:
        offset = _scalar(index, frame)
        strides = [(evaluate(_stride(index, v), frame.sizes), v) for v in free]
        if isinstance(offset, int):
            if len(strides) == 1 and strides[0][0] == 1:
                start, stop = offset, offset + frame.sizes[rank_of(free[0])]
                if start >= 0 and stop <= length:
                    return Place(run=(free[0], start, stop))
            elif offset == 0 and (order := mixed_radix(strides, length, frame.sizes)):
                return Place(split=order)
    return Place(coordinates=_coordinates(index, free, frame))


def mixed_radix(strides: list[tuple[int, str]], length: int, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Variables, slowest first, when together they walk a dimension exactly once in order; else nothing."""
    step = 1
    ordered = sorted(strides, key=lambda pair: (pair[0], sizes[rank_of(pair[1])]))
    for stride, variable in ordered:
        if stride != step:
            return ()
        step *= sizes[rank_of(variable)]
    return tuple(variable for _, variable in reversed(ordered)) if step == length else ()


def _stride(index: Affine, variable: str) -> Affine:
    from dataclasses import replace

    return Affine(tuple(replace(term, of=None) for term in index.terms if term.of == variable))


def _scalar(index: Affine, frame: Frame) -> Array:
    """The part of an index that no free variable and no access moves."""
    total: Array = 0
    for term in index.terms:
        if term.of is None:
            total = total + evaluate(Affine((term,)), frame.sizes)
        elif isinstance(term.of, str) and term.of in frame.bound:
            total = total + evaluate(_stride(Affine((term,)), term.of), frame.sizes) * frame.bound[term.of]
    return total


def _coordinates(index: Affine, free: list[str], frame: Frame) -> Named:
    parts = [Named((), _scalar(index, frame))]
    for variable in free:
        stride = evaluate(_stride(index, variable), frame.sizes)
        parts.append(Named((variable,), stride * np.arange(frame.sizes[rank_of(variable)])))
    for term in index.terms:
        if isinstance(term.of, Access):
            scale = evaluate(Affine((type(term)(term.coefficient, term.symbols),)), frame.sizes)
            value = read(term.of, frame)
            parts.append(Named(value.axes, value.array * scale if scale != 1 else value.array))
    axes = union(*(part.axes for part in parts))
    total: Array = 0
    for part in parts:
        total = total + (aligned(part, axes, frame.xp) if part.axes else part.array)
    return Named(axes, total)


def read(access: Access, frame: Frame) -> Named:
    """The values that an access reaches, an axis per rank variable."""
    if access.tensor not in frame.arrays:
        raise InvalidInputError(f"{at(access.position)}no array was given for {access.tensor}")
    array = frame.arrays[access.tensor]
    places = [place(index, d, access, frame) for d, index in enumerate(access.indices)]
    runs = [p.run[0] for p in places if p.run] + [v for p in places for v in p.split]
    if any(p.coordinates is not None for p in places) or len(set(runs)) < len(runs):
        return gather(array, access, frame)
    key: list[Any] = []
    shape: list[int] = []
    axes: list[str] = []
    for p in places:
        if p.run:
            key.append(slice(p.run[1], p.run[2]))
            axes.append(p.run[0])
        elif p.split:
            key.append(slice(None))
            axes.extend(p.split)
        else:
            key.append(p.scalar)
    shape = [frame.sizes[rank_of(axis)] for axis in axes]
    taken = array[tuple(key)] if key else array
    return Named(tuple(axes), frame.xp.reshape(taken, shape) if any(p.split for p in places) else taken)


def gather_indices(access: Access, frame: Frame) -> list[Named]:
    """The coordinate of every dimension, point by point."""
    return [
        _coordinates(index, [v for v in index.variables if v not in frame.bound], frame) for index in access.indices
    ]


def gather(array: Array, access: Access, frame: Frame) -> Named:
    """Values at coordinates that differ from point to point."""
    xp = frame.xp
    indices = gather_indices(access, frame)
    axes = union(*(index.axes for index in indices))
    key: list[Array] = []
    inside: Array = True
    for d, index in enumerate(indices):
        window = frame.windows.get(access.tensor, {}).get(d)
        raw = aligned(index, axes, xp) if index.axes else index.array
        coordinates: Array = raw if window is None else raw % window
        length = int(np.shape(array)[d])
        if access.outside is not None or frame.filtered:
            inside = inside & (coordinates >= 0) & (coordinates < length)
            coordinates = xp.clip(coordinates, 0, max(length - 1, 0))
        elif isinstance(coordinates, (np.ndarray, np.integer)):
            check_coordinates(coordinates, length, access, d)
        key.append(coordinates)
    if access.outside is not None and 0 in np.shape(array):
        value = xp.zeros((1,) * len(axes), dtype=array.dtype)
    else:
        value = array[tuple(key)]
    if access.outside is not None:
        widens = isinstance(access.outside, float) and not is_float(value.dtype)
        beyond = access.outside if widens else filler(access.outside, value, xp)
        value = xp.where(inside, value, beyond)
    shape = tuple(frame.sizes[rank_of(axis)] for axis in axes)
    return Named(axes, xp.broadcast_to(value, shape))


def check_coordinates(coordinates: Array, length: int, access: Access, dimension: int) -> None:
    """Refuse coordinates that leave the tensor."""
    flat = np.asarray(coordinates)
    if flat.dtype.kind not in "iu":
        raise InvalidInputError(
            f"{at(access.position)}dimension {dimension} of {access.tensor} is indexed by values that are not "
            "whole numbers"
        )
    if flat.size and (flat.min() < 0 or flat.max() >= length):
        raise InvalidInputError(
            f"{at(access.position)}dimension {dimension} of {access.tensor} is indexed from {flat.min()} to "
            f"{flat.max()}, but has coordinates 0 to {length - 1}; give a value outside, "
            f"like {access.tensor}[i | 0]"
        )
