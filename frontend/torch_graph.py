"""Exported PyTorch programs as graphs: operators translated in order, buffers that are updated made states.

Assumes: views are views, as in PyTorch; an update in place of a view is refused, because its base changes with it.
"""

from collections.abc import Sequence

from tierplan.frontend.array_ops import ArrayOps, check_total
from tierplan.frontend.aten_call import AtenCall
from tierplan.frontend.aten_operators import HANDLERS, VIEWS
from tierplan.frontend.jaxpr_block import Literal, Operand, Source, Value, whole
from tierplan.frontend.jaxpr_block_graph import Argument, Block, graph_of_block, results_in_memory
from tierplan.frontend.torch_program import AtenNode, TorchProgram
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph

_MOST_NODES = 300_000
_CHECKS = frozenset((
    "_assert_tensor_metadata", "_assert_async", "_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size",
))  # fmt: skip


def graph_of_program(program: TorchProgram, *, fuse: bool = True) -> Graph:
    """The graph of an exported program.

    Raises: InvalidInputError: an operator that does not fit its operands, or a program that computes nothing.
    """
    block, arguments, _ = block_of_program(program)
    return check_total(graph_of_block(program.name, block, arguments, fused=fuse, cyclic=False))


def block_of_program(program: TorchProgram) -> tuple[Block, list[Argument], ArrayOps]:
    """The program as primitives, its arguments, and what wrote them."""
    reader = _Reader(program)
    values: dict[str, Value] = {}
    arguments: list[Argument] = []
    for given in program.inputs:
        values[given.name] = reader.ops.value(*program.layout(given.name))
        reader.env[given.name] = whole(values[given.name])
        constant = given.what in ("buffer", "constant")
        arguments.append(Argument(given.target, given.what == "parameter", given.name in program.mutations, constant))
    if len(program.nodes) > _MOST_NODES:
        raise InvalidInputError(f"more than {_MOST_NODES} nodes")
    for node in program.nodes:
        reader.run(node)
    replaced = {**program.mutations}
    for name in reader.updated:
        if name in values:
            replaced.setdefault(name, name)
    named: dict[str, Source] = {}
    states: dict[str, Value] = {}
    for name, new in replaced.items():
        if name in values:
            called = f"{name}.new"
            named[called], states[called] = reader.source(new), values[name]
    for name in program.outputs:
        named[name] = reader.source(name)
    results = results_in_memory(named, states, reader.ops.region)
    pairs = {value: results[called] for called, value in states.items() if results[called] is not value}
    constants = tuple(value for value in reader.ops.contents if value not in values.values())
    names = {**reader.names, **{value: f"constant.{n}" for n, value in enumerate(constants)}}
    region = reader.ops.region
    block = Block(tuple(region.nodes), tuple(values.values()), constants, results, pairs, frozenset(), names=names)
    return block, arguments, reader.ops


class _Reader:
    """One reading of one program."""

    def __init__(self, program: TorchProgram) -> None:
        self.ops = ArrayOps()
        self.env: dict[str, Source] = {}
        self.names: dict[Value, str] = {}
        self.updated: set[str] = set()
        self._views: set[str] = set()
        self._program = program

    def source(self, name: str) -> Source:
        """A value by name.

        Raises: InvalidInputError: nothing makes it.
        """
        if name not in self.env:
            raise InvalidInputError(f"'{name}' is read, but nothing makes it before")
        return self.env[name]

    def run(self, node: AtenNode) -> None:
        """Translate one node."""
        if node.op in _CHECKS:
            return
        call = AtenCall(self.ops, node, self.source, self._program)
        with self.ops.noted(scope=node.scope or node.op):
            made = self._translated(call)
        for name, source in zip(node.results, made, strict=False):
            self.env[name] = source
            if isinstance(source, Operand):
                self.ops.put(source, name, self.names)
        if node.op in VIEWS:
            self._views.update(node.results)
        if node.op.endswith("_") and not node.op.startswith("_") and made:
            self._update(node, made[0])

    def _update(self, node: AtenNode, made: Source) -> None:
        target = call_target(node)
        if target in self._views:
            raise InvalidInputError(
                f"{node} updates a view in place; export it with exported.run_decompositions(), which has none"
            )
        self.env[target] = made
        self.updated.add(target)

    def _translated(self, call: AtenCall) -> Sequence[Source]:
        node = call.node
        handler = HANDLERS.get(node.op) or HANDLERS.get(node.op.removesuffix("_"))
        wanted = [self._program.layouts.get(name) for name in node.results]
        try:
            if handler is None or (call.is_aten is False and node.op != "getitem" and node.op not in HANDLERS):
                return self._streamed(call)
            made = handler(call)
            sources = [made] if isinstance(made, Operand | Literal) else list(made)
        except InvalidInputError as error:
            text = str(error)
            raise InvalidInputError(text if str(node) in text else f"{node}: {text}") from None
        except (IndexError, ValueError, TypeError, KeyError, OverflowError, ZeroDivisionError) as error:
            raise InvalidInputError(f"{node} does not fit its operands: {error}") from None
        fitted: list[Source] = []
        for name, source, layout in zip(node.results, sources, wanted, strict=False):
            if layout is not None and source.shape != layout[0]:
                raise InvalidInputError(f"{node}: '{name}' has shape {layout[0]}, but {source.shape} is computed")
            fitted.append(self.ops.convert(source, layout[1]) if layout is not None else source)
        return fitted

    def _streamed(self, call: AtenCall) -> Sequence[Source]:
        layouts = [self._program.layout(name) for name in call.node.results]
        return self.ops.streamed(call.node.op, call.sources(), layouts)


def call_target(node: AtenNode) -> str:
    """The value that an operator in place updates."""
    first = next(iter(node.arguments.values()), None)
    name = getattr(first, "name", None)
    if not isinstance(name, str):
        raise InvalidInputError(f"{node} updates nothing")
    return name
