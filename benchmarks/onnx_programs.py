"""Claim: real ONNX programs are read with onnx's own count of parameters, and 10,000 nodes in under 5 CPU s.

    python benchmarks/onnx_programs.py FOLDER... > onnx_programs.csv

Reads every `.onnx` file under the folders (site-packages with rapidocr-onnxruntime, silero-vad, piper-tts, magika,
zigzag-dse and onnxruntime in it, say) and the models in onnx's own test data, open dimensions bound by the table below,
and one graph of 10,000 nodes made here. Writes one row each: file, nodes, operations, parameters here and by onnx,
operators costed by their bytes alone, CPU seconds.
"""

import csv
import math
import sys
import tempfile
import time
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from onnx.external_data_helper import _get_initializer_tensors

from tierplan.frontend.onnx_graph import load_onnx
from tierplan.ir.errors import InvalidInputError

DIMS = {
    "silero_vad.onnx": {"input.0": 1, "input.1": 512, "state.1": 1},
    "silero_vad_16k_sequence.onnx": {"sequence_length": 10},
    "silero_vad_op18_ifless.onnx": {"batch": 1, "sequence": 576},
    "silero_vad_half.onnx": {"batch": 1, "sequence": 576},
    "silero_vad_16k_op15.onnx": {"batch": 1, "sequence": 576},
    "nakdimon.onnx": {"unk__1915": 1, "unk__1916": 100},
    "model.onnx": {"batch": 1, "seq": 100, "unk__214": 1},
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x.0": 1, "x.2": 48, "x.3": 192},
    "ch_PP-OCRv4_rec_infer.onnx": {"p2o.DynamicDimension.0": 1, "x.2": 48, "p2o.DynamicDimension.1": 320},
    "ch_PP-OCRv4_det_infer.onnx": {
        "p2o.DynamicDimension.0": 1, "p2o.DynamicDimension.1": 640, "p2o.DynamicDimension.2": 640,
    },
}  # fmt: skip
HEADER = ("file", "nodes", "operations", "parameters", "parameters_by_onnx", "matrix_gops", "streamed", "cpu_seconds")


def counted_by_onnx(model: onnx.ModelProto) -> int:
    """Elements of all tensors that onnx finds among initialisers, and of those in `Constant` nodes."""
    total = sum(math.prod(tensor.dims) for tensor in _get_initializer_tensors(model))
    return total + sum(
        math.prod(node.attribute[0].t.dims) for node in nodes_of(model.graph) if node.op_type == "Constant"
    )


def nodes_of(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """All nodes, those in subgraphs included."""
    found: list[onnx.NodeProto] = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                found += nodes_of(inner)
    return found


def chain(n_nodes: int) -> onnx.ModelProto:
    """Blocks of a product, a shift and a function, one after the other."""
    nodes, stored, x = [], [], "x"
    for block in range(n_nodes // 5):
        made = [f"{block}.{step}" for step in range(5)]
        stored.append(helper.make_tensor(f"w{block}", TensorProto.FLOAT, (64, 64), bytes(64 * 64 * 4), raw=True))
        stored.append(helper.make_tensor(f"b{block}", TensorProto.FLOAT, (64,), bytes(64 * 4), raw=True))
        for op, inputs, out in (
            ("MatMul", [x, f"w{block}"], made[0]), ("Add", [made[0], f"b{block}"], made[1]),
            ("Relu", [made[1]], made[2]),
            ("Softmax", [made[2]], made[3]), ("Add", [made[3], x], made[4]),
        ):  # fmt: skip
            nodes.append(helper.make_node(op, inputs, [out]))
        x = made[4]
    value = helper.make_tensor_value_info
    ends = [value("x", TensorProto.FLOAT, (8, 64))], [value(x, TensorProto.FLOAT, (8, 64))]
    graph = helper.make_graph(nodes, "chain", *ends, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def row(path: Path) -> tuple[object, ...]:
    """The figures of one file."""
    began = time.process_time()
    known = DIMS.get(path.name, {})
    model = onnx.load(path, load_external_data=False)
    named = {dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim}
    dims = {name: size for name, size in known.items() if name in named or name.rpartition(".")[2].isdigit()}
    dims = dims if path.name != "model.onnx" else {name: size for name, size in known.items() if name in named}
    began = time.process_time()
    try:
        graph = load_onnx(path, dims)
    except InvalidInputError as error:
        return (path.name, len(nodes_of(model.graph)), f"refused: {error}", "", counted_by_onnx(model), "", "", "")
    seconds = time.process_time() - began
    streamed = " ".join(sorted({op.kind for op in graph.ops if op.streamed}))
    matrix = sum(op.matrix_ops for op in graph.ops) / 1e9
    n_nodes, by_onnx = len(nodes_of(model.graph)), counted_by_onnx(model)
    return (
        path.name,
        n_nodes,
        len(graph.ops),
        graph.n_parameters,
        by_onnx,
        f"{matrix:.3f}",
        streamed,
        f"{seconds:.2f}",
    )


def main() -> None:
    """Print the table as CSV."""
    folders = [Path(onnx.__file__).parent / "backend/test/data/light", *map(Path, sys.argv[1:])]
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(HEADER)
    for folder in folders:
        for path in sorted(folder.rglob("*.onnx")):
            out.writerow(row(path))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain-10000.onnx"
        onnx.save(chain(10_000), path)
        out.writerow(row(path))


if __name__ == "__main__":
    main()
