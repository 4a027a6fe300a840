"""Exported PyTorch programs: saved archives without torch, and, where torch is installed, programs in memory."""

import copy
import io
import pickle
import tracemalloc
import zipfile

import pytest
import torch_programs
from torch_programs import CONV, MLP, archive, node, program, tensor, text

from tierplan.einsum.lower import lower_graph
from tierplan.frontend.torch_archive import load_pt2
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import TensorKind


def load(tmp_path, document):
    path = tmp_path / "m.pt2"
    path.write_bytes(archive(text(document)))
    return load_pt2(path)


def test_a_saved_network_has_its_parameters_counts_and_state(tmp_path):
    graph = load(tmp_path, MLP)
    assert graph.n_parameters == 16 * 8 + 16
    assert sum(op.matrix_ops for op in graph.ops) == 2 * 4 * 8 * 16
    kinds = {tensor.name: tensor.kind for tensor in graph.tensors}
    assert (kinds["up.weight"], kinds["x"], kinds["n"]) == (TensorKind.WEIGHT, TensorKind.INPUT, TensorKind.STATE)
    assert [entry.reason for entry in lower_graph(graph) if entry.cascade is None] == []


def test_a_convolution_counts_as_the_same_one_in_onnx(tmp_path):
    from test_frontend_onnx_graph import matrix_ops, one, stored

    same = one("Conv", [(1, 3, 8, 8)], (1, 6, 4, 4), weights=[stored("w", 6, 3, 3, 3)], strides=[2, 2], pads=[1] * 4)
    assert matrix_ops(load(tmp_path, CONV)) == matrix_ops(same) > 0


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a pickle was opened")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert load(tmp_path, MLP).ops


def test_a_result_that_is_not_of_the_shape_that_the_file_says_is_refused(tmp_path):
    document = copy.deepcopy(MLP)
    document["graph_module"]["graph"]["tensor_values"]["linear"] = tensor(4, 17)
    with pytest.raises(InvalidInputError, match=r"'linear' has shape \(4, 17\), but \(4, 16\) is computed"):
        load(tmp_path, document)


def test_an_unknown_operator_is_costed_by_its_bytes(tmp_path):
    strange = program(
        [("user_input", "x", "")], [node("strange.default", ["y"], self="x")], ["y"], {"x": tensor(4), "y": tensor(2)}
    )
    (op,) = load(tmp_path, strange).ops
    assert (op.kind, op.streamed) == ("strange", True)
    assert [access.bytes for access in (*op.reads, *op.writes)] == [16, 8]


def test_an_update_in_place_of_a_view_is_refused(tmp_path):
    nodes = [node("view.default", ["v"], self="x", size=[2, 2]), node("add_.Tensor", ["y"], self="v", other=1)]
    values = {"x": tensor(4), "v": tensor(2, 2), "y": tensor(2, 2)}
    with pytest.raises(InvalidInputError, match=r"updates a view in place; export it with exported.run_decompositions"):
        load(tmp_path, program([("user_input", "x", "")], nodes, ["y"], values))


def test_a_buffer_that_is_updated_in_place_is_a_state(tmp_path):
    nodes = [node("add_.Tensor", ["y"], self="b", other="x")]
    values = {"x": tensor(4), "b": tensor(4), "y": tensor(4)}
    graph = load(tmp_path, program([("buffer", "b", "sums"), ("user_input", "x", "")], nodes, [], values))
    (op,) = graph.ops
    aliases = {graph.tensor(access.tensor).alias for access in (*op.reads[:1], *op.writes)}
    assert aliases == {"sums"}


def bomb():
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out,
        out.open("m/models/model.json", "w") as file,
    ):
        for _ in range(64):
            file.write(b" " * 2**20)
    return made.getvalue()


def test_a_zip_bomb_takes_no_more_memory_than_a_program_may(tmp_path, monkeypatch):
    monkeypatch.setattr("tierplan.frontend.torch_archive._LARGEST_JSON", 2**20)
    path = tmp_path / "m.pt2"
    path.write_bytes(bomb())
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    with pytest.raises(InvalidInputError, match="takes more than 1048576 bytes; that is absurd"):
        load_pt2(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a .pt2 file, or is cut off"),
        (b"PK\x03\x04" + bytes(100), "is not a .pt2 file, or is cut off"),
        (archive(text(MLP))[:-30], "is not a .pt2 file, or is cut off"),
        (archive(b"{"), "is not JSON, or is cut off"),
        (archive(b"[" * 100_000), "is not JSON, or is cut off"),
        (archive(b"[]"), "holds no graph_module"),
        (archive(b'{"graph_module": 3}'), "has a form that is not read"),
    ],
)
def test_files_that_are_no_programs_are_refused(tmp_path, content, says):
    path = tmp_path / "m.pt2"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=says):
        load_pt2(path)


def test_a_newer_schema_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="schema version is 9; up to 8 are read"):
        load(tmp_path, {**MLP, "schema_version": {"major": 9, "minor": 0}})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match="no file"):
        load_pt2(tmp_path / "none.pt2")


def test_the_programs_here_are_all_read(tmp_path):
    for document in torch_programs.ALL:
        assert load(tmp_path, document).ops
