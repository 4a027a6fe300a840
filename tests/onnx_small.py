"""Small ONNX models of every kind of operator, to be spoilt, and how to spoil one as a message."""

import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tierplan.frontend.onnx_control import CONTROL
from tierplan.frontend.onnx_operators import HANDLERS

FLOAT, UINT8, BOOL = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.BOOL
_STANDARD = sorted({schema.name for schema in onnx.defs.get_all_schemas()} | set(HANDLERS[""]) | set(CONTROL))
_OPERATORS = [("", op) for op in _STANDARD] + [("com.microsoft", op) for op in sorted(HANDLERS["com.microsoft"])]
_ATTRIBUTES = (
    "axis", "axes", "perm", "pads", "strides", "kernel_shape", "group", "dilations", "to", "num_heads", "block_size",
    "hidden_size", "equation", "mode", "direction", "bits", "K", "N", "keepdims", "num_outputs", "output_shape",
    "kv_num_heads", "transA", "transB", "split", "body", "qkv_hidden_sizes", "num_groups", "stash_type",
)  # fmt: skip
_ARGUMENTS = (0, 1, -1, 2, 3, 7, 2**31, 2**62, -(2**63), 0.5, float("nan"), "", "ij,jk->ik", "x", "linear", b"\xff",
              [0], [1, 1], [-1], [0, 0, 0, 0], [2**40, 2**40], [2**63 - 1])  # fmt: skip
_EXTENTS = (0, 1, 2, 5, 2**31, 2**62, -1)


def _stored(name, *shape):
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def _ints(name, *numbers):
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def _model(nodes, shape, stored, dtype=FLOAT, more=()):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", dtype, shape), *more], [value("y", FLOAT, None)], stored)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets).SerializeToString()


def _network():
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c", "s", "s", "s", "s"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["p", "", "scales"], ["z"], mode="linear"),
        helper.make_node("GlobalAveragePool", ["z"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["g"], transB=1),
        helper.make_node("Softmax", ["g"], ["y"], axis=-1),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    weights = [_stored("w", 4, 3, 3, 3), _stored("b", 4), _stored("s", 4), _stored("v", 5, 4)]
    return _model(nodes, (1, 3, 8, 8), [*weights, scales])


def _shaping():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["r"]),
        helper.make_node("Slice", ["r", "zero", "two", "one"], ["l"]),
        helper.make_node("Pad", ["l", "pads"], ["p"], mode="reflect"),
        helper.make_node("Tile", ["p", "pair"], ["t"]),
        helper.make_node("Transpose", ["t"], ["u"], perm=[1, 0]),
        helper.make_node("Split", ["u"], ["h", "k"], num_outputs=2),
        helper.make_node("MatMul", ["k", "q"], ["m"]),
        helper.make_node("TopK", ["m", "two"], ["y", "i"]),
    ]
    stored = [_ints("zero", 0), _ints("one", 1), _ints("two", 2), _ints("rest", -1), _ints("pads", 1, 0, 0, 1)]
    return _model(nodes, (3, 2, 4), [*stored, _ints("pair", 1, 2), _stored("q", 5, 3)])


def _recurrent():
    body = helper.make_graph(
        [helper.make_node("Add", ["a", "e"], ["a2"]), helper.make_node("Tanh", ["a2"], ["o"])], "body",
        [helper.make_tensor_value_info(name, FLOAT, (2, 5)) for name in ("a", "e")],
        [helper.make_tensor_value_info(name, FLOAT, (2, 5)) for name in ("a2", "o")],
    )  # fmt: skip
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["h", "last"], hidden_size=5),
        helper.make_node("Squeeze", ["h", "one"], ["q"]),
        helper.make_node("Squeeze", ["last", "zero"], ["start"]),
        helper.make_node("Scan", ["start", "q"], ["end", "y"], body=body, num_scan_inputs=1),
    ]
    return _model(nodes, (4, 2, 3), [_stored("w", 1, 20, 3), _stored("r", 1, 20, 5), _ints("one", 1), _ints("zero", 0)])


