"""How long a collective takes on the interconnect of a machine."""

from tierplan.ir.collectives import Collective
from tierplan.ir.machine import Machine, Network
from tierplan.sim import silicon, workloads


def collective_s(collective: Collective, machine: Machine) -> float:
    """Seconds that a collective occupies the interconnect.

    It runs on the smallest network that joins its devices; the slowest link on its way decides. On the first network
    the constants that were fitted for the machine apply, where it has any.
    Assumes: nothing else uses that network at the time; a receiver waits for nothing but the sender, whose time is
    counted there, so that `receive` takes none.
    Raises: InvalidInputError: no network of the machine joins so many devices.
    """
    network = machine.network(collective.reach)
    if collective.kind == "receive":
        return 0.0
    work = workloads.Collective(collective.kind, collective.bytes, collective.devices)
    if network is machine.networks[0] and collective.bytes and silicon.is_calibrated(work, machine):
        return float(silicon.kernel_s(work, machine))
    if collective.kind == "all_reduce":
        return _all_reduce_s(collective, network)
    return _steps(collective, network) * network.latency_s + collective.sent / network.bandwidth


def _all_reduce_s(collective: Collective, network: Network) -> float:
    """The faster of two: each device sums its share and spreads it, or each sends all and sums all (one step).

    Source: Rabenseifner, Optimization of collective reduction operations, 2004 (reduce-scatter and all-gather);
    NVIDIA TensorRT-LLM, custom all-reduce kernels (one shot, two shots).
    """
    in_shares = 2 * _steps(collective, network) * network.latency_s + collective.sent / network.bandwidth
    if network.ring:
        return in_shares
    at_once = network.latency_s + (collective.devices - 1) * collective.bytes / network.bandwidth
    return min(in_shares, at_once)


def _steps(collective: Collective, network: Network) -> int:
    """Messages one after another: behind a switch all peers are reached at once; in a ring, the next one alone."""
    return collective.devices - 1 if network.ring and collective.kind != "send" else 1
