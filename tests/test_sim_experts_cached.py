"""Experts as choices of a plan: found in the graph, laid, divided, and costed as the simulator costs them."""

import dataclasses
import itertools
import math

import mixtures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import EXPERT, N_EXPERTS, N_LAYERS, TOP_K

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Access, Graph, Op, Tensor, TensorKind
from tierplan.ir.plan import Plan, Residency, Taken
from tierplan.pipeline import plan as make_plan
from tierplan.pipeline import verify
from tierplan.sim.aside import time_s
from tierplan.sim.experts_cached import CachedExperts, cached_experts
from tierplan.sim.experts_divide import divide
from tierplan.sim.experts_layers import expert_layers
from tierplan.sim.experts_options import ExpertOption
from tierplan.sim.experts_trace import Demand, Routing, generate_routing
from tierplan.sim.lowering import lower
from tierplan.sim.replacement import Policy, serve
from tierplan.sim.timeline import simulate


def cached(
    skew: float = 0.8, policy: Policy = Policy.PLANNED, n_tokens: int = 200, seed: int = 1, near: int = 100_000
) -> CachedExperts:
    routing = generate_routing(Demand(skew), n_tokens, N_LAYERS, N_EXPERTS, TOP_K, seed)
    graph = mixtures.graph()
    return cached_experts(graph, lower(graph, mixtures.machine(near)), routing, 1, policy)


def test_layers_of_a_graph_have_all_their_experts() -> None:
    graph = mixtures.graph()
    layers = expert_layers(graph)
    assert [(layer.n_experts, layer.top_k) for layer in layers] == [(N_EXPERTS, TOP_K)] * N_LAYERS
    size = {tensor.name: tensor.size for tensor in graph.tensors}
    for layer in layers:
        assert sum(layer.parts) == EXPERT
        assert len(set(layer.tensors)) == 3 * N_EXPERTS
        assert sum(size[name] for name in layer.tensors) == N_EXPERTS * EXPERT
        assert len(layer.ops) == 3 * N_EXPERTS
    assert expert_layers(mixtures.graph(num_local_experts=1, num_experts_per_tok=1))[0].n_experts == 1


def test_experts_in_stacks_are_found_and_what_is_shared_is_not() -> None:
    weight = TensorKind.WEIGHT
    tensors = (
        Tensor("x", (1, 8), "float32", TensorKind.INPUT), Tensor("logits", (1, 4), "float32", TensorKind.ACTIVATION),
        Tensor("weights", (1, 2), "float32", TensorKind.ACTIVATION),
        Tensor("chosen", (1, 2), "int32", TensorKind.ACTIVATION),
        Tensor("up", (4, 8, 16), "float32", weight), Tensor("down", (4, 16, 8), "float32", weight),
        Tensor("shared", (8, 8), "float32", weight), Tensor("h", (2, 16), "float32", TensorKind.ACTIVATION),
        Tensor("y", (2, 8), "float32", TensorKind.ACTIVATION), Tensor("z", (1, 8), "float32", TensorKind.OUTPUT),
    )  # fmt: skip
    ops = (
        Op("gate", "matmul", (Access("x", 32),), (Access("logits", 16),)),
        Op("moe.top_k", "top_k", (Access("logits", 16),), (Access("weights", 8), Access("chosen", 8)),
           attributes={"experts": 4, "per_token": 2}),
        Op("moe.up", "expert_matmul", (Access("x", 32), Access("up", 1024), Access("chosen", 8)), (Access("h", 128),)),
        Op("moe.down", "expert_matmul", (Access("h", 128), Access("down", 1000), Access("chosen", 8)),
           (Access("y", 64),)),
        Op("sum", "weighted_sum", (Access("y", 64), Access("weights", 8), Access("shared", 256)), (Access("z", 32),)),
    )  # fmt: skip
    (layer,) = expert_layers(Graph("stacked", tensors, ops))
    assert (layer.name, layer.tensors, layer.ops) == ("moe", ("up", "down"), ("moe.up", "moe.down"))
    assert (layer.parts, layer.op_bytes) == ((512, 512), (1024, 1000))


def test_options_count_what_the_caches_do() -> None:
    experts = cached(policy=Policy.LRU)
    for layer, options in enumerate(experts.options):
        accesses = experts.routing.accesses(layer, 1)
        assert [o.time_s for o in options[1:]] == sorted(o.time_s for o in options[1:])
        for option in options:
            near, far = option.places
            n_loads = serve(accesses, near, Policy.LRU).n_loads if near else len(accesses.items)
            in_near = option.found[0] * accesses.n_steps
            assert in_near == pytest.approx(len(accesses.items) - (n_loads if far else 0))
            assert option.reserved == (near * EXPERT, far * EXPERT)
            missed = option.found[1] * EXPERT
            copied = missed if near else 0.0  # an expert that is missed is copied where there is a cache
            assert option.loads == pytest.approx([TOP_K * EXPERT if near else 0.0, missed, copied, 0.0, missed, 0.0])


def test_pinned_experts_need_no_place_in_the_home_and_the_others_are_streamed() -> None:
    experts = cached(skew=2.0, policy=Policy.PINNED)
    pinned = [option for options in experts.options for option in options if option.n_pins]
    assert pinned
    for option in pinned:
        assert option.places[1] == N_EXPERTS - option.n_pins
        assert option.loads[2] == 0.0  # nothing is written to the near tier


