"""Writing the result of an Einsum to where its output access points."""

from __future__ import annotations

from typing import Any

import numpy as np

from tierplan.einsum.arrays import (
    Array,
    Frame,
    Named,
    aligned,
    check_coordinates,
    gather_indices,
    place,
    union,
)
from tierplan.einsum.compute import filler
from tierplan.einsum.dtypes import DType
from tierplan.einsum.expressions import rank_of
from tierplan.einsum.operators import REDUCES
from tierplan.einsum.reduce import reduced_value
from tierplan.einsum.statements import Einsum
from tierplan.ir.errors import InvalidInputError


def execute_einsum(einsum: Einsum, frame: Frame, dtype: DType, keep: Array | None = None) -> None:
    """Compute one Einsum and put its result into `frame.arrays`.

    `keep` (a truth value) leaves the old value in place: an iteration after the loop's stopping condition.
    """
    scattered = tuple(dict.fromkeys(v for inner in einsum.output.inner for v in _free(inner, frame)))
    scattered = tuple(v for v in scattered if v not in einsum.output_variables)
    value = reduced_value(einsum, frame, keep=scattered)
    if einsum.output.inner or not _simple(einsum, frame):
        _scatter(einsum, value, scattered, frame, dtype)
        return
    places = [place(index, d, einsum.output, frame) for d, index in enumerate(einsum.output.indices)]
    axes = tuple(v for p in places for v in ((p.run[0],) if p.run else p.split))
    shape = tuple(frame.sizes[rank_of(axis)] for axis in axes)
    xp = frame.xp
    array = xp.broadcast_to(aligned(_plain(value, xp), axes, xp), shape)
    if value.present is not None:
        marks = xp.broadcast_to(aligned(Named(value.axes, value.present), axes, xp), shape)
        array = xp.where(marks, array, filler(frame.empty.get(einsum.name, 0), xp.zeros((), dtype), xp))
    array = array.astype(dtype)
    lengths = _lengths(einsum, frame)
    if any(p.split for p in places):
        array = xp.reshape(array, tuple(lengths[d] for d, p in enumerate(places) if p.scalar is None))
    whole = all(
        p.split or (p.run is not None and p.run[2] - p.run[1] == n) for p, n in zip(places, lengths, strict=True)
    )
    if whole and keep is None:
        frame.arrays[einsum.name] = array
        return
    target = frame.arrays.get(einsum.name)
    if target is None:
        target = blank(einsum.name, lengths, dtype, frame)
    key = tuple(slice(p.run[1], p.run[2]) if p.run else slice(None) if p.split else p.scalar for p in places)
    if keep is not None:
        array = xp.where(keep, _previous(einsum, places, target, frame, key), array)
    if xp is np:
        target[key] = array
        frame.arrays[einsum.name] = target
    else:
        frame.arrays[einsum.name] = target.at[key].set(array)


def _free(access: Any, frame: Frame) -> list[str]:
    names = [v for v in access.variables if v not in frame.bound]
    return names + [v for inner in access.inner for v in _free(inner, frame)]


def _plain(value: Named, xp: Any) -> Named:
    return Named(value.axes, xp.asarray(value.array))


def _lengths(einsum: Einsum, frame: Frame) -> tuple[int, ...]:
    windows = frame.windows.get(einsum.name, {})
    return tuple(windows.get(d, n) for d, n in enumerate(frame.lengths[einsum.name]))


def blank(tensor: str, lengths: tuple[int, ...], dtype: DType, frame: Frame) -> Array:
    """An array that holds the tensor's empty value everywhere."""
    empty = filler(frame.empty.get(tensor, 0), np.zeros((), dtype), np)
    return frame.xp.full(lengths, empty, dtype=dtype)


def _previous(einsum: Einsum, places: list[Any], target: Array, frame: Frame, key: tuple[Any, ...]) -> Array:
    """What a stopped loop writes: the previous coordinate for `i+1`, what is there already for `i`."""
    earlier = list(key)
    for d, index in enumerate(einsum.output.indices):
        shifted = index.shifted
        if shifted and shifted[0] in frame.bound and shifted[1] == 1:
            window = frame.windows.get(einsum.name, {}).get(d)
            coordinate = frame.bound[shifted[0]]
            earlier[d] = coordinate if window is None else coordinate % window
    return target[tuple(earlier)]


def _simple(einsum: Einsum, frame: Frame) -> bool:
    places = [place(index, d, einsum.output, frame) for d, index in enumerate(einsum.output.indices)]
    axes = [v for p in places for v in ((p.run[0],) if p.run else p.split)]
    return all(p.coordinates is None for p in places) and len(set(axes)) == len(axes)


def _scatter(einsum: Einsum, value: Named, scattered: tuple[str, ...], frame: Frame, dtype: DType) -> None:
    """Combine the points that meet at one coordinate by the Einsum's outermost reduction."""
    xp = frame.xp
    indices = gather_indices(einsum.output, frame)
    axes = union(*(index.axes for index in indices), scattered)
    shape = tuple(frame.sizes[rank_of(axis)] for axis in axes)
    array = xp.broadcast_to(aligned(_plain(value, xp), axes, xp), shape).astype(dtype)
    lengths = _lengths(einsum, frame)
    key: list[Array] = []
    for d, index in enumerate(indices):
        coordinates = xp.broadcast_to(aligned(index, axes, xp) if index.axes else index.array, shape)
        if isinstance(coordinates, np.ndarray):
            check_coordinates(coordinates, lengths[d], einsum.output, d)
        key.append(coordinates)
    name = next((r.operator for r in einsum.reductions if set(r.over) & set(scattered)), "add")
    if name not in _SCATTER:
        raise InvalidInputError(f"{einsum.name}: points that meet can be combined by {', '.join(_SCATTER)}, not {name}")
    present = xp.ones(shape, bool)
    if value.present is not None:
        present = xp.broadcast_to(aligned(Named(value.axes, value.present), axes, xp), shape)
    array = xp.where(present, array, filler(REDUCES[name].identity, array, xp))
    total = xp.full(lengths, filler(REDUCES[name].identity, np.zeros((), dtype), np), dtype=dtype)
    reached = xp.zeros(lengths, bool)
    if xp is np:
        _SCATTER[name].at(total, tuple(key), array)
        np.logical_or.at(reached, tuple(key), present)
    else:
        # JAX drops what lies outside; only numpy can say so.
        verb = {"add": "add", "multiply": "multiply", "max": "max", "min": "min"}[name]
        total = getattr(total.at[tuple(key)], verb)(array, mode="drop")
        reached = reached.at[tuple(key)].max(present, mode="drop")
    empty = filler(frame.empty.get(einsum.name, 0), np.zeros((), dtype), np)
    frame.arrays[einsum.name] = xp.where(reached, total, empty)


_SCATTER: dict[str, Any] = {"add": np.add, "multiply": np.multiply, "max": np.maximum, "min": np.minimum}
