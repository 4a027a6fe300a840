"""A plan of a mixture of experts: made, improved, compared with other policies and sizes, and told as rows."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph
from tierplan.ir.machine import Machine
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan, Taken
from tierplan.ir.problem import Problem
from tierplan.pipeline import plan as make_plan
from tierplan.planner.bounds import bytes_missing, first_bound
from tierplan.planner.contract import Budget
from tierplan.routing import Skew
from tierplan.sim.experts_cached import CachedExperts, cached_experts
from tierplan.sim.experts_layers import expert_layers
from tierplan.sim.experts_mixture import expected_unique
from tierplan.sim.experts_options import ExpertOption
from tierplan.sim.replacement import Policy
from tierplan.sim.timeline import simulate


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy in the room that the plan leaves for experts; None seconds: it does not fit there."""

    policy: Policy
    hit_rate: float
    found: tuple[float, ...]
    moved_bytes: float
    time_s: float | None


@dataclass(frozen=True, slots=True)
class SizeRow:
    """So many experts of each layer in the fastest tier that has any, and all else as planned."""

    places: int
    hit_rate: float
    moved_bytes: float
    time_s: float


@dataclass(frozen=True, slots=True, eq=False)
class ExpertsAnswer:
    """What the experts of a plan do. `taken`: how each layer's lie; `fastest`: the tier whose places count."""

    experts: CachedExperts
    routing: str
    taken: tuple[ExpertOption, ...]
    policies: tuple[PolicyRow, ...]
    sizes: tuple[SizeRow, ...]
    fastest: int

    @property
    def expected_unique(self) -> float:
        """Different experts that a turn would need in a layer under uniform routing."""
        layer = self.experts.layers[0]
        return expected_unique(layer.n_experts, layer.top_k, self.experts.parallel)


def mixed(graph: Graph, problem: Problem, routing: str | None, policy: str | None, seed: int) -> CachedExperts | None:
    """The experts of a program as `--routing` and `--policy` say; None if they say nothing.

    Raises: InvalidInputError: the model has no experts or trains them, the policy is not known, or the trace is of
        another shape.
    """
    if routing is None:
        if policy is not None:
            raise InvalidInputError(
                "--policy says which expert gives way, and needs --routing, like --routing zipf:0.8"
            )
        return None
    skew, rule, layers = Skew.of(routing), Policy.of(policy or "planned"), expert_layers(graph)
    if not layers:
        raise InvalidInputError(
            f"'{graph.name}' has no experts: --routing is for a mixture of experts, like mixtral-8x7b"
        )
    return cached_experts(graph, problem, skew.routing(layers, graph.tokens, seed), graph.tokens, rule)


def plan_experts(experts: CachedExperts, hardware: str | Machine, planner: str, budget: Budget) -> Outcome:
    """Plan where all else lies and how the experts do; the division over layers is then made anew if that is faster."""
    problem = experts.problem
    if lacking := missing(problem):
        return Outcome(planner, Status.INFEASIBLE, None, None, 0.0, 0.0, lacking)
    outcome = make_plan(problem, hardware, planner=planner, budget=budget)
    outcome = dataclasses.replace(outcome, bound_s=max(outcome.bound_s, added_bound(problem), experts.bound_s()))
    better = experts.relaid(outcome.plan, experts) if outcome.plan is not None else None
    if better is None or outcome.cost_s is None:
        return outcome
    cost_s = simulate(problem, better).time_s
    return dataclasses.replace(outcome, plan=better, cost_s=cost_s) if cost_s < outcome.cost_s else outcome


def missing(problem: Problem) -> dict[str, int]:
    """Bytes that lack per tier with the faster ones, choices reserving the least they can; empty if all fits."""
    least = sum(min(sum(a.reserved) for a in choice.alternatives) for choice in problem.choices)
    nowhere = dataclasses.replace(problem.tiers, usable=np.zeros(problem.n_tiers, dtype=np.int64))
    needed = least + bytes_missing(dataclasses.replace(problem, tiers=nowhere))[problem.tiers.names[-1]]
    room = np.cumsum(problem.tiers.usable).tolist()
    lacking = {name: max(0, needed - room[k]) for k, name in enumerate(problem.tiers.names)}
    return lacking if lacking[problem.tiers.names[-1]] else {}


def added_bound(problem: Problem) -> float:
    """Seconds that no plan can beat, where alternatives only add to steps: without them, in the room they leave."""
    least = [np.array([a.reserved for a in choice.alternatives]).min(axis=0) for choice in problem.choices]
    usable = np.maximum(problem.tiers.usable - np.sum(least, axis=0, dtype=np.int64), 0)
    return first_bound(
        dataclasses.replace(problem, tiers=dataclasses.replace(problem.tiers, usable=usable), choices=())
    )


