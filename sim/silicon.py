"""Seconds of kernels on a machine: with its fitted constants, or at its peak rates where it has none."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from tierplan.ir.calibration import (
    CollectiveConstants,
    Constants,
    DecodeConstants,
    GemmConstants,
    MoeConstants,
    PrefillConstants,
)
from tierplan.ir.dtypes import BITS
from tierplan.ir.machine import Machine
from tierplan.sim.device import Device, device_of, memory_of
from tierplan.sim.roofline import roofline_s
from tierplan.sim.silicon_attention import decode_s, prefill_s
from tierplan.sim.silicon_collective import collective_s
from tierplan.sim.silicon_gemm import gemm_s
from tierplan.sim.silicon_moe import moe_s
from tierplan.sim.workloads import Attention, Collective, Floats, Gemm, Moe

Work = Gemm | Attention | Moe | Collective
_C = TypeVar("_C", bound=Constants)


def kernel_s(work: Work, machine: Machine, *, measured: bool = False) -> Floats:
    """Seconds of each of the kernels that `work` lists.

    `measured` predicts what the calibration measured: kernels repeated on few operands, of which the cache keeps some.
    Without it, weights and keys come from memory, as in a whole model.
    """
    constants = constants_of(work, machine)
    if constants is None:
        return roofline_s(work, machine)
    dtype = "bfloat16" if isinstance(work, Collective) else work.dtype
    return seconds_of(work, constants, device_of(machine, dtype), measured=measured)


def is_calibrated(work: Work, machine: Machine) -> bool:
    """Whether the machine has fitted constants for this kind of kernel."""
    return constants_of(work, machine) is not None


def stream_s(n_bytes: ArrayLike, machine: Machine) -> Floats:
    """Seconds of an element-wise kernel that streams so many bytes from and to memory.

    Assumes: it starts as fast as a matrix product, and draws on memory as well.
    """
    seconds = np.asarray(n_bytes, np.float64) / memory_of(machine).read_bandwidth
    found = None if machine.calibration is None else nearest(machine.calibration.gemm, "bfloat16")
    return seconds if found is None else found.launch_s + seconds / found.memory_share


def constants_of(work: Work, machine: Machine) -> Constants | None:
    """The constants that apply to `work`: those of its element type, or of the nearest one that has any."""
    if machine.calibration is None:
        return None
    if isinstance(work, Collective):
        return machine.calibration.collective.get(work.kind) if machine.calibration.peer_bandwidth else None
    return nearest(machine.calibration.of(kind_of(work)), work.dtype)


def kind_of(work: Work) -> str:
    """The key of its constants: gemm, prefill, decode, moe or collective."""
    if isinstance(work, Attention):
        return "decode" if np.all(np.asarray(work.queries) == 1) and np.any(np.asarray(work.context) > 1) else "prefill"
    return {Gemm: "gemm", Moe: "moe", Collective: "collective"}[type(work)]


def nearest(by_dtype: Mapping[str, _C], dtype: str) -> _C | None:
    """The constants of an element type; else those of the one with the nearest width, wider ones first."""
    if not by_dtype:
        return None
    return by_dtype[min(by_dtype, key=lambda d: (d != dtype, abs(BITS[d] - BITS[dtype]), -BITS[d]))]


def seconds_of(work: Work, constants: Constants, device: Device, *, measured: bool) -> Floats:
    """Seconds of each of the kernels that `work` lists, on a device with these constants."""
    match work, constants:
        case Gemm(), GemmConstants():
            return gemm_s(work, constants, device, measured=measured)
        case Attention(), PrefillConstants():
            return prefill_s(work, constants, device)
        case Attention(), DecodeConstants():
            return decode_s(work, constants, device, measured=measured)
        case Moe(), MoeConstants():
            return moe_s(work, constants, device)
        case Collective(), CollectiveConstants():
            return collective_s(work, constants, device.peer_bandwidth)
        case _:
            raise AssertionError(f"constants {type(constants).__name__} are not those of {type(work).__name__}")
