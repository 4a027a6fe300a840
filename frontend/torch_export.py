"""Programs of torch.export that are in memory: an ExportedProgram, or a module with example arguments."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from tierplan.frontend.torch_graph import graph_of_program
from tierplan.frontend.torch_program import AtenNode, Given, Layout, Ref, TorchInput, TorchProgram
from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError, MissingDependencyError
from tierplan.ir.graph import Graph

_WHAT = {
    "PARAMETER": "parameter", "BUFFER": "buffer", "CONSTANT_TENSOR": "constant", "USER_INPUT": "input",
}  # fmt: skip
_MUTATIONS = ("BUFFER_MUTATION", "PARAMETER_MUTATION", "USER_INPUT_MUTATION")


def is_exported(value: object) -> bool:
    """Whether it is an ExportedProgram; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.export.ExportedProgram)


def is_module(value: object) -> bool:
    """Whether it is a torch module; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def export(module: Any, args: Sequence[Any], name: str) -> Any:
    """The exported program of a module for example arguments, which may lie on the meta device.

    Raises: InvalidInputError: torch cannot export it. MissingDependencyError: torch is not installed.
    """
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        raise MissingDependencyError("torch", "torch") from None
    try:
        return torch.export.export(module, tuple(args), strict=False)
    except Exception as error:
        text = " ".join(str(error).split())[:240]
        raise InvalidInputError(
            f"torch cannot export '{name}': {type(error).__name__}: {text}; check its example arguments"
        ) from error


def exported_graph(exported: Any, name: str, *, fuse: bool = True) -> Graph:
    """The graph of an ExportedProgram."""
    return graph_of_program(program_of(exported, name), fuse=fuse)


def program_of(exported: Any, name: str) -> TorchProgram:
    """An ExportedProgram as plain values.

    Raises: InvalidInputError: an input or argument of a kind that is not supported.
    """
    inputs: list[TorchInput] = []
    signature = exported.graph_signature
    layouts: dict[str, Layout] = {}
    for spec in signature.input_specs:
        what = _WHAT.get(spec.kind.name)
        if what is None:
            raise InvalidInputError(f"'{name}': an input that is a {spec.kind.name.lower()} is not supported")
        if type(spec.arg).__name__ == "TensorArgument":
            inputs.append(TorchInput(spec.arg.name, what, spec.target or spec.arg.name))
    by_target = {given.target: given.name for given in inputs}
    outputs: list[str] = []
    mutations: dict[str, str] = {}
    for spec in signature.output_specs:
        if type(spec.arg).__name__ != "TensorArgument":
            continue
        if spec.kind.name in _MUTATIONS:
            mutations[by_target.get(str(spec.target), str(spec.target))] = spec.arg.name
        else:
            outputs.append(spec.arg.name)
    nodes: list[AtenNode] = []
    for node in exported.graph.nodes:
        _note_layout(node, layouts)
        if node.op == "call_function":
            nodes += _calls(node, layouts)
        elif node.op not in ("placeholder", "output"):
            raise InvalidInputError(f"'{name}': a node of kind {node.op} is not supported")
    return TorchProgram(name, tuple(inputs), tuple(nodes), tuple(outputs), layouts, mutations)


def _note_layout(node: Any, layouts: dict[str, Layout]) -> None:
    value = node.meta.get("val")
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        layouts[node.name] = _layout(node.name, value)
    elif isinstance(value, tuple | list):
        for index, part in enumerate(value):
            if hasattr(part, "dtype") and hasattr(part, "shape"):
                layouts[f"{node.name}.{index}"] = _layout(node.name, part)


def _layout(name: str, value: Any) -> Layout:
    dtype = str(value.dtype).removeprefix("torch.")
    dtype = "float8_e4m3fn" if dtype not in BITS and dtype.startswith("float8") else dtype
    if dtype not in BITS:
        raise InvalidInputError(f"'{name}' has element type {dtype}, which has no known width here")
    return tuple(_number(extent) for extent in value.shape), dtype


def _number(extent: Any) -> int:
    return int(extent) if isinstance(extent, int) else int(extent.node.hint)


def _calls(node: Any, layouts: dict[str, Layout]) -> list[AtenNode]:
    target = str(node.target)
    if getattr(node.target, "__name__", "") == "getitem":
        base, index = node.args
        return [AtenNode("getitem", {"self": Ref(f"{base.name}.{index}")}, (node.name,))]
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema is not None else []
    names += [f"argument{n}" for n in range(len(names), len(node.args))]
    arguments = {name: _given(value) for name, value in (*zip(names, node.args, strict=False), *node.kwargs.items())}
    value = node.meta.get("val")
    many = isinstance(value, tuple | list)
    results = tuple(f"{node.name}.{n}" for n in range(len(value))) if many else (node.name,)
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    prefix = "torch.ops." if schema is not None else ""
    return [AtenNode(prefix + target, arguments, results, str(stack[-1][0]) if stack else "")]


def _given(value: Any) -> Given:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return tuple(_given(item) for item in value)
    if hasattr(value, "op") and hasattr(value, "meta"):
        return Ref(value.name)
    if hasattr(value, "node") and hasattr(value.node, "hint"):
        return value.node.hint
    text = str(value)
    return text.removeprefix("torch.") if text.removeprefix("torch.") in BITS else None
