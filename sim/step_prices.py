"""Seconds of many kernels at once: at the peak rates of a machine."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from tierplan.ir.collectives import Collective as Exchange
from tierplan.ir.machine import Machine
from tierplan.ir.problem import Floats
from tierplan.sim import roofline
from tierplan.sim.collectives import collective_s
from tierplan.sim.step_works import Stream, Work
from tierplan.sim.workloads import Collective


def peak_prices(works: Sequence[Work], machine: Machine) -> Floats:
    """Seconds of kernels at peak rates: what a data sheet alone can tell."""
    memory = next(tier for tier in machine.tiers if tier.direct)

    def together(work: Work) -> Floats:
        if isinstance(work, Stream):
            return np.asarray(work.bytes) / memory.read_bandwidth
        if isinstance(work, Collective):
            pairs = zip(np.atleast_1d(work.bytes).tolist(), np.atleast_1d(work.ranks).tolist(), strict=True)
            return np.array([collective_s(Exchange(work.kind, b, int(n)), machine) for b, n in pairs])
        return roofline.roofline_s(work, machine)

    return in_groups(works, together)


def in_groups(works: Sequence[Work], together: Callable[[Any], Floats]) -> Floats:
    """Seconds of kernels, those of one kind and element type priced together as arrays."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, work in enumerate(works):
        words = tuple(value for f in fields(work) if isinstance(value := getattr(work, f.name), str | bool | None))
        groups[type(work), words].append(index)
    found = np.zeros(len(works))
    for indices in groups.values():
        first = works[indices[0]]
        names = [f.name for f in fields(first) if not isinstance(getattr(first, f.name), str | bool | None)]
        columns = {name: np.array([getattr(works[i], name) for i in indices], dtype=np.float64) for name in names}
        found[indices] = together(replace(first, **columns))
    return found
