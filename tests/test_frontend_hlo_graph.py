"""Graphs of HLO text against XLA's own counts, against the graphs of the same JAX functions, and by hand."""

import jax
import jax.numpy as jnp
import pytest
from hlo_samples import TEXTS
from jax import lax

import tierplan
from tierplan.frontend.hlo_counts import Counter
from tierplan.frontend.hlo_graph import graph_of_hlo
from tierplan.frontend.hlo_parse import read_hlo
from tierplan.frontend.jax_function import trace
from tierplan.ir.graph import Graph, TensorKind

F32 = jnp.float32


def shape(*extents, dtype=F32):
    return jax.ShapeDtypeStruct(extents, dtype)


def layers(weights, x):
    def body(h, w):
        h = jnp.tanh(h @ w)
        return h, h.sum()

    return lax.scan(body, x, weights)


def convolved(kernel, x):
    y = lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return lax.reduce_window(jax.nn.relu(y), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME").sum()


def mixed(x, index):
    x = lax.cond(x[0, 0] > 0, lambda x: x @ x, jnp.sort, x)
    return (
        x.at[index].add(jnp.cumsum(x, 0)[index]),
        jnp.argmax(x, 1),
        jnp.fft.rfft(x),
        jax.nn.gelu(x, approximate=False),
    )


PROGRAMS = {
    "layers": (layers, (shape(5, 32, 32), shape(16, 32))),
    "layers gradient": (jax.grad(lambda w, x: layers(w, x)[1].sum()), (shape(5, 32, 32), shape(16, 32))),
    "convolution gradients": (jax.grad(convolved, (0, 1)), (shape(3, 3, 4, 8), shape(2, 9, 9, 4))),
    "mixed": (mixed, (shape(16, 16), shape(3, dtype=jnp.int32))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_counts_of_the_lowered_text_are_those_of_xla(name):
    fn, args = PROGRAMS[name]
    lowered = jax.jit(fn).lower(*args)
    told = lowered.cost_analysis()
    counts = Counter(read_hlo(lowered.as_text(dialect="hlo"), name)).total()
    assert counts.flops == told["flops"]
    assert counts.transcendental == told.get("transcendentals", 0)


@pytest.mark.parametrize("name", ["layers", "convolution gradients"])
def test_counts_of_the_compiled_text_are_those_of_xla(name):
    fn, args = PROGRAMS[name]
    compiled = jax.jit(fn).lower(*args).compile()
    counts = Counter(read_hlo(compiled.as_text(), name)).total()
    assert counts.flops == compiled.cost_analysis()["flops"]


def products(graph: Graph) -> list[int]:
    return [op.matrix_ops for op in graph.ops if op.matrix_ops]


@pytest.mark.parametrize("name", ["layers", "layers gradient", "convolution gradients"])
def test_the_lowered_text_gives_the_products_and_loops_of_the_function(name):
    fn, args = PROGRAMS[name]
    ours = trace(fn, args, name=name)
    text = graph_of_hlo(jax.jit(fn).lower(*args).as_text(dialect="hlo"), name)
    assert sorted(products(text)) == sorted(products(ours))
    assert [loop.trips for loop in text.loops] == [loop.trips for loop in ours.loops]
    inputs = {(t.shape, t.dtype) for t in ours.tensors if t.kind in (TensorKind.INPUT, TensorKind.WEIGHT)}
    assert {(t.shape, t.dtype) for t in text.tensors if t.kind is TensorKind.INPUT} == inputs


def test_a_scheduled_module_keeps_its_order_and_its_fusions():
    module = read_hlo(TEXTS["compiled"], "compiled")
    graph = graph_of_hlo(TEXTS["compiled"], "compiled")
    entry = [i.name for i in module.entry.instructions]
    names = [op.name for op in graph.ops if op.name in entry]
    assert names == [name for name in entry if name in names]
    assert {"wrapped_broadcast", "broadcast_multiply_fusion"} <= set(names)
    inside = [op.name for op in graph.ops[graph.loops[0].start : graph.loops[0].stop]]
    body = [i.name for i in module.computations["region_0.5"].instructions if i.name in inside]
    assert [name for name in inside if name in body] == body
    assert graph.loops[0].trips == 5
    assert len(graph.loops[0].carries) == 3, "the counter, the state and the sums, but not the weights"


def test_a_donated_argument_and_its_result_are_one_state():
    graph = graph_of_hlo(TEXTS["compiled"], "compiled")
    states = [t for t in graph.tensors if t.kind is TensorKind.STATE]
    assert {t.name for t in states} == {"x.1", "result.0"}
    assert len({t.alias for t in states}) == 1


def test_a_plan_of_a_module_is_legal():
    for name, text in TEXTS.items():
        problem = tierplan.lower(graph_of_hlo(text, name), "tpu-v4i")
        outcome = tierplan.plan(problem, "tpu-v4i", planner="greedy", budget=1.0)
        assert outcome.plan is not None
        assert tierplan.verify(problem, outcome.plan) == []


def test_the_tiled_module_by_hand():
    graph = graph_of_hlo(TEXTS["tiled"], "tiled")
    ops = {op.name: op for op in graph.ops}
    assert (ops["product"].matrix_ops, ops["product"].dtype) == (2 * 8 * 8 * 128, "bfloat16")
    assert [op.name for op in graph.ops if op.streamed] == ["called"]
    cache = next(t for t in graph.tensors if t.name == "cache")
    assert cache.kind is TensorKind.STATE
    update = ops["fusion"]
    assert [(a.tensor, a.bytes) for a in update.reads if a.tensor == "cache"] == [("cache", 0)]
    assert [access.bytes for access in update.writes] == [8 * 4]
    weights = next(t for t in graph.tensors if t.name == "pair.0")
    assert (weights.dtype, weights.size) == ("int4", 32)
    assert [access.bytes for access in ops["copy-start"].reads] == [8 * 128 * 2]
    assert [access.bytes for access in ops["copy-start"].writes] == [8 * 128 * 2], "only the copy is new"


def loop(condition: str, step: str, start: str = "0") -> str:
    return f"""HloModule loop
cond {{
  s = (s32[], f32[4]) parameter(0)
  i = s32[] get-tuple-element(s), index=0
  n = s32[] constant(10)
  ROOT c = pred[] compare({condition}
}}
body {{
  s = (s32[], f32[4]) parameter(0)
  i = s32[] get-tuple-element(s), index=0
  x = f32[4] get-tuple-element(s), index=1
  one = s32[] constant(3)
  j = s32[] {step}
  y = f32[4] negate(x)
  ROOT t = (s32[], f32[4]) tuple(j, y)
}}
ENTRY main {{
  x = f32[4] parameter(0)
  zero = s32[] constant({start})
  t = (s32[], f32[4]) tuple(zero, x)
  w = (s32[], f32[4]) while(t), condition=cond, body=body
  ROOT y = f32[4] get-tuple-element(w), index=1
}}
"""


@pytest.mark.parametrize(
    ("condition", "step", "start", "trips"),
    [
        ("i, n), direction=LT", "add(i, one)", "0", 4),
        ("i, n), direction=LE", "add(i, one)", "1", 4),
        ("n, i), direction=GT", "add(one, i)", "0", 4),
        ("i, n), direction=GT", "subtract(i, one)", "20", 4),
        ("i, n), direction=LT", "multiply(i, one)", "1", None),
        ("i, n), direction=NE", "add(i, one)", "1", None),
    ],
)
def test_trips_of_counting_loops(condition, step, start, trips):
    graph = graph_of_hlo(loop(condition, step, start), "loop", trips=7)
    assert graph.loops[0].trips == (trips or 7)
    assumed = [op.attributes.get("trips_assumed") for op in graph.ops[: graph.loops[0].stop]]
    assert set(assumed) == ({None} if trips else {7})


def test_a_loop_that_never_runs_is_left_out():
    graph = graph_of_hlo(loop("i, n), direction=LT", "add(i, one)", "10"), "loop")
    assert graph.loops == ()


def guarded(x):
    return lax.cond(x[0, 0] > 0, lambda x: jnp.tanh(x @ x), lambda x: x, x) * 2


def test_branches_weigh_what_their_probabilities_say():
    graph = trace(guarded, (shape(64, 64),), name="guarded", probabilities={"cond.0": (0.75, 0.25)})
    by_kind = {op.kind: op for op in graph.ops}
    assert by_kind["dot_general"].matrix_ops == 2 * 64**3 // 4
    assert by_kind["dot_general"].reads[0].bytes == 64 * 64 * 4 // 4
    assert by_kind["copy"].writes[0].bytes == 64 * 64 * 4 * 3 // 4
    joined = {t.alias for t in graph.tensors if t.name in ("copy.0", "tanh.0")}
    assert len(joined) == 1
    problem = tierplan.lower(graph, "tpu-v4i")
    outcome = tierplan.plan(problem, "tpu-v4i", planner="greedy", budget=1.0)
    assert outcome.plan is not None
    assert tierplan.verify(problem, outcome.plan) == []


def test_a_branch_is_not_fused_with_what_always_runs():
    def later(x):
        return lax.cond(x[0, 0] > 0, jnp.tanh, lambda y: y, x * 2)

    graph = trace(later, (shape(64, 64),), name="later", probabilities={"cond.0": (0.75, 0.25)})
    counts = {op.kind: op.vector_ops for op in graph.ops}
    assert (counts["mul"], counts["tanh"]) == (64 * 64, 64 * 64 // 4)


def test_a_certain_branch_is_all_of_it():
    graph = trace(guarded, (shape(64, 64),), name="guarded", probabilities={"cond.0": (0.0, 1.0)})
    assert sum(op.matrix_ops for op in graph.ops) == 2 * 64**3
    assert not [op for op in graph.ops if op.kind == "copy"]


@pytest.mark.parametrize(
    ("probabilities", "told"),
    [
        ({"cond.1": (0.5, 0.5)}, "given for cond.1, which 'guarded' does not have"),
        ({"cond.0": (1.0,)}, "cond.0 has 2 branches; 1 probabilities are given"),
        ({"cond.0": (0.5, 0.6)}, "must add up to 1"),
        ({"cond.0": (-1.0, 2.0)}, "must add up to 1"),
        ({"cond.0": "ab"}, "write like (0.9, 0.1)"),
        (0.5, "write like {'cond.0': (0.9, 0.1)}"),
    ],
)
def test_probabilities_that_are_none(probabilities, told):
    with pytest.raises(tierplan.InvalidInputError) as caught:
        trace(guarded, (shape(8, 8),), name="guarded", probabilities=probabilities)
    assert told in str(caught.value)