def test_all_experts_in_the_home_take_as_long_as_where_each_is_placed_there() -> None:
    routing = generate_routing(Demand(), 50, N_LAYERS, N_EXPERTS, N_EXPERTS)
    graph = mixtures.graph(num_experts_per_tok=N_EXPERTS)
    problem = lower(graph, mixtures.machine())
    experts = cached_experts(graph, problem, routing, 1)
    outcome = make_plan(experts.problem, mixtures.machine(), planner="greedy")
    assert outcome.plan is not None
    far = [next(i for i, o in enumerate(options) if o.places == (0, N_EXPERTS)) for options in experts.options]
    plan = dataclasses.replace(outcome.plan, taken=tuple(Taken(i, a) for i, a in enumerate(far)))
    assert verify(experts.problem, plan) == []
    number = {name: x for x, name in enumerate(problem.tensor_names)}
    names = experts.problem.tensor_names
    lies = [dataclasses.replace(r, tensor=number[names[r.tensor]]) for r in plan.residencies]
    at = max((r.offset + int(problem.size[r.tensor]) for r in lies if r.tier == 1), default=0)
    for name in (name for layer in experts.layers for name in layer.tensors):
        lies.append(Residency(number[name], 1, at := -(-at // 8) * 8, 0, problem.n_steps))
        at += int(problem.size[number[name]])
    placed = Plan(tuple(lies))
    assert verify(problem, placed) == []
    assert simulate(experts.problem, plan).time_s == pytest.approx(simulate(problem, placed).time_s, rel=1e-9)


def test_planning_takes_the_best_division_and_proves_a_bound() -> None:
    experts = cached()
    outcome = make_plan(experts.problem, mixtures.machine(), planner="greedy")
    assert outcome.plan is not None
    assert outcome.cost_s is not None
    relaid = experts.relaid(outcome.plan, experts)
    assert relaid is not None
    assert verify(experts.problem, relaid) == []
    assert experts.bound_s() <= simulate(experts.problem, relaid).time_s <= outcome.cost_s * (1 + 1e-9)
    assert experts.bound_s() > 0.5 * outcome.cost_s


@given(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.integers(0, 20), st.integers(60_000, 150_000))
@settings(max_examples=12, deadline=None)
def test_planned_is_no_slower_than_every_other_policy_in_the_same_room(skew: float, seed: int, near: int) -> None:
    experts = cached(skew, n_tokens=60, seed=seed, near=near)
    outcome = make_plan(experts.problem, mixtures.machine(near), planner="greedy")
    assert outcome.plan is not None
    seconds: dict[Policy, float] = {}
    for policy in Policy:
        other = experts.with_policy(policy)
        plan = other.relaid(outcome.plan, experts)
        if plan is None:  # pins need no place in the home, so that the others may lack room
            assert policy in (Policy.LRU, Policy.LFU, Policy.PINNED)
            continue
        assert verify(other.problem, plan) == []
        seconds[policy] = simulate(other.problem, plan).time_s
    slack = 1 + 2e-4  # of the division
    for policy in (Policy.LRU, Policy.LFU, Policy.PINNED):
        assert seconds[Policy.PLANNED] <= seconds.get(policy, math.inf) * slack
    assert seconds[Policy.BELADY] <= seconds[Policy.PLANNED] * slack


def _option(time: float, reserved: tuple[int, int]) -> ExpertOption:
    return ExpertOption("", reserved, 0, reserved, (1.0, 0.0), np.zeros(6), time)


layers_of_options = st.lists(
    st.lists(st.builds(_option, st.floats(0.1, 9), st.tuples(st.integers(0, 4), st.integers(0, 4))),
             min_size=1, max_size=4),
    min_size=1, max_size=4,
)  # fmt: skip


@given(layers_of_options, st.tuples(st.integers(0, 9), st.integers(0, 9)))
@settings(max_examples=60, deadline=None)
def test_division_is_the_best_of_all(options: list[list[ExpertOption]], room: tuple[int, int]) -> None:
    totals = [
        sum(o.time_s for o in combined)
        for combined in itertools.product(*options)
        if all(sum(o.reserved[k] for o in combined) <= room[k] for k in (0, 1))
    ]
    division = divide(options, room)
    if not totals:
        assert division.taken is None
        return
    assert division.taken is not None
    found = sum(layer[i].time_s for layer, i in zip(options, division.taken, strict=True))
    assert min(totals) <= found <= min(totals) * (1 + 1e-4)
    assert division.bound_s <= min(totals) <= division.bound_s * (1 + 2e-4)


def test_effects_of_an_option_take_its_time() -> None:
    experts = cached()
    problem = experts.problem
    for choice, options in zip(problem.choices, experts.options, strict=True):
        for alternative, option in zip(choice.alternatives, options, strict=True):
            loads = [np.array((*e.tier_read, *e.tier_write, *e.link), dtype=np.float64) for e in alternative.effects]
            assert sum(time_s(problem, row) for row in loads) == pytest.approx(option.time_s, rel=1e-3)
            assert np.sum(loads, axis=0) == pytest.approx(option.loads, abs=1)


@pytest.mark.parametrize(
    ("shape", "n_experts", "message"),
    [
        ((9, 2, 2), 4, "2 layers, the model 3"),
        ((9, 3, 3), 4, "3 experts per token, the model 2"),
        ((9, 3, 2), 8, "8 experts"),
    ],
)
def test_a_trace_of_another_shape_is_refused(shape: tuple[int, int, int], n_experts: int, message: str) -> None:
    drawn = np.argsort(np.random.default_rng(0).random((*shape[:2], n_experts)), axis=2)[:, :, : shape[2]]
    graph = mixtures.graph()
    with pytest.raises(InvalidInputError, match=message):
        cached_experts(graph, lower(graph, mixtures.machine()), Routing(drawn, n_experts), 1)
