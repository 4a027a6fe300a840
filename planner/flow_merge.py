"""Fewer tiers for the relaxation: the fastest ones merged into one that does all that they could do together."""

import time
from collections.abc import Iterator
from dataclasses import replace
from threading import Event

import numpy as np

from tierplan.ir.problem import NO_LINK, Alternative, Choice, Floats, Ints, Links, Problem, Tiers
from tierplan.planner.flow_room import short_groups
from tierplan.planner.flow_solve import Relaxation, stages
from tierplan.planner.flow_stock import room_bytes

_LONGER = 3.0  # so many times as long takes the next larger relaxation, about


def relaxations(problem: Problem, until: float, stop: Event | None = None) -> Iterator[tuple[int, Relaxation]]:
    """Relaxations of the problem, each with the number of its fastest tiers that are merged in it; the last with 1.

    From those with fewest tiers on, each without flows and with them, while the clock leaves time
    (`time.perf_counter` says less than `until`). All bounds are valid, and none need be the best. One that holds no
    plan is the last.
    """
    for m in (*sorted(short_groups(problem), reverse=True), 1):
        began = time.perf_counter()
        if began >= until or (stop is not None and stop.is_set()):
            return
        found = None
        for found in stages(merged(problem, m) if m > 1 else problem, until, stop):
            yield m, found
        ended = time.perf_counter()
        if found is None or found.infeasible or not found.solved or ended + _LONGER * (ended - began) > until:
            return


def merged(problem: Problem, m: int) -> Problem:
    """The problem on a machine whose `m` fastest tiers are one tier, with the room and the bandwidth of all.

    No legal plan takes longer there, so that what bounds the plans of the merged problem bounds those of `problem`.

    Source: docs/bounds.md, "Fewer tiers".
    """
    crossing = _crossing(problem.links, m)
    link_of = {link: new for new, links in enumerate(crossing.values()) for link in links}
    return replace(
        problem,
        tiers=_tiers(problem, m, link_of),
        links=_links(problem.links, crossing),
        home=np.where(problem.home < 0, problem.home, np.maximum(problem.home - (m - 1), 0)),
        choices=tuple(_choice(choice, m, list(crossing.values())) for choice in problem.choices),
    )


def _crossing(links: Links, m: int) -> dict[tuple[int, int], list[int]]:
    """The links by the merged tiers that they connect; those between tiers of the group are left out."""
    found: dict[tuple[int, int], list[int]] = {}
    source, target = (np.maximum(ends - (m - 1), 0).tolist() for ends in (links.source, links.target))
    for link, pair in enumerate(zip(source, target, strict=True)):
        if pair != (0, 0):
            found.setdefault(pair, []).append(link)
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


def _tiers(problem: Problem, m: int, link_of: dict[int, int]) -> Tiers:
    tiers = problem.tiers

    def total(values: Floats) -> Floats:
        return np.concatenate(([values[:m].sum()], values[m:]))

    def least(values: Floats) -> Floats:
        return np.concatenate(([values[:m].min()], values[m:]))

    def link(links: Ints) -> Ints:
        return np.array([NO_LINK, *(link_of.get(i, NO_LINK) for i in links[m:].tolist())], dtype=np.int64)

    room = np.concatenate(([sum(room_bytes(problem, k) for k in range(m))], tiers.usable[m:])).astype(np.int64)
    return Tiers(
        names=("+".join(tiers.names[:m]), *tiers.names[m:]),
        capacity=np.concatenate((room[:1], tiers.capacity[m:])),
        usable=room,
        alignment=np.concatenate(([tiers.alignment[:m].min()], tiers.alignment[m:])),
        read_bandwidth=total(tiers.read_bandwidth),
        write_bandwidth=total(tiers.write_bandwidth),
        latency_s=least(tiers.latency_s),
        direct=np.concatenate(([tiers.direct[:m].any()], tiers.direct[m:])),
        read_link=link(tiers.read_link),
        write_link=link(tiers.write_link),
        read_curve=((), *tiers.read_curve[m:]),
        read_j=least(tiers.read_j),
        write_j=least(tiers.write_j),
    )


def _choice(choice: Choice, m: int, crossing: list[list[int]]) -> Choice:
    return replace(choice, alternatives=tuple(_alternative(a, m, crossing) for a in choice.alternatives))


def _alternative(alternative: Alternative, m: int, crossing: list[list[int]]) -> Alternative:
    def total(values: tuple[int, ...]) -> tuple[int, ...]:
        return (sum(values[:m]), *values[m:]) if values else ()

    effects = tuple(
        replace(
            effect,
            tier_read=total(effect.tier_read),
            tier_write=total(effect.tier_write),
            link=tuple(sum(effect.link[i] for i in group) for group in crossing) if effect.link else (),
        )
        for effect in alternative.effects
    )
    return replace(alternative, reserved=total(alternative.reserved), effects=effects)
