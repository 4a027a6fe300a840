"""From a block of nodes to a graph: states, names, kinds, and the order of the transforms between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tierplan.frontend.jaxpr_block import Kernel, Node, Operand, Source, Value, live, operands_of, reads_of, results_of
from tierplan.frontend.jaxpr_counts import ELEMENTWISE, GENERATORS
from tierplan.frontend.jaxpr_emit import Draft, Names, emit
from tierplan.frontend.jaxpr_fuse import fuse
from tierplan.frontend.jaxpr_inplace import Shared, copy_of, updated_in_place
from tierplan.frontend.jaxpr_region import Region, copied
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, TensorKind


@dataclass(frozen=True, slots=True)
class Argument:
    """One leaf of the arguments: its name, whether it is a weight, whether its bytes are given up for a result.

    A `constant` is neither weight nor input: it comes with the program (statistics, tables of positions).
    """

    name: str
    weight: bool
    donated: bool
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A program read: its nodes, its arguments in order, its results by name.

    `states` pairs each donated argument with the result that takes its place; `controls` only decide about branches.
    `joined` values share their bytes; `names` calls values that are neither arguments nor results.
    """

    nodes: tuple[Node, ...]
    arguments: tuple[Value, ...]
    constants: tuple[Value, ...]
    results: dict[str, Value]
    states: dict[Value, Value]
    controls: frozenset[Value]
    joined: tuple[tuple[Value, Value], ...] = ()
    names: Mapping[Value, str] = field(default_factory=dict[Value, str])


def results_in_memory(named: Mapping[str, Source], replaced: Mapping[str, Value], region: Region) -> dict[str, Value]:
    """A value of its own for each result, copied where it would be part of another; `replaced` stay what they are."""
    results: dict[str, Value] = {}
    for name, out in named.items():
        unchanged = isinstance(out, Operand) and out.value is replaced.get(name) and out.is_whole
        fresh = isinstance(out, Operand) and out.value in region.made and out.value not in results.values()
        kept = out if isinstance(out, Operand) and out.is_whole and (unchanged or fresh) else None
        results[name] = (kept or copied(out, region, {})).value
    return results


def graph_of_block(
    name: str, block: Block, arguments: Sequence[Argument], *, fused: bool, cyclic: bool, pruned: bool = True
) -> Graph:
    """The graph of a block whose arguments, in order, are `arguments`; `pruned` of what no result needs.

    Raises: InvalidInputError: the program computes nothing.
    """
    return graph_of_draft(name, draft_of_block(name, block, arguments, fused=fused, pruned=pruned), cyclic=cyclic)


def graph_of_draft(name: str, draft: Draft, *, cyclic: bool) -> Graph:
    """The graph of a finished draft."""
    return Graph(name, tuple(draft.tensors.values()), tuple(draft.ops), tuple(draft.loops), cyclic)


def draft_of_block(
    name: str, block: Block, arguments: Sequence[Argument], *, fused: bool, pruned: bool = True
) -> Draft:
    """As `graph_of_block`, with the tensor of each value."""
    kept = set(block.results.values())
    nodes = live(block.nodes, kept | block.controls) if pruned else block.nodes
    if fused:
        nodes = fuse(nodes, kept)
    shared = Shared()
    for one, other in block.joined:
        shared.join(one, other)
    nodes = updated_in_place(nodes, kept, set(block.states), shared)
    nodes, block = _with_states(nodes, block, shared)
    if not nodes:
        raise InvalidInputError(f"'{name}' computes nothing that it returns; return an array that it computes")
    draft = Draft(_names(arguments, block), _kinds(arguments, block), shared.roots())
    for value in block.arguments:
        draft.tensor(value, "argument")
    emit(nodes, draft)
    return draft


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


def _names(arguments: Sequence[Argument], block: Block) -> Names:
    names = Names()
    for argument, value in zip(arguments, block.arguments, strict=True):
        names.give(value, argument.name)
    for name, value in block.results.items():
        names.give(value, name)
    for value, name in block.names.items():
        names.give(value, name)
    return names


def _kinds(arguments: Sequence[Argument], block: Block) -> dict[Value, TensorKind]:
    kinds = dict.fromkeys(block.results.values(), TensorKind.OUTPUT)
    kinds |= dict.fromkeys(block.constants, TensorKind.CONSTANT)
    for argument, value in zip(arguments, block.arguments, strict=True):
        given = TensorKind.WEIGHT if argument.weight else TensorKind.INPUT
        kinds[value] = TensorKind.CONSTANT if argument.constant else given
    for argument, result in block.states.items():
        kinds |= {argument: TensorKind.STATE, result: TensorKind.STATE}
    return kinds
