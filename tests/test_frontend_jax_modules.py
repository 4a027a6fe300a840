"""Modules of flax.nnx and equinox through their functions: never built, counted as XLA counts them."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from tierplan.frontend.jax_function import trace
from tierplan.ir.graph import TensorKind

pytest.importorskip("flax")
pytest.importorskip("equinox")
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from programs import modules


def f32(*extents):
    return jax.ShapeDtypeStruct(extents, jnp.float32)


def i32(*extents):
    return jax.ShapeDtypeStruct(extents, jnp.int32)


CASES = {
    "nnx block": (modules.nnx_block, (f32(2, 64, 256),), 4 * (256 * 256 + 256) + 256 + 2 * 256 * 1024 + 1024 * 3 + 256),
    "nnx lstm": (modules.nnx_lstm, (f32(8, 16, 64),), 4 * 128 * (64 + 128 + 1)),
    "nnx cnn gradient": (
        modules.nnx_cnn_grad,
        (f32(8, 28, 28, 1), i32(8)),
        9 * 32 + 32 + 4 * 32 + 9 * 32 * 64 + 64 + 64 * 49 * 10 + 10,
    ),
    "eqx mlp gradient": (
        modules.eqx_mlp_grad,
        (f32(64, 128), i32(64)),
        128 * 512 + 512 + 2 * (512 * 512 + 512) + 5130,
    ),
    "eqx cnn": (modules.eqx_cnn, (f32(4, 3, 32, 32),), 27 * 32 + 32 + 9 * 32 * 64 + 64 + 3136 * 10 + 10),
    "eqx attention": (modules.eqx_attention, (f32(2, 64, 256),), 4 * 256 * 256),
}


@pytest.mark.parametrize("case", CASES)
def test_a_module_has_its_parameters_as_weights_and_the_operations_of_xla(case):
    make, args, n_parameters = CASES[case]
    call, state = make()
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(state))
    graph = trace(call, (state, *args), name=case)
    keys = [t for t in graph.tensors if t.kind is TensorKind.WEIGHT and t.dtype == "uint32"]
    assert graph.n_parameters - sum(t.n_elements for t in keys) == n_parameters
    told = jax.jit(call).lower(state, *args).cost_analysis()
    ours = sum(op.matrix_ops + op.vector_ops for op in graph.ops)
    assert ours == pytest.approx(told["flops"] + told.get("transcendentals", 0), rel=0.02)
