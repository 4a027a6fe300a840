"""What one operation costs on a machine, apart from where its operands lie."""

from dataclasses import dataclass, replace

from tierplan.ir.calibration import Calibration, Constants, DecodeConstants, GemmConstants
from tierplan.ir.collectives import collective_of
from tierplan.ir.graph import Op
from tierplan.ir.machine import Machine, Unit
from tierplan.sim.collectives import collective_s
from tierplan.sim.device import memory_of
from tierplan.sim.op_work import work_of
from tierplan.sim.silicon import constants_of, kernel_s, nearest


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds before an operation in which nothing computes and nothing streams, and of its arithmetic."""

    start_s: float
    compute_s: float


def cost(op: Op, machine: Machine) -> Cost:
    """What one execution of `op` takes beside its streams.

    On a calibrated machine, start, and the longer of arithmetic and the streams at the sustained bandwidth, take
    together as long as the measured kernel would with all operands in memory.
    """
    if machine.calibration is None or not is_calibrated(machine):
        return Cost(machine.launch_s, compute_s(op, machine))
    if (collective := collective_of(op)) is not None:
        return Cost(0.0, collective_s(collective, machine))
    at_peak = compute_s(op, machine)
    streams = sum(access.bytes for access in (*op.reads, *op.writes)) / memory_of(sustained(machine)).read_bandwidth
    work = work_of(op)
    constants = None if work is None else constants_of(work, machine)
    if work is None or constants is None:
        gemm = _gemm(machine.calibration, op.dtype)
        return Cost(gemm.launch_s, at_peak / gemm.compute_share)
    whole = float(kernel_s(work, machine))
    arithmetic = at_peak / getattr(constants, "compute_share", 1.0)
    if arithmetic >= streams:
        arithmetic = max(arithmetic, whole - _launch_s(constants))
    return Cost(max(whole - max(arithmetic, streams), 0.0), arithmetic)


def compute_s(op: Op, machine: Machine) -> float:
    """Seconds of arithmetic of one execution of `op` at the peak rates of the machine's units.

    Assumes: the matrix and the vector unit work side by side, as in a pipelined kernel; an
    operation that is known only by the bytes that it streams takes no compute time. A collective takes
    the time of its bytes on the interconnect, beside which its arithmetic is nothing.
    """
    if (collective := collective_of(op)) is not None:
        return collective_s(collective, machine)
    return max(op.matrix_ops / machine.matrix.rate(op.dtype), op.vector_ops / machine.vector.rate(op.dtype))


def sustained(machine: Machine) -> Machine:
    """The machine with the bandwidth of memory that its best kernels sustain, where that was measured."""
    if machine.calibration is None or not is_calibrated(machine):
        return machine
    memory = memory_of(machine)
    share = min(max(_shares(machine.calibration)), 1.0)
    slower = replace(
        memory,
        read_bandwidth=memory.read_bandwidth * share,
        write_bandwidth=memory.write_bandwidth * share,
        read_curve=tuple((size, rate * share) for size, rate in memory.read_curve),
    )
    return replace(machine, tiers=tuple(slower if tier is memory else tier for tier in machine.tiers))


def is_calibrated(machine: Machine) -> bool:
    """Whether times on the machine come from measured kernels."""
    return machine.calibration is not None and bool(machine.calibration.gemm)


def uncalibrated(machine: Machine) -> Machine:
    """The machine at its peak rates, whatever was measured on it."""
    return replace(machine, calibration=None)


def compute_j(op: Op, machine: Machine) -> float:
    """Joules of arithmetic of one execution of `op`; nan if the machine does not tell for a unit that it uses."""
    return _joules(op.matrix_ops, machine.matrix) + _joules(op.vector_ops, machine.vector)


def _joules(n_ops: int, unit: Unit) -> float:
    if n_ops == 0:
        return 0.0
    return float("nan") if unit.energy_j is None else n_ops * unit.energy_j


def _gemm(calibration: Calibration, dtype: str) -> GemmConstants:
    found = nearest(calibration.gemm, dtype)
    assert found is not None
    return found


def _launch_s(constants: Constants) -> float:
    return float(getattr(constants, "launch_s", 0.0))


def _shares(calibration: Calibration) -> list[float]:
    """Shares of the peak bandwidth that kernels reach when all units draw on memory."""
    found = [1 / (1 / c.memory_share + 1 / (2 * c.unit_memory)) for c in calibration.gemm.values()]
    decode: list[DecodeConstants] = list(calibration.decode.values())
    return found + [1 / (1 / c.memory_share + 1 / c.unit_memory) for c in decode]
