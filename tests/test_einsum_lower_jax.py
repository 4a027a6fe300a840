"""Traced programs, run operation by operation through their cascades, against the program itself, in float64."""

import inspect
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einsum_graph_run import run_cascades
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax
from jax_graph_run import run

from tierplan.einsum.counts import MULTIPLY_ACCUMULATE, count, number
from tierplan.einsum.execute import execute
from tierplan.einsum.lower import lower_graph
from tierplan.einsum.lower_functions import FUNCTIONS
from tierplan.einsum.lower_loop import lower_loops
from tierplan.einsum.parse import parse_cascade
from tierplan.einsum.printer import show_cascade
from tierplan.einsum.sizes import resolve
from tierplan.frontend.jax_function import trace

QUICK = settings(max_examples=12, deadline=None, phases=[phase for phase in Phase if phase is not Phase.explain])
CHEAP = {"xla_backend_optimization_level": 0}


def arrays(*shapes, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape) for shape in shapes]


def same(function, args, fuse, backend="numpy", tolerance=1e-10):
    """The graph of `function`, run through its cascades, returns what the function returns."""
    with jax.enable_x64(True):
        graph = trace(function, args, name="traced", fuse=fuse)
        made = jax.jit(function, compiler_options=CHEAP)(*args)
    found = run_cascades(graph, dict(zip(inspect.signature(function).parameters, args, strict=True)), backend)
    for path, array in jax.tree_util.tree_leaves_with_path(made):
        name = ".".join(("result", *(jax.tree_util.keystr((key,), simple=True) for key in path)))
        theirs = np.asarray(array)
        np.testing.assert_allclose(
            found[name].reshape(theirs.shape), theirs, rtol=tolerance, atol=tolerance, err_msg=name
        )
    return graph


def nhwc(x, k, strides, padding, **options):
    return lax.conv_general_dilated(x, k, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 2, 1), "SAME")


def mean_pool(x):
    return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4


def cnn(weights, x):
    for kernel in weights["kernels"]:
        x = max_pool(jax.nn.relu(nhwc(x, kernel, (1, 1), "SAME")))
    return (x.reshape(x.shape[0], -1) @ weights["dense"]).sum()


def lstm(w, u, b, x, h, c):
    def step(carry, row):
        i, f, o, g = jnp.split(row @ w + carry[0] @ u + b, 4, -1)
        cell = jax.nn.sigmoid(f) * carry[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

    (h, c), hidden = lax.scan(step, (h, c), x)
    return h, c, hidden


def reversed_scan(t, y):
    def step(h, row):
        return jnp.tanh(h * row[0] + jnp.cumsum(row[1])), h.sum()

    return lax.scan(step, t[0], (t, y), reverse=True)


def swapping(t, y):
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[2] * 0.5 + y, c[1]), (0, t, y))[1:]


def filling(t, y):
    def turn(i, a):
        return lax.dynamic_update_slice(a, lax.dynamic_slice(a, (3 - i, 0), (1, 4)) + y[:1], (i, 0))

    return lax.fori_loop(0, 4, turn, t)


def layer(t, y):
    normal = (t - t.mean(1, keepdims=True)) * lax.rsqrt(t.var(1, keepdims=True) + 1e-5)
    return jax.nn.gelu(normal @ y.T).sum()


X, K, (T, Y) = arrays((2, 9, 8, 4))[0], arrays((3, 3, 2, 6))[0], arrays((10, 4), (10, 4))
I = np.array([3, 0, 9, 3])  # noqa: E741
LSTM = arrays((5, 12), (3, 12), (12,), (6, 2, 5), (2, 3), (2, 3))

