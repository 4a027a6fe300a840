"""A mixture of experts in a problem: how each layer's experts lie is a choice of the plan."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph
from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import NO_HOME, Alternative, Choice, Floats, Ints, Problem
from tierplan.sim.aside import spread, without
from tierplan.sim.experts_divide import divide
from tierplan.sim.experts_layers import ExpertLayer, expert_layers
from tierplan.sim.experts_options import ExpertBytes, ExpertOption, expert_bytes, expert_options
from tierplan.sim.experts_trace import Routing
from tierplan.sim.experts_turns import TurnRouting
from tierplan.sim.replacement import Accesses, Policy


@dataclass(frozen=True, slots=True, eq=False)
class CachedExperts:
    """A problem without the experts' weights, and with a choice per layer of how they lie.

    `options` of each layer are the alternatives of its choice, in their order; those of the layers are the last
    choices of `problem`. `experts`: bytes of one expert of each layer.
    """

    problem: Problem
    base: Problem
    layers: tuple[ExpertLayer, ...]
    experts: tuple[ExpertBytes, ...]
    options: tuple[tuple[ExpertOption, ...], ...]
    routing: Routing | TurnRouting
    parallel: int
    policy: Policy

    @property
    def unique(self) -> float:
        """Different experts that a turn needs in a layer, on average over layers and turns."""
        asked = [len(accesses.items) / accesses.n_steps for accesses in self.accesses()]
        return float(np.mean(asked))

    def accesses(self) -> list[Accesses]:
        """What each layer asks for, turn by turn."""
        return [self.routing.accesses(layer, self.parallel) for layer in range(len(self.layers))]

    def taken(self, plan: Plan) -> tuple[ExpertOption, ...]:
        """How a plan lays the experts of each layer."""
        first = len(self.problem.choices) - len(self.layers)
        chosen = {taken.choice - first: taken.alternative for taken in plan.taken}
        return tuple(options[chosen[layer]] for layer, options in enumerate(self.options))

    def bound_s(self) -> float:
        """Seconds that no plan can beat: of experts that have all room for themselves, and of all other steps.

        Assumes nothing else: what an option streams is spread over its steps evenly, so that its seconds add up.
        """
        problem = self.problem
        names = {name for layer in self.layers for name in layer.ops}
        others = np.array([name not in names for name in problem.step_names])
        n_bytes = np.bincount(
            problem.access_step, problem.access_read + problem.access_write, minlength=problem.n_steps
        )
        rates = np.maximum(problem.tiers.read_bandwidth, problem.tiers.write_bandwidth)
        own = np.maximum(problem.compute_s, n_bytes / rates[problem.tiers.direct].sum())
        return float(own[others].sum()) + divide(self.options, problem.tiers.usable.tolist()).bound_s

    def in_problem(self, base: Problem) -> Problem:
        """Another problem of the same program, its experts in the same choices."""
        gone = {name for layer in self.layers for name in layer.tensors}
        rest = without(base, [x for x, name in enumerate(base.tensor_names) if name in gone])
        return dataclasses.replace(rest, choices=self.problem.choices)

    def with_policy(self, policy: Policy) -> "CachedExperts":
        """The same experts under another policy."""
        return _built(self.base, self.layers, self.routing, self.parallel, policy)

    def relaid(self, plan: Plan, other: "CachedExperts") -> Plan | None:
        """A plan of this problem like `plan` of `other`, with the experts divided anew over the room that it leaves."""
        ends = np.zeros(self.problem.n_tiers, dtype=np.int64)
        for r in plan.residencies:
            ends[r.tier] = max(ends[r.tier], r.offset + int(self.problem.size[r.tensor]))
        first = len(self.problem.choices) - len(self.layers)
        kept = tuple(taken for taken in plan.taken if taken.choice < len(other.problem.choices) - len(other.layers))
        for taken in kept:
            ends += np.array(self.problem.choices[taken.choice].alternatives[taken.alternative].reserved)
        division = divide(self.options, (self.problem.tiers.usable - ends).tolist()).taken
        if division is None:
            return None
        return dataclasses.replace(plan, taken=(*kept, *(Taken(first + i, a) for i, a in enumerate(division))))


def cached_experts(
    graph: Graph, problem: Problem, routing: Routing | TurnRouting, parallel: int, policy: Policy = Policy.PLANNED
) -> CachedExperts:
    """The choices of a problem's experts under a routing trace, `parallel` tokens per turn.

    The first alternative of each choice is that of the division that is fastest if all else lies in the fastest tiers.
    Raises: InvalidInputError: the model has no experts, or the trace is of another shape.
    """
    layers = expert_layers(graph)
    if not layers:
        raise InvalidInputError(f"'{graph.name}' has no experts to route to; routing is for a mixture of experts")
    _check_use(graph, layers)
    _check_shape(routing, layers)
    return _built(problem, layers, routing, parallel, policy)


def _check_use(graph: Graph, layers: Sequence[ExpertLayer]) -> None:
    """Refuse programs in which something else uses the experts' weights, as training does."""
    mine = {name for layer in layers for name in layer.tensors}
    ops = {name for layer in layers for name in layer.ops}
    for op in graph.ops:
        if op.name not in ops and mine & {access.tensor for access in (*op.reads, *op.writes)}:
            raise InvalidInputError(
                f"'{graph.name}': '{op.name}' uses the weights of experts too; --routing is for the phases decode, "
                "prefill and serve, in which each layer reads its own"
            )


