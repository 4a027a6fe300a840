"""The same problem on a machine of which one thing is larger, smaller, faster or slower."""

from dataclasses import dataclass, replace
from enum import Enum

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Alternative, Choice, Problem


class Quantity(Enum):
    """What can differ; the value is what tables call it."""

    COMPUTE = "rate"
    CAPACITY = "capacity"
    BANDWIDTH = "bandwidth"
    LINK = "link bandwidth"


@dataclass(frozen=True, slots=True)
class Resource:
    """One quantity of the machine: of tier or link `index`; compute has index 0."""

    quantity: Quantity
    index: int
    name: str


def resources(problem: Problem) -> tuple[Resource, ...]:
    """Everything of a problem's machine that can be scaled: compute, each tier twice, each link."""
    tiers, links = problem.tiers.names, problem.links.names
    return (
        Resource(Quantity.COMPUTE, 0, "compute"),
        *(Resource(q, k, name) for k, name in enumerate(tiers) for q in (Quantity.CAPACITY, Quantity.BANDWIDTH)),
        *(Resource(Quantity.LINK, j, name) for j, name in enumerate(links)),
    )


def scaled(problem: Problem, resource: Resource, factor: float) -> Problem:
    """The problem with `factor` times as much of one resource; latencies and energies stay.

    What a tier keeps for tiles stays too: capacity grows where plans may place tensors.
    A capacity becomes a whole multiple of the alignment.
    """
    if factor <= 0:
        raise InvalidInputError(f"{resource.name}: a factor of {factor}; need a positive number")
    tiers, links, k = problem.tiers, problem.links, resource.index
    if resource.quantity is Quantity.COMPUTE:
        choices = tuple(Choice(c.name, tuple(_faster(a, factor) for a in c.alternatives)) for c in problem.choices)
        return replace(problem, compute_s=problem.compute_s / factor, choices=choices)
    if resource.quantity is Quantity.LINK:
        bandwidth = links.bandwidth.copy()
        bandwidth[k] *= factor
        return replace(problem, links=replace(links, bandwidth=bandwidth))
    if resource.quantity is Quantity.BANDWIDTH:
        read, write = tiers.read_bandwidth.copy(), tiers.write_bandwidth.copy()
        read[k] *= factor
        write[k] *= factor
        curve = tuple((chunk, rate * factor) for chunk, rate in tiers.read_curve[k])
        curves = (*tiers.read_curve[:k], curve, *tiers.read_curve[k + 1 :])
        return replace(problem, tiers=replace(tiers, read_bandwidth=read, write_bandwidth=write, read_curve=curves))
    capacity, usable, alignment = tiers.capacity.copy(), tiers.usable.copy(), int(tiers.alignment[k])
    more = round(float(capacity[k]) * (factor - 1)) // alignment * alignment
    if usable[k] + more < 0:
        raise InvalidInputError(f"{resource.name}: {factor} times its capacity is less than what is kept for tiles")
    capacity[k] += more
    usable[k] += more
    return replace(problem, tiers=replace(tiers, capacity=capacity, usable=usable))


def _faster(alternative: Alternative, factor: float) -> Alternative:
    effects = tuple(replace(effect, compute_s=effect.compute_s / factor) for effect in alternative.effects)
    return replace(alternative, effects=effects)