CASES = {
    "convolution": (lambda x, k: nhwc(x, k, (2, 1), "SAME", rhs_dilation=(1, 2), feature_group_count=2), (X, K)),
    "transposed convolution": (
        lambda x, k: nhwc(x, k, (1, 1), ((1, 2), (0, 3)), lhs_dilation=(2, 3), feature_group_count=2), (X, K)),
    "gradient of a convolution": (
        jax.grad(lambda x, k: (nhwc(x, k, (2, 1), "SAME", feature_group_count=2) ** 2).sum(), (0, 1)), (X, K)),
    "pooling": (lambda x: (max_pool(x), mean_pool(x), -max_pool(-x)), (X,)),
    "gradient of pooling": (jax.grad(lambda x: (max_pool(x) ** 2).sum() + (mean_pool(x) ** 3).sum()), (X,)),
    "take": (lambda t, i: (t[i], jnp.take(t, i, axis=1, mode="clip"), jnp.take_along_axis(t, i[None], 0)), (T, I)),
    "take outside": (
        lambda t, i: (jnp.take(t, i, 1, mode="fill", fill_value=7.0), jnp.take(t, i, 1, mode="fill")), (T, I)),
    "scatter": (
        lambda t, i, y: (t.at[i].add(1.5), t.at[i, 1].set(2.5).at[2].set(y[1]), t.at[i].max(y[:4]),
                         t.at[i].mul(y[:4]), t.at[i].min(y[:4]), t.at[i + 8].add(y[:4])), (T, I, Y)),
    "embedding": (jax.grad(lambda t, i: jnp.tanh(t[i]).sum()), (T, I)),
    "order": (
        lambda t: (jnp.argsort(t, 1), jnp.sort(t, 0), lax.top_k(t, 2), jnp.argmax(t, 1), jnp.argmin(t, 0)), (T,)),
    # In whole numbers: JAX's top_k puts 0.0 before -0.0, which compare equal.
    "ties": (lambda t: (jnp.argsort(n := jnp.round(t).astype(int), 0), lax.top_k(n, 3), jnp.argmax(n, 1)), (T,)),
    "running": (
        lambda t: (jnp.cumsum(t, 0), lax.cummax(t, 1, reverse=True), lax.cumprod(t, 0, reverse=True),
                   lax.cummin(t, 1), lax.cumlogsumexp(t, 0)), (T,)),
    "pad": (lambda t: (lax.pad(t, 0.5, ((1, 1, 0), (0, -1, 2))), lax.pad(t, t[0, 0], ((1, 1, 0), (0, -1, 0)))), (T,)),
    "rounding": (lambda t: (jnp.round(t * 3), lax.round(t * 3), t % 2, t // 3, lax.rem(t, 0.7)), (T,)),
    "views": (
        lambda t: (jnp.tile(t, (2, 3)), t.T.reshape(8, 5), lax.rev(t, (0,)), t[::-2, 1:3], t.T.reshape(-1),
                   t.reshape(5, 2, 4).transpose(2, 0, 1).reshape(4, 10) @ t, jnp.arange(10.0)[:, None] * t), (T,)),
    "whole numbers": (
        lambda i: (i // 2, i % 3, lax.div(i - 5, 2), lax.rem(i - 5, 3), i & 3, i | 4, i ^ 7, ~i, i << 2, i >> 1,
                   lax.population_count(i), i**3, i.astype(float) / 2, (i / 3).astype(int), jnp.cumsum(i)), (I,)),
    "dynamic slices": (
        lambda t, i: (lax.dynamic_slice(t, (i[0], 1), (2, 2)),
                      lax.dynamic_update_slice(t, t[:2, :2] * 2, (i[2], i[1]))), (T, I)),
    "softmax": (lambda t: (jax.nn.softmax(t, 1), jax.nn.log_softmax(t, 0)), (T,)),
    "side by side": (
        lambda t, y: (jnp.concatenate([t, y], 1), jnp.concatenate([t * 2, y[:3], t], 0), jnp.stack([t, y], 1),
                      jnp.split(t, 2, 1)), (T, Y)),
    "gradient of a layer": (jax.grad(layer, (0, 1)), (T, Y)),
    "special functions": (
        lambda t: (jnp.arctan(t), jnp.sinh(t), lax.erf(t), lax.erfc(t), lax.lgamma(jnp.abs(t) + 1), lax.exp2(t),
                   jnp.cbrt(t), lax.is_finite(t), jnp.arctan2(t, 2.0), jnp.expm1(t), jnp.log1p(t * t)), (T,)),
    "selection": (
        lambda t, i: (jnp.where(t > 0, t, i[None]), jnp.clip(t, -1, 1),
                      lax.select_n(jnp.broadcast_to(i % 3, (10, 4)).astype(jnp.int32), t, t + 1, t * 2)), (T, I)),
    "logic": (
        lambda t, y: ((t > 0) & (y > 0), (t > 0) | (y > 0), ~(t > 0), (t > 0) ^ (y > 0), jnp.all(t > -1, 0),
                      jnp.any(t > 1, 1), jnp.prod(t, 0), (t > 0).astype(jnp.int32).sum()), (T, Y)),
    "constants": (lambda t: (jnp.ones((3, 4)).sum(0), jnp.eye(4) @ t.T, jnp.full((2, 2), 3.0).max(0)), (T,)),
    "batched product": (lambda x: jnp.einsum("bhwc,bkwc->bwhk", x, x), (X,)),
    "mapped slices": (
        lambda t, i: (jax.vmap(lambda row, n: lax.dynamic_slice(row, (n,), (2,)))(t[:4], i),
                      jax.vmap(lambda row, n: lax.dynamic_update_slice(row, row[:2] * 2, (n,)))(t[:4], i)), (T, I)),
    "segments": (
        lambda t, i: (jax.ops.segment_max(t[:4], i, 10), jax.ops.segment_sum(t[:4], i, 4),
                      jnp.bincount(i, length=12), jnp.searchsorted(jnp.sort(t[0]), t[1])), (T, I)),
    "median": (lambda t: (jnp.median(t, 0), lax.map(jnp.tanh, t)), (T,)),
    "scan": (reversed_scan, (T, Y)),
    "gradient of a scan": (jax.grad(lambda t, y: reversed_scan(t, y)[0].sum()), (T, Y)),
    "while": (swapping, (T, Y)),
    "fori": (filling, (T, Y)),
    "lstm": (lstm, LSTM),
}  # fmt: skip


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_traced_program_computes_the_same_through_its_cascades(case, fuse):
    function, args = CASES[case]
    graph = same(function, tuple(args), fuse)
    for entry in lower_graph(graph):
        assert parse_cascade(show_cascade(entry.cascade)) == entry.cascade


@pytest.mark.parametrize("case", ["softmax", "gradient of a layer", "take", "running", "gradient of pooling", "order"])
def test_cascades_run_on_jax_too(case):
    function, args = CASES[case]
    same(function, tuple(args), True, "jax", 1e-9)


@pytest.mark.parametrize("fuse", [False, True])
def test_attention_of_the_library(fuse):
    """JAX rounds its softmax to float32, which is no part of a cascade."""
    same(lambda x: jax.nn.dot_product_attention(x, x * 0.5, x, is_causal=True), (X[:, :4],), fuse, tolerance=1e-5)


def test_a_convolutional_network_and_its_gradient():
    kernels, dense = arrays((3, 3, 3, 4), (3, 3, 4, 2)), arrays((8, 5))[0]
    weights, (x,) = {"kernels": kernels, "dense": dense}, arrays((2, 8, 8, 3))
    with jax.enable_x64(True):
        graph = trace(jax.grad(cnn), (weights, x), name="cnn", fuse=True)
        made = jax.jit(jax.grad(cnn), compiler_options=CHEAP)(weights, x)
    values = {"weights.kernels.0": kernels[0], "weights.kernels.1": kernels[1], "weights.dense": dense, "x": x}
    found = run_cascades(graph, values)
    for n in range(2):
        np.testing.assert_allclose(found[f"result.kernels.{n}"], made["kernels"][n], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found["result.dense"], made["dense"], rtol=1e-9, atol=1e-10)


@st.composite
def convolutions(draw):
    features, batches = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (3, 1), (1, 2)]))
    groups = features * batches
    n_in, n_out, n_dims = draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), draw(st.integers(1, 2))
    size = [draw(st.integers(3, 6)) for _ in range(n_dims)]
    taps = [draw(st.integers(1, 3)) for _ in range(n_dims)]
    per_axis = st.lists(st.integers(1, 2), min_size=n_dims, max_size=n_dims)
    low_high = st.tuples(st.integers(-1, 2), st.integers(0, 2))
    letters = "HW"[:n_dims]
    spec = draw(st.sampled_from([("N{}C", "{}IO", "N{}C"), ("NC{}", "OI{}", "NC{}"), ("C{}N", "I{}O", "N{}C")]))
    spec = tuple(part.format(letters) for part in spec)
    extents = {"N": batches * draw(st.integers(1, 2)), "C": features * n_in, **dict(zip(letters, size, strict=True))}
    kernel = {"I": n_in, "O": n_out, **dict(zip(letters, taps, strict=True))}
    options = {
        "window_strides": draw(per_axis), "padding": draw(st.lists(low_high, min_size=n_dims, max_size=n_dims)),
        "lhs_dilation": draw(per_axis), "rhs_dilation": draw(per_axis), "dimension_numbers": spec,
        "feature_group_count": features, "batch_group_count": batches,
    }  # fmt: skip
    reach = [(k - 1) * d + 1 for k, d in zip(taps, options["rhs_dilation"], strict=True)]
    room = [(n - 1) * d + 1 + low + high
            for n, d, (low, high) in zip(size, options["lhs_dilation"], options["padding"], strict=True)]  # fmt: skip
    options["padding"] = [(max(low, 0), high + 2) if k > n else (low, high)
                          for k, n, (low, high) in zip(reach, room, options["padding"], strict=True)]  # fmt: skip
    return [extents[a] for a in spec[0]], [kernel[a] for a in spec[1]], options