def _quantised():
    weight = numpy_helper.from_array(np.ones((6, 4), np.uint8), "w")
    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(3), "z")
    nodes = [
        helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], ["m"]),
        helper.make_node("DequantizeLinear", ["m", "s", "z"], ["d"]),
        helper.make_node("DynamicQuantizeLinear", ["d"], ["q", "qs", "qz"]),
        helper.make_node("MatMulInteger", ["x", "w", "z", "z"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
        helper.make_node("QLinearAdd", ["m", "s", "z", "q", "s", "z", "s", "z"], ["a"], domain="com.microsoft"),
        helper.make_node("DequantizeLinear", ["a", "s", "z"], ["e"]),
        helper.make_node("Add", ["e", "f"], ["y"]),
    ]
    return _model(nodes, (2, 6), [weight, scale, zero], UINT8)


def _branching():
    value = helper.make_tensor_value_info
    then = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["t"])], "then", [], [value("t", FLOAT, (4, 4))])
    other = helper.make_graph([helper.make_node("Add", ["x", "x"], ["e"])], "else", [], [value("e", FLOAT, (4, 4))])
    body = helper.make_graph(
        [helper.make_node("Add", ["v", "b"], ["v2"]), helper.make_node("Identity", ["go"], ["go2"])], "body",
        [value("k", TensorProto.INT64, ()), value("go", BOOL, ()), value("v", FLOAT, (4, 4))],
        [value("go2", BOOL, ()), value("v2", FLOAT, (4, 4))],
    )  # fmt: skip
    outside = TensorProto(name="w", data_type=FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="weights.bin")
    nodes = [
        helper.make_node("If", ["c"], ["b"], then_branch=then, else_branch=other),
        helper.make_node("Loop", ["three", "", "x"], ["l"], body=body),
        helper.make_node("SkipLayerNormalization", ["l", "b", "g"], ["n"], domain="com.microsoft"),
        helper.make_node("NonZero", ["n"], ["at"]),
        helper.make_node("Einsum", ["n", "x"], ["y"], equation="ij,kj->ik"),
    ]
    stored = [outside, numpy_helper.from_array(np.int64(3), "three"), _stored("g", 4)]
    return _model(nodes, (4, 4), stored, more=[value("c", BOOL, ())])


SEEDS = (_network(), _shaping(), _recurrent(), _quantised(), _branching())


def respelt(model, draw: random.Random):
    """The model after one to three changes that its format allows: other operators, attributes, names and shapes."""
    for _ in range(draw.randint(1, 3)):
        graph = model.graph
        node, kind = draw.choice(graph.node), draw.randrange(8)
        if kind < 3:
            node.domain, node.op_type = draw.choice(_OPERATORS)
            if draw.random() < 0.3:
                del node.attribute[:]
        elif kind == 3:
            names = [name for other in graph.node for name in (*other.input, *other.output)]
            names += [tensor.name for tensor in graph.initializer] + [""]
            place = draw.randrange(len(node.input) + 1)
            node.input[:] = [*node.input[:place], draw.choice(names), *node.input[place + draw.randint(0, 1) :]]
        elif kind == 4 and node.input:
            del node.input[draw.randrange(len(node.input))]
        elif kind == 5:
            name = draw.choice([attribute.name for attribute in node.attribute] or list(_ATTRIBUTES))
            name = draw.choice((name, draw.choice(_ATTRIBUTES)))
            kept = [attribute for attribute in node.attribute if attribute.name != name or draw.random() < 0.1]
            made = [helper.make_attribute(name, draw.choice(_ARGUMENTS))] if draw.random() < 0.8 else []
            attributes = [onnx.AttributeProto.FromString(kept_one.SerializeToString()) for kept_one in kept] + made
            del node.attribute[:]
            node.attribute.extend(attributes)
        elif kind == 6 and graph.initializer:
            tensor = draw.choice(graph.initializer)
            tensor.dims[:] = [draw.choice(_EXTENTS) for _ in range(draw.randrange(5))]
            tensor.data_type = draw.choice((tensor.data_type, draw.randrange(30)))
        else:
            value = draw.choice((*graph.input, *graph.output)).type.tensor_type
            value.elem_type = draw.choice((value.elem_type, value.elem_type, draw.randrange(28)))
            value.shape.dim.clear()
            for _ in range(draw.randrange(5)):
                value.shape.dim.add().dim_value = draw.choice(_EXTENTS)
    return model
