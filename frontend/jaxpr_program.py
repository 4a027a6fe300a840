"""From a traced program to a graph: arguments, donation, results."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tierplan.frontend.jaxpr_attributes import layout_of
from tierplan.frontend.jaxpr_block import Source, Value, whole
from tierplan.frontend.jaxpr_block_graph import Argument, Block, graph_of_block, results_in_memory
from tierplan.frontend.jaxpr_inline import Inliner
from tierplan.frontend.jaxpr_region import Region
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph

__all__ = ["Argument", "Program", "graph_of"]


@dataclass(frozen=True, slots=True)
class Program:
    """A closed jaxpr with the names of its arguments and results."""

    name: str
    closed: Any
    arguments: tuple[Argument, ...]
    results: tuple[str, ...]


def graph_of(
    program: Program,
    *,
    trips: int,
    fused: bool,
    cyclic: bool,
    chances: Mapping[str, tuple[float, ...]] | None = None,
) -> Graph:
    """The graph of a traced program.

    Raises: InvalidInputError: the program computes nothing; probabilities are given for a conditional that is not
        there, or not one for each branch.
    """
    block = read(program, Inliner(trips, chances))
    return graph_of_block(program.name, block, program.arguments, fused=fused, cyclic=cyclic)


def read(program: Program, inliner: Inliner) -> Block:
    """The block of a traced program, as an inliner reads it.

    Raises: InvalidInputError: probabilities are given for a conditional that is not there.
    """
    jaxpr = program.closed.jaxpr
    layouts = [layout_of(variable.aval) for variable in jaxpr.invars]
    values = [Value(*(layout or ((0,), "bool"))) for layout in layouts]
    region = Region()
    outs = inliner.read(jaxpr, program.closed.consts, [whole(value) for value in values], region)
    if inliner.unused:
        raise InvalidInputError(
            f"probabilities are given for {', '.join(sorted(inliner.unused))}, which '{program.name}' does not have; "
            "conditionals are named cond.0, cond.1 ... in the order of the program"
        )
    named = {name: out for name, out in zip(program.results, outs, strict=True) if out is not None}
    replaced = _donated(program, values, named)
    results = results_in_memory(named, replaced, region)
    states = {argument: results[name] for name, argument in replaced.items()}
    controls = frozenset(control.value for control in region.controls)
    return Block(
        tuple(region.nodes), tuple(values), tuple(inliner.constants), results, states, controls, tuple(inliner.joined)
    )


def _donated(program: Program, values: Sequence[Value], results: Mapping[str, Source]) -> dict[str, Value]:
    """The donated argument that each result takes the place of: the first one left of its shape and type.

    Source: `jax.jit` pairs donated arguments with results the same way.
    """
    jaxpr = program.closed.jaxpr
    given = {value for argument, value in zip(program.arguments, values, strict=True) if argument.donated}
    by_variable = dict(zip(jaxpr.invars, values, strict=True))
    for equation in jaxpr.eqns:
        for variable, donated in zip(equation.invars, equation.params.get("donated_invars", ()), strict=False):
            if donated and not hasattr(variable, "val") and variable in by_variable:
                given.add(by_variable[variable])
    left = [value for value in values if value in given]
    pairs: dict[str, Value] = {}
    for name, out in results.items():
        fitting = next((value for value in left if (value.shape, value.dtype) == (out.shape, out.dtype)), None)
        if fitting is not None:
            pairs[name] = fitting
            left.remove(fitting)
    return pairs