@QUICK
@given(convolutions(), st.integers(0, 99))
def test_any_convolution(drawn, seed):
    image, kernel, options = drawn
    same(lambda x, k: lax.conv_general_dilated(x, k, **options), tuple(arrays(image, kernel, seed=seed)), False)


@st.composite
def products(draw):
    sizes = st.integers(1, 4)
    batch, summed = (draw(st.lists(sizes, max_size=2)) for _ in range(2))
    left, right = (draw(st.lists(sizes, max_size=2)) for _ in range(2))

    def placed(free):
        extents = [*batch, *summed, *free]
        order = draw(st.permutations(range(len(extents))))
        at = [order.index(n) for n in range(len(extents))]
        return [extents[n] for n in order], at[len(batch) : len(batch) + len(summed)], at[: len(batch)]

    (a, a_sum, a_batch), (b, b_sum, b_batch) = placed(left), placed(right)
    return a, b, ((a_sum, b_sum), (a_batch, b_batch))


@QUICK
@given(products(), st.integers(0, 99))
def test_any_matrix_product_and_its_count(drawn, seed):
    a, b, numbers = drawn
    graph = same(lambda x, y: lax.dot_general(x, y, numbers), tuple(arrays(a, b, seed=seed)), False)
    (entry,) = lower_graph(graph)
    assert 2 * accumulations(entry.cascade) == entry.op.matrix_ops


