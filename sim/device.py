"""The rates of a machine that models of kernels need, for one element type."""

from dataclasses import dataclass

from tierplan.ir.calibration import Calibration
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Machine, Tier


@dataclass(frozen=True, slots=True)
class Device:
    """Peak operations per second, peak bytes per second of memory, units, bytes of cache, bytes per second to peers."""

    peak: float
    bandwidth: float
    units: int
    cache: int
    peer_bandwidth: float = 0.0


def memory_of(machine: Machine) -> Tier:
    """The tier in which operands of a kernel lie: the fastest one that operations reach directly."""
    return next(tier for tier in machine.tiers if tier.direct)


def device_of(machine: Machine, dtype: str) -> Device:
    """The device that a calibrated machine is, computing in `dtype`.

    Raises: InvalidInputError: the machine has no calibration.
    """
    found: Calibration | None = machine.calibration
    if found is None:
        raise InvalidInputError(f"machine '{machine.name}' has no 'calibration'")
    return Device(
        machine.matrix.rate(dtype), memory_of(machine).read_bandwidth, found.units, found.cache, found.peer_bandwidth
    )
