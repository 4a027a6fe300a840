"""Seconds of many kernels at once: with a machine's fitted constants, or at its peak rates."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from tierplan.ir.collectives import Collective as Exchange
from tierplan.ir.machine import Machine
from tierplan.ir.problem import Floats
from tierplan.sim import roofline, silicon
from tierplan.sim.collectives import collective_s
from tierplan.sim.device import memory_of
from tierplan.sim.step_works import Stream, Work
from tierplan.sim.workloads import Attention, Collective, Gemm, Moe

_WORDS = str | bool | None
_WIDE = "bfloat16"


def silicon_prices(works: Sequence[Work], machine: Machine) -> Floats:
    """Seconds of kernels with the constants that were fitted for the machine, at peak rates where there are none."""

    def together(work: Work) -> Floats:
        if isinstance(work, Stream):
            return silicon.stream_s(work.bytes, machine)
        if isinstance(work, Collective) and not silicon.is_calibrated(work, machine):
            return _exchanges(work, machine)
        return np.maximum(silicon.kernel_s(work, machine), _widened(work, machine))

    return in_groups(works, together)


def _widened(work: Gemm | Attention | Moe | Collective, machine: Machine) -> Floats | float:
    """Seconds of the arithmetic of experts whose weights have a type that the matrix unit lacks; 0 for all else.

    Assumes: such weights are widened to bfloat16 as they are read, as kernels for 4-bit weights do.
    """
    if not isinstance(work, Moe) or work.dtype in machine.matrix.peak:
        return 0.0
    constants = silicon.constants_of(replace(work, dtype=_WIDE), machine)
    return work.ops / (machine.matrix.rate(_WIDE) * getattr(constants, "compute_share", 1.0))


def starts(works: Sequence[Work], machine: Machine) -> Floats:
    """The part of these seconds in which kernels start, as fitted on kernels that run alone."""

    def together(work: Work) -> Floats:
        if isinstance(work, Stream):
            return silicon.stream_s(np.zeros_like(np.asarray(work.bytes)), machine)
        found = silicon.constants_of(work, machine)
        return np.full(np.shape(_first(work)), getattr(found, "launch_s", 0.0))

    return in_groups(works, together)


def _first(work: Work) -> Any:
    """An array of a group, for its length."""
    return next(value for f in fields(work) if not isinstance(value := getattr(work, f.name), _WORDS))


def peak_prices(works: Sequence[Work], machine: Machine) -> Floats:
    """Seconds of kernels at peak rates: what a data sheet alone can tell."""

    def together(work: Work) -> Floats:
        if isinstance(work, Stream):
            return np.asarray(work.bytes) / memory_of(machine).read_bandwidth
        return _exchanges(work, machine) if isinstance(work, Collective) else roofline.roofline_s(work, machine)

    return in_groups(works, together)


def _exchanges(work: Collective, machine: Machine) -> Floats:
    pairs = zip(np.atleast_1d(work.bytes).tolist(), np.atleast_1d(work.ranks).tolist(), strict=True)
    return np.array([collective_s(Exchange(work.kind, n_bytes, int(n)), machine) for n_bytes, n in pairs])


def in_groups(works: Sequence[Work], together: Callable[[Any], Floats]) -> Floats:
    """Seconds of kernels, those of one kind and element type priced together as arrays; equal ones once."""
    groups: dict[tuple[Any, ...], dict[Work, list[int]]] = defaultdict(dict)
    for index, work in enumerate(works):
        words = tuple(value for f in fields(work) if isinstance(value := getattr(work, f.name), _WORDS))
        phase = isinstance(work, Attention) and bool(work.queries == 1)  # decode and prefill have kernels of their own
        groups[type(work), words, phase].setdefault(work, []).append(index)
    found = np.zeros(len(works))
    for group in groups.values():
        first = next(iter(group))
        names = [f.name for f in fields(first) if not isinstance(getattr(first, f.name), _WORDS)]
        columns = {name: np.array([getattr(work, name) for work in group], dtype=np.float64) for name in names}
        for indices, seconds in zip(group.values(), together(replace(first, **columns)).tolist(), strict=True):
            found[indices] = seconds
    return found
