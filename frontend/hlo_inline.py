"""Read an HLO module into one flat block: calls inlined, tuples taken apart, loops kept, branches chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from tierplan.frontend.hlo_check import branches_of, check_size, in_order
from tierplan.frontend.hlo_counts import Counter
from tierplan.frontend.hlo_fusion import streams_of
from tierplan.frontend.hlo_module import Computation, Instruction, Module
from tierplan.frontend.hlo_names import primitive_of
from tierplan.frontend.hlo_shape import HloShape
from tierplan.frontend.hlo_tree import Tree, done, keeps_bytes, leaves, number_of, passed_on, started
from tierplan.frontend.hlo_trips import constant_trips
from tierplan.frontend.jaxpr_block import (
    Count,
    Kernel,
    Literal,
    LoopCarry,
    Operand,
    Repeat,
    Source,
    Step,
    Value,
    cost_of,
    whole,
)
from tierplan.frontend.jaxpr_region import Region, made_here, stored
from tierplan.ir.dtypes import BITS
from tierplan.ir.graph import Attribute

_SAME = frozenset(("optimization-barrier", "domain", "add-dependency"))
_FIRST_DONE = frozenset(("copy-done", "all-reduce-done"))
_SECOND_DONE = frozenset(("all-gather-done", "collective-permute-done", "async-done"))
_NO_OP_CALLS = frozenset(("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "LayoutConstraint"))


@dataclass(slots=True)
class HloInliner:
    """One reading of one module. `trips` is the count of loops whose own is not known."""

    module: Module
    trips: int
    constants: list[Value] = field(default_factory=list[Value])
    _counter: Counter = field(init=False)
    _n_loops: int = 0

    def __post_init__(self) -> None:
        self._counter = Counter(self.module)
        check_size(self.module)

    def read(self, name: str, arguments: Sequence[Tree], region: Region, notes: Mapping[str, Attribute]) -> Tree:
        """Put the instructions of a computation into `region`; the sources of its result."""
        computation = self.module.computations[name]
        env: dict[str, Tree] = {}
        written = computation.instructions if self.module.scheduled else in_order(computation)
        for instruction in written:
            operands = [env[operand] for operand in instruction.operands]
            if instruction.opcode == "parameter":
                env[instruction.name] = arguments[int(instruction.argument)]
            else:
                env[instruction.name] = self._instruction(instruction, operands, computation, region, notes)
        return env[computation.root.name]

    def _instruction(
        self,
        instruction: Instruction,
        operands: list[Tree],
        computation: Computation,
        region: Region,
        notes: Mapping[str, Attribute],
    ) -> Tree:
        opcode = instruction.opcode
        if opcode == "tuple":
            return tuple(operands)
        if opcode == "get-tuple-element":
            return cast("tuple[Tree, ...]", operands[0])[instruction.number("index", 0)]
        if opcode == "constant":
            return self._constant(instruction)
        if opcode == "after-all":
            return None
        if opcode in _SAME or (opcode == "custom-call" and instruction.word("custom_call_target") in _NO_OP_CALLS):
            return operands[0]
        if opcode in _FIRST_DONE or opcode in _SECOND_DONE:
            return done(operands[0], opcode in _SECOND_DONE)
        seen = self._view(instruction, operands)
        if seen is not None:
            return seen
        if opcode in ("call", "async-start"):
            callee = next(iter(instruction.called.values()), ("",))[0]
            if callee in self.module.computations:
                result = self.read(callee, operands, region, notes)
                return result if opcode == "call" else (tuple(operands), result)
        if opcode == "while":
            return self._while(instruction, operands[0], computation, region, notes)
        if opcode == "conditional":
            return self._conditional(instruction, operands, region, notes)
        return self._step(instruction, operands, computation, region, notes)

    def _constant(self, instruction: Instruction) -> Tree:
        shape = instruction.shape
        if shape.is_tuple or shape.is_nothing:
            return None
        if shape.extents:
            self.constants.append(self._value(shape))
            return whole(self.constants[-1])
        return Literal(number_of(instruction.argument), self._dtype(shape))

    def _dtype(self, shape: HloShape) -> str:
        """The element type in memory: an unpacked small integer takes a byte."""
        if self.module.scheduled and shape.bits > BITS[shape.dtype]:
            return "int8" if shape.bits == 8 else shape.dtype
        return shape.dtype

    def _value(self, shape: HloShape) -> Value:
        return Value(shape.extents, self._dtype(shape))

    def made(self, shape: HloShape) -> Tree:
        """A value of its own for every array of a shape."""
        if shape.is_tuple:
            return tuple(self.made(element) for element in shape.elements)
        return None if shape.is_nothing else whole(self._value(shape))

    def _view(self, instruction: Instruction, operands: list[Tree]) -> Tree:
        """The operand seen another way, where no byte moves: bitcasts, and reshapes and transpositions like them."""
        opcode, shape = instruction.opcode, instruction.shape
        source = operands[0] if len(operands) == 1 else None
        if not isinstance(source, Operand | Literal) or shape.is_tuple:
            return operands[0] if opcode == "bitcast" else None
        if isinstance(source, Literal):
            return source if opcode in ("bitcast", "reshape", "copy") and not shape.extents else None
        same_type = source.dtype == self._dtype(shape)
        if opcode == "bitcast":
            dtype = self._dtype(shape)
            return source.reshaped(shape.extents) if same_type else source.bitcast(dtype, shape.extents)
        if opcode == "reshape" and not self.module.scheduled and same_type:
            return source.reshaped(shape.extents)
        if opcode == "transpose" and same_type and keeps_bytes(instruction, source):
            return source.reshaped(shape.extents)
        return None

    def _step(
        self,
        instruction: Instruction,
        operands: list[Tree],
        computation: Computation,
        region: Region,
        notes: Mapping[str, Attribute],
    ) -> Tree:
        result = started(instruction, operands, self.made(instruction.shape))
        given = {id(leaf) for operand in operands for leaf in leaves(operand)}
        fresh = [leaf for leaf in leaves(result) if isinstance(leaf, Operand) and id(leaf) not in given]
        results = tuple(leaf.value for leaf in fresh)
        sources = [leaf for operand in operands for leaf in leaves(operand)]
        counts = self._counter.of(instruction, computation)
        types = [operand.shape.dtype for operand in computation.operands(instruction) if operand.shape.dtype]
        dtype = max(types[:2], key=lambda name: BITS[name]) if counts.matrix and types else ""
        if not dtype:
            dtype = results[0].dtype if results else "float32"
            dtype = types[0] if dtype == "bool" and types else dtype
        count = Count(counts.matrix, counts.vector + counts.transcendental, dtype, counts.streamed)
        attributes, sources = self._attributes(instruction, operands, sources)
        told = {**notes, "instruction": instruction.name}
        step = Step(primitive_of(instruction, self.module), tuple(sources), results, attributes, count, told)
        region.put(Kernel((step,)))
        if not results:
            region.controls.extend(source for source in sources if isinstance(source, Operand))
        return result

    def _attributes(
        self, instruction: Instruction, operands: list[Tree], sources: list[Source]
    ) -> tuple[dict[str, Attribute], list[Source]]:
        """What the graph must know beyond counts; of a fusion, its operands with the one that it updates first."""
        if instruction.opcode == "transpose":
            return {"permutation": instruction.numbers("dimensions")}, sources
        if instruction.opcode != "fusion" or len(sources) != len(operands):
            return {}, sources
        streams = streams_of(self.module.computations[instruction.called["calls"][0]])
        order = list(range(len(sources)))
        attributes: dict[str, Attribute] = {}
        if streams.target is not None and not instruction.shape.is_tuple:
            order.remove(streams.target)
            order.insert(0, streams.target)
            attributes["update_bytes"] = streams.update
        if any(n is not None for n in streams.read):
            attributes["read_bytes"] = tuple(streams.read[k] for k in order)
        return attributes, [sources[k] for k in order]

    def _while(
        self,
        loop: Instruction,
        initial: Tree,
        around: Computation,
        region: Region,
        notes: Mapping[str, Attribute],
    ) -> Tree:
        found = constant_trips(loop, around, self.module)
        trips = self.trips if found is None else found
        if found is None:
            notes = {**notes, "trips_assumed": self.trips}
        if trips == 0:
            return initial
        body_of = self.module.computations[loop.called["body"][0]]
        fixed = passed_on(body_of)
        entering = self._entering(initial, body_of.parameters[0].shape, fixed)
        name, body = f"while.{self._n_loops}", Region()
        self._n_loops += 1
        decides = self.read(loop.called["condition"][0], [entering], body, notes)
        body.controls.extend(leaf for leaf in leaves(decides) if isinstance(leaf, Operand))
        out = self.read(body_of.name, [entering], body, notes)
        carries: list[LoopCarry] = []
        taken: set[Value] = set()

        def leave(first: Tree, inside: Tree, last: Tree) -> Tree:
            if isinstance(first, tuple):
                inner, after = cast("tuple[Tree, ...]", inside), cast("tuple[Tree, ...]", last)
                return tuple(leave(*parts) for parts in zip(first, inner, after, strict=True))
            if first is None or last is None or isinstance(last, tuple) or inside is first:
                return first
            made = made_here(last, body, taken, notes)
            carries.append(LoopCarry(stored(first, region, notes), cast("Operand", inside).value, made.value))
            return made

        result = leave(initial, entering, out)
        region.put(Repeat(name, trips, False, tuple(body.nodes), tuple(carries), (), tuple(body.controls)))
        return result

    def _entering(self, initial: Tree, shape: HloShape, fixed: frozenset[int]) -> Tree:
        """What a turn finds: a value for each part of the state, the initial one where no turn changes it."""
        if not isinstance(initial, tuple):
            return self.made(shape)
        return tuple(
            part if index in fixed or part is None else self._entering(part, element, frozenset())
            for index, (part, element) in enumerate(zip(initial, shape.elements, strict=True))
        )

    def _conditional(
        self, instruction: Instruction, operands: list[Tree], region: Region, notes: Mapping[str, Attribute]
    ) -> Tree:
        if isinstance(operands[0], Operand):
            region.controls.append(operands[0])
        branches = branches_of(instruction)
        tried: list[tuple[tuple[int, int], Region, Tree]] = []
        for number, branch in enumerate(branches):
            inner = Region()
            told: dict[str, Attribute] = {**notes, "branch": number, "n_branches": len(branches)}
            result = self.read(branch, [operands[1 + number]], inner, told)
            tried.append((cost_of(inner.nodes), inner, result))
        _, chosen, result = max(tried, key=lambda trial: trial[0])
        for node in chosen.nodes:
            region.put(node)
        region.controls.extend(chosen.controls)
        return result
