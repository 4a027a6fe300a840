"""Fewer tiers for the relaxation: the fastest ones merged into one that does all that they could do together."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event

import numpy as np

from tierplan.ir.problem import NO_LINK, Alternative, Choice, Floats, Ints, Links, Problem, Tiers
from tierplan.planner.flow_room import short_groups
from tierplan.planner.flow_solve import Relaxation, stages
from tierplan.planner.flow_stock import room_bytes

_LONGER = 3.0  # so many times as long takes the next larger relaxation, about
_TIGHTER = 2.0  # so many times as large the bound of a cut becomes with flows, at most, nearly always


def relaxations(problem: Problem, until: float, stop: Event | None = None) -> Iterator[Relaxation]:
    """Relaxations of the problem, those with fewest tiers first, while the clock leaves time.

    First each cut: the fastest tiers merged into one and the others into another. Then only the fastest are merged,
    ever fewer of them, and at last none. Each without flows and with them. `until`: of `time.perf_counter`. All bounds
    are valid, and none need be the best. One that holds no plan is the last.
    """
    began = time.perf_counter()
    for found in _cuts(problem, until, stop):
        yield found
        if found.infeasible:
            return
    for m in (*sorted(short_groups(problem), reverse=True), 1):
        if m == problem.n_tiers - 1 > 1:
            continue
        ended = time.perf_counter()
        longer_s = _LONGER * (ended - began) if problem.n_tiers > 2 else 0.0
        if ended + longer_s > until:
            return
        began, found = ended, None
        for found in stages(merged(problem, _prefix(problem, m)) if m > 1 else problem, until, stop):
            found = _of(problem, _prefix(problem, m), found) if m > 1 else found
            yield found
        if found is None or found.infeasible or not found.solved:
            return


def _cuts(problem: Problem, until: float, stop: Event | None) -> Iterator[Relaxation]:
    """The relaxations of two tiers: all without flows, then, with flows, those that may bound best.

    Last of all that in which the fastest tier is alone, because it takes longest.
    """
    groups = [tuple(int(k >= m) for k in range(problem.n_tiers)) for m in range(1, problem.n_tiers)]
    best_s = 0.0
    for of_round in (groups[1:], groups[:1]) if len(groups) > 1 else ():
        rest: list[tuple[float, tuple[int, ...], Iterator[Relaxation]]] = []
        for group in reversed(of_round):
            later = stages(merged(problem, group), until, stop)
            found = _of(problem, group, next(later))
            best_s = max(best_s, found.bound_s)
            rest.append((found.bound_s, group, later))
            yield found
        for bound_s, group, later in sorted(rest, key=lambda one: -one[0]):
            if (
                bound_s * _TIGHTER >= best_s
                and time.perf_counter() < until
                and not (stop is not None and stop.is_set())
            ):
                for found in later:
                    best_s = max(best_s, found.bound_s)
                    yield _of(problem, group, found)


def _of(problem: Problem, group: tuple[int, ...], found: Relaxation) -> Relaxation:
    return replace(found, whole=problem, group=group)


def _prefix(problem: Problem, m: int) -> tuple[int, ...]:
    """Groups in which the `m` fastest tiers are one."""
    return tuple(max(k - (m - 1), 0) for k in range(problem.n_tiers))


def merged(problem: Problem, group: Sequence[int]) -> Problem:
    """The problem on a machine on which tiers of one group are one tier, with the room and the bandwidth of all.

    `group[k]`: the group of tier k; groups are numbered from the fastest on, and hold neighbours. No legal plan takes
    longer there, so that what bounds the plans of the merged problem bounds those of `problem`.

    Source: docs/bounds.md, "Fewer tiers".
    """
    crossing = _crossing(problem.links, group)
    link_of = {link: new for new, links in enumerate(crossing.values()) for link in links}
    of_tier = np.array(group, dtype=np.int64)
    return replace(
        problem,
        tiers=_tiers(problem, of_tier, link_of),
        links=_links(problem.links, crossing),
        home=np.where(problem.home < 0, problem.home, of_tier[np.maximum(problem.home, 0)]),
        choices=tuple(_choice(choice, of_tier, list(crossing.values())) for choice in problem.choices),
    )


def _crossing(links: Links, group: Sequence[int]) -> dict[tuple[int, int], list[int]]:
    """The links by the groups that they connect; those within a group are left out."""
    found: dict[tuple[int, int], list[int]] = {}
    sources: list[int] = links.source.tolist()
    targets: list[int] = links.target.tolist()
    for link, (j, k) in enumerate(zip(sources, targets, strict=True)):
        if group[j] != group[k]:
            found.setdefault((group[j], group[k]), []).append(link)
    return found


def _links(links: Links, crossing: dict[tuple[int, int], list[int]]) -> Links:
    groups = [np.array(group, dtype=np.int64) for group in crossing.values()]
    return Links(
        names=tuple("+".join(links.names[i] for i in group) for group in crossing.values()),
        source=np.array([j for j, _ in crossing], dtype=np.int64),
        target=np.array([k for _, k in crossing], dtype=np.int64),
        bandwidth=np.array([links.bandwidth[group].sum() for group in groups], dtype=np.float64),
        latency_s=np.array([links.latency_s[group].min() for group in groups], dtype=np.float64),
        channels=np.array([links.channels[group].sum() for group in groups], dtype=np.int64),
        energy_j=np.array([links.energy_j[group].min() for group in groups], dtype=np.float64),
    )


def _tiers(problem: Problem, group: Ints, link_of: dict[int, int]) -> Tiers:
    tiers, members = problem.tiers, [np.flatnonzero(group == g) for g in range(int(group.max()) + 1)]

    def total(values: Floats) -> Floats:
        return np.array([values[of_group].sum() for of_group in members])

    def least(values: Floats) -> Floats:
        return np.array([values[of_group].min() for of_group in members])

    def link(links: Ints) -> Ints:
        passed = [{link_of.get(int(links[k]), NO_LINK) for k in of_group if tiers.direct[k]} for of_group in members]
        return np.array([found.pop() if len(found) == 1 else NO_LINK for found in passed], dtype=np.int64)

    def room(of_group: Ints) -> int:
        alone = len(of_group) == 1
        return int(tiers.usable[of_group[0]]) if alone else sum(room_bytes(problem, int(k)) for k in of_group)

    usable = np.array([room(of_group) for of_group in members], dtype=np.int64)
    alone = np.array([len(of_group) == 1 for of_group in members])
    first = [int(of_group[0]) for of_group in members]
    return Tiers(
        names=tuple("+".join(tiers.names[k] for k in of_group) for of_group in members),
        capacity=np.where(alone, tiers.capacity[first], usable),
        usable=usable,
        alignment=np.array([tiers.alignment[of_group].min() for of_group in members], dtype=np.int64),
        read_bandwidth=total(tiers.read_bandwidth),
        write_bandwidth=total(tiers.write_bandwidth),
        latency_s=least(tiers.latency_s),
        direct=np.array([tiers.direct[of_group].any() for of_group in members]),
        read_link=link(tiers.read_link),
        write_link=link(tiers.write_link),
        read_curve=tuple(tiers.read_curve[k] if one else () for k, one in zip(first, alone, strict=True)),
        read_j=least(tiers.read_j),
        write_j=least(tiers.write_j),
    )


def _choice(choice: Choice, group: Ints, crossing: list[list[int]]) -> Choice:
    return replace(choice, alternatives=tuple(_alternative(a, group, crossing) for a in choice.alternatives))


def _alternative(alternative: Alternative, group: Ints, crossing: list[list[int]]) -> Alternative:
    def total(values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(np.bincount(group, values).astype(np.int64).tolist()) if values else ()

    effects = tuple(
        replace(
            effect,
            tier_read=total(effect.tier_read),
            tier_write=total(effect.tier_write),
            link=tuple(sum(effect.link[i] for i in links) for links in crossing) if effect.link else (),
        )
        for effect in alternative.effects
    )
    return replace(alternative, reserved=total(alternative.reserved), effects=effects)
