"""ONNX files as graphs: dimensions bound, nodes translated in order, functions called, branches chosen, loops kept.

A stored tensor is a weight, whether it stands among the initialisers or in a `Constant` node, and all of them stay in
the graph. Numbers that are known (shapes, and what models compute from them) are worked out while reading.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tierplan.frontend.array_ops import ArrayOps, check_total
from tierplan.frontend.jaxpr_block import Operand, Source, Value, whole
from tierplan.frontend.jaxpr_block_graph import Argument, Block, graph_of_block, results_in_memory
from tierplan.frontend.onnx_call import Call, Entry, Result, UnknownNumbersError
from tierplan.frontend.onnx_control import CONTROL, Scope, controlled
from tierplan.frontend.onnx_dims import bound_shapes
from tierplan.frontend.onnx_fold import folded
from tierplan.frontend.onnx_infer import Inferred, Layout
from tierplan.frontend.onnx_model import Function, Node, OnnxGraph, OnnxModel, Reference, Stored, in_order, read_model
from tierplan.frontend.onnx_operators import HANDLERS
from tierplan.ir.errors import InvalidInputError, one_line
from tierplan.ir.graph import Graph

_MOST_NODES = 300_000
_DEEPEST = 40


def load_onnx(path: Path, dims: Mapping[str, int] | None = None, *, fuse: bool = True) -> Graph:
    """The graph of an ONNX file; `dims` are the sizes of its named dimensions.

    Raises: InvalidInputError: no such file, not an ONNX model, a broken one, or a dimension without a size.
        MissingDependencyError: onnx is not installed.
    """
    return graph_of_model(read_model(path), path.name, dims or {}, fuse=fuse)


def graph_of_model(model: OnnxModel, name: str, dims: Mapping[str, int], *, fuse: bool = True) -> Graph:
    """The graph of a model."""
    try:
        block, arguments, _ = block_of_model(model, dims)
        return check_total(graph_of_block(name, block, arguments, fused=fuse, cyclic=False))
    except RecursionError:
        raise InvalidInputError(f"'{model.name}': its graphs nest too deep") from None
    except InvalidInputError as error:
        text = str(error)
        whole_text = text if text.startswith(f"'{model.name}'") else f"'{model.name}': {text}"
        raise InvalidInputError(one_line(whole_text)) from None


def block_of_model(model: OnnxModel, dims: Mapping[str, int]) -> tuple[Block, list[Argument], ArrayOps]:
    """The model as primitives, its arguments, and what wrote them (which knows the numbers of its constants)."""
    shapes = bound_shapes(model.graph, dims)
    reader = _Reader(model, dims)
    scope: Scope = {}
    for declared in model.graph.inputs:
        value = reader.ops.value(shapes[declared.name], declared.dtype)
        reader.arguments[value] = Argument(declared.name, False, False)
        scope[declared.name] = Entry(whole(value))
    reader.read(model.graph, scope)
    named = {name: reader.source(scope, name) for name in model.graph.outputs}
    region = reader.ops.region
    results = results_in_memory(named, {}, region)
    constants = tuple(value for value in reader.ops.contents if value not in reader.arguments)
    names = {**reader.names, **{value: f"constant.{n}" for n, value in enumerate(constants)}}
    controls = frozenset(control.value for control in region.controls)
    block = Block(tuple(region.nodes), tuple(reader.arguments), constants, results, {}, controls, names=names)
    return block, list(reader.arguments.values()), reader.ops


class _Reader:
    """One reading of one model."""

    def __init__(self, model: OnnxModel, dims: Mapping[str, int]) -> None:
        self.ops = ArrayOps()
        self.arguments: dict[Value, Argument] = {}
        self.names: dict[Value, str] = {}
        self._model = model
        self._inferred = Inferred(model.proto, dims)
        self._n_nodes = 0
        self._stored: dict[int, Value] = {}

    def source(self, scope: Scope, name: str) -> Source:
        """A value as an operand.

        Raises: InvalidInputError: nothing makes it.
        """
        entry = scope.get(name)
        if entry is None:
            raise InvalidInputError(f"the output '{name}' is made by no node")
        return entry.operand(self.ops)

    def read(self, graph: OnnxGraph, scope: Scope, depth: int = 0) -> None:
        """Translate a graph; its values are added to `scope`."""
        if depth > _DEEPEST:
            raise InvalidInputError(f"graphs in graphs deeper than {_DEEPEST}")
        for tensor in graph.stored:
            scope[tensor.name] = self._entry(tensor)
        self.run(in_order(graph.nodes, set(scope)), scope, self._model.opsets, depth)

    def run(self, nodes: Sequence[Node], scope: Scope, opsets: Mapping[str, int], depth: int) -> None:
        """Translate nodes in order."""
        for node in nodes:
            self._n_nodes += 1
            if self._n_nodes > _MOST_NODES:
                raise InvalidInputError(f"more than {_MOST_NODES} nodes, functions and loops written out")
            entries = [scope.get(name) if name else None for name in node.inputs]
            results = self._results(node, entries, scope, opsets, depth)
            for name, result in zip(node.outputs, results, strict=False):
                if name and result is not None:
                    scope[name] = self._named(result, name)

    def _named(self, result: "Result | Entry", name: str) -> Entry:
        if isinstance(result, Entry):
            return result
        if isinstance(result, np.ndarray):
            return Entry(known=result)
        assert result is not None
        if isinstance(result, Operand):
            self.ops.put(result, name, self.names)
        return Entry(result)

    def _entry(self, tensor: Stored) -> Entry:
        """A stored tensor: a weight of the graph, and a number of the program where it is one."""
        value = self._stored.get(id(tensor))
        if value is None:
            value = self._stored[id(tensor)] = self.ops.value(tensor.shape, tensor.dtype)
            self.arguments[value] = Argument(tensor.name or "constant", True, False)
            if tensor.known is not None:
                self.ops.contents[value] = tensor.known
        if tensor.known is not None and tensor.shape == ():
            return Entry(self.ops.constant(tensor.known, tensor.dtype), tensor.known, tensor.dtype)
        return Entry(whole(value), tensor.known, tensor.dtype)

    def _results(
        self, node: Node, entries: list[Entry | None], scope: Scope, opsets: Mapping[str, int], depth: int
    ) -> Sequence["Result | Entry"]:
        function = self._model.functions.get((node.domain, node.op))
        with self.ops.noted(scope=node.name):
            if function is not None:
                return self._called(node, function, entries, depth)
            if node.op == "Constant" and isinstance(node.attributes.get("value"), Stored):
                return [self._constant(node)]
            wanted = tuple(bool(name) for name in node.outputs)
            call = Call(self.ops, node, entries, opsets.get(node.domain, 1), wanted, node.attributes)
            if node.op in CONTROL and not node.domain:
                return controlled(self, call, scope, depth)
            return self._translated(call)

    def _constant(self, node: Node) -> Entry:
        tensor = node.attributes["value"]
        entry = self._entry(tensor)
        self.arguments[self._stored[id(tensor)]] = Argument(tensor.name or node.outputs[0], True, False)
        return entry

    def _translated(self, call: Call) -> Sequence["Result | Entry"]:
        handler = HANDLERS.get(call.node.domain, {}).get(call.node.op)
        try:
            known = folded(call)
            if known is not None:
                return [known]
            if handler is None:
                return self._streamed(call)
            made = handler(call)
        except UnknownNumbersError as error:
            return self._streamed(call, error)
        except InvalidInputError as error:
            text = str(error)
            raise InvalidInputError(text if str(call.node) in text else f"{call.node}: {text}") from None
        except (AttributeError, IndexError, ValueError, TypeError, KeyError, OverflowError, ZeroDivisionError) as error:
            shapes = ", ".join(str(list(entry.shape)) for entry in call.entries if entry is not None)
            raise InvalidInputError(f"{call.node} does not fit its inputs of shapes {shapes}: {error}") from None
        return list(made) if isinstance(made, list | tuple) else [made]  # pyright: ignore[reportReturnType]

    def _streamed(self, call: Call, reason: InvalidInputError | None = None) -> list[Result]:
        try:
            found = self._inferred.of(call)
        except InvalidInputError as refusal:
            raise reason or refusal from None
        layouts: list[Layout] = []
        for name, layout in zip(call.node.outputs, found, strict=True):
            if layout is None:
                raise reason or InvalidInputError(
                    f"{call.node}: the operator is not known here, and neither the file nor onnx says the shape of "
                    f"'{name}'; run a shape inference of your runtime over the file first"
                )
            layouts.append(layout)
        operands = [call.x(n) for n in range(len(call.entries)) if call.has(n)]
        return [*self.ops.streamed(call.node.op, operands, layouts)]

    def _called(
        self, node: Node, function: Function, entries: list[Entry | None], depth: int
    ) -> Sequence["Result | Entry"]:
        if depth > _DEEPEST:
            raise InvalidInputError(f"{node}: functions call each other deeper than {_DEEPEST}")
        scope: Scope = {name: entry for name, entry in zip(function.inputs, entries, strict=False) if entry is not None}
        given = {**function.defaults, **node.attributes}
        nodes = [_with_attributes(inner, given) for inner in in_order(function.nodes, set(function.inputs))]
        self.run(nodes, scope, {**self._model.opsets, **function.opsets}, depth + 1)
        return [scope.get(name) for name in function.outputs]

    def keep_stored(self, graph: OnnxGraph) -> None:
        """Take up the tensors of a graph that is not read: weights of a branch lie in memory all the same."""
        for tensor in graph.stored:
            self._entry(tensor)
        for node in graph.nodes:
            if node.op == "Constant" and isinstance(node.attributes.get("value"), Stored):
                self._constant(node)
            for inner in node.graphs:
                self.keep_stored(inner)


def _with_attributes(node: Node, given: Mapping[str, Any]) -> Node:
    """A function's node with references to the function's attributes replaced by what the call gives."""
    if not any(isinstance(value, Reference) for value in node.attributes.values()):
        return node
    attributes = {
        name: given.get(value.name) if isinstance(value, Reference) else value
        for name, value in node.attributes.items()
    }
    kept = {name: value for name, value in attributes.items() if value is not None}
    return Node(node.op, node.domain, node.name, node.inputs, node.outputs, kept)
