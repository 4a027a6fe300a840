"""ONNX files as graphs: dimensions bound, nodes translated in order, functions called, branches chosen, loops kept.

A stored tensor is a weight, whether it stands among the initialisers or in a `Constant` node, and all of them stay in
the graph. Numbers that are known (shapes, and what models compute from them) are worked out while reading.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tierplan.frontend.array_loops import repeated
from tierplan.frontend.array_ops import ArrayOps, check_total, number, one_line
from tierplan.frontend.jaxpr_block import Literal, Operand, Shape, Source, Value, cost_of, live, whole
from tierplan.frontend.jaxpr_block_graph import Argument, Block, graph_of_block, results_in_memory
from tierplan.frontend.jaxpr_region import Region
from tierplan.frontend.onnx_call import Call, Entry, Result, UnknownNumbersError
from tierplan.frontend.onnx_dims import bound_shapes
from tierplan.frontend.onnx_fold import folded
from tierplan.frontend.onnx_infer import Inferred
from tierplan.frontend.onnx_model import Function, Node, OnnxGraph, OnnxModel, Reference, Stored, in_order, read_model
from tierplan.frontend.onnx_operators import CONTROL, HANDLERS
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph

_MOST_NODES = 300_000
_DEEPEST = 40
_MOST_TRIPS = 2**20

Scope = dict[str, Entry]


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
    reader = _Reader(model, shapes)
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

    def __init__(self, model: OnnxModel, shapes: Mapping[str, Shape]) -> None:
        self.ops = ArrayOps()
        self.arguments: dict[Value, Argument] = {}
        self.names: dict[Value, str] = {}
        self._model = model
        self._inferred = Inferred(model.proto, dict(shapes))
        self._n_nodes = 0
        self._stored: dict[int, Value] = {}

    def source(self, scope: Scope, name: str) -> Source:
        """A value as an operand.

        Raises: InvalidInputError: nothing makes it.
        """
        entry = scope.get(name)
        if entry is None:
            raise InvalidInputError(f"the output '{name}' is made by no node")
        if entry.source is None:
            assert entry.known is not None
            entry.source = self.ops.constant(entry.known, entry.dtype or None)
        return entry.source

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
            if node.op in CONTROL and not node.domain:
                return self._control(node, entries, scope, depth)
            if node.op == "Constant" and isinstance(node.attributes.get("value"), Stored):
                return [self._constant(node)]
            wanted = tuple(bool(name) for name in node.outputs)
            call = Call(self.ops, node, entries, opsets.get(node.domain, 1), wanted, node.attributes)
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
        layouts: list[tuple[Shape, str]] = []
        for name in call.node.outputs:
            found = self._inferred.of(name) if name else ((0,), "bool")
            if found is None:
                raise reason or InvalidInputError(
                    f"{call.node}: the operator is not known here, and the file does not say the shape of '{name}'; "
                    "run onnx.shape_inference or a shape inference of your runtime over the file first"
                )
            layouts.append(found)
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

    def _control(self, node: Node, entries: list[Entry | None], scope: Scope, depth: int) -> Sequence["Result | Entry"]:
        if node.op == "If":
            return self._branch(node, entries, scope, depth)
        body = node.attributes.get("body")
        if not isinstance(body, OnnxGraph):
            raise InvalidInputError(f"{node} lacks its body")
        return (
            self._loop(node, body, entries, scope, depth)
            if node.op == "Loop"
            else self._scan(node, body, entries, scope, depth)
        )

    def _branch(self, node: Node, entries: list[Entry | None], scope: Scope, depth: int) -> Sequence["Result | Entry"]:
        """The branch that a known condition takes, else the costlier one of those that fit the shapes."""
        graphs = [node.attributes.get(name) for name in ("then_branch", "else_branch")]
        entry = entries[0] if entries else None
        if entry is None or not all(isinstance(graph, OnnxGraph) for graph in graphs):
            raise InvalidInputError(f"{node} lacks its condition or a branch")
        condition = self._known(entry)
        both: list[OnnxGraph] = [graph for graph in graphs if isinstance(graph, OnnxGraph)]
        tried: list[tuple[Region, list[Entry]]] = []
        refused: list[InvalidInputError] = []
        for number_, graph in enumerate(both):
            if condition is not None and bool(condition.reshape(-1)[0]) == bool(number_):
                self._keep_stored(graph)
                continue
            notes = {} if condition is not None else {"branch": number_, "n_branches": 2}
            try:
                with self.ops.inside(Region()) as region, self.ops.noted(**notes):
                    inner = dict(scope)
                    self.read(graph, inner, depth + 1)
                    for name in graph.outputs:
                        self.source(inner, name)
            except InvalidInputError as error:
                self._keep_stored(graph)
                refused.append(error)
                continue
            tried.append((region, [inner[name] for name in graph.outputs]))
        if not tried:
            raise refused[0]
        if condition is None and isinstance(entry.source, Operand):
            self.ops.region.controls.append(entry.source)
        region, outs = max(tried, key=lambda trial: _cost(*trial))
        for made in region.nodes:
            self.ops.region.put(made)
        self.ops.region.controls.extend(region.controls)
        return outs

    def _known(self, entry: Entry) -> Any:
        if entry.known is not None:
            return entry.known
        return np.asarray(entry.source.value) if isinstance(entry.source, Literal) else None

    def _keep_stored(self, graph: OnnxGraph) -> None:
        """Weights of a branch that is not taken lie in memory all the same."""
        for tensor in graph.stored:
            self._entry(tensor)
        for node in graph.nodes:
            if node.op == "Constant" and isinstance(node.attributes.get("value"), Stored):
                self._constant(node)
            for inner in node.graphs:
                self._keep_stored(inner)

    def _loop(
        self, node: Node, body: OnnxGraph, entries: list[Entry | None], scope: Scope, depth: int
    ) -> Sequence["Result | Entry"]:
        limit, condition = (entries[n] if n < len(entries) else None for n in range(2))
        n_carried = len(entries) - 2
        if (
            len(body.inputs) != n_carried + 2
            or len(body.outputs) < n_carried + 1
            or any(e is None for e in entries[2:])
        ):
            raise InvalidInputError(
                f"{node}: its body takes {len(body.inputs)} inputs for {n_carried} values handed on"
            )
        known = None if limit is None else self._known(limit)
        goes_on = True if condition is None else self._known(condition)
        trips = 1 if known is None else int(known.reshape(-1)[0])
        assumed = known is None or goes_on is None or not _stays_true(body)
        if not 0 <= trips <= _MOST_TRIPS:
            raise InvalidInputError(f"{node} runs {trips} times; more than {_MOST_TRIPS} is not supported")
        initial = [self._source_of(entry) for entry in entries[2:] if entry is not None]
        if trips == 0 or (goes_on is not None and not np.asarray(goes_on).any()):
            if len(body.outputs) > n_carried + 1:
                raise InvalidInputError(f"{node} runs no turn, so that what it stacks has no shape")
            return [Entry(source) for source in initial]
        notes = {"trips_assumed": trips} if assumed else {}
        counter = number(0, "int64")

        def turn(carried: list[Operand], slices: list[Operand]) -> tuple[Sequence[Source], Sequence[Source]]:
            inner = dict(scope)
            sources = [carried[0], number(True, "bool"), *carried[1:]]
            inner.update({value.name: Entry(source) for value, source in zip(body.inputs, sources, strict=True)})
            self.read(body, inner, depth + 1)
            outs = [self.source(inner, name) for name in body.outputs]
            if isinstance(outs[0], Operand):
                self.ops.region.controls.append(outs[0])
            following = self.ops.elementwise("add", carried[0], number(1, "int64"))
            return [following, *outs[1 : n_carried + 1]], outs[n_carried + 1 :]

        with self.ops.noted(**notes):
            after, stacks = repeated(self.ops, trips, [counter, *initial], [], turn, kind="loop")
        return [*map(Entry, after[1:]), *map(Entry, stacks)]

    def _source_of(self, entry: Entry) -> Source:
        if entry.source is None:
            assert entry.known is not None
            entry.source = self.ops.constant(entry.known, entry.dtype or None)
        return entry.source

    def _scan(
        self, node: Node, body: OnnxGraph, entries: list[Entry | None], scope: Scope, depth: int
    ) -> Sequence["Result | Entry"]:
        n_scanned = node.attributes.get("num_scan_inputs")
        given = [self._source_of(entry) for entry in entries if entry is not None]
        if not isinstance(n_scanned, int) or not 0 < n_scanned <= len(given) or len(body.inputs) != len(given):
            raise InvalidInputError(f"{node}: {n_scanned} scanned inputs of {len(given)}")
        initial, scanned = given[: len(given) - n_scanned], given[len(given) - n_scanned :]
        n_stacks = len(body.outputs) - len(initial)
        ins = node.attributes.get("scan_input_axes") or (0,) * n_scanned
        outs_at = node.attributes.get("scan_output_axes") or (0,) * n_stacks
        backwards = node.attributes.get("scan_input_directions") or (0,) * n_scanned
        outs_back = node.attributes.get("scan_output_directions") or (0,) * n_stacks
        if len(ins) != n_scanned or len(outs_at) != n_stacks:
            raise InvalidInputError(f"{node}: its axes do not fit its inputs and outputs")
        fronts = [self._front(x, axis, bool(back)) for x, axis, back in zip(scanned, ins, backwards, strict=True)]
        trips = fronts[0].shape[0]
        if any(front.shape[0] != trips for front in fronts):
            raise InvalidInputError(f"{node} scans inputs of different lengths")

        def turn(carried: list[Operand], slices: list[Operand]) -> tuple[Sequence[Source], Sequence[Source]]:
            inner = dict(scope)
            sources = [*carried, *slices]
            inner.update({value.name: Entry(source) for value, source in zip(body.inputs, sources, strict=True)})
            self.read(body, inner, depth + 1)
            outs = [self.source(inner, name) for name in body.outputs]
            return outs[: len(initial)], outs[len(initial) :]

        after, stacks = repeated(self.ops, trips, initial, fronts, turn)
        made: list[Source] = []
        for stack, axis, back in zip(stacks, outs_at, outs_back, strict=True):
            rank = len(stack.shape)
            turned = self.ops.apply("rev", [stack], stack.shape, stack.dtype, dimensions=(0,)) if back else stack
            order = list(range(1, rank))
            order.insert(axis % rank, 0)
            made.append(self.ops.transpose(turned, order))
        return [*map(Entry, after), *map(Entry, made)]

    def _front(self, x: Source, axis: int, back: bool) -> Operand:
        operand = self.ops.array(x)
        axis %= max(1, len(operand.shape))
        moved = self.ops.transpose(operand, [axis, *(n for n in range(len(operand.shape)) if n != axis)])
        return self.ops.apply("rev", [moved], moved.shape, moved.dtype, dimensions=(0,)) if back else moved


def _stays_true(body: OnnxGraph) -> bool:
    """Whether the condition that the body computes is the one that it got, or a constant."""
    name, given = body.outputs[0], body.inputs[1].name
    makers = {output: node for node in body.nodes for output in node.outputs}
    while name in makers and makers[name].op in ("Identity", "Cast"):
        name = makers[name].inputs[0]
    constant = name in makers and makers[name].op == "Constant"
    return name == given or constant or any(tensor.name == name for tensor in body.stored)


def _cost(region: Region, outs: Sequence[Entry]) -> tuple[int, int]:
    needed = {entry.source.value for entry in outs if isinstance(entry.source, Operand)}
    return cost_of(live(region.nodes, needed | {control.value for control in region.controls}))


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