def answer_experts(experts: CachedExperts, routing: str, plan: Plan) -> ExpertsAnswer:
    """What the experts of a plan do, beside the other policies and sizes."""
    taken = experts.taken(plan)
    fastest = min(next(k for k, places in enumerate(option.places) if places) for option in taken)
    policies = tuple(_policy_row(experts, plan, policy) for policy in Policy)
    return ExpertsAnswer(experts, routing, taken, policies, tuple(_size_rows(experts, plan, taken, fastest)), fastest)


def _policy_row(experts: CachedExperts, plan: Plan, policy: Policy) -> PolicyRow:
    if policy is experts.policy:
        taken: tuple[ExpertOption, ...] = experts.taken(plan)
        return PolicyRow(policy, *_means(experts, taken), simulate(experts.problem, plan).time_s)
    other = experts.with_policy(policy)
    relaid = other.relaid(plan, experts)
    if relaid is None:
        return PolicyRow(policy, 0.0, (), 0.0, None)
    return PolicyRow(policy, *_means(other, other.taken(relaid)), simulate(other.problem, relaid).time_s)


def _means(experts: CachedExperts, taken: Sequence[ExpertOption]) -> tuple[float, tuple[float, ...], float]:
    """Hit rate over all layers, experts found per tier and turn, and bytes over links per turn."""
    found = np.sum([option.found for option in taken], axis=0)
    fastest = min(next(k for k, places in enumerate(option.places) if places) for option in taken)
    links = 2 * experts.problem.n_tiers
    moved = sum(float(option.loads[links:].sum()) for option in taken)
    return float(found[fastest] / found.sum()), tuple(found.tolist()), moved


def _size_rows(experts: CachedExperts, plan: Plan, taken: Sequence[ExpertOption], fastest: int) -> Iterator[SizeRow]:
    """The same number of places in each layer: what the plan would take, were there room for it."""
    first = len(experts.problem.choices) - len(experts.layers)
    kept = tuple(t for t in plan.taken if t.choice < first)
    sizes = sorted({option.places[fastest] for layer in experts.options for option in layer})
    for size in sizes:
        indices: list[int] = []
        for layer in experts.options:
            of_size = [i for i, option in enumerate(layer) if option.places[fastest] == size]
            if of_size:
                indices.append(min(of_size, key=lambda i: layer[i].time_s))
        if len(indices) < len(experts.options):
            continue
        laid = tuple(experts.options[layer][i] for layer, i in enumerate(indices))
        choices = tuple(Taken(first + layer, i) for layer, i in enumerate(indices))
        time_s = simulate(experts.problem, dataclasses.replace(plan, taken=(*kept, *choices))).time_s
        hit_rate, _, moved = _means(experts, laid)
        yield SizeRow(size, hit_rate if size else 0.0, moved, time_s)


def experts_row(answer: ExpertsAnswer) -> dict[str, Any]:
    """The answer for `--json`: bytes and seconds per turn."""
    experts, tiers = answer.experts, answer.experts.problem.tiers.names
    hit_rate, found, moved = _means(experts, answer.taken)
    return {
        "routing": answer.routing,
        "policy": experts.policy.name.lower(),
        "parallel_tokens": experts.parallel,
        "trace_tokens": experts.routing.n_tokens,
        "n_layers": len(experts.layers),
        "n_experts": experts.layers[0].n_experts,
        "top_k": experts.layers[0].top_k,
        "expert_bytes": experts.experts[0].read,
        "unique_experts": experts.unique,
        "unique_experts_uniform": answer.expected_unique,
        "fastest_tier": tiers[answer.fastest],
        "hit_rate": hit_rate,
        "found": dict(zip(tiers, found, strict=True)),
        "moved_bytes": moved,
        "layers": [
            {
                "name": layer.name,
                "places": dict(zip(tiers, option.places, strict=True)),
                "n_pins": option.n_pins,
                "hit_rate": option.hit_rate,
            }
            for layer, option in zip(experts.layers, answer.taken, strict=True)
        ],
        "policies": [
            {
                "policy": row.policy.name.lower(),
                "knows_the_future": row.policy is Policy.BELADY,
                "hit_rate": None if row.time_s is None else row.hit_rate,
                "moved_bytes": None if row.time_s is None else row.moved_bytes,
                "time_s": row.time_s,
            }
            for row in answer.policies
        ],
        "sizes": [dataclasses.asdict(row) for row in answer.sizes],
    }


def places_range(answer: ExpertsAnswer) -> tuple[int, int, int]:
    """Experts in the fastest tier: the least of a layer, the most, and the sum over layers."""
    places = [option.places[answer.fastest] for option in answer.taken]
    return min(places), max(places), sum(places)
