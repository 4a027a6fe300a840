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
from tierplan.sim.step_works import Alone, Beside, Stream, Work
from tierplan.sim.workloads import Attention, Collective, Gemm, Moe

_WORDS = str | bool | None
_WIDE = "bfloat16"


def silicon_prices(works: Sequence[Work], machine: Machine) -> Floats:
    """Seconds of kernels with the constants that were fitted for the machine, at peak rates where there are none."""

    def together(work: Alone) -> Floats:
        if isinstance(work, Stream):
            return silicon.stream_s(work.bytes, machine)
        if isinstance(work, Collective) and not silicon.is_calibrated(work, machine):
            return _exchanges(work, machine)
        seconds = silicon.kernel_s(work, machine)
        if isinstance(work, Gemm):
            seconds = seconds - _alone_s(work, machine) + _launch_s(work, machine)
        return np.maximum(seconds, _widened(work, machine))

    beside = np.array([isinstance(work, Beside) for work in works], dtype=np.bool_)
    alone = _unwrapped(works)
    return in_groups(alone, together) - np.where(beside, _starts(alone, machine), 0.0)


def _unwrapped(works: Sequence[Work]) -> list[Alone]:
    return [work.work if isinstance(work, Beside) else work for work in works]


def _launch_s(work: Gemm | Attention | Moe | Collective, machine: Machine) -> float:
    """Seconds in which a kernel starts.

    Assumes: a product of 8 or 4 bits starts as fast as one of 16. Measured ones that take longer to start quantise
    first, and how depends on the library; in a model that is part of the operation before.
    """
    found = _alone_s(work, machine)
    return min(found, _alone_s(replace(work, dtype=_WIDE), machine)) if isinstance(work, Gemm) else found


def _alone_s(work: Gemm | Attention | Moe | Collective, machine: Machine) -> float:
    """The fitted start of a kernel that was measured alone."""
    return float(getattr(silicon.constants_of(work, machine), "launch_s", 0.0))


def _widened(work: Gemm | Attention | Moe | Collective, machine: Machine) -> Floats | float:
    """Seconds of the arithmetic of experts whose weights have a type that the matrix unit lacks; 0 for all else.

    Assumes: such weights are widened to bfloat16 as they are read, as kernels for 4-bit weights do.
    """
    if not isinstance(work, Moe) or work.dtype in machine.matrix.peak:
        return 0.0
    constants = silicon.constants_of(replace(work, dtype=_WIDE), machine)
    return work.ops / (machine.matrix.rate(_WIDE) * getattr(constants, "compute_share", 1.0))


def _starts(works: Sequence[Alone], machine: Machine) -> Floats:
    def together(work: Alone) -> Floats:
        if isinstance(work, Stream):
            return silicon.stream_s(np.zeros_like(np.asarray(work.bytes)), machine)
        return np.full(np.shape(_first(work)), _launch_s(work, machine))

    return in_groups(works, together)


def _first(work: Alone) -> Any:
    """An array of a group, for its length."""
    return next(value for f in fields(work) if not isinstance(value := getattr(work, f.name), _WORDS))


def peak_prices(works: Sequence[Work], machine: Machine) -> Floats:
    """Seconds of kernels at peak rates: what a data sheet alone can tell."""

    def together(work: Alone) -> Floats:
        if isinstance(work, Stream):
            return np.asarray(work.bytes) / memory_of(machine).read_bandwidth
        return _exchanges(work, machine) if isinstance(work, Collective) else roofline.roofline_s(work, machine)

    return in_groups(_unwrapped(works), together)


def _exchanges(work: Collective, machine: Machine) -> Floats:
    pairs = zip(np.atleast_1d(work.bytes).tolist(), np.atleast_1d(work.ranks).tolist(), strict=True)
    return np.array([collective_s(Exchange(work.kind, n_bytes, int(n)), machine) for n_bytes, n in pairs])


def in_groups(works: Sequence[Alone], together: Callable[[Any], Floats]) -> Floats:
    """Seconds of kernels, those of one kind and element type priced together as arrays; equal ones once."""
    groups: dict[tuple[Any, ...], dict[Alone, list[int]]] = defaultdict(dict)
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
