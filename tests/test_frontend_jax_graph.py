"""What a traced function becomes: names, kinds, loops, inlined calls, views, aliases, dead code."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tierplan.frontend.jax_function import Roles, trace
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, TensorKind

F32 = jnp.float32


def shape(*extents, dtype=F32):
    return jax.ShapeDtypeStruct(extents, dtype)


def kinds(graph: Graph) -> dict[str, str]:
    return {tensor.name: tensor.kind.value for tensor in graph.tensors}


X = shape(4, 8)


def test_arguments_are_named_by_their_place_in_the_pytree():
    params = {"layers": [{"w": shape(8, 8), "b": shape(8)}], "scale": shape()}
    graph = trace(
        lambda params, x: {"y": x @ params["layers"][0]["w"] + params["layers"][0]["b"] * params["scale"]},
        (params, X),
        name="named",
    )
    assert kinds(graph) == {
        "params.layers.0.b": "weight",
        "params.layers.0.w": "weight",
        "params.scale": "weight",
        "x": "input",
        "dot_general.0": "activation",
        "result.y": "output",
    }
    assert graph.n_parameters == 73


@jax.tree_util.register_dataclass
@dataclass
class Weights:
    w: jax.Array


@pytest.mark.parametrize(
    ("first", "roles", "expected"),
    [
        ({"w": X}, None, "weight"),
        ([X], None, "weight"),
        (Weights(X), None, "weight"),
        (X, None, "input"),
        ((X,), None, "input"),
        (X, Roles(weights=(0,)), "weight"),
        ({"w": X}, Roles(weights=()), "input"),
    ],
)
def test_which_arguments_are_weights(first, roles, expected):
    def summed(first, x):
        return jax.tree.leaves(first)[0] + x

    graph = trace(summed, (first, X), name="roles", roles=roles)
    assert graph.tensors[0].kind.value == expected
    assert graph.tensor("x").kind is TensorKind.INPUT


def test_keyword_and_static_arguments():
    def powered(x, power, *, scale):
        return x**power * scale

    graph = trace(powered, (X, 3), {"scale": shape()}, name="powered", static=(1,))
    assert [tensor.name for tensor in graph.tensors if tensor.kind is TensorKind.INPUT] == ["x", "scale"]


def test_captured_arrays_are_constants_and_scalars_are_nothing():
    table = np.ones((4, 8), np.float32)
    graph = trace(lambda x: (x + table) * np.float32(3.0) + 1, (X,), name="captured")
    assert kinds(graph) == {"x": "input", "constant": "constant", "result": "output"}
    assert graph.tensor("constant").size == 128


def test_dead_code_and_prints_leave_nothing():
    def noisy(x):
        jax.debug.print("{}", x.sum())
        _ = jnp.sin(x) @ x.T
        return x + 1

    assert [op.kind for op in trace(noisy, (X,), name="noisy").ops] == ["add"]


def test_a_function_that_returns_an_argument_copies_it():
    graph = trace(lambda x: (x, x + 1, 2.0), (X,), name="same")
    assert {op.kind: op.writes[0].tensor for op in graph.ops} == {
        "copy": "result.0",
        "add": "result.1",
        "broadcast_in_dim": "result.2",
    }


def test_a_function_that_returns_nothing_is_refused():
    with pytest.raises(InvalidInputError, match="computes nothing"):
        trace(lambda x: None, (X,), name="nothing")


def test_views_move_no_bytes():
    def viewed(x):
        rows = x.reshape(2, 2, 8)[None].squeeze(0)
        return jnp.tanh(lax.stop_gradient(rows).reshape(4, 8)[:, None, :].astype(F32))

    graph = trace(viewed, (X,), name="viewed", fuse=False)
    assert [(op.kind, op.reads[0].tensor, op.reads[0].bytes) for op in graph.ops] == [("tanh", "x", 128)]
    assert graph.ops[0].attributes["operands"] == (("read", 0, ("reshape", (4, 1, 8))),)


@jax.custom_vjp
def squared(x):
    return x * x


squared.defvjp(lambda x: (x * x, x), lambda x, g: (2 * x * g,))


@pytest.mark.parametrize(
    ("fn", "primitives"),
    [
        (jax.jit(jax.jit(jnp.sin)), ["sin"]),
        (jax.checkpoint(lambda x: jnp.sin(jnp.cos(x))), ["cos", "sin"]),
        (squared, ["mul"]),
        (jax.grad(lambda x: squared(x).sum()), ["broadcast_in_dim", "mul", "mul"]),
        (jax.nn.relu, ["max"]),
        (jax.vmap(lambda row: jnp.tanh(row)), ["tanh"]),
        (jax.grad(lambda x: jax.checkpoint(lambda y: jnp.sin(jnp.sin(y)))(x).sum()),
         ["broadcast_in_dim", "sin", "cos", "cos", "mul", "mul"]),
    ],
)  # fmt: skip
def test_calls_are_inlined(fn, primitives):
    assert [op.kind for op in trace(fn, (X,), name="called", fuse=False).ops] == primitives


def test_a_scan_reads_and_writes_one_slice_per_turn():
    def running(x):
        return lax.scan(lambda total, row: (total + row, total * row), jnp.zeros(8), x)

    graph = trace(running, (X,), name="running", fuse=False)
    (loop,) = graph.loops
    assert (loop.trips, loop.stop - loop.start) == (4, 2)
    add, mul = graph.ops[loop.start : loop.stop]
    (carry,) = loop.carries
    assert [(a.tensor, a.bytes) for a in add.reads] == [(carry.body_in, 32), ("x", 32)]
    assert [(a.tensor, a.bytes) for a in add.writes] == [(carry.body_out, 32)]
    assert [(a.tensor, a.bytes) for a in mul.writes] == [("result.1", 32)]
    assert carry.body_out == "result.0"
    assert graph.tensor("result.1").shape == (4, 8)
    assert mul.attributes["stores"] == ((0, 0, ("turn", loop.name, False)),)


def test_nested_scans_multiply():
    def nested(x):
        return lax.scan(
            lambda c, _: (lax.scan(lambda d, _: (jnp.sin(d), None), c, None, length=3)[0], None), x, None, length=5
        )[0]

    graph = trace(nested, (X,), name="nested")
    assert [(loop.start, loop.stop, loop.trips) for loop in graph.loops] == [(0, 1, 5), (0, 1, 3)]


@pytest.mark.parametrize(
    ("test", "start", "step", "expected"),
    [
        (lambda i: i < 10, 0, 1, 10),
        (lambda i: i < 10, 1, 4, 3),
        (lambda i: i <= 10, 0, 5, 3),
        (lambda i: jnp.greater(10, i), 0, 2, 5),
        (lambda i: i > 0, 7, -2, 4),
        (lambda i: i < 0, 3, 1, 0),
    ],
)
def test_a_counting_while_says_its_own_trips(test, start, step, expected):
    def counted(x):
        return lax.while_loop(lambda c: test(c[0]), lambda c: (c[0] + step, jnp.sin(c[1])), (start, x))[1] + 1

    graph = trace(counted, (X,), name="counted", trips=77)
    assert [loop.trips for loop in graph.loops] == ([expected] if expected else [])
    assert not any("trips_assumed" in op.attributes for op in graph.ops)


def test_any_other_while_runs_as_often_as_it_is_told_and_says_so():
    def converging(x):
        return lax.while_loop(lambda y: jnp.sum(y) > 1, lambda y: y / 2, x)

    for trips in (1, 12):
        graph = trace(converging, (X,), name="converging", trips=trips)
        assert [loop.trips for loop in graph.loops] == [trips]
        assert {op.attributes["trips_assumed"] for op in graph.ops} == {trips}
    deciding = [op for op in graph.ops if not op.writes]
    assert [op.kind for op in deciding] == ["gt"]


def test_a_cond_takes_the_costlier_branch_and_keeps_its_predicate():
    def chosen(x):
        return lax.cond(x.sum() > 0, lambda y: y @ y.T, lambda y: jnp.zeros((4, 4)), x)

    graph = trace(chosen, (X,), name="chosen")
    product = next(op for op in graph.ops if op.kind == "dot_general")
    assert (product.attributes["branch"], product.attributes["n_branches"]) == (1, 2)
    assert product.writes[0].tensor == "result"
    assert any("reduce_sum" in (op.kind, *op.attributes.get("primitives", ())) for op in graph.ops)


def step(state, gradient):
    return {"w": state["w"] - 0.1 * gradient["w"]}


def test_a_donated_argument_and_its_result_are_one_state():
    jitted = jax.jit(step, donate_argnums=0)
    by_roles = trace(step, ({"w": X}, {"w": X}), name="step", roles=Roles(donated=(0,)))
    by_jit = trace(jitted, ({"w": X}, {"w": X}), name="step")
    for graph in (by_roles, by_jit):
        assert kinds(graph) == {"state.w": "state", "gradient.w": "input", "result.w": "state"}
        assert {t.alias for t in graph.tensors if t.kind is TensorKind.STATE} == {"state.w"}
        assert graph.tensor("gradient.w").alias == ""
    assert {t.kind for t in trace(step, ({"w": X}, {"w": X}), name="step").tensors}.isdisjoint({TensorKind.STATE})


def test_a_donated_argument_that_is_read_later_is_overwritten_at_the_end():
    graph = trace(
        lambda s, x: (s.T @ x, (s @ x).sum() + s), (shape(4, 4), shape(4, 4)), name="late", roles=Roles(None, (0,))
    )
    last_read = max(i for i, op in enumerate(graph.ops) if any(a.tensor == "s" for a in op.reads))
    written = [i for i, op in enumerate(graph.ops) if any(graph.tensor(a.tensor).alias == "s" for a in op.writes)]
    assert written
    assert min(written) >= last_read


def test_an_update_of_a_donated_cache_streams_only_the_update():
    def decode(cache, row, position):
        return lax.dynamic_update_slice(cache, row, (position, 0))

    args = (shape(1024, 64), shape(1, 64), shape(dtype=jnp.int32))
    donated = trace(jax.jit(decode, donate_argnums=0), args, name="decode")
    kept = trace(decode, args, name="decode")
    moved = [
        sum(a.bytes for a in (*op.reads, *op.writes))
        for graph in (donated, kept)
        for op in graph.ops
        if op.kind == "dynamic_update_slice"
    ]
    size, update = 1024 * 64 * 4, 64 * 4
    assert moved == [2 * update + 4, 2 * size + update + 4]


def test_an_array_that_a_loop_fills_is_written_in_place():
    def filled(x):
        return lax.fori_loop(0, 4, lambda i, a: lax.dynamic_update_slice(a, x[:1] + 1, (i, 0)), jnp.zeros((4, 8)))

    graph = trace(filled, (X,), name="filled")
    carry = next(c for c in graph.loops[0].carries if c.body_out == "result")
    assert len({graph.tensor(name).alias for name in (carry.initial, carry.body_in, carry.body_out)} - {""}) == 1
    update = next(op for op in graph.ops if op.kind == "dynamic_update_slice")
    assert update.attributes["in_place"]
    assert update.writes[0].bytes == 32


def test_what_a_loop_overwrites_is_copied_before_when_others_need_it():
    def filled(x):
        made = lax.fori_loop(0, 4, lambda i, a: lax.dynamic_update_slice(a, a[:1] + 1, (i, 0)), x)
        return made + x

    graph = trace(filled, (X,), name="filled")
    copy = next(op for op in graph.ops if op.kind == "copy")
    assert copy.reads[0].tensor == "x"
    assert graph.tensor("x").alias == ""


def test_keys_are_their_words():
    graph = trace(lambda key: jax.random.normal(key, (8,)), (jax.eval_shape(lambda: jax.random.key(0)),), name="random")
    assert (graph.tensors[0].shape, graph.tensors[0].dtype) == ((2,), "uint32")
    assert not any(op.streamed for op in graph.ops)


def test_scopes_name_the_place_in_the_program():
    @partial(jax.jit)
    def scoped(x):
        with jax.named_scope("encoder"), jax.named_scope("head"):
            return jnp.tanh(x @ x.T)

    graph = trace(scoped, (X,), name="scoped")
    assert {op.attributes["scope"] for op in graph.ops} == {"encoder/head"}


def test_attributes_are_plain_and_hashable():
    graph = trace(lambda x: jax.nn.softmax(x @ x.T)[jnp.array([1, 0])], (X,), name="attributes")
    for op in graph.ops:
        hash(tuple(sorted(op.attributes.items())))


def test_transposes_around_a_product_are_part_of_it():
    graph = trace(lambda a, b: (a.T @ b).T, (shape(8, 4), shape(8, 5)), name="turned")
    (product,) = graph.ops
    assert product.attributes["operands"] == (("read", 0, ("transpose", (1, 0))), ("read", 1))
    assert product.attributes["result_permutation"] == (1, 0)
    assert graph.tensor("result").shape == (5, 4)


def test_a_reduction_and_what_needs_it_are_two_kernels():
    graph = trace(jax.nn.softmax, (shape(64, 128),), name="softmax")
    for op in graph.ops:
        primitives = op.attributes.get("primitives", (op.kind,))
        assert sum(name.startswith("reduce_") for name in primitives) <= 1
    assert len(graph.ops) == 3


def kernels(graph: Graph) -> list[tuple[str, ...]]:
    return [op.attributes.get("primitives", (op.kind,)) for op in graph.ops]


def test_what_two_large_kernels_share_is_computed_once_and_joins_neither():
    """A learning rate must not tie all updates of a training step into one kernel."""

    def updated(rate, a, b):
        rate = jnp.tanh(rate)
        return a * rate, b * rate

    graph = trace(updated, (shape(), X, X), name="updated")
    assert len(graph.ops) == 3
    assert kernels(graph)[0] == ("tanh",)


def test_a_broadcast_is_made_again_for_each_reader():
    def shifted(x, row):
        wide = jnp.broadcast_to(row, (4, 8))
        return (x + wide) @ (x - wide).T

    fused, plain = (trace(shifted, (X, shape(8)), name="shifted", fuse=fuse) for fuse in (True, False))
    assert [op.kind for op in plain.ops].count("broadcast_in_dim") == 1
    assert kernels(fused) == [("broadcast_in_dim", "add"), ("broadcast_in_dim", "sub"), ("dot_general",)]


def test_overlapping_slices_in_one_kernel_read_no_more_than_there_is():
    graph = trace(lambda x: x[:3] * x[1:], (X,), name="overlapping")
    assert [(a.tensor, a.bytes) for op in graph.ops for a in op.reads] == [("x", 128)]


def test_a_kernel_that_reads_across_may_not_write_over_what_it_reads():
    """Element by element a result may replace its operand; transposed it may not."""
    square = shape(8, 8)
    for fn, copies in ((lambda s, x: s + x, 0), (lambda s, x: s.T + x, 1), (lambda s, x: s @ x, 1)):
        graph = trace(fn, (square, square), name="across", roles=Roles(donated=(0,)))
        assert [op.kind for op in graph.ops].count("copy") == copies


def test_a_product_that_is_a_result_keeps_its_shape_beside_its_transpose():
    graph = trace(lambda a, b: (made := a @ b, made.T), (X, shape(8, 3)), name="both")
    assert (graph.tensor("result.0").shape, graph.tensor("result.1").shape) == ((4, 3), (3, 4))
    assert [op.kind for op in graph.ops] == ["dot_general", "transpose"]


def test_an_update_that_reads_what_it_would_overwrite_is_not_in_place():
    def folded(x, rows):
        made = x + 1
        return made.at[rows].add(made)

    graph = trace(folded, (X, shape(4, dtype=jnp.int32)), name="folded")
    (update,) = (op for op in graph.ops if op.kind.startswith("scatter"))
    assert "in_place" not in update.attributes
    assert update.writes[0].bytes == 128
