"""ONNX models as graphs: counts by hand and by onnx, shapes as onnx infers them, dimensions, loops, branches."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import _get_initializer_tensors
from onnx_run import run_model

from tierplan.einsum.lower import lower_graph
from tierplan.frontend.onnx_dims import read_dims
from tierplan.frontend.onnx_graph import block_of_model, graph_of_model, load_onnx
from tierplan.frontend.onnx_model import model_of
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import TensorKind

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
FLOAT, INT64, BOOL, INT8, UINT8 = (
    TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8,
)  # fmt: skip
value = helper.make_tensor_value_info


def stored(name, *shape, dtype=np.float32):
    return numpy_helper.from_array(np.arange(math.prod(shape)).reshape(shape).astype(dtype), name)


def model(nodes, inputs, outputs, initialisers=(), **graph):
    made = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initialisers), **graph)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)])


def graph(proto, **dims):
    return graph_of_model(model_of(proto, "m"), "m", dims)


def one(op, shapes, out, *, weights=(), dtype=FLOAT, domain="", **attributes):
    """A graph of one node over inputs of those shapes, then stored weights."""
    names = [f"x{n}" for n in range(len(shapes))]
    node = helper.make_node(op, [*names, *(w.name for w in weights)], ["y"], domain=domain, **attributes)
    inputs = [value(name, dtype, shape) for name, shape in zip(names, shapes, strict=True)]
    return graph(model([node], inputs, [value("y", FLOAT, out)], weights))


def matrix_ops(found):
    return sum(op.matrix_ops for op in found.ops)


def test_products_count_two_operations_per_multiplication():
    assert matrix_ops(one("MatMul", [(4, 5), (5, 6)], (4, 6))) == 2 * 4 * 5 * 6
    assert matrix_ops(one("MatMul", [(2, 1, 4, 5), (3, 5, 6)], (2, 3, 4, 6))) == 2 * 2 * 3 * 4 * 5 * 6
    gemm = one("Gemm", [(5, 4), (6, 5)], (4, 6), weights=[stored("b", 6)], transA=1, transB=1)
    assert matrix_ops(gemm) == 2 * 4 * 5 * 6
    assert sum(op.vector_ops for op in gemm.ops) == 4 * 6


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_counts_the_taps_that_meet_the_image(groups):
    x, w = np.ones((2, 4, 7, 6)), np.ones((6, 4 // groups, 3, 2))
    made = one(
        "Conv", [x.shape], (2, 6, 4, 6), weights=[stored("w", *w.shape)], strides=[2, 1], pads=[1, 1, 1, 0],
        group=groups,
    )  # fmt: skip
    padded = np.pad(np.ones((7, 6)), ((1, 1), (1, 0)))
    taps = sum(
        int(padded[2 * i : 2 * i + 3, j : j + 2].sum()) for i in range(4) for j in range(6)
    )  # the ones that lie in the image
    assert matrix_ops(made) == 2 * 2 * 6 * (4 // groups) * taps


def test_an_integer_product_runs_on_the_stored_bytes():
    inputs = [value("a", UINT8, (4, 5))]
    node = helper.make_node("MatMulInteger", ["a", "b", "za"], ["y"])
    made = graph(model([node], inputs, [value("y", TensorProto.INT32, (4, 6))], [
        stored("b", 5, 6, dtype=np.int8), numpy_helper.from_array(np.array(3, np.uint8), "za")
    ]))  # fmt: skip
    product = next(op for op in made.ops if op.matrix_ops)
    assert (product.matrix_ops, [access.bytes for access in product.reads]) == (2 * 4 * 5 * 6, [20, 30])
    assert product.dtype in ("uint8", "int8")


@pytest.mark.parametrize("path", sorted(LIGHT.glob("*.onnx")), ids=lambda path: path.stem)
def test_real_networks_have_onnx_parameters_and_onnx_shapes(path):
    proto = onnx.load(path)
    made = graph_of_model(model_of(proto, path.name), path.name, {})
    assert made.n_parameters == sum(math.prod(tensor.dims) for tensor in _get_initializer_tensors(proto))
    assert not [op for op in made.ops if op.streamed]
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in inferred.value_info}
    ours = {tensor.name: tensor for tensor in made.tensors if tensor.name in shapes}
    assert len(ours) > 10
    assert {name: tensor.n_elements for name, tensor in ours.items()} == {n: math.prod(shapes[n]) for n in ours}


def test_a_real_network_has_a_cascade_for_every_operation():
    made = load_onnx(LIGHT / "light_squeezenet.onnx")
    assert [entry.reason for entry in lower_graph(made) if entry.cascade is None] == []


def test_resnet_50_multiplies_about_four_billion_times():
    # He et al., 2016, table 1: 3.8 GFLOPs, of multiply-adds, without the shortcuts' projections
    assert matrix_ops(load_onnx(LIGHT / "light_resnet50.onnx")) / 2 == pytest.approx(3.95e9, rel=0.03)


def branching(condition, then_rows):
    """If: a product in one branch, a sum in the other."""
    then = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["t"])], "then", [], [value("t", FLOAT, (4, then_rows))],
        [stored("w", 4, then_rows)],
    )  # fmt: skip
    other = helper.make_graph([helper.make_node("Add", ["x", "x"], ["e"])], "else", [], [value("e", FLOAT, (4, 4))])
    return helper.make_node("If", [condition], ["y"], then_branch=then, else_branch=other)


def test_an_unknown_condition_takes_the_costlier_branch_and_a_known_one_its_own():
    inputs, outputs = [value("c", BOOL, ()), value("x", FLOAT, (4, 4))], [value("y", FLOAT, (4, 4))]
    costly = graph(model([branching("c", 4)], inputs, outputs))
    assert matrix_ops(costly) == 2 * 4 * 4 * 4
    assert {op.attributes["branch"] for op in costly.ops} == {0}
    known = numpy_helper.from_array(np.array(False), "c")
    cheap = graph(model([branching("c", 4)], inputs[1:], outputs, [known]))
    assert (matrix_ops(cheap), cheap.n_parameters) == (0, 16 + 1)


def test_a_branch_that_does_not_fit_the_shapes_is_not_the_one_that_runs():
    node = branching("c", 4)
    next(a for a in node.attribute if a.name == "then_branch").g.node[0].input[1] = "wrong"
    proto = model(
        [node], [value("c", BOOL, ()), value("x", FLOAT, (4, 4))], [value("y", FLOAT, (4, 4))], [stored("wrong", 3)]
    )
    assert [op.kind for op in graph(proto).ops] == ["add"]


def looping(trips):
    """Loop: s = s * 2 + i, and s stacked."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c2"]),
            helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
            helper.make_node("Mul", ["s", "two"], ["d"]),
            helper.make_node("Add", ["d", "f"], ["s2"]),
            helper.make_node("Sub", ["s2", "two"], ["e"]),
        ],
        "body",
        [value("i", INT64, ()), value("c", BOOL, ()), value("s", FLOAT, (3,))],
        [value("c2", BOOL, ()), value("s2", FLOAT, (3,)), value("e", FLOAT, (3,))],
    )
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    limit = [numpy_helper.from_array(np.array(trips), "n")] if trips is not None else []
    node = helper.make_node("Loop", ["n", "", "x"], ["y", "ys"], body=body)
    inputs = [value("x", FLOAT, (3,)), *([] if limit else [value("n", INT64, ())])]
    outputs = [value("y", FLOAT, (3,)), value("ys", FLOAT, (trips or 1, 3))]
    return model([node], inputs, outputs, [two, *limit])


