"""XLA HLO text as a graph: what `jax.jit(f).lower(...).as_text("hlo")` and `--xla_dump_to` write.

A scheduled module keeps its order and its fusions. Of any other, elementwise chains are fused, as for JAX functions.
Arguments are inputs; one that an output replaces is a state.
"""

from tierplan.frontend.hlo_inline import HloInliner
from tierplan.frontend.hlo_module import Index, Module
from tierplan.frontend.hlo_parse import read_hlo
from tierplan.frontend.hlo_tree import Tree, named
from tierplan.frontend.jaxpr_block import Operand, Source, Value
from tierplan.frontend.jaxpr_block_graph import Argument, Block, graph_of_block, results_in_memory
from tierplan.frontend.jaxpr_region import Region
from tierplan.ir.buffers import LARGEST
from tierplan.ir.errors import InvalidInputError, one_line
from tierplan.ir.graph import Graph
from tierplan.ir.loops import executions


def graph_of_hlo(text: str, source: str, *, trips: int = 1, cyclic: bool = False) -> Graph:
    """The graph of a module's text.

    `trips` is the trip count of every `while` whose own the module does not tell; its operations carry the attribute
    `trips_assumed`. Of a conditional the costlier branch is taken.
    Raises: InvalidInputError: the text is no module, or one that cannot be; it computes nothing.
    """
    module = read_hlo(text, source)
    try:
        return _graph(module, trips, cyclic)
    except InvalidInputError as error:
        place = "" if str(error).startswith(source) else f"{source}: "
        raise InvalidInputError(one_line(f"{place}{error}")) from None


def _graph(module: Module, trips: int, cyclic: bool) -> Graph:
    inliner, region = HloInliner(module, trips), Region()
    trees = [inliner.made(parameter.shape) for parameter in module.entry.parameters]
    arguments: dict[tuple[int, Index], tuple[str, Value]] = {}
    for number, (parameter, tree) in enumerate(zip(module.entry.parameters, trees, strict=True)):
        for index, operand in _places(tree):
            if isinstance(operand, Operand):
                name = ".".join((named(parameter), *map(str, index)))
                arguments[number, index] = name, operand.value
    result = inliner.read(module.entry.name, trees, region, {})
    outs = {index: (".".join(("result", *map(str, index))), out) for index, out in _places(result)}
    replaced: dict[str, Value] = {}
    for alias in module.aliased:
        given = arguments.get((alias.parameter, alias.place))
        if given is not None and alias.output in outs and _same(outs[alias.output][1], given[1]):
            replaced[outs[alias.output][0]] = given[1]
    results = results_in_memory(dict(outs.values()), replaced, region)
    states = {argument: results[name] for name, argument in replaced.items()}
    block = Block(
        tuple(region.nodes),
        tuple(value for _, value in arguments.values()),
        tuple(inliner.constants),
        results,
        states,
        frozenset(control.value for control in region.controls),
    )
    told = [Argument(name, False, value in states) for name, value in arguments.values()]
    fused = not module.scheduled
    graph = graph_of_block(module.name, block, told, fused=fused, cyclic=cyclic, pruned=fused)
    once = [sum(access.bytes for access in (*op.reads, *op.writes)) for op in graph.ops]
    streamed = sum(n * n_bytes for n, n_bytes in zip(executions(graph), once, strict=True))
    if streamed >= LARGEST or sum(tensor.size for tensor in graph.tensors) >= LARGEST:
        raise InvalidInputError(f"module '{module.name}' holds or streams more than 2**62 bytes")
    return graph


def _same(out: Source, argument: Value) -> bool:
    return (out.shape, out.dtype) == (argument.shape, argument.dtype)


def _places(tree: Tree, index: Index = ()) -> list[tuple[Index, Source]]:
    if isinstance(tree, tuple):
        return [place for i, part in enumerate(tree) for place in _places(part, (*index, i))]
    return [] if tree is None else [(index, tree)]
