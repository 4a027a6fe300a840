"""Random programs, traced, run from the graph alone in numpy and compared with the program itself."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax
from jax_graph_run import run

from tierplan.frontend.jax_function import Roles, trace
from tierplan.ir.graph import Graph, TensorKind

ROWS, COLUMNS = 4, 6
PARTIAL = {"slice", "dynamic_slice", "gather"}
Move = tuple[Callable[..., Any], Callable[..., Any]]


def scanned(x, y):
    def turn(total, pair):
        row, other = pair
        return total + jnp.tanh(row), (total * other, total)

    total, (products, totals) = lax.scan(turn, x[0], (x, y), reverse=True)
    return products + totals * total


def scanned_plain(x, y):
    total, products, totals = x[0], np.zeros_like(x), np.zeros_like(x)
    for i in reversed(range(ROWS)):
        products[i], totals[i] = total * y[i], total
        total = total + np.tanh(x[i])
    return products + totals * total


def nested(x, y):
    def outer(carry, rows):
        a, b = carry
        inner, stack = lax.scan(lambda d, z: (d * 0.5 + z, d), a.sum(), rows)
        return (b, a + inner), stack * b

    (a, b), stacked = lax.scan(outer, (x[0], y[1]), x)
    return stacked + a - b


def nested_plain(x, y):
    a, b, stacked = x[0], y[1], np.zeros_like(x)
    for i in range(ROWS):
        d, stack = a.sum(), np.zeros(COLUMNS, x.dtype)
        for j in range(COLUMNS):
            stack[j], d = d, d * 0.5 + x[i][j]
        stacked[i] = stack * b
        a, b = b, a + d
    return stacked + a - b


def filled(x, y):
    def turn(i, array):
        return lax.dynamic_update_slice(
            array, lax.dynamic_slice(array, (ROWS - 1 - i, 0), (1, COLUMNS)) + y[:1], (i, 0)
        )

    return lax.fori_loop(0, ROWS, turn, x)


def filled_plain(x, y):
    array = x.copy()
    for i in range(ROWS):
        array[i] = array[ROWS - 1 - i] + y[0]
    return array


def halved(x, y):
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 0.5 + y, c[1]), (0, x, y))[1]


def halved_plain(x, y):
    for _ in range(3):
        x = x * 0.5 + y
    return x


def updated_plain(x, y):
    x = x.copy()
    x[1:2] = y[2:3]
    return x


def softmax_plain(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


MOVES: dict[str, Move] = {
    "add": (lambda x, y: x + y,) * 2,
    "scale": (lambda x, y: x * 2.0 - 1,) * 2,
    "tanh": (lambda x, y: jnp.tanh(x), lambda x, y: np.tanh(x)),
    "where": (lambda x, y: jnp.where(x > y, x, 0.5), lambda x, y: np.where(x > y, x, 0.5)),
    "mean": (lambda x, y: x - y.mean(1, keepdims=True),) * 2,
    "column": (lambda x, y: x + y.sum(0)[None] / 4,) * 2,
    "product": (lambda x, y: jnp.tanh(x @ y.T) @ x, lambda x, y: np.tanh(x @ y.T) @ x),
    "turned": (lambda x, y: (x.T @ (y @ x.T)).T / 8,) * 2,
    "transposed": (lambda x, y: x.T.reshape(ROWS, COLUMNS) + y,) * 2,
    "swapped": (
        lambda x, y: jnp.concatenate([x[:, 3:] * 2, y[:, :3]], 1),
        lambda x, y: np.concatenate([x[:, 3:] * 2, y[:, :3]], 1),
    ),
    "softmax": (lambda x, y: jax.nn.softmax(x), lambda x, y: softmax_plain(x)),
    "positions": (
        lambda x, y: x + jnp.arange(COLUMNS, dtype=x.dtype),
        lambda x, y: x + np.arange(COLUMNS, dtype=x.dtype),
    ),
    "half": (
        lambda x, y: jnp.tanh(x).astype(jnp.bfloat16).astype(x.dtype),
        lambda x, y: np.tanh(x).astype(jnp.bfloat16).astype(x.dtype),
    ),
    "updated": (lambda x, y: lax.dynamic_update_slice(x, y[2:3], (1, 0)), updated_plain),
    "jitted": (lambda x, y: jax.jit(jax.checkpoint(lambda a, b: a * b))(x, y), lambda x, y: x * y),
    "scan": (scanned, scanned_plain),
    "nested": (nested, nested_plain),
    "fill": (filled, filled_plain),
    "while": (halved, halved_plain),
}

LINES = st.tuples(st.sampled_from(sorted(MOVES)), st.integers(0, 9), st.integers(0, 9))
QUICK = settings(max_examples=40, deadline=None, phases=[phase for phase in Phase if phase is not Phase.explain])
PROGRAMS = st.tuples(st.lists(LINES, min_size=1, max_size=8), st.lists(st.integers(0, 9), min_size=1, max_size=3))
DONATED = st.sampled_from([(), (0,), (1,), (0, 1)])


def program(lines, picked, side: int) -> Callable[..., Any]:
    """A function of two arrays: each line makes a new one out of two that are there."""

    def function(x, y):
        there = [x, y]
        for move, first, second in lines:
            made = MOVES[move][side](there[-1 - first % len(there)], there[-1 - second % len(there)])
            there.append(made * 0.5 if move in ("product", "turned", "nested", "scan") else made)
        return {"own": x - y, **{f"r{i}": there[-1 - pick % len(there)] for i, pick in enumerate(picked)}}

    return function


def traced(lines, picked, fuse: bool, donated: tuple[int, ...] = ()) -> Graph:
    array = jax.ShapeDtypeStruct((ROWS, COLUMNS), jnp.float32)
    return trace(program(lines, picked, 0), (array, array), name="random", fuse=fuse, roles=Roles(donated=donated))


def turns(graph: Graph) -> list[int]:
    times = [1] * len(graph.ops)
    for loop in graph.loops:
        for index in range(loop.start, loop.stop):
            times[index] *= loop.trips
    return times


def outside(graph: Graph) -> set[tuple[str, int, TensorKind]]:
    return {(t.name, t.size, t.kind) for t in graph.tensors if t.kind is not TensorKind.ACTIVATION}


def moved(graph: Graph) -> int:
    pairs = zip(turns(graph), graph.ops, strict=True)
    return sum(n * access.bytes for n, op in pairs for access in (*op.reads, *op.writes))


@QUICK
@given(PROGRAMS, DONATED, st.booleans())
def test_a_graph_computes_what_its_function_computes(source, donated, fuse):
    lines, picked = source
    graph = traced(lines, picked, fuse, donated)
    generator = np.random.default_rng(0)
    x, y = (generator.standard_normal((ROWS, COLUMNS)).astype(np.float32) for _ in range(2))
    found = run(graph, {"x": x, "y": y})
    for name, expected in program(lines, picked, 1)(x, y).items():
        # A donated argument that comes back unchanged is its own result.
        tensor = f"result.{name}" if f"result.{name}" in found else unchanged(graph, expected, x, y)
        np.testing.assert_allclose(found[tensor].reshape(ROWS, COLUMNS), expected, rtol=3e-3, atol=1e-3)


def unchanged(graph: Graph, expected, x, y) -> str:
    (name,) = [name for name, value in (("x", x), ("y", y)) if value is expected]
    assert graph.tensor(name).kind is TensorKind.STATE
    return name


@QUICK
@given(PROGRAMS)
def test_fusion_keeps_the_work_and_never_adds_bytes(source):
    plain, fused = traced(*source, fuse=False), traced(*source, fuse=True)
    outside = [
        {(t.name, t.size, t.kind) for t in g.tensors if t.kind is not TensorKind.ACTIVATION} for g in (plain, fused)
    ]
    assert outside[0] == outside[1]
    for unit in ("matrix_ops", "vector_ops"):
        work = [sum(n * getattr(op, unit) for n, op in zip(turns(g), g.ops, strict=True)) for g in (plain, fused)]
        assert work[0] == work[1]
    assert moved(fused) <= moved(plain)
    assert len(fused.ops) <= len(plain.ops)


@QUICK
@given(PROGRAMS, st.booleans())
def test_every_activation_is_written_before_it_is_read_and_read_after(source, fuse):
    graph = traced(*source, fuse)
    carried = {c.body_in: c for loop in graph.loops for c in loop.carries}
    handed = {name for c in carried.values() for name in (c.initial, c.body_out)}
    aliases = {t.name: t.alias or t.name for t in graph.tensors}
    for tensor in graph.tensors:
        written = [i for i, op in enumerate(graph.ops) if any(a.tensor == tensor.name for a in op.writes)]
        read = [i for i, op in enumerate(graph.ops) if any(a.tensor == tensor.name for a in op.reads)]
        if tensor.kind is TensorKind.INPUT:
            assert not written
        elif tensor.name in carried:
            assert not written
            assert read
        else:
            assert len(written) == 1
            assert not read or min(read) > written[0]
        if tensor.kind is TensorKind.ACTIVATION:
            assert read or tensor.name in handed
        shared = [other for other in graph.tensors if aliases[other.name] == aliases[tensor.name]]
        assert {other.size for other in shared} == {tensor.size}


@QUICK
@given(PROGRAMS)
def test_an_unfused_op_reads_each_operand_whole(source):
    graph = traced(*source, fuse=False)
    for op in graph.ops:
        partial = op.kind in PARTIAL or "in_place" in op.attributes
        if any("turn" in str(operand) for operand in op.attributes["operands"]):
            continue
        for access in op.reads[1:] if partial else op.reads:
            assert access.bytes == graph.tensor(access.tensor).size
        if partial:
            assert op.reads[0].bytes <= graph.tensor(op.reads[0].tensor).size


def test_a_program_traced_twice_is_the_same_graph():
    lines = [(move, 0, 1) for move in MOVES]
    assert traced(lines, [0, 3], fuse=True) == traced(lines, [0, 3], fuse=True)


@pytest.mark.parametrize("fuse", [False, True])
def test_a_training_step_through_a_scan_computes_its_gradient(fuse):
    def loss(weights, x):
        hidden, _ = lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, weights["layers"])
        return jnp.mean((hidden * weights["scale"]) ** 2)

    def step(weights, x):
        value, gradient = jax.value_and_grad(loss)(weights, x)
        return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradient), value

    generator = np.random.default_rng(1)
    weights = {"layers": generator.standard_normal((3, 8, 8)), "scale": generator.standard_normal(8)}
    weights = jax.tree.map(lambda a: a.astype(np.float32), weights)
    x = generator.standard_normal((4, 8)).astype(np.float32)
    graph = trace(jax.jit(step, donate_argnums=0), (weights, x), name="step", fuse=fuse)
    found = run(graph, {"weights.layers": weights["layers"], "weights.scale": weights["scale"], "x": x})
    expected, value = jax.jit(step)(weights, x)
    np.testing.assert_allclose(found["result.1"], value, rtol=1e-5)
    for name, array in expected.items():
        np.testing.assert_allclose(found[f"result.0.{name}"], array, rtol=1e-4, atol=1e-6)
        assert graph.tensor(f"weights.{name}").alias == graph.tensor(f"result.0.{name}").alias != ""


def test_the_strategy_reaches_every_move():
    """Each move alone, on both sides: a wrong twin would make the properties above say nothing."""
    generator = np.random.default_rng(2)
    x, y = (generator.standard_normal((ROWS, COLUMNS)).astype(np.float32) for _ in range(2))
    for move, fuse in itertools.product(MOVES, (False, True)):
        found = run(traced([(move, 0, 1)], [0], fuse), {"x": x, "y": y})
        expected = program([(move, 0, 1)], [0], 1)(x, y)["r0"]
        np.testing.assert_allclose(
            found["result.r0"].reshape(ROWS, COLUMNS), expected, rtol=2e-3, atol=1e-4, err_msg=move
        )


def put(array, row, position):
    return lax.dynamic_update_slice(array, row, (position, 0))


def doubly_stacked(x, y):
    def outer(carry, row):
        return carry + row, lax.scan(lambda d, z: (d * z, d + z), 0.5, row)

    return lax.scan(outer, x[0], y)


def both_carries_alike(x, y):
    def turn(carry, row):
        made = carry[0] + row * carry[1]
        return (made, made), (made, made)

    return lax.scan(turn, (x[0], x[1]), y)


def overwritten_and_passed_on(x, y):
    def turn(i, carry):
        first, second = carry
        return second, put(first, second[:1] + i, i)

    return lax.fori_loop(0, ROWS, turn, (x, y))


def entered_twice(x, y):
    def turn(i, carry):
        first, second = carry
        return put(first, y[:1], i), put(second, y[1:2], i)

    made = x * 2
    return lax.fori_loop(0, ROWS, turn, (made, made))


HAZARDS = {
    "the old content is read after the update": lambda x, y: put(old := x + y, y[:1], 1) * (jnp.tanh(old @ y.T) @ y),
    "the old content is a result": lambda x, y: (old := x + y, put(old, y[:1], 1) @ x.T),
    "the old content is the update": lambda x, y: put(old := x + y, old[2:3], 0),
    "updates of updates": lambda x, y: put(put(put(x + y, y[:1], 0), y[1:2], 2), y[2:3], 3),
    "two updates of one array": lambda x, y: (old := x * y, put(old, y[:1], 0), put(old, x[:1], 1))[1:],
    "swapped": lambda x, y: (y, x),
    "crossed": lambda x, y: (y + 1, x + y),
    "turned over": lambda x, y: (x.T.reshape(ROWS, COLUMNS) * y, x[::-1] + y),
    "read last": lambda x, y: (x + 1, y + 1, jnp.tanh(x @ y.T)),
    "a donated argument updated, and read after": lambda x, y: (put(x, y[:1], 0), (x @ y.T).sum() + y),
    "a product and its transpose": lambda x, y: (made := x @ y.T, made.T),
    "a transpose of a transpose": lambda x, y: (x.T @ (y @ x.T).T).T,
    "results of an inner loop, stacked": doubly_stacked,
    "one value for two carries": both_carries_alike,
    "carries that change places": overwritten_and_passed_on,
    "one array into two carries": entered_twice,
    "a loop that never turns": lambda x, y: lax.fori_loop(3, 3, lambda i, c: c * 2, x) + y,
    "a loop over nothing": lambda x, y: lax.scan(lambda c, r: (c + r, c), x[0], y[:0])[0] + y,
    "a branch": lambda x, y: lax.cond(True, lambda a, b: a @ b.T, lambda a, b: a[:, :ROWS], x, y),
}


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("donated", [(), (0,), (0, 1)])
@pytest.mark.parametrize("case", HAZARDS)
def test_what_is_overwritten_is_not_needed_any_more(case, donated, fuse):
    generator = np.random.default_rng(3)
    x, y = (generator.standard_normal((ROWS, COLUMNS)).astype(np.float32) for _ in range(2))
    graph = trace(HAZARDS[case], (x, y), name=case, roles=Roles(donated=donated), fuse=fuse)
    found = run(graph, {"x": x, "y": y})
    expected = jax.tree_util.tree_leaves_with_path(HAZARDS[case](jnp.asarray(x), jnp.asarray(y)))
    for path, array in expected:
        name = ".".join(("result", *(jax.tree_util.keystr((key,), simple=True) for key in path)))
        np.testing.assert_allclose(found[name].reshape(array.shape), array, rtol=2e-3, atol=1e-4)