def test_a_loop_keeps_its_trips_and_computes_what_it_says():
    proto, x = looping(5), np.array([1.0, 2.0, 3.0], np.float32)
    (y, ys), made = run_model(proto, [x])
    s, rows = x, []
    for i in range(5):
        s = s * 2 + i
        rows.append(s - 2)
    np.testing.assert_allclose(y, s)
    np.testing.assert_allclose(ys, rows)
    assert [loop.trips for loop in made.loops] == [5]


def test_a_loop_of_unknown_length_runs_once_and_says_so():
    made = graph(looping(None))
    assert [loop.trips for loop in made.loops] == [1]
    assert all(op.attributes["trips_assumed"] == 1 for op in made.ops if op.kind == "fusion")


def test_shapes_that_the_model_computes_are_followed():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["b"]),
        helper.make_node("Unsqueeze", ["b", "at"], ["b1"]),
        helper.make_node("Concat", ["b1", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["r"]),
        helper.make_node("Relu", ["r"], ["y"]),
    ]
    ints = [("zero", 0), ("at", [0]), ("rest", [-1])]
    proto = model(nodes, [value("x", FLOAT, ("batch", 3, "side"))], [value("y", FLOAT, None)], [
        numpy_helper.from_array(np.array(numbers, np.int64), name) for name, numbers in ints
    ])  # fmt: skip
    made = graph(proto, batch=2, side=5)
    assert [(op.kind, op.vector_ops) for op in made.ops] == [("max", 30)]
    assert [tensor.shape for tensor in made.tensors if tensor.kind is TensorKind.OUTPUT] == [(2, 15)]


