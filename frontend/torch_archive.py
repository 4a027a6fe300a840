"""Saved PyTorch programs (`.pt2`): the graph is read from the archive's JSON, and nothing in it is unpickled.

Weights, example inputs and constants are other members of the archive, which are never opened.
Source: torch/_export/serde/schema.py, schema version 8.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tierplan.frontend.torch_graph import graph_of_program
from tierplan.frontend.torch_program import AtenNode, Given, Layout, Ref, TorchInput, TorchProgram
from tierplan.ir.errors import InvalidInputError, one_line
from tierplan.ir.graph import Graph

_LARGEST_JSON = 2**27
_MOST_MEMBERS = 10**6
_NEWEST = 8
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn",
    30: "float8_e5m2", 31: "float8_e4m3fn", 32: "float8_e5m2",
}  # fmt: skip


def load_pt2(path: Path, *, fuse: bool = True) -> Graph:
    """The graph of a saved program.

    Raises: InvalidInputError: no such file, not such an archive, or a broken, oversized or unknown program in it.
    """
    document = _document(path)
    try:
        program = _program(document, path.name)
        return graph_of_program(program, fuse=fuse)
    except InvalidInputError as error:
        raise InvalidInputError(one_line(f"'{path}': {error}")) from None
    except RecursionError:
        raise InvalidInputError(f"'{path}': its program nests too deep") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration) as error:
        raise InvalidInputError(
            one_line(f"'{path}': its program has a form that is not read ({type(error).__name__}: {str(error)[:100]})")
        ) from None


def _document(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS:
                raise InvalidInputError(f"'{path}' has {len(members)} members; that is absurd")
            found = [member for member in members if member.filename.endswith("models/model.json")]
            found = found or [m for m in members if m.filename.endswith("serialized_exported_program.json")]
            found = found or [m for m in members if "/models/" in m.filename and m.filename.endswith(".json")]
            if not found:
                raise InvalidInputError(f"'{path}' is not a program of torch.export.save: it has no models/model.json")
            with archive.open(found[0]) as file:  # the size that the archive declares may be a lie
                text = file.read(_LARGEST_JSON + 1)
    except FileNotFoundError:
        raise InvalidInputError(f"no file '{path}'") from None
    except OSError as error:
        raise InvalidInputError(f"cannot read '{path}': {error.strerror or error}") from None
    except InvalidInputError:
        raise
    except Exception:
        raise InvalidInputError(f"'{path}' is not a .pt2 file, or is cut off") from None
    if len(text) > _LARGEST_JSON:
        raise InvalidInputError(f"'{path}': its program takes more than {_LARGEST_JSON} bytes; that is absurd")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInputError(f"'{path}': its program is not JSON, or is cut off") from None
    if not isinstance(document, dict) or "graph_module" not in document:
        raise InvalidInputError(f"'{path}': its JSON holds no graph_module")
    return cast("dict[str, Any]", document)


def _program(document: Mapping[str, Any], name: str) -> TorchProgram:
    version = document["schema_version"]["major"]
    if not isinstance(version, int) or version > _NEWEST:
        raise InvalidInputError(f"its schema version is {version}; up to {_NEWEST} are read")
    graph, signature = document["graph_module"]["graph"], document["graph_module"]["signature"]
    layouts = {key: _layout(key, meta) for key, meta in graph["tensor_values"].items()}
    inputs: list[TorchInput] = []
    for spec in signature["input_specs"]:
        inputs += _input(spec)
    outputs: list[str] = []
    mutations: dict[str, str] = {}
    by_target = {given.target: given.name for given in inputs}
    for spec in signature["output_specs"]:
        ((kind, content),) = spec.items()
        arg = content["arg"]
        made = arg.get("name") or next((v["name"] for k, v in arg.items() if k == "as_tensor"), None)
        if made is None:
            continue
        if kind in ("buffer_mutation", "parameter_mutation"):
            mutations[by_target[content.get("buffer_name") or content["param_name"]]] = made
        elif kind == "user_input_mutation":
            mutations[content["user_input_name"]] = made
        else:
            outputs.append(made)
    nodes = tuple(_node(node) for node in graph["nodes"])
    return TorchProgram(name, tuple(inputs), nodes, tuple(outputs), layouts, mutations)


def _input(spec: Mapping[str, Any]) -> list[TorchInput]:
    ((kind, content),) = spec.items()
    if kind == "user_input":
        tensor = content["arg"].get("as_tensor")
        return [TorchInput(tensor["name"], "input", tensor["name"])] if tensor else []
    if kind == "parameter":
        return [TorchInput(content["arg"]["name"], "parameter", content["parameter_name"])]
    if kind == "buffer":
        return [TorchInput(content["arg"]["name"], "buffer", content["buffer_name"])]
    if kind == "tensor_constant":
        return [TorchInput(content["arg"]["name"], "constant", content["tensor_constant_name"])]
    if kind in ("constant_input", "token"):
        return []
    raise InvalidInputError(f"an input that is a {kind} is not supported")


def _layout(name: str, meta: Mapping[str, Any]) -> Layout:
    dtype = _DTYPES.get(meta["dtype"])
    if dtype is None:
        raise InvalidInputError(f"'{name}' has element type number {meta['dtype']}, which is not known here")
    return tuple(_size(size, name) for size in meta["sizes"]), dtype


def _size(size: Mapping[str, Any], name: str) -> int:
    value = size.get("as_int")
    if value is None and "as_expr" in size:
        value = cast("dict[str, Any]", size["as_expr"].get("hint") or {}).get("as_int")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInputError(f"'{name}' has an extent without a number; export it with example inputs")
    return value


def _node(node: Mapping[str, Any]) -> AtenNode:
    arguments = {str(entry["name"]): _given(entry["arg"]) for entry in node["inputs"]}
    results: list[str] = []
    for output in node["outputs"]:
        ((kind, content),) = output.items()
        if kind == "as_tensors":
            results += [str(tensor["name"]) for tensor in content]
        elif kind == "as_tensor":
            results.append(str(content["name"]))
        elif kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
            results.append(str(content.get("as_name", "")))
        else:
            results.append("")
    notes = cast("dict[str, Any]", node.get("metadata") or {})
    scope = str(notes.get("nn_module_stack", "")).rsplit(";", 1)[-1].split(",")
    return AtenNode(str(node["target"]), arguments, tuple(results), scope[1] if len(scope) > 2 else "")


def _given(arg: Mapping[str, Any]) -> Given:
    ((kind, value),) = arg.items()
    if kind == "as_none":
        return None
    if kind == "as_tensor":
        return Ref(value["name"])
    if kind in ("as_int", "as_float", "as_bool", "as_string"):
        return float(value) if kind == "as_float" else cast("Given", value)
    if kind in ("as_ints", "as_floats", "as_bools", "as_strings"):
        return tuple(value)
    if kind in ("as_tensors", "as_nested_tensors"):
        return tuple(Ref(tensor["name"]) for tensor in value)
    if kind == "as_optional_tensors":
        return tuple(Ref(t["as_tensor"]["name"]) if "as_tensor" in t else None for t in value)
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _symbol(value)
    if kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return tuple(_symbol(item) for item in value)
    if kind == "as_scalar_type":
        return _DTYPES.get(value, "float32")
    if kind in ("as_device", "as_layout", "as_memory_format"):
        return None
    raise InvalidInputError(f"an argument that is a {kind.removeprefix('as_')} is not supported")


def _symbol(value: Mapping[str, Any]) -> Given:
    if "as_name" in value:
        return Ref(value["as_name"])
    (number,) = value.values()
    return cast("Given", number)
