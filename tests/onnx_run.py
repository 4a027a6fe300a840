"""Run what an ONNX model was translated into, from the graph alone; primitives that numpy lacks run in `jax.lax`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax import lax
from jax_graph_run import _PRIMITIVES, run
from onnx import numpy_helper

from tierplan.frontend.jaxpr_block_graph import graph_of_block
from tierplan.frontend.onnx_graph import block_of_model
from tierplan.frontend.onnx_model import model_of
from tierplan.ir.errors import InvalidInputError


def _numbers(kind, parameters):
    return kind(**dict(parameters["dimension_numbers"]))


def _conv(p, image, kernel):
    wide = p["preferred_element_type"]
    specs = tuple(dict(p["dimension_numbers"]).values())
    return lax.conv_general_dilated(
        image.astype(wide), kernel.astype(wide), p["window_strides"], p["padding"], p["lhs_dilation"],
        p["rhs_dilation"], lax.ConvDimensionNumbers(*specs), p["feature_group_count"], p["batch_group_count"],
        precision="highest",
    )  # fmt: skip


def _window(start, function):
    def pooled(p, x):
        first = start(x.dtype)
        return lax.reduce_window(
            x, first, function, p["window_dimensions"], p["window_strides"], p["padding"], p["base_dilation"],
            p["window_dilation"],
        )  # fmt: skip

    return pooled


def _lowest(dtype):
    return np.array(-np.inf if dtype.kind == "f" else np.iinfo(dtype).min, dtype)


def _gather(p, x, indices):
    numbers = _numbers(lax.GatherDimensionNumbers, p)
    return lax.gather(x, indices, numbers, p["slice_sizes"], mode="clip")


def _scatter(function):
    def scattered(p, x, indices, updates):
        return function(x, indices, updates, _numbers(lax.ScatterDimensionNumbers, p), mode="clip")

    return scattered


def _dot(p, left, right):
    wide = np.dtype(p["preferred_element_type"])
    made = lax.dot_general(left.astype(wide), right.astype(wide), p["dimension_numbers"], precision="highest")
    return made.transpose(p["result_permutation"]) if p.get("result_permutation") else made


def _along(function):
    return lambda p, x: function(x, p["axis"], reverse=p["reverse"])


def _pad(p, x, fill):
    return lax.pad(x, np.asarray(fill, x.dtype), p["padding_config"])


def _top_k(p, x):
    values, places = lax.top_k(x, p["k"])
    return [values, places]


def _divided(a, b):
    return lax.div(*np.broadcast_arrays(a, b)) if np.asarray(a).dtype.kind in "iu" else np.true_divide(a, b)


def _same(function):
    def applied(p, *operands):
        widest = max(operands, key=lambda x: np.ndim(x)).dtype
        return function(
            *(
                np.broadcast_to(np.asarray(x).astype(widest), np.broadcast_shapes(*map(np.shape, operands)))
                for x in operands
            )
        )

    return applied


def _logic(bitwise, logical):
    return lambda p, *xs: (logical if xs[0].dtype == bool else bitwise)(*xs)


def _only(function):
    return lambda p, x: function(x)


_MORE = {
    "conv_general_dilated": _conv, "reduce_window_max": _window(_lowest, lax.max),
    "reduce_window_sum": _window(lambda dtype: np.zeros((), dtype), lax.add), "gather": _gather,
    "scatter": _scatter(lax.scatter), "scatter-add": _scatter(lax.scatter_add),
    "scatter_mul": _scatter(lax.scatter_mul), "scatter_max": _scatter(lax.scatter_max),
    "scatter_min": _scatter(lax.scatter_min), "dot_general": _dot, "cumsum": _along(lax.cumsum), "pad": _pad,
    "top_k": _top_k, "expm1": lambda p, x: np.expm1(x), "ceil": lambda p, x: np.ceil(x),
    "argmax": lambda p, x: np.argmax(x, p["axes"][0]), "argmin": lambda p, x: np.argmin(x, p["axes"][0]),
    "round": lambda p, x: np.round(x), "pow": _same(np.power), "rem": _same(np.fmod), "max": _same(np.maximum),
    "min": _same(np.minimum), "add": _same(np.add), "sub": _same(np.subtract), "mul": _same(np.multiply),
    "div": lambda p, a, b: _divided(a, b), "tan": lambda p, x: np.tan(x),
    "shift_left": _same(np.left_shift), "shift_right_logical": _same(np.right_shift),
    "and": _logic(np.bitwise_and, np.logical_and), "or": _logic(np.bitwise_or, np.logical_or),
    "xor": _logic(np.bitwise_xor, np.logical_xor), "not": _logic(np.bitwise_not, np.logical_not),
    "erf": lambda p, x: np.vectorize(math.erf, otypes=[np.float64])(x) if x.size else x,
    "asin": _only(np.arcsin), "acos": _only(np.arccos), "atan": _only(np.arctan), "asinh": _only(np.arcsinh),
    "acosh": _only(np.arccosh), "atanh": _only(np.arctanh),
    "reduce_or": lambda p, x: np.any(x, axis=p["axes"]), "reduce_and": lambda p, x: np.all(x, axis=p["axes"]),
    "sinh": lambda p, x: np.sinh(x), "cosh": lambda p, x: np.cosh(x),
}  # fmt: skip


def primitives():
    """Every primitive that the runner knows."""
    return {**_PRIMITIVES, **_MORE}


def run_model(model, inputs, *, fuse=True):
    """The outputs of a model, in their order, from its translation."""
    read = model_of(model, "model")
    shapes = {value.name: array.shape for value, array in zip(read.graph.inputs, inputs, strict=False)}
    dims = {f"{name}.{axis}": extent for name, shape in shapes.items() for axis, extent in enumerate(shape)}
    block, arguments, ops = block_of_model(read, dims)
    graph = graph_of_block("model", block, arguments, fused=fuse, cyclic=False)
    names = {**block.names, **{v: a.name for v, a in zip(block.arguments, arguments, strict=True)}}
    return run_block(graph, names, block, ops, model, dict(zip(shapes, inputs, strict=False))), graph


def run_case(model, inputs):
    """As `run_model`; where numbers that decide about shapes are inputs, they are stored in the model first."""
    inputs = [numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else x for x in inputs]
    try:
        made, graph = run_model(model, inputs)
        if not any(op.streamed for op in graph.ops):
            return made, graph
    except (InvalidInputError, KeyError):
        pass
    first = 1 if len(inputs) > 1 and model.graph.node[0].op_type != "Range" else 0
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    names = [value.name for value in model.graph.input]
    for name, array in list(zip(names, inputs, strict=False))[first:]:
        stored.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return run_model(stored, inputs[:first])


def run_block(graph, called, block, ops, model, values):
    names = {tensor.name for tensor in graph.tensors}
    values = {name: np.asarray(value) for name, value in values.items()}
    for value, array in ops.contents.items():
        if called[value] in names:
            values[called[value]] = array
    for tensor in model.graph.initializer:
        values[tensor.name] = numpy_helper.to_array(tensor)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            tensor = node.attribute[0].t
            values[tensor.name or node.output[0]] = numpy_helper.to_array(tensor)
    old = dict(_PRIMITIVES)
    _PRIMITIVES.update(_MORE)
    try:
        with jax.enable_x64(True):
            content = run(graph, {name: value for name, value in values.items() if name in names})
    finally:
        _PRIMITIVES.clear()
        _PRIMITIVES.update(old)
    return [content[name] for name in block.results]


__all__ = ["jnp", "onnx", "run_model"]
