"""Layouts of results of operators that are not translated: what the file says, else what onnx infers of a node."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from tierplan.frontend.jaxpr_block import Shape
from tierplan.frontend.onnx_call import Call, Entry
from tierplan.frontend.onnx_model import DTYPES
from tierplan.ir.errors import InvalidInputError

Layout: TypeAlias = tuple[Shape, str]
_NUMBERS = {name: number for number, name in reversed(DTYPES.items())}
_HIGHEST_RANK = 64


class Inferred:
    """Layouts of the outputs of nodes."""

    def __init__(self, proto: Any, dims: Mapping[str, int]) -> None:
        self._graph = proto.graph
        self._dims = dims
        self._said: dict[str, Layout] | None = None

    def of(self, call: Call) -> list[Layout | None]:
        """The layout of each output, in order; None where it is not known."""
        if self._said is None:
            self._said = dict(said(self._graph, self._dims))
        unused: Layout = ((0,), "bool")
        found: list[Layout | None] = [self._said.get(name) if name else unused for name in call.node.outputs]
        if None not in found:
            return found
        inferred = by_onnx(call, self._dims)
        return [layout or inferred.get(name) for layout, name in zip(found, call.node.outputs, strict=True)]


def said(graph: Any, dims: Mapping[str, int]) -> Iterator[tuple[str, Layout]]:
    """The layouts that a file says of values, those in graphs within graphs included."""
    for value in (*graph.value_info, *graph.output):
        layout = _layout(value.type, dims)
        if layout is not None:
            yield value.name, layout
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from said(inner, dims)


def by_onnx(call: Call, dims: Mapping[str, int]) -> dict[str, Layout]:
    """What the onnx package infers of one node: of its inputs it sees layouts, and numbers where they are known.

    Nothing where onnx does not know the operator, nor where an input may list extents without end, for which onnx would
    take as much memory.
    Raises: InvalidInputError: the node is not as onnx wants it.
    """
    onnx, node = importlib.import_module("onnx"), call.node
    entries = {name: entry for name, entry in zip(node.inputs, call.entries, strict=True) if entry is not None}
    lost = any(name and name not in entries for name in node.inputs)
    if node.proto is None or lost or any(_endless(entry) for entry in entries.values()):
        return {}
    types = {name: onnx.helper.make_tensor_type_proto(_NUMBERS[_dtype(e)], e.shape) for name, e in entries.items()}
    numbers = {name: onnx.numpy_helper.from_array(e.numbers) for name, e in entries.items() if e.numbers is not None}
    opsets = [onnx.helper.make_opsetid(node.domain, call.opset)]
    try:
        schema = onnx.defs.get_schema(node.op, call.opset, node.domain)
    except onnx.defs.SchemaError:
        return {}
    try:
        made = onnx.shape_inference.infer_node_outputs(schema, node.proto, types, numbers, opset_imports=opsets)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidInputError(f"{node}: onnx refuses it: {str(error).strip().splitlines()[0]}") from None
    layouts = {name: _layout(kind, dims) for name, kind in made.items()}
    return {name: layout for name, layout in layouts.items() if layout is not None}


def _dtype(entry: Entry) -> str:
    known = entry.dtype or (entry.known.dtype.name if entry.known is not None else "")
    return entry.source.dtype if entry.source is not None else known


def _endless(entry: Entry) -> bool:
    return entry.numbers is None and len(entry.shape) == 1 and entry.shape[0] > _HIGHEST_RANK and "int" in _dtype(entry)


def _layout(kind: Any, dims: Mapping[str, int]) -> Layout | None:
    tensor = kind.tensor_type
    if kind.WhichOneof("value") != "tensor_type" or not tensor.HasField("shape") or tensor.elem_type not in DTYPES:
        return None
    extents = [dim.dim_value if dim.HasField("dim_value") else dims.get(dim.dim_param, -1) for dim in tensor.shape.dim]
    return (tuple(extents), DTYPES[tensor.elem_type]) if min(extents, default=0) >= 0 else None
