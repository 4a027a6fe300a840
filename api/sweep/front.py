"""Which points no other beats: the Pareto front of each workload."""

from collections import defaultdict
from collections.abc import Sequence

from tierplan.sweep.folder import Found
from tierplan.sweep.search import objective_values
from tierplan.sweep.spec import FIXED

WORKLOAD = tuple(name for name in FIXED if name != "hardware")


def front(found: Sequence[Found], objectives: list[str]) -> list[Found]:
    """The points for which no other of the same workload is as good in every objective and better in one.

    Of points that reach the same, the first. Points without a plan, or without a figure for an objective, are out.
    """
    groups: dict[tuple[object, ...], list[tuple[list[float], Found]]] = defaultdict(list)
    for each in found:
        values = objective_values(each.ended, objectives)
        if values is not None:
            groups[tuple(each.values.get(name) for name in WORKLOAD)].append((values, each))
    best = [each for group in groups.values() for each in _front(group)]
    return sorted(best, key=lambda each: each.index)


def _front(group: list[tuple[list[float], Found]]) -> list[Found]:
    """Sorted by all objectives, a point can only be beaten by one that is kept already."""
    kept: list[tuple[list[float], Found]] = []
    for values, each in sorted(group, key=lambda pair: (pair[0], pair[1].index)):
        if not any(all(a <= b for a, b in zip(other, values, strict=True)) for other, _ in kept):
            kept.append((values, each))
    return [each for _, each in kept]


def told(found: Sequence[Found], objectives: list[str]) -> list[str]:
    """The objectives for which some point has a figure."""
    return [name for name in objectives if any(objective_values(each.ended, [name]) is not None for each in found)]
