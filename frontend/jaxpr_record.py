"""A traced function as equations that can be run one by one, with the tensor of the graph that each result is.

Calls of jit are read into their callers; all other equations that hold programs (loops, branches, checkpoints,
functions with rules of their own for derivatives) are run as they are, and what lies inside them has no tensor here.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jax.extend import core

from tierplan.frontend.jaxpr_block import Operand, Source
from tierplan.frontend.jaxpr_block_graph import draft_of_block, graph_of_draft
from tierplan.frontend.jaxpr_inline import Inliner, called
from tierplan.frontend.jaxpr_program import Program, read
from tierplan.frontend.jaxpr_region import Region
from tierplan.ir.graph import Graph

_READ_IN = ("jit", "pjit", "closed_call", "core_call")


@dataclass(frozen=True, slots=True)
class Flat:
    """An equation, with the number of each value that it reads, or the constant itself, and of each that it makes."""

    equation: Any
    operands: tuple[int | core.Literal, ...]
    results: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A traced function flat, and as a graph.

    Values are numbered. `inputs` are those of the arguments, `captured` the constants by number, `outputs` the results;
    `maker` tells the equation that makes a value, `tensor` the tensor that it is, where it is one as a whole.
    """

    graph: Graph
    flats: tuple[Flat, ...]
    inputs: tuple[int, ...]
    captured: Mapping[int, Any]
    outputs: tuple[int | core.Literal, ...]
    maker: Mapping[int, int]
    tensor: Mapping[int, str]


def record(program: Program) -> Recorded:
    """The equations of a traced program and its graph, read side by side.

    Raises: InvalidInputError: the program computes nothing.
    """
    flattener = _Flattener()
    jaxpr = program.closed.jaxpr
    inputs = [flattener.fresh() for _ in jaxpr.invars]
    outputs = flattener.flatten(jaxpr, program.closed.consts, inputs)
    recorder = _Recorder()
    block = read(program, recorder)
    draft = draft_of_block(program.name, block, program.arguments, fused=True)
    tensor: dict[int, str] = {}
    taken: set[str] = set()
    for flat, (equation, sources) in zip(flattener.flats, recorder.rows, strict=True):
        assert flat.equation is equation
        for number, source in zip(flat.results, sources, strict=True):
            if isinstance(source, Operand) and not source.views:
                name = draft.names.of(source.value)
                if name is not None and name in draft.tensors and name not in taken:
                    tensor[number] = name
                    taken.add(name)
    for number, value in zip(inputs, block.arguments, strict=True):
        name = draft.names.of(value)
        if name is not None:
            tensor[number] = name
    maker = {number: index for index, flat in enumerate(flattener.flats) for number in flat.results}
    graph = graph_of_draft(program.name, draft, cyclic=False)
    return Recorded(
        graph, tuple(flattener.flats), tuple(inputs), flattener.captured, tuple(outputs), maker, tensor
    )  # fmt: skip


def reads_in(equation: Any) -> bool:
    """Whether an equation is read into its caller: a call of jit that says nothing about where its values lie."""
    if equation.primitive.name not in _READ_IN or called(equation) is None:
        return False
    told = (*equation.params.get("in_shardings", ()), *equation.params.get("out_shardings", ()))
    return all(type(sharding).__name__ == "UnspecifiedValue" for sharding in told)


class _Recorder(Inliner):
    """Reads as an inliner does, and notes where the results of each equation lie."""

    def __init__(self) -> None:
        super().__init__(1)
        self.rows: list[tuple[Any, Sequence[Source | None]]] = []
        self._inside = 0

    def _equation(self, equation: Any, sources: list[Source | None], region: Region) -> Sequence[Source | None]:
        if self._inside or reads_in(equation):
            return super()._equation(equation, sources, region)
        self._inside += 1
        results = super()._equation(equation, sources, region)
        self._inside -= 1
        self.rows.append((equation, list(results)))
        return results


class _Flattener:
    """Numbers values, and lists equations in the order in which an inliner reads them."""

    def __init__(self) -> None:
        self.flats: list[Flat] = []
        self.captured: dict[int, Any] = {}
        self._n = 0

    def fresh(self) -> int:
        """A number that no value has yet."""
        self._n += 1
        return self._n - 1

    def flatten(
        self, jaxpr: Any, consts: Sequence[Any], operands: Sequence[int | core.Literal]
    ) -> list[int | core.Literal]:
        """The values of the results."""
        env: dict[Any, int | core.Literal] = dict(zip(jaxpr.invars, operands, strict=True))
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            env[variable] = self.fresh()
            self.captured[self._n - 1] = value

        def known(atom: Any) -> int | core.Literal:
            return atom if isinstance(atom, core.Literal) else env[atom]

        for equation in jaxpr.eqns:
            given = [known(atom) for atom in equation.invars]
            if reads_in(equation):
                inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
                made = self.flatten(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given)
            else:
                made = [self.fresh() for _ in equation.outvars]
                self.flats.append(Flat(equation, tuple(given), tuple(made)))
            env.update(zip(equation.outvars, made, strict=True))
        return [known(atom) for atom in jaxpr.outvars]
