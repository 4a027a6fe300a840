"""What a kernel costs when it is known from which tier each operand comes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tierplan.ir.machine import Machine
from tierplan.ir.plan import Plan
from tierplan.ir.problem import NO_LINK, Problem, tiers_of
from tierplan.ir.regions import Uses
from tierplan.sim.fusion_forms import Form
from tierplan.sim.timeline import access_tiers

Served = tuple[int, int]
"""The tiers from which an operation reads a group, and to which it writes it."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Seconds per byte by tier, and the tiers that serve each operation's groups.

    `read_s` and `write_s` [K]; `links` has for each tier the link that its reads and its writes cross, `NO_LINK`
    for none, and `link_s` [L] seconds per byte of those.
    """

    served: Sequence[Mapping[str, Served]]
    read_s: tuple[float, ...]
    write_s: tuple[float, ...]
    links: tuple[tuple[int, int], ...]
    link_s: tuple[float, ...]
    launch_s: float


def prices(machine: Machine, served: Sequence[Mapping[str, Served]]) -> Prices:
    """The prices of a machine, for operands that are served like this."""
    tiers = tiers_of(machine)
    return Prices(
        served,
        tuple((1 / tiers.read_bandwidth).tolist()),
        tuple((1 / tiers.write_bandwidth).tolist()),
        tuple(zip(tiers.read_link.tolist(), tiers.write_link.tolist(), strict=True)),
        tuple(1 / link.bandwidth for link in machine.links),
        machine.launch_s,
    )


def served_by_plan(uses: Uses, names: Sequence[str], problem: Problem, plan: Plan) -> list[dict[str, Served]]:
    """For each operation, the tiers from which a plan of the graph as it stands serves its groups.

    `names` are those of the operations, which the steps of the problem bear too. What the problem does not have, as
    alternatives of a choice account for it, counts as if it lay in the nearest tier.
    """
    tier = access_tiers(problem, plan)
    step_of = {name: step for step, name in enumerate(problem.step_names)}
    found: list[dict[str, Served]] = []
    for number, name in enumerate(names):
        step = step_of[name]
        at = range(int(problem.access_start[step]), int(problem.access_start[step + 1]))
        by_name = {problem.tensor_names[int(problem.access_tensor[a])]: (int(tier[a]), int(tier[a])) for a in at}
        found.append({group: by_name.get(group, (0, 0)) for group in uses.by_op[number]})
    return found


def served_by_tier(uses: Uses, tier: int) -> list[dict[str, Served]]:
    """Every operand lies in one tier, as if no operand stayed near compute between two kernels."""
    return [dict.fromkeys(groups, (tier, tier)) for groups in uses.by_op]


class Account:
    """The seconds of a kernel that grows by one operation at a time."""

    def __init__(self, prices: Prices) -> None:
        self.prices = prices
        self._tier_s = [0.0] * len(prices.read_s)
        self._link_bytes = [0.0] * len(prices.link_s)
        self._written_to: dict[str, int] = {}

    def add(self, number: int, read: Sequence[tuple[str, int]], written: Sequence[tuple[str, int]]) -> None:
        """Reads and writes of these groups change by so many bytes when an operation joins."""
        prices, served = self.prices, self.prices.served[number]
        for group, n_bytes in read:
            tier = served[group][0]
            self._tier_s[tier] += n_bytes * prices.read_s[tier]
            if prices.links[tier][0] != NO_LINK:
                self._link_bytes[prices.links[tier][0]] += n_bytes
        for group, n_bytes in written:
            tier = self._written_to.setdefault(group, served[group][1] if group in served else 0)
            self._tier_s[tier] += n_bytes * prices.write_s[tier]
            if prices.links[tier][1] != NO_LINK:
                self._link_bytes[prices.links[tier][1]] += n_bytes

    def seconds(self, compute_s: float) -> float:
        """Seconds of one execution of the kernel, with its launch.

        Source: docs/semantics.md, the own time of a step.
        """
        links = (n * s for n, s in zip(self._link_bytes, self.prices.link_s, strict=True))
        return self.prices.launch_s + max(compute_s, *self._tier_s, *links)

    def best(self, forms: Sequence[Form]) -> tuple[Form, float]:
        """The way to run the kernel that takes least time, of those the one that holds least; and its seconds."""
        times = [self.seconds(form.compute_s) for form in forms]
        least = min(times)
        near = [(form.footprint, n) for n, form in enumerate(forms) if times[n] <= least * (1 + 1e-9)]
        chosen = min(near)[1]
        return forms[chosen], times[chosen]
