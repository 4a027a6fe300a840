"""The shapes that the onnx package infers, for results of operators that are not translated."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import importlib
from typing import Any

from tierplan.frontend.jaxpr_block import Shape
from tierplan.frontend.onnx_model import DTYPES


class Inferred:
    """Shapes and types by name, worked out when first asked for."""

    def __init__(self, proto: Any, bound: dict[str, Shape]) -> None:
        self._proto = proto
        self._bound = bound
        self._known: dict[str, tuple[Shape, str]] | None = None

    def of(self, name: str) -> tuple[Shape, str] | None:
        """Shape and type of a value; None where they are not known."""
        if self._known is None:
            self._known = {}
            self._collect(self._run().graph)
        return self._known.get(name)

    def _run(self) -> Any:
        onnx = importlib.import_module("onnx")
        proto = type(self._proto)()
        proto.CopyFrom(self._proto)
        for value in proto.graph.input:
            shape = self._bound.get(value.name)
            if shape is not None:
                value.type.tensor_type.ClearField("shape")
                for extent in shape:
                    value.type.tensor_type.shape.dim.add().dim_value = extent
        try:
            return onnx.shape_inference.infer_shapes(proto, data_prop=True)
        except Exception:
            return proto

    def _collect(self, graph: Any) -> None:
        assert self._known is not None
        for value in (*graph.value_info, *graph.output):
            if value.type.WhichOneof("value") != "tensor_type":
                continue
            tensor = value.type.tensor_type
            dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
            if tensor.HasField("shape") and min(dims, default=0) >= 0 and tensor.elem_type in DTYPES:
                self._known.setdefault(value.name, (tuple(dims), DTYPES[tensor.elem_type]))
        for node in graph.node:
            for attribute in node.attribute:
                for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                    self._collect(inner)
