"""How a program uses each tensor, as planners ask for it."""

from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import NO_HOME, Bools, Floats, Ints, Keep, Mode, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Uses:
    """Accesses grouped by tensor.

    The accesses of tensor x are `order[at[x] : at[x + 1]]`, by step.
    `exists[x]`: lies in memory before the program begins. `kept[x]`: must survive to the end.
    """

    problem: Problem
    order: Ints
    at: Ints
    step: Ints
    exists: Bools
    kept: Bools
    start: Ints
    stop: Ints

    def steps(self, tensor: int) -> list[int]:
        """The steps that access a tensor."""
        return self.step[self.order[self.at[tensor] : self.at[tensor + 1]]].tolist()

    def writes(self, tensor: int) -> list[int]:
        """The steps that write a tensor."""
        accesses = self.order[self.at[tensor] : self.at[tensor + 1]]
        return self.step[accesses[self.problem.access_mode[accesses] != Mode.READ]].tolist()

    def used(self) -> list[int]:
        """Tensors that some step accesses."""
        return np.flatnonzero(np.diff(self.at) > 0).tolist()


def uses_of(problem: Problem) -> Uses:
    """Group the accesses of a problem by tensor."""
    order = np.argsort(problem.access_tensor, kind="stable")
    start, stop = problem.lifespans()
    return Uses(
        problem=problem,
        order=order,
        at=np.searchsorted(problem.access_tensor[order], np.arange(problem.n_tensors + 1)),
        step=problem.access_step,
        exists=problem.home != NO_HOME,
        kept=problem.keep != Keep.NOTHING,
        start=start,
        stop=stop,
    )


def stream_s(problem: Problem, tier: int) -> Floats:
    """Shape [A]: seconds that each access keeps a direct tier, or the link before it, busy."""
    tiers, links = problem.tiers, problem.links

    def rate(bandwidth: float, link: int) -> float:
        return bandwidth if link < 0 else min(bandwidth, float(links.bandwidth[link]))

    read = rate(float(tiers.read_bandwidth[tier]), int(tiers.read_link[tier]))
    write = rate(float(tiers.write_bandwidth[tier]), int(tiers.write_link[tier]))
    return problem.access_read / read + problem.access_write / write
