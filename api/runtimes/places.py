"""Where a plan keeps what stays: weights and states by tensor, and which tiers a runtime calls GPU, CPU and disk."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from tierplan.ir.graph import TensorKind
from tierplan.ir.plan import Plan
from tierplan.ir.problem import NO_LINK, Problem, Tiers

_SLOW_START_S = 10e-6
_HOST_NAMES = ("cpu", "ddr", "dram", "host", "memory", "ram")
_STAYS = (TensorKind.WEIGHT.value, TensorKind.STATE.value, TensorKind.CONSTANT.value)


class Device(Enum):
    """A kind of memory, as runtimes tell them apart."""

    GPU = "gpu"
    CPU = "cpu"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor stays, its bytes, and whether the plan also copies it to a faster tier in every turn."""

    tensor: str
    kind: str
    size: int
    tier: int
    device: Device
    visits: bool


def devices_of(tiers: Tiers) -> tuple[Device, ...]:
    """What a runtime calls each tier.

    Assumes: operations read GPU memory in place and without a link; a tier that they cannot read in place, with a
    read curve or with at least 10 us to its first byte, is a disk; all others are host memory. Where the tier nearest
    to compute is called like host memory (dram, ddr, ram, cpu), the machine has no GPU.
    """
    found: list[Device] = []
    for k in range(len(tiers.names)):
        if tiers.direct[k] and tiers.read_link[k] == NO_LINK:
            found.append(Device.GPU)
        elif not tiers.direct[k] and (tiers.read_curve[k] or tiers.latency_s[k] >= _SLOW_START_S):
            found.append(Device.DISK)
        else:
            found.append(Device.CPU)
    if tiers.names[0].lower() in _HOST_NAMES:
        found = [Device.CPU if device is Device.GPU else device for device in found]
    return tuple(found)


def places(problem: Problem, plan: Plan) -> Mapping[str, Place]:
    """Where each weight, state and constant stays: the fastest tier that holds it from the first step to the last.

    One that no tier holds all the time stays where it lies longest.
    """
    devices = devices_of(problem.tiers)
    held: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for r in plan.residencies:
        if problem.tensor_kind[r.tensor] in _STAYS:
            held[r.tensor][r.tier] += r.stop - r.start
    found: dict[str, Place] = {}
    for tensor, steps in held.items():
        always = [tier for tier, n in steps.items() if n >= problem.n_steps]
        tier = min(always) if always else max(steps, key=lambda tier: (steps[tier], -tier))
        name = problem.tensor_names[tensor]
        size, kind = int(problem.size[tensor]), problem.tensor_kind[tensor]
        found[name] = Place(name, kind, size, tier, devices[tier], any(other < tier for other in steps))
    return found


def bytes_on(found: Iterable[Place], device: Device, kind: str = TensorKind.WEIGHT.value) -> int:
    """Bytes of what stays on a kind of memory."""
    return sum(place.size for place in found if place.device is device and place.kind == kind)


def peak_bytes(problem: Problem, plan: Plan, device: Device, *, without: str = "") -> int:
    """The most bytes that lie at one step in all tiers of a kind of memory; `without` tensors of a kind."""
    devices = devices_of(problem.tiers)
    load = np.zeros(problem.n_steps + 1, dtype=np.int64)
    for r in plan.residencies:
        if devices[r.tier] is device and problem.tensor_kind[r.tensor] != without:
            load[r.start] += problem.size[r.tensor]
            load[r.stop] -= problem.size[r.tensor]
    return int(load.cumsum().max())


def capacity_bytes(problem: Problem, device: Device) -> int:
    """Bytes that plans may use of all tiers of a kind of memory."""
    return sum(int(problem.tiers.usable[k]) for k, found in enumerate(devices_of(problem.tiers)) if found is device)
