"""Tensors set aside: taken out of a problem, so that alternatives of a choice account for their bytes instead."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import NO_LINK, Effect, Floats, Ints, Problem


def without(problem: Problem, tensors: Iterable[int]) -> Problem:
    """The problem in which these tensors do not exist; steps stay, also those that are left with nothing to access."""
    gone = np.zeros(problem.n_tensors, dtype=np.bool_)
    gone[list(tensors)] = True
    stays = ~gone[problem.access_tensor]
    number = np.cumsum(~gone) - 1
    before = np.concatenate(([0], np.cumsum(stays)))
    kept = np.flatnonzero(~gone).tolist()
    return dataclasses.replace(
        problem,
        access_start=before[problem.access_start],
        access_tensor=number[problem.access_tensor[stays]],
        access_read=problem.access_read[stays],
        access_write=problem.access_write[stays],
        access_mode=problem.access_mode[stays],
        tensor_names=tuple(problem.tensor_names[x] for x in kept),
        tensor_kind=tuple(problem.tensor_kind[x] for x in kept),
        size=problem.size[kept],
        home=problem.home[kept],
        keep=problem.keep[kept],
    )


def n_loads(problem: Problem) -> int:
    """Length of a row of loads: bytes read per tier, bytes written per tier, bytes per link."""
    return 2 * problem.n_tiers + len(problem.links.names)


def streamed(problem: Problem, tier: int) -> Ints:
    """Loads of reading one byte where it lies, in a direct tier."""
    loads = np.zeros(n_loads(problem), dtype=np.int64)
    loads[tier] = 1
    if problem.tiers.read_link[tier] != NO_LINK:
        loads[2 * problem.n_tiers + problem.tiers.read_link[tier]] = 1
    return loads


def copied(problem: Problem, source: int, target: int) -> Ints:
    """Loads of copying one byte over the fewest links.

    Raises: InvalidInputError: no chain of links leads there.
    """
    loads = np.zeros(n_loads(problem), dtype=np.int64)
    path = _path(problem, source, target)
    for start, end in itertools.pairwise(path):
        loads[start] += 1
        loads[problem.n_tiers + end] += 1
        loads[2 * problem.n_tiers + problem.links.between(start, end)] += 1
    return loads


def leads(problem: Problem, source: int, target: int) -> bool:
    """Whether a chain of links leads from one tier to another."""
    return source == target or bool(_search(problem, source, target))


def time_s(problem: Problem, loads: Floats) -> float:
    """Seconds that one step with these loads, in bytes, takes beside its compute.

    Source: docs/semantics.md, own time of a step.
    """
    k, tiers = problem.n_tiers, problem.tiers
    of_tiers = loads[:k] / tiers.read_bandwidth + loads[k : 2 * k] / tiers.write_bandwidth
    of_links = loads[2 * k :] / problem.links.bandwidth
    return float(max(of_tiers.max(initial=0.0), of_links.max(initial=0.0)))


def spread(problem: Problem, loads: Floats, steps: Sequence[int], weights: Floats) -> tuple[Effect, ...]:
    """Loads divided over steps by weight, in whole bytes whose sums are right to the byte."""
    ends = np.rint(np.outer(np.cumsum(weights) / weights.sum(), loads)).astype(np.int64)
    parts = np.diff(ends, axis=0, prepend=0)
    k = problem.n_tiers
    return tuple(
        Effect(step, 0.0, tuple(row[:k]), tuple(row[k : 2 * k]), tuple(row[2 * k :]))
        for step, row in zip(steps, parts.tolist(), strict=True)
    )


def _path(problem: Problem, source: int, target: int) -> list[int]:
    found = [source] if source == target else _search(problem, source, target)
    if not found:
        names = problem.tiers.names
        raise InvalidInputError(f"no chain of links leads from tier '{names[source]}' to '{names[target]}'")
    return found


def _search(problem: Problem, source: int, target: int) -> list[int]:
    """The tiers on the way with the fewest links, breadth first; empty if there is none."""
    ways = [[source]]
    seen = {source}
    for way in ways:
        for end in range(problem.n_tiers):
            if end not in seen and problem.links.between(way[-1], end) != NO_LINK:
                if end == target:
                    return [*way, end]
                seen.add(end)
                ways.append([*way, end])
    return []