def test_an_unknown_operator_is_costed_by_its_bytes_where_its_shape_is_known():
    nodes = [helper.make_node("Strange", ["x"], ["h"], domain="mine"), helper.make_node("Relu", ["h"], ["y"])]
    said = [value("h", FLOAT, (8,))]
    proto = model(nodes, [value("x", FLOAT, (4,))], [value("y", FLOAT, (8,))], value_info=said)
    proto.opset_import.add(domain="mine", version=1)
    made = graph(proto)
    assert [(op.kind, op.streamed) for op in made.ops] == [("Strange", True), ("max", False)]
    del proto.graph.value_info[:]
    with pytest.raises(InvalidInputError, match="Strange 'h': the operator is not known here"):
        graph(proto)


def test_functions_of_the_model_are_called():
    function = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    proto = model(
        [helper.make_node("Twice", ["x"], ["y"], domain="mine")], [value("x", FLOAT, (4,))], [value("y", FLOAT, (4,))]
    )
    proto.functions.append(function)
    proto.opset_import.add(domain="mine", version=1)
    assert [op.kind for op in graph(proto).ops] == ["add"]


def test_large_weights_are_not_read_and_count_all_the_same(tmp_path):
    rows = 400
    weight = numpy_helper.from_array(np.ones((rows, rows), np.float32), "w")
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", FLOAT, (1, rows))],
        [value("y", FLOAT, (1, rows))],
        [weight],
    )
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    from tierplan.frontend.onnx_wire import without_payloads

    assert path.stat().st_size > 4 * rows * rows
    assert len(without_payloads(path)) < 400
    made = load_onnx(path)
    assert (made.n_parameters, matrix_ops(made)) == (rows * rows, 2 * rows * rows)
    path.write_bytes(path.read_bytes()[:-rows])
    with pytest.raises(InvalidInputError, match="is cut off"):
        load_onnx(path)


@pytest.mark.parametrize(
    ("dims", "says"),
    [
        ({}, r"no size for dimension 'batch' \(axis 0 of input 'x'\), 'x\.1' .*write --dim batch=N --dim x\.1=N"),
        ({"bach": 2, "x.1": 3}, r"--dim bach: no input has a dimension of this name; did you mean 'batch'\?"),
    ],
)
def test_dimensions_that_are_missing_or_strange_are_named(dims, says):
    proto = model(
        [helper.make_node("Relu", ["x"], ["y"])], [value("x", FLOAT, ("batch", None))], [value("y", FLOAT, None)]
    )
    with pytest.raises(InvalidInputError, match=says):
        block_of_model(model_of(proto, "m"), dims)


@pytest.mark.parametrize("text", ["batch", "=3", "batch=0", "batch=-1", "batch=x", "batch=99999999999999999999", "b=²"])
def test_bad_sizes_are_refused(text):
    with pytest.raises(InvalidInputError, match="--dim"):
        read_dims([text])


def test_a_size_given_twice_is_refused():
    with pytest.raises(InvalidInputError, match="--dim b is given twice"):
        read_dims(["b=1", "b=2"])


