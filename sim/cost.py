"""What one operation costs on a machine, apart from where its operands lie."""

from tierplan.ir.collectives import collective_of
from tierplan.ir.graph import Op
from tierplan.ir.machine import Machine, Unit
from tierplan.sim.collectives import collective_s


def compute_s(op: Op, machine: Machine) -> float:
    """Seconds of arithmetic of one execution of `op` at the peak rates of the machine's units.

    Assumes: the matrix and the vector unit work side by side, as in a pipelined kernel; an
    operation that is known only by the bytes that it streams takes no compute time. A collective takes
    the time of its bytes on the interconnect, beside which its arithmetic is nothing.
    """
    if (collective := collective_of(op)) is not None:
        return collective_s(collective, machine)
    return max(op.matrix_ops / machine.matrix.rate(op.dtype), op.vector_ops / machine.vector.rate(op.dtype))


def compute_j(op: Op, machine: Machine) -> float:
    """Joules of arithmetic of one execution of `op`; nan if the machine does not tell for a unit that it uses."""
    return _joules(op.matrix_ops, machine.matrix) + _joules(op.vector_ops, machine.vector)


def _joules(n_ops: int, unit: Unit) -> float:
    if n_ops == 0:
        return 0.0
    return float("nan") if unit.energy_j is None else n_ops * unit.energy_j
