"""ONNX files as plain values: graphs, nodes, attributes and tensors, checked; external data is never opened."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tierplan.frontend.array_ops import MOST_ELEMENTS
from tierplan.frontend.onnx_wire import without_payloads
from tierplan.ir.errors import InvalidInputError, MissingDependencyError, one_line

Array: TypeAlias = NDArray[Any]

DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8_e4m3fn", 18: "float8_e4m3fn", 19: "float8_e5m2", 20: "float8_e5m2", 21: "uint4", 22: "int4",
    23: "float4_e2m1fn", 24: "uint8", 25: "uint2", 26: "int2",
}  # fmt: skip
"""Element types by their number in the format; float8 of other biases counts as that of the same width."""

_MOST_KNOWN_INTEGERS = 4096
_MOST_KNOWN_FLOATS = 16
_EXTERNAL = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that the file holds; `known` are its numbers where they are few."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    known: Array | None
    external: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One node; an empty name among inputs or outputs is one that is left out. `proto` is its message."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: Any = field(default=None, repr=False, compare=False)

    @property
    def graphs(self) -> "list[OnnxGraph]":
        """The graphs in its attributes."""
        return [value for value in self.attributes.values() if isinstance(value, OnnxGraph)]

    def __str__(self) -> str:
        return f"{self.op} '{self.name}'"


@dataclass(frozen=True, slots=True)
class Declared:
    """An input of a graph; a dimension is a number, a name, or None."""

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A graph: its inputs (initialisers not among them), outputs, nodes as they stand, and stored tensors."""

    name: str
    inputs: tuple[Declared, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    stored: tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the model's own: nodes over its inputs, attributes by name."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    opsets: Mapping[str, int]
    defaults: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """An attribute of a function's node that takes the value of one of the function's own."""

    name: str


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model; `proto` is the message that it was read from."""

    name: str
    graph: OnnxGraph
    functions: Mapping[tuple[str, str], Function]
    opsets: Mapping[str, int]
    proto: Any


def read_model(path: Path) -> OnnxModel:
    """The model in a file, weights left where they are.

    Raises: InvalidInputError: the file is no ONNX model, is broken, or points outside its folder.
        MissingDependencyError: onnx is not installed.
    """
    try:
        onnx = importlib.import_module("onnx")
    except ImportError:
        raise MissingDependencyError("onnx", "onnx") from None
    content = without_payloads(path)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except Exception:
        raise InvalidInputError(f"'{path}' is not an ONNX model, or is cut off") from None
    if not proto.graph.node:
        raise InvalidInputError(f"'{path}' is not an ONNX model: it has no graph with nodes")
    return model_of(proto, str(path))


def model_of(proto: Any, where: str) -> OnnxModel:
    """The model in a message; `where` names it in errors."""
    try:
        functions = {(_text(f.domain), _text(f.name)): _function(f) for f in proto.functions}
        opsets = {_text(entry.domain): int(entry.version) for entry in proto.opset_import}
        return OnnxModel(where, _graph(proto.graph), functions, opsets, proto)
    except InvalidInputError as error:
        raise InvalidInputError(one_line(f"'{where}': {error}")) from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"'{where}': a name in it is no text") from None


def _text(name: Any) -> str:
    """A name, which protobuf leaves as bytes where it is not UTF-8."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _texts(names: Any) -> tuple[str, ...]:
    return tuple(map(_text, names))


def _function(proto: Any) -> Function:
    opsets = {_text(entry.domain): int(entry.version) for entry in proto.opset_import}
    defaults = {_text(attribute.name): _attribute(attribute) for attribute in proto.attribute_proto}
    return Function(_texts(proto.input), _texts(proto.output), tuple(map(_node, proto.node)), opsets, defaults)


def _graph(proto: Any) -> OnnxGraph:
    stored = [stored_of(tensor) for tensor in proto.initializer]
    for sparse in proto.sparse_initializer:
        dims, name = tuple(sparse.dims), _text(sparse.values.name)
        stored.append(Stored(name, dims, _dtype(sparse.values.data_type, name), None))
    held = {tensor.name for tensor in stored}
    inputs = tuple(_declared(value) for value in proto.input if _text(value.name) not in held)
    outputs = tuple(_text(value.name) for value in proto.output)
    return OnnxGraph(_text(proto.name), inputs, outputs, tuple(map(_node, proto.node)), tuple(stored))


def _node(proto: Any) -> Node:
    domain = "" if proto.domain == "ai.onnx" else _text(proto.domain)
    name = _text(proto.name or next(iter(proto.output), ""))
    attributes = {_text(attribute.name): _attribute(attribute) for attribute in proto.attribute}
    return Node(_text(proto.op_type), domain, name, _texts(proto.input), _texts(proto.output), attributes, proto)


def _attribute(proto: Any) -> Any:
    if proto.ref_attr_name:
        return Reference(_text(proto.ref_attr_name))
    kind = proto.type
    if kind == 1:
        return proto.f
    if kind == 2:
        return proto.i
    if kind == 3:
        return proto.s.decode("utf-8", "replace")
    if kind == 4:
        return stored_of(proto.t)
    if kind == 5:
        return _graph(proto.g)
    if kind in (6, 7):
        return tuple(proto.floats if kind == 6 else proto.ints)
    if kind == 8:
        return tuple(text.decode("utf-8", "replace") for text in proto.strings)
    if kind == 9:
        return tuple(stored_of(tensor) for tensor in proto.tensors)
    return None


def _dtype(number: int, name: str) -> str:
    if number not in DTYPES:
        what = "strings" if number == 8 else f"type number {number}"
        raise InvalidInputError(f"tensor '{name}' holds {what}; only numbers have a place in a plan")
    return DTYPES[number]


def stored_of(proto: Any) -> Stored:
    """A tensor of the file, checked; its numbers are read when they are few and in the file itself.

    Raises: InvalidInputError: a bad type, shape or place of its data, or data that does not fill its shape.
    """
    name, shape = _text(proto.name), tuple(int(extent) for extent in proto.dims)
    if any(extent < 0 for extent in shape) or math.prod(shape) > MOST_ELEMENTS:
        raise InvalidInputError(f"tensor '{name}' has the absurd shape {shape}")
    dtype = _dtype(proto.data_type, name)
    if proto.data_location == _EXTERNAL:
        _check_place(name, {_text(entry.key): _text(entry.value) for entry in proto.external_data})
        return Stored(name, shape, dtype, None, external=True)
    most = _MOST_KNOWN_INTEGERS if dtype.startswith(("int", "uint", "bool")) else _MOST_KNOWN_FLOATS
    if math.prod(shape) > most:
        return Stored(name, shape, dtype, None)
    try:
        known = importlib.import_module("onnx.numpy_helper").to_array(proto)
    except Exception:
        raise InvalidInputError(f"tensor '{name}' of shape {shape} holds too few or too many numbers") from None
    return Stored(name, shape, dtype, np.asarray(known).reshape(shape))


def _check_place(name: str, entries: Mapping[str, str]) -> None:
    location = entries.get("location", "")
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    outside = posix.is_absolute() or windows.is_absolute() or windows.drive or ".." in (*posix.parts, *windows.parts)
    if not location or outside or "\0" in location:
        raise InvalidInputError(
            f"tensor '{name}' has its data in '{location[:80]}', outside the model's folder; no file is opened there"
        )


def _declared(proto: Any) -> Declared:
    kind, name = proto.type.WhichOneof("value"), _text(proto.name)
    if kind != "tensor_type":
        what = str(kind or "nothing").removesuffix("_type")
        raise InvalidInputError(f"input '{name}' is a {what}; only plain tensors are read")
    tensor = proto.type.tensor_type
    dtype = _dtype(tensor.elem_type, name)
    if not tensor.HasField("shape"):
        return Declared(name, None, dtype)
    return Declared(name, tuple(_dimension(dim) for dim in tensor.shape.dim), dtype)


def _dimension(proto: Any) -> int | str | None:
    kind = proto.WhichOneof("value")
    if kind == "dim_param":
        dimension = _text(proto.dim_param)
        return dimension if dimension.strip("? ") else None
    return int(proto.dim_value) if kind == "dim_value" and proto.dim_value >= 0 else None


def captured(nodes: Sequence[Node]) -> set[str]:
    """Names that the nodes, and the graphs in them, take from outside."""
    made: set[str] = set()
    used: set[str] = set()
    for node in nodes:
        used.update(name for name in node.inputs if name and name not in made)
        for graph in node.graphs:
            used |= outer_names(graph) - made
        made.update(node.outputs)
    return used - made


def outer_names(graph: OnnxGraph) -> set[str]:
    """Names that a graph inside another takes from around it."""
    own = {tensor.name for tensor in graph.stored} | {value.name for value in graph.inputs}
    made = {name for node in graph.nodes for name in node.outputs}
    return (captured(graph.nodes) | set(graph.outputs)) - own - made


def in_order(nodes: Sequence[Node], given: set[str]) -> list[Node]:
    """The nodes so that each comes after what it reads; as they stand where they do already.

    Raises: InvalidInputError: two nodes make one name, one reads what nothing makes, or there is a cycle.
    """
    maker: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.outputs:
            if name and (name in maker or name in given):
                raise InvalidInputError(f"{node} makes '{name}', which is made already")
            maker[name] = index
    needs = [captured([node]) - given - {""} for node in nodes]
    for node, names in zip(nodes, needs, strict=True):
        lost = sorted(name for name in names if name not in maker)
        if lost:
            raise InvalidInputError(f"{node} reads '{lost[0]}', which nothing makes")
    waits = [{maker[name] for name in names} for names in needs]
    if all(all(source < index for source in sources) for index, sources in enumerate(waits)):
        return list(nodes)
    return _sorted(nodes, waits)


def _sorted(nodes: Sequence[Node], waits: Sequence[set[int]]) -> list[Node]:
    followers: dict[int, list[int]] = {}
    for index, sources in enumerate(waits):
        for source in sources:
            followers.setdefault(source, []).append(index)
    left = [len(sources) for sources in waits]
    ready = [index for index, n in enumerate(left) if not n]
    done: list[Node] = []
    for index in ready:
        done.append(nodes[index])
        for follower in followers.get(index, ()):
            left[follower] -= 1
            if not left[follower]:
                ready.append(follower)
    if len(done) < len(nodes):
        stuck = [str(node) for node, n in zip(nodes, left, strict=True) if n]
        raise InvalidInputError(f"the graph has a cycle through {', '.join(stuck[:3])}")
    return done