def hostile(name):
    node, x, y = helper.make_node, [value("x", FLOAT, (4,))], [value("y", FLOAT, (4,))]
    if name == "cycle":
        return model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["a"], ["y"])], x, y)
    if name == "lost":
        return model([node("Add", ["x", "nobody"], ["y"])], x, y)
    if name == "twice":
        return model([node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"])], x, y)
    if name == "absurd":
        return model(
            [node("Expand", ["x", "s"], ["y"])], x, y, [numpy_helper.from_array(np.array([2**40, 2**20, 4]), "s")]
        )
    if name == "window":
        return model([node("MaxPool", ["x"], ["y"], kernel_shape=[2**40])], [value("x", FLOAT, (1, 1, 2**41))], y)
    if name == "trips":
        return looping(2**40)
    if name == "no output":
        return model([node("Relu", ["x"], ["z"])], x, y)
    tensor = TensorProto(name="w", dims=[4], data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value={"outside": "../../etc/passwd", "absolute": "/etc/passwd"}[name])
    return model([node("Add", ["x", "w"], ["y"])], x, y, [tensor])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cycle", r"the graph has a cycle through Add 'a', Relu 'b'"),
        ("lost", r"Add 'y' reads 'nobody', which nothing makes"),
        ("twice", r"Abs 'y' makes 'y', which is made already"),
        ("absurd", r"absurd"),
        ("window", r"absurd"),
        ("trips", r"Loop 'y' runs 1099511627776 times"),
        ("no output", r"the output 'y' is made by no node"),
        ("outside", r"tensor 'w' has its data in '../../etc/passwd', outside the model's folder"),
        ("absolute", r"outside the model's folder"),
    ],
)
def test_hostile_models_end_in_one_line(name, says):
    with pytest.raises(InvalidInputError, match=says) as caught:
        graph(hostile(name))
    assert "\n" not in str(caught.value)


def test_functions_that_call_themselves_end_in_one_line():
    inner = [helper.make_node("F", ["a"], ["c"], domain="mine"), helper.make_node("F", ["c"], ["b"], domain="mine")]
    proto = model(
        [helper.make_node("F", ["x"], ["y"], domain="mine")], [value("x", FLOAT, (4,))], [value("y", FLOAT, (4,))]
    )
    proto.functions.append(helper.make_function("mine", "F", ["a"], ["b"], inner, [helper.make_opsetid("mine", 1)]))
    with pytest.raises(InvalidInputError, match="functions call each other deeper"):
        graph(proto)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00" * 100, bytes(range(256)) * 400, b"\x3a\xff\xff\xff\xff\x7f" + b"a" * 70_000]
)
def test_files_that_are_no_models_are_refused(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"m\.onnx'.*"):
        load_onnx(path)


def test_names_that_are_no_text_are_quoted_all_the_same(tmp_path):
    proto = model([helper.make_node("Add", ["ab", "cd"], ["y"])], [value("x", FLOAT, (4,))], [value("y", FLOAT, (4,))])
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString().replace(b"ab", b"\xff\xfe"))
    with pytest.raises(InvalidInputError, match="which nothing makes"):
        load_onnx(path)


def test_the_command_line_binds_dimensions_of_onnx_files_only(tmp_path):
    from tierplan.programs import Shaping, describe, read_program

    proto = model([helper.make_node("Relu", ["x"], ["y"])], [value("x", FLOAT, ("n", 3))], [value("y", FLOAT, None)])
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    shaping = Shaping(dims=("n=5",))
    made = read_program(str(path), shaping)
    assert (made.tensor("x").shape, describe(made, shaping, "m.onnx")) == ((5, 3), "m.onnx --dim n=5")
    with pytest.raises(InvalidInputError, match="--dim means nothing"):
        read_program("llama2-7b", shaping)
    with pytest.raises(InvalidInputError, match="--batch means nothing for an ONNX file"):
        read_program(str(path), Shaping(batch=1))
    with pytest.raises(InvalidInputError, match="cannot read"):
        read_program(str(tmp_path / "none.onnx"), Shaping())


