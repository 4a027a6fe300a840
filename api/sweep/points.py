"""The points of a sweep: the product of its axes, or points drawn at random, each from its number alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tierplan.sweep.axes import Axis, Range, Scalar, Values
from tierplan.sweep.spec import Branch, Spec


@dataclass(frozen=True, slots=True)
class Point:
    """A value for every axis of a branch; `index` counts the points of a sweep."""

    index: int
    values: dict[str, Scalar]


def n_points(spec: Spec) -> int:
    """How many points a sweep has."""
    for asked in (spec.points.sample, spec.points.search):
        if asked is not None:
            return asked
    return sum(map(_size, spec.branches))


def points(spec: Spec) -> Iterator[Point]:
    """The points of a product, the last axis changing fastest, or of a sample; none of a search."""
    if spec.points.search is not None:
        return
    if spec.points.sample is not None:
        for index in range(spec.points.sample):
            yield _drawn(spec, index)
        return
    index = 0
    for branch in spec.branches:
        for place in range(_size(branch)):
            yield Point(index, _at(branch, place))
            index += 1


def corners(branch: Branch) -> Iterator[dict[str, Scalar]]:
    """Few points that together take every listed value and both ends of every range."""
    values = {name: _ends(axis) for name, axis in branch.axes.items()}
    first = {name: each[0] for name, each in values.items()}
    yield first
    for name, each in values.items():
        for value in each[1:]:
            yield first | {name: value}


def _ends(axis: Axis) -> tuple[Scalar, ...]:
    return axis.values if isinstance(axis, Values) else (axis.value(0.0), axis.value(1.0))


def _listed(axis: Axis) -> tuple[Scalar, ...]:
    return axis.values if isinstance(axis, Values) else axis.stepped().values


def _size(branch: Branch) -> int:
    return math.prod(len(_listed(axis)) for axis in branch.axes.values())


def _at(branch: Branch, place: int) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for name, axis in reversed(branch.axes.items()):
        values = _listed(axis)
        place, n = divmod(place, len(values))
        found[name] = values[n]
    return {name: found[name] for name in branch.axes}


def _drawn(spec: Spec, index: int) -> Point:
    rng = np.random.default_rng([spec.points.seed, index])
    branch = spec.branches[int(rng.integers(len(spec.branches)))]

    def draw(axis: Axis) -> Scalar:
        if isinstance(axis, Range):
            return axis.value(float(rng.random()))
        return axis.values[int(rng.integers(len(axis.values)))]

    return Point(index, {name: draw(axis) for name, axis in branch.axes.items()})