def accumulations(cascade):
    """Multiply-accumulates; a product without a sum is one multiplication."""
    operations, sizes = count(cascade).operations, resolve(cascade)
    found = operations.get(MULTIPLY_ACCUMULATE, operations.get("multiply", 0))
    return number(found, sizes)


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_a_convolution_counts_its_products(padding):
    """Equal where no tap falls outside; taps on the padding are in the iteration space, and only there."""
    with jax.enable_x64(True):
        graph = trace(lambda x, k: nhwc(x, k, (2, 2), padding, feature_group_count=2), (X, K), name="c", fuse=False)
    (entry,) = lower_graph(graph)
    out = graph.tensor("result").shape
    dense = 2 * np.prod(out) * 3 * 3 * 2
    assert 2 * accumulations(entry.cascade) == dense
    assert (entry.op.matrix_ops == dense) == (padding == "VALID")
    assert entry.op.matrix_ops <= dense


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@QUICK
@given(st.data())
def test_any_reshape_and_transposition(data):
    shape = data.draw(SHAPES)
    order = data.draw(st.permutations(range(len(shape))))
    total, new = int(np.prod(shape)), []
    while total > 1 or not new:
        new.append(data.draw(st.sampled_from([d for d in range(1, total + 1) if total % d == 0])))
        total //= new[-1]
        if len(new) == 5:
            new.append(total)
            break
    same(lambda x: jnp.tanh(x.transpose(order)).reshape(new) @ jnp.ones((new[-1], 2)), tuple(arrays(shape)), True)