def test_a_convolution_in_groups_computes_what_onnx_computes():
    from onnx.reference import ReferenceEvaluator

    draw = np.random.default_rng(1)
    weight = numpy_helper.from_array(draw.normal(size=(6, 2, 3, 3)).astype(np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2, pads=[1, 1, 1, 1])
    proto = model([node], [value("x", FLOAT, (1, 4, 5, 5))], [value("y", FLOAT, (1, 6, 5, 5))], [weight])
    x = draw.normal(size=(1, 4, 5, 5)).astype(np.float32)
    (made,), _ = run_model(proto, [x])
    np.testing.assert_allclose(made, ReferenceEvaluator(proto).run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)


def test_an_input_that_is_left_out_of_a_computed_shape_is_refused():
    tile = helper.make_node("Tile", ["", "n"], ["t"])
    proto = model(
        [tile, helper.make_node("Reshape", ["x", "t"], ["y"])], [value("x", FLOAT, (4,))], [value("y", FLOAT, (4,))],
        [numpy_helper.from_array(np.array([2], np.int64), "n")],
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="Tile 't'"):
        graph(proto)


def test_a_shape_that_the_file_does_not_say_is_what_onnx_infers_of_the_node():
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("LpPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Abs", ["p"], ["y"]),
    ]
    made = graph(model(nodes, [value("x", FLOAT, ("n", 3, 8, 6))], [value("y", FLOAT, None)]), n=2)
    (pool,) = [op for op in made.ops if op.streamed]
    assert (pool.kind, [access.bytes for access in pool.writes]) == ("LpPool", [4 * 2 * 3 * 4 * 3])


def test_a_shape_that_the_file_says_has_its_dimensions_bound():
    node = helper.make_node("Mystery", ["x"], ["y"], domain="com.example")
    made = graph(model([node], [value("x", FLOAT, ("n", 3))], [value("y", FLOAT, ("n", 7))]), n=2)
    assert [access.bytes for op in made.ops for access in op.writes] == [4 * 2 * 7]
    with pytest.raises(InvalidInputError, match="neither the file nor onnx says the shape of 'y'"):
        graph(model([node], [value("x", FLOAT, ("n", 3))], [value("y", FLOAT, None)]), n=2)


def test_a_node_that_onnx_refuses_is_told_with_its_reason():
    node = helper.make_node("LpPool", ["x"], ["y"])
    with pytest.raises(InvalidInputError, match=r"onnx refuses it: .*kernel_shape"):
        graph(model([node], [value("x", FLOAT, (1, 3, 8, 8))], [value("y", FLOAT, None)]))


def test_complex_numbers_decide_about_no_shape():
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"])
    scales = numpy_helper.from_array(np.ones(2, np.complex64), "scales")
    with pytest.raises(InvalidInputError, match="known only when the model runs"):
        graph(model([node], [value("x", FLOAT, (4, 3))], [value("y", FLOAT, None)], [scales]))


def test_extents_without_end_are_not_inferred():
    node = helper.make_node("Reshape", ["x", "to"], ["y"])
    inputs = [value("x", FLOAT, (4,)), value("to", INT64, (2**31,))]
    with pytest.raises(InvalidInputError, match="known only when the model runs"):
        graph(model([node], inputs, [value("y", FLOAT, None)]))


@pytest.mark.parametrize(
    ("limit", "told"),
    [(np.zeros(0, np.int64), None), (np.ones(1, np.complex64), None), (np.full(1, np.nan), "no whole")],
)
def test_a_loop_with_a_limit_that_is_no_number(limit, told):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go2"]), helper.make_node("Neg", ["v"], ["v2"])], "body",
        [value("k", INT64, ()), value("go", BOOL, ()), value("v", FLOAT, (4,))],
        [value("go2", BOOL, ()), value("v2", FLOAT, (4,))],
    )  # fmt: skip
    node = helper.make_node("Loop", ["limit", "", "x"], ["y"], body=body)
    looping = model([node], [value("x", FLOAT, (4,))], [value("y", FLOAT, (4,))], [
        numpy_helper.from_array(limit, "limit")
    ])  # fmt: skip
    if told is None:
        assert [op.attributes["trips_assumed"] for op in graph(looping).ops if op.kind == "neg"] == [1]
    else:
        with pytest.raises(InvalidInputError, match=told):
            graph(looping)
