"""`If`, `Loop` and `Scan` of ONNX: the branch that is taken, and bodies that stay loops."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from tierplan.frontend.array_loops import repeated
from tierplan.frontend.array_ops import ArrayOps, axis_of, number
from tierplan.frontend.jaxpr_block import Operand, Source, cost_of, live
from tierplan.frontend.jaxpr_region import Region
from tierplan.frontend.onnx_call import Call, Entry
from tierplan.frontend.onnx_model import OnnxGraph
from tierplan.ir.errors import InvalidInputError

CONTROL = ("If", "Loop", "Scan")
"""Operators with graphs inside."""

Scope: TypeAlias = dict[str, Entry]
_MOST_TRIPS = 2**20


class Reader(Protocol):
    """What reads the graphs inside."""

    @property
    def ops(self) -> ArrayOps:
        """What writes primitives."""
        ...

    def read(self, graph: OnnxGraph, scope: Scope, depth: int = 0) -> None:
        """Translate a graph; its values are added to `scope`."""
        ...

    def source(self, scope: Scope, name: str) -> Source:
        """A value as an operand."""
        ...

    def keep_stored(self, graph: OnnxGraph) -> None:
        """Take up the tensors of a graph that is not read."""
        ...


def controlled(reader: Reader, call: Call, scope: Scope, depth: int) -> Sequence[Entry]:
    """The results of a node with graphs inside.

    Raises: InvalidInputError: a graph is missing, takes or gives other values than the node, or runs too often.
    """
    if call.node.op == "If":
        return _branch(reader, call, scope, depth)
    body = call.attributes.get("body")
    if not isinstance(body, OnnxGraph):
        raise InvalidInputError(f"{call.node} lacks its body")
    return (_loop if call.node.op == "Loop" else _scan)(reader, call, body, scope, depth)


def _branch(reader: Reader, call: Call, scope: Scope, depth: int) -> Sequence[Entry]:
    """The branch that a known condition takes, else the costlier one of those that fit the shapes."""
    given = [call.attributes.get(name) for name in ("then_branch", "else_branch")]
    graphs = [graph for graph in given if isinstance(graph, OnnxGraph)]
    if not call.has(0) or len(graphs) < 2:
        raise InvalidInputError(f"{call.node} lacks its condition or a branch")
    condition = _truth(call, 0, None)
    notes: dict[str, int] = {}
    tried: list[tuple[Region, list[Entry]]] = []
    refused: list[InvalidInputError] = []
    for place, graph in enumerate(graphs):
        if condition is not None and condition == bool(place):
            reader.keep_stored(graph)
            continue
        if condition is None:
            notes = {"branch": place, "n_branches": 2}
        try:
            with reader.ops.inside(Region()) as region, reader.ops.noted(**notes):
                inner = dict(scope)
                reader.read(graph, inner, depth + 1)
                for name in graph.outputs:
                    reader.source(inner, name)
        except InvalidInputError as error:
            reader.keep_stored(graph)
            refused.append(error)
            continue
        tried.append((region, [inner[name] for name in graph.outputs]))
    if not tried:
        raise refused[0]
    region, outs = max(tried, key=lambda trial: _cost(*trial))
    around, entry = reader.ops.region, call.entry(0)
    if condition is None and isinstance(entry.source, Operand):
        around.controls.append(entry.source)
    for made in region.nodes:
        around.put(made)
    around.controls.extend(region.controls)
    return outs


def _loop(reader: Reader, call: Call, body: OnnxGraph, scope: Scope, depth: int) -> Sequence[Entry]:
    carried, n_carried = call.entries[2:], len(call.entries) - 2
    fits = len(body.inputs) == n_carried + 2 and len(body.outputs) > n_carried >= 0
    if not fits or any(entry is None for entry in carried):
        raise InvalidInputError(
            f"{call.node}: its body takes {len(body.inputs)} inputs for {n_carried} values handed on"
        )
    limits = call.numbers(0, "its trips") if call.known(0) is not None else []
    goes_on = _truth(call, 1, True)
    trips = limits[0] if limits else 1
    if not 0 <= trips <= _MOST_TRIPS:
        raise InvalidInputError(f"{call.node} runs {trips} times; more than {_MOST_TRIPS} is not supported")
    initial = [entry.operand(reader.ops) for entry in carried if entry is not None]
    if trips == 0 or goes_on is False:
        if len(body.outputs) > n_carried + 1:
            raise InvalidInputError(f"{call.node} runs no turn, so that what it stacks has no shape")
        return [Entry(source) for source in initial]
    assumed = not limits or goes_on is None or not _stays_true(body)

    def turn(carried: list[Operand], slices: list[Operand]) -> tuple[Sequence[Source], Sequence[Source]]:
        outs = _body(reader, body, [carried[0], number(True, "bool"), *carried[1:]], scope, depth)
        if isinstance(outs[0], Operand):
            reader.ops.region.controls.append(outs[0])
        following = reader.ops.elementwise("add", carried[0], number(1, "int64"))
        return [following, *outs[1 : n_carried + 1]], outs[n_carried + 1 :]

    notes: Mapping[str, int] = {"trips_assumed": trips} if assumed else {}
    with reader.ops.noted(**notes):
        after, stacks = repeated(reader.ops, trips, [number(0, "int64"), *initial], [], turn, kind="loop")
    return [*map(Entry, after[1:]), *map(Entry, stacks)]


def _scan(reader: Reader, call: Call, body: OnnxGraph, scope: Scope, depth: int) -> Sequence[Entry]:
    n_scanned, ops = call.whole("num_scan_inputs", 0), reader.ops
    given = [entry.operand(ops) for entry in call.entries if entry is not None]
    n_initial = len(given) - n_scanned
    n_stacks = len(body.outputs) - n_initial
    if not 0 < n_scanned <= len(given) or len(body.inputs) != len(given) or n_stacks < 0:
        raise InvalidInputError(f"{call.node}: {n_scanned} scanned inputs of {len(given)}")
    axes, backwards = (call.ints(f"scan_input_{what}", [0] * n_scanned, n_scanned) for what in ("axes", "directions"))
    fronts = [_front(ops, x, *how) for x, *how in zip(given[n_initial:], axes, backwards, strict=True)]
    trips = fronts[0].shape[0]
    if any(front.shape[0] != trips for front in fronts):
        raise InvalidInputError(f"{call.node} scans inputs of different lengths")
    axes, backwards = (call.ints(f"scan_output_{what}", [0] * n_stacks, n_stacks) for what in ("axes", "directions"))

    def turn(carried: list[Operand], slices: list[Operand]) -> tuple[Sequence[Source], Sequence[Source]]:
        outs = _body(reader, body, [*carried, *slices], scope, depth)
        return outs[:n_initial], outs[n_initial:]

    after, stacks = repeated(ops, trips, given[:n_initial], fronts, turn)
    made: list[Source] = []
    for stack, axis, back in zip(stacks, axes, backwards, strict=True):
        order = list(range(1, len(stack.shape)))
        order.insert(axis_of(axis, len(stack.shape)), 0)
        made.append(ops.transpose(_turned(ops, stack) if back else stack, order))
    return [*map(Entry, after), *map(Entry, made)]


def _body(reader: Reader, body: OnnxGraph, given: Sequence[Source], scope: Scope, depth: int) -> list[Source]:
    inner = dict(scope)
    inner.update({value.name: Entry(source) for value, source in zip(body.inputs, given, strict=True)})
    reader.read(body, inner, depth + 1)
    return [reader.source(inner, name) for name in body.outputs]


def _front(ops: ArrayOps, x: Source, axis: int, back: int) -> Operand:
    """A scanned input with the axis that is scanned in front, in the order in which it is read."""
    operand = ops.array(x)
    if not operand.shape:
        raise InvalidInputError("a scanned input has no axis")
    axis = axis_of(axis, len(operand.shape))
    moved = ops.transpose(operand, [axis, *(n for n in range(len(operand.shape)) if n != axis)])
    return _turned(ops, moved) if back else moved


def _turned(ops: ArrayOps, x: Operand) -> Operand:
    return ops.apply("rev", [x], x.shape, x.dtype, dimensions=(0,))


def _truth(call: Call, index: int, absent: bool | None) -> bool | None:
    """A condition where it is known; `absent` where there is none."""
    known = call.known(index) if call.has(index) else absent
    return None if known is None else bool(np.asarray(known).any())


def _stays_true(body: OnnxGraph) -> bool:
    """Whether the condition that the body computes is the one that it got, or a constant."""
    name, given = body.outputs[0], body.inputs[1].name
    makers = {output: node for node in body.nodes for output in node.outputs}
    seen: set[str] = set()
    while name in makers and makers[name].op in ("Identity", "Cast") and makers[name].inputs and name not in seen:
        seen.add(name)
        name = makers[name].inputs[0]
    constant = name in makers and makers[name].op == "Constant"
    return name == given or constant or any(tensor.name == name for tensor in body.stored)


def _cost(region: Region, outs: Sequence[Entry]) -> tuple[int, int]:
    needed = {entry.source.value for entry in outs if isinstance(entry.source, Operand)}
    return cost_of(live(region.nodes, needed | {control.value for control in region.controls}))
