"""Which regions of a graph to fuse: as large as they may be, or those that cost least."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tierplan.ir.regions import Region
from tierplan.sim.fusion_forms import Candidate, Form, Fusable
from tierplan.sim.fusion_price import Account, Prices


@dataclass(frozen=True, slots=True)
class Kernel:
    """A region, one operation or more, and how it runs."""

    region: Region
    form: Form


def unfused(program: Fusable) -> tuple[Kernel, ...]:
    """Every operation a kernel."""
    return tuple(
        Kernel(Region(number, number + 1), Form(1, 1, 0, max(work))) for number, work in enumerate(program.work_s)
    )


def largest(program: Fusable, prices: Prices) -> tuple[Kernel, ...]:
    """From the first operation on, each kernel as large as it may be."""
    kernels: list[Kernel] = []
    start, n_ops = 0, len(program.graph.ops)
    while start < n_ops:
        candidate, account = Candidate(program, start), Account(prices)
        kernel: Kernel | None = None
        while (changes := candidate.add()) is not None and (forms := candidate.forms()):
            stop = candidate.growing.stop
            account.add(stop - 1, *changes)
            kernel = Kernel(Region(start, stop), account.best(forms)[0])
        assert kernel is not None
        kernels.append(kernel)
        start = kernel.region.stop
    return tuple(kernels)


def cheapest(program: Fusable, prices: Prices) -> tuple[Kernel, ...]:
    """The kernels whose seconds add up to least; of equal sums, the fewest kernels.

    A dynamic program over the operations in their order: the best cut of the first n operations is that of the first
    m and one kernel of the rest, for some m. A region that may not fuse begins none that may.
    """
    n_ops = len(program.graph.ops)
    best: list[tuple[float, int]] = [(0.0, 0), *[(math.inf, 0)] * n_ops]
    last: list[Kernel | None] = [None] * (n_ops + 1)
    for start in range(n_ops):
        candidate, account = Candidate(program, start), Account(prices)
        while (changes := candidate.add()) is not None and (forms := candidate.forms()):
            stop = candidate.growing.stop
            account.add(stop - 1, *changes)
            form, seconds = account.best(forms)
            seconds *= program.trips[start]
            cost = best[start][0] + seconds, best[start][1] + 1
            if _is_less(cost, best[stop]):
                best[stop], last[stop] = cost, Kernel(Region(start, stop), form)
    kernels: list[Kernel] = []
    while n_ops:
        kernel = last[n_ops]
        assert kernel is not None
        kernels.append(kernel)
        n_ops = kernel.region.start
    return tuple(reversed(kernels))


def _is_less(cost: tuple[float, int], other: tuple[float, int]) -> bool:
    if math.isclose(cost[0], other[0], rel_tol=1e-12):
        return cost[1] < other[1]
    return cost[0] < other[0]


def seconds_of(program: Fusable, prices: Prices, kernels: Sequence[Kernel]) -> float:
    """Seconds of kernels, one after the other, at these prices."""
    total = 0.0
    for kernel in kernels:
        candidate, account = Candidate(program, kernel.region.start), Account(prices)
        while candidate.growing.stop < kernel.region.stop:
            changes = candidate.add()
            assert changes is not None
            account.add(candidate.growing.stop - 1, *changes)
        total += account.seconds(kernel.form.compute_s) * program.trips[kernel.region.start]
    return total