def _check_shape(routing: Routing | TurnRouting, layers: Sequence[ExpertLayer]) -> None:
    wanted = {"layers": len(layers), "experts": layers[0].n_experts, "experts per token": layers[0].top_k}
    given = {"layers": routing.n_layers, "experts": routing.n_experts, "experts per token": routing.top_k}
    for what, number in wanted.items():
        if given[what] != number:
            raise InvalidInputError(f"the routing has {given[what]} {what}, the model {number}")


def _built(
    problem: Problem, layers: tuple[ExpertLayer, ...], routing: Routing | TurnRouting, parallel: int, policy: Policy
) -> CachedExperts:
    number = {name: x for x, name in enumerate(problem.tensor_names)}
    rest = without(problem, [number[name] for layer in layers for name in layer.tensors])
    experts = tuple(expert_bytes(problem, layer.parts) for layer in layers)
    total = sum(e.room[-1] * layer.n_experts for e, layer in zip(experts, layers, strict=True))
    last = _last(problem, total + _rest_bytes(rest))
    options = [
        expert_options(problem, routing.accesses(index, parallel), expert, policy, last)
        for index, expert in enumerate(experts)
    ]
    if division := divide(options, _left(rest).tolist()).taken:
        options = [(o[i], *o[:i], *o[i + 1 :]) for o, i in zip(options, division, strict=True)]
    choices = [_choice(rest, layer, of_layer) for layer, of_layer in zip(layers, options, strict=True)]
    built = dataclasses.replace(rest, choices=(*rest.choices, *choices))
    return CachedExperts(built, problem, layers, experts, tuple(options), routing, parallel, policy)


def _last(problem: Problem, n_bytes: int) -> int:
    """The first tier that holds so many bytes alone: what lies deeper gains nothing."""
    found = np.flatnonzero(problem.tiers.usable >= n_bytes)
    return int(found[0]) if len(found) else problem.n_tiers - 1


def _rest_bytes(problem: Problem) -> int:
    """Bytes of what exists, and of what lies there beside it at the fullest step."""
    exists = problem.home != NO_HOME
    start, stop = problem.lifespans()
    passing = np.zeros(problem.n_steps + 1, dtype=np.int64)
    np.add.at(passing, start[~exists], problem.size[~exists])
    np.add.at(passing, stop[~exists], -problem.size[~exists])
    align = int(problem.tiers.alignment.max()) * problem.n_tensors
    return int(problem.size[exists].sum() + np.cumsum(passing).max(initial=0)) + align


def _left(problem: Problem) -> Ints:
    """Shape [K]: room in each tier if all that the problem has lies in the fastest that operations can use."""
    room, rest = problem.tiers.usable.copy(), _rest_bytes(problem)
    for tier in [*np.flatnonzero(problem.tiers.direct), *np.flatnonzero(~problem.tiers.direct)]:
        held = min(int(room[tier]), rest)
        room[tier] -= held
        rest -= held
    return room


def _choice(problem: Problem, layer: ExpertLayer, options: Sequence[ExpertOption]) -> Choice:
    step = {name: t for t, name in enumerate(problem.step_names)}
    steps = [step[name] for name in layer.ops]
    weights: Floats = np.array(layer.op_bytes, dtype=np.float64)
    alternatives = tuple(
        Alternative(option.name, option.reserved, spread(problem, option.loads, steps, weights)) for option in options
    )
    return Choice(f"experts of {layer.name}", alternatives)
