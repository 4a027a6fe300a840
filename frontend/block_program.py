"""From what a frontend read to a graph: arguments, states, results, and the order of the transforms between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tierplan.frontend.jaxpr_block import Kernel, Node, Value, live, operands_of, reads_of, results_of
from tierplan.frontend.jaxpr_counts import ELEMENTWISE, GENERATORS
from tierplan.frontend.jaxpr_emit import Draft, Names, emit
from tierplan.frontend.jaxpr_fuse import fuse
from tierplan.frontend.jaxpr_inplace import Shared, copy_of, updated_in_place
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, TensorKind
from tierplan.ir.loops import executions

_MOST_BYTES = 2**62


@dataclass(frozen=True, slots=True)
class Block:
    """A program read: its nodes, its arguments in order with what they are, its results by name.

    `states` pairs each argument whose bytes a result takes over with that result; `controls` only decide about
    branches. `names` calls values that are neither arguments nor results.
    """

    nodes: tuple[Node, ...]
    arguments: Mapping[Value, tuple[str, TensorKind]]
    constants: tuple[Value, ...]
    results: dict[str, Value]
    states: dict[Value, Value] = field(default_factory=dict[Value, Value])
    controls: frozenset[Value] = frozenset()
    names: Mapping[Value, str] = field(default_factory=dict[Value, str])


def graph_of_block(name: str, block: Block, *, fused: bool = True, cyclic: bool = False) -> Graph:
    """The graph of a program: dead nodes dropped, chains fused, updates in place, states in their own bytes.

    Raises: InvalidInputError: the program computes nothing, or moves more bytes than can be counted.
    """
    kept = set(block.results.values())
    nodes = live(block.nodes, kept | block.controls)
    if fused:
        nodes = fuse(nodes, kept)
    shared = Shared()
    nodes = updated_in_place(nodes, kept, set(block.states), shared)
    nodes, block = _with_states(nodes, block, shared)
    if not nodes:
        raise InvalidInputError(f"'{name}' computes nothing that it returns; return an array that it computes")
    draft = Draft(_names(block), _kinds(block), shared.roots())
    for value in block.arguments:
        draft.tensor(value, "argument")
    emit(nodes, draft)
    graph = Graph(name, tuple(draft.tensors.values()), tuple(draft.ops), tuple(draft.loops), cyclic)
    _check_total(graph)
    return graph


def _check_total(graph: Graph) -> None:
    moved = sum(
        times * (op.matrix_ops + op.vector_ops + sum(access.bytes for access in (*op.reads, *op.writes)))
        for op, times in zip(graph.ops, executions(graph), strict=True)
    )
    if moved + sum(tensor.size for tensor in graph.tensors) > _MOST_BYTES:
        raise InvalidInputError(f"'{graph.name}' moves more than 2^62 bytes; its shapes or trip counts are absurd")


def _with_states(nodes: tuple[Node, ...], block: Block, shared: Shared) -> tuple[tuple[Node, ...], Block]:
    """Let each donated argument share its bytes with its result, copied there at the end if they are needed before."""
    results, states, copies = dict(block.results), dict(block.states), list[Node]()
    for argument, result in block.states.items():
        if argument is result or shared.root(argument) is shared.root(result):
            continue
        if result in shared.roots() or not _replaces(nodes, argument, result, shared):
            kernel, made = copy_of(result)
            copies.append(kernel)
            states[argument] = made
            results = {name: made if value is result else value for name, value in results.items()}
        shared.join(argument, states[argument])
    return (*nodes, *copies), replace(block, results=results, states=states)


def _replaces(nodes: Sequence[Node], old: Value, new: Value, shared: Shared) -> bool:
    """Whether nothing reads `old`, or what shares its bytes, once `new` is written."""
    group = shared.groups().get(shared.root(old), {old}) - {new}
    made = next(index for index, node in enumerate(nodes) if new in results_of(node))
    last = max((index for index, node in enumerate(nodes) if group & reads_of(node)), default=-1)
    return last < made or (last == made and _rewrites(nodes[made], old, new, shared))


def _rewrites(node: Node, old: Value, new: Value, shared: Shared) -> bool:
    """Whether one node can write `new` over `old` while it reads it: element by element, or turn by turn."""
    if isinstance(node, Kernel):
        aligned = all(step.primitive in ELEMENTWISE | {"copy"} | GENERATORS for step in node.steps)
        same_size = all(operand.size == new.size for operand in operands_of(node.steps) if operand.value is old)
        return aligned and same_size
    inside = {value for part in node.body for value in reads_of(part)}
    entering = [carry for carry in node.carries if carry.initial.value is old]
    if len(entering) != 1 or entering[0].body_out is not new or old in inside:
        return False
    return _replaces(node.body, entering[0].body_in, new, shared)


def _names(block: Block) -> Names:
    names = Names()
    for value, (name, _) in block.arguments.items():
        names.give(value, name)
    for name, value in (*block.results.items(), *((name, value) for value, name in block.names.items())):
        names.give(value, name)
    return names


def _kinds(block: Block) -> dict[Value, TensorKind]:
    kinds = dict.fromkeys(block.results.values(), TensorKind.OUTPUT)
    kinds |= dict.fromkeys(block.constants, TensorKind.CONSTANT)
    kinds |= {value: kind for value, (_, kind) in block.arguments.items()}
    for argument, result in block.states.items():
        kinds |= {argument: TensorKind.STATE, result: TensorKind.STATE}
    return kinds
