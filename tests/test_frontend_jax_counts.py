"""Operation counts of traced functions against XLA's own cost analysis, and against hand counts.

XLA reports arithmetic as `flops` and `transcendentals`; their sum is what a Graph counts. Products and convolutions
agree exactly. Elsewhere XLA counts what is left after its own simplifications (a common mean computed once, a select
against a constant folded, an integer power by its multiplications), so programs of products and elementwise chains
agree within 2%.
"""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tierplan.frontend.jax_function import trace
from tierplan.frontend.jaxpr_counts import valid_taps
from tierplan.ir.graph import Graph

F32 = jnp.float32


def shape(*extents, dtype=F32):
    return jax.ShapeDtypeStruct(extents, dtype)


def total(graph: Graph) -> int:
    """Operations of one run: every turn of every loop."""
    times = [1] * len(graph.ops)
    for loop in graph.loops:
        for index in range(loop.start, loop.stop):
            times[index] *= loop.trips
    return sum(n * (op.matrix_ops + op.vector_ops) for n, op in zip(times, graph.ops, strict=True))


def xla_total(fn, args) -> float:
    analysis = jax.jit(fn).lower(*args).compile().cost_analysis()
    return analysis["flops"] + analysis.get("transcendentals", 0.0)


def convolution(x, kernel, stride=1, padding="SAME", groups=1, dilation=1, kernel_dilation=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        lhs_dilation=(dilation, dilation),
        rhs_dilation=(kernel_dilation, kernel_dilation),
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


IMAGE, KERNEL = shape(2, 15, 15, 8), shape(3, 3, 8, 16)

EXACT = {
    "matmul": (lambda a, b: a @ b, (shape(64, 128), shape(128, 32))),
    "batched": (lambda a, b: jnp.einsum("bij,bkj->bik", a, b), (shape(4, 64, 16), shape(4, 32, 16))),
    "same": (convolution, (IMAGE, KERNEL)),
    "strided": (lambda x, k: convolution(x, k, stride=2), (IMAGE, KERNEL)),
    "grouped": (lambda x, k: convolution(x, k, padding="VALID", groups=4), (IMAGE, shape(3, 3, 2, 16))),
    "dilated image": (lambda x, k: convolution(x, k, padding=[(2, 2)] * 2, dilation=2), (IMAGE, KERNEL)),
    "dilated kernel": (lambda x, k: convolution(x, k, kernel_dilation=2), (IMAGE, KERNEL)),
    "convolution gradients": (
        jax.grad(lambda k, x: (convolution(x, k, stride=2) ** 2).sum(), (0, 1)),
        (KERNEL, IMAGE),
    ),
    "window": (
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
        (shape(2, 16, 16, 8),),
    ),
    "elementwise": (lambda x: jnp.where(x > 0, x, jnp.exp(x)), (shape(64, 64),)),
}


@pytest.mark.parametrize("case", EXACT)
def test_products_and_convolutions_equal_xla(case):
    fn, args = EXACT[case]
    assert total(trace(fn, args, name=case)) == xla_total(fn, args)


def mlp(weights, x):
    return jax.nn.gelu(x @ weights[0]) @ weights[1]


def attention(query, key, value):
    return jax.nn.dot_product_attention(query, key, value, is_causal=True)


MLP = ([shape(128, 512), shape(512, 128)], shape(64, 128))
HEADS = (shape(2, 64, 4, 32),) * 3

CLOSE = {
    "mlp": (mlp, MLP),
    "mlp gradient": (jax.grad(lambda w, x: mlp(w, x).sum()), MLP),
    "attention": (attention, HEADS),
    "attention gradient": (jax.grad(lambda *heads: attention(*heads).sum(), (0, 1, 2)), HEADS),
}


@pytest.mark.parametrize("case", CLOSE)
def test_networks_are_within_two_percent_of_xla(case):
    fn, args = CLOSE[case]
    assert total(trace(fn, args, name=case)) == pytest.approx(xla_total(fn, args), rel=0.02)


def test_a_scan_counts_its_body_once_per_turn():
    """XLA's analysis counts the body of a loop once; the Graph says how often it runs."""

    def layers(weights, x):
        return lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, weights)[0]

    args = (shape(5, 64, 64), shape(32, 64))
    graph = trace(layers, args, name="layers")
    assert [loop.trips for loop in graph.loops] == [5]
    assert total(graph) == 5 * (2 * 32 * 64 * 64 + 32 * 64)
    assert total(graph) / 5 == pytest.approx(xla_total(layers, args), rel=0.001)


def added_rows(table, indices):
    return table.at[indices].add(1.0, mode="drop", wrap_negative_indices=False)


@pytest.mark.parametrize(
    ("fn", "args", "expected"),
    [
        (lambda x: x**4, (shape(10),), 2 * 10),
        (lambda x: x**7, (shape(10),), 4 * 10),
        (lambda x: x**-1, (shape(10),), 10),
        (lambda x: x.sum(1), (shape(4, 6),), 4 * 5),
        (lambda x: jnp.cumsum(x, 1), (shape(4, 6),), 4 * 5),
        (lambda x: jnp.sort(x), (shape(4, 8),), 32 * 3),
        (
            lambda t, i: t.at[i].add(1.0, mode="drop", wrap_negative_indices=False),
            (shape(9, 6), shape(3, dtype=jnp.int32)),
            18,
        ),
        (lambda x: jnp.concatenate([x, x]).T, (shape(4, 6),), 0),
    ],
)
def test_counts_by_hand(fn, args, expected):
    assert total(trace(fn, args, name="by hand")) == expected


@pytest.mark.parametrize("image", [1, 5, 8])
@pytest.mark.parametrize(("stride", "low"), [(1, 0), (2, 1), (3, 2)])
@pytest.mark.parametrize(("image_step", "kernel_step"), [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_valid_taps_equal_their_definition(image, stride, low, image_step, kernel_step):
    kernel, out = 3, 6
    real = {position * image_step for position in range(image)}
    expected = sum(
        position * stride + tap * kernel_step - low in real for position in range(out) for tap in range(kernel)
    )
    assert valid_taps(image, kernel, out, stride, low, image_step, kernel_step) == expected


def test_products_run_in_the_type_of_their_operands():
    """A bfloat16 product that accumulates in float32 runs at the bfloat16 rate."""
    bf16 = shape(8, 8, dtype=jnp.bfloat16)
    graph = trace(lambda a, b: jnp.matmul(a, b, preferred_element_type=F32), (bf16, bf16), name="product")
    assert [(op.dtype, op.matrix_ops, op.vector_ops) for op in graph.ops] == [("bfloat16", 1024, 0)]
    compared = trace(lambda a: a > 0, (bf16,), name="compared")
    assert [(op.dtype, op.vector_ops) for op in compared.ops] == [("bfloat16", 64)]


def test_an_unknown_primitive_is_streamed_and_never_free():
    graph = trace(lambda x: jnp.linalg.eigh(x)[0], (shape(8, 8),), name="eigenvalues")
    streamed = [op for op in graph.ops if op.streamed]
    assert [op.kind for op in streamed] == ["eigh"]
    assert sum(access.bytes for access in streamed[0].reads) == 8 * 8 * 4
    assert sum(access.bytes for access in streamed[0].writes) > 0


def test_a_reduction_over_an_empty_axis_takes_no_operation() -> None:
    empty = jax.ShapeDtypeStruct((0, 4), jnp.float32)
    graph = trace(lambda x: jnp.sum(x, axis=0), (empty,), name="empty")
    assert sum(op.vector_ops for op in graph.ops) == 0
