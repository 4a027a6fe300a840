"""Small ONNX models of every kind of operator, to be spoilt."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def _stored(name, *shape):
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def _ints(name, *numbers):
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def _model(nodes, shape, stored):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", FLOAT, shape)], [value("y", FLOAT, None)], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


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


SEEDS = (_network(), _shaping(), _recurrent())