@QUICK
@given(st.data())
def test_any_gather_and_scatter(data):
    n, m, k = (data.draw(st.integers(1, 4)) for _ in range(3))
    mode = data.draw(st.sampled_from(["clip", "fill", "promise_in_bounds"]))
    reach = 0 if mode == "promise_in_bounds" else 2
    rows = np.asarray(data.draw(st.lists(st.integers(0, n - 1 + reach), min_size=k, max_size=k)))
    columns = np.asarray(data.draw(st.lists(st.integers(0, m - 1 + reach), min_size=k, max_size=k)))

    def function(t, i, j, u):
        table = t.at[i, j]
        return table.get(mode=mode), table.add(u, mode=mode), table.max(u, mode=mode), t.at[:, j].add(u, mode=mode)

    t, u = arrays((n, m), (k,))
    same(function, (t, rows, columns, u), False)


@QUICK
@given(st.data())
def test_any_window(data):
    shape = [data.draw(st.integers(3, 6)) for _ in range(2)]
    window, strides, base, step = ([data.draw(st.integers(1, 2)) for _ in range(2)] for _ in range(4))
    padding = [(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in range(2)]

    def function(x):
        pools = ((-jnp.inf, lax.max), (0.0, lax.add), (jnp.inf, lax.min))
        return [lax.reduce_window(x, *pool, window, strides, padding, base, step) for pool in pools]

    same(function, tuple(arrays(shape)), False)


def entering(graph, loop, values):
    """What lies in memory before a loop."""
    if not loop.start:
        return values
    before = tuple(other for other in graph.loops if other.stop <= loop.start)
    return run(replace(graph, ops=graph.ops[: loop.start], loops=before), values)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("case", ["scan", "gradient of a scan", "while", "fori", "lstm"])
def test_a_loop_is_one_cascade_with_an_iterative_rank(case, fuse, backend):
    function, args = CASES[case]
    with jax.enable_x64(True):
        graph = trace(function, tuple(args), name=case, fuse=fuse)
    values = dict(zip(inspect.signature(function).parameters, args, strict=True))
    expected = run(graph, values)
    loops = lower_loops(graph)
    assert loops
    for lowered in loops:
        assert not lowered.reason
        there = {**values, **entering(graph, lowered.loop, values)}
        inputs = {name: there[tensor] for name, tensor in zip(lowered.cascade.inputs, lowered.inputs, strict=True)}
        made = execute(lowered.cascade, inputs, operators=FUNCTIONS, backend=backend)
        for name, tensor in zip(lowered.cascade.outputs, lowered.outputs, strict=True):
            np.testing.assert_allclose(made[name], expected[tensor], rtol=1e-9, atol=1e-10, err_msg=tensor)
        assert parse_cascade(show_cascade(lowered.cascade)) == lowered.cascade


def test_what_is_used_twice_is_computed_once():
    def function(t):
        waves = jnp.tanh(jnp.exp(t))
        return waves * waves + waves

    with jax.enable_x64(True):
        graph = trace(function, (T,), name="twice", fuse=True)
    (entry,) = lower_graph(graph)
    operations, sizes = count(entry.cascade).operations, resolve(entry.cascade)
    found = {kind: number(formula, sizes) for kind, formula in operations.items()}
    assert found == dict.fromkeys(("exp", "tanh", "multiply", "add"), T.size)
    assert sum(found.values()) == entry.op.vector_ops


def test_a_loop_around_a_loop_has_no_cascade_and_says_so():
    def nested(t):
        return lax.scan(lambda a, row: (a + lax.scan(lambda d, z: (d * 0.5 + z, d), a.sum(), row)[0], None), t[0], t)[0]

    with jax.enable_x64(True):
        graph = trace(nested, (T,), name="nested", fuse=False)
    outer, inner = lower_loops(graph)
    assert outer.cascade is None
    assert "another loop" in outer.reason
    assert inner.cascade is not None
    same(nested, (T,), False)


def test_what_has_no_cascade_says_why():
    with jax.enable_x64(True):
        graph = trace(lambda x: jnp.linalg.cholesky(x @ x.T), (T,), name="cholesky", fuse=False)
    reasons = {entry.op.kind: entry.reason for entry in lower_graph(graph) if entry.cascade is None}
    assert "'cholesky' has no lowering" in reasons["cholesky"]
    assert all(entry.bytes > 0 for entry in lower_graph(graph) if entry.cascade is None)
