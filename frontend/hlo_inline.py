"""Read an HLO module into one flat block: calls inlined, tuples taken apart, loops kept, branches chosen."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from tierplan.frontend.hlo_check import branches_of, in_order
from tierplan.frontend.hlo_counts import Counter
from tierplan.frontend.hlo_fusion import streams_of
from tierplan.frontend.hlo_module import Computation, Instruction, Module
from tierplan.frontend.hlo_names import primitive_of
from tierplan.frontend.hlo_shape import HloShape
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
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Attribute

Tree: TypeAlias = "Source | tuple[Tree, ...] | None"
"""A source for every array of a shape; None for a token."""

_SAME = frozenset(("optimization-barrier", "domain", "add-dependency"))
_FIRST_DONE = frozenset(("copy-done", "all-reduce-done"))
_SECOND_DONE = frozenset(("all-gather-done", "collective-permute-done", "async-done"))
_NO_OP_CALLS = frozenset(("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "LayoutConstraint"))
_MOST_INSTRUCTIONS = 1_000_000
_DEEPEST = 60
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')


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
        _check_size(self.module)

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
            return _done(operands[0], opcode in _SECOND_DONE)
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
        return Literal(_number(instruction.argument), self._dtype(shape))

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
        if opcode == "transpose" and same_type and _keeps_bytes(instruction, source):
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
        result = self.made(instruction.shape)
        results = tuple(operand.value for operand in _leaves(result) if isinstance(operand, Operand))
        sources = [leaf for operand in operands for leaf in _leaves(operand)]
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
        if instruction.opcode in ("copy-start", "collective-permute-start", "all-gather-start"):
            return result
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
        fixed = _passed_on(body_of)
        entering = self._entering(initial, body_of.parameters[0].shape, fixed)
        name, body = f"while.{self._n_loops}", Region()
        self._n_loops += 1
        decides = self.read(loop.called["condition"][0], [entering], body, notes)
        body.controls.extend(leaf for leaf in _leaves(decides) if isinstance(leaf, Operand))
        out = self.read(body_of.name, [entering], body, notes)
        carries: list[LoopCarry] = []
        taken: set[Value] = set()

        def leave(first: Tree, inside: Tree, last: Tree) -> Tree:
            if isinstance(first, tuple):
                inner, after = cast("tuple[Tree, ...]", inside), cast("tuple[Tree, ...]", last)
                return tuple(leave(*parts) for parts in zip(first, inner, after, strict=True))
            if first is None or last is None or inside is first:
                return first
            made = made_here(last, body, taken, notes)
            carries.append(LoopCarry(stored(first, region, notes), cast("Operand", inside).value, made.value))
            return made

        result = leave(initial, entering, out)
        region.put(Repeat(name, trips, False, tuple(body.nodes), tuple(carries), (), tuple(body.controls)))
        return result

    def _entering(self, initial: Tree, shape: HloShape, fixed: frozenset[int]) -> Tree:
        """What a turn finds: a value of its own for each part of the state, the initial one where no turn changes it."""
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


def named(instruction: Instruction) -> str:
    """What the program calls an instruction: the name that JAX noted for an argument, else its own."""
    noted = _OP_NAME.search(instruction.attributes)
    return noted.group(1) if noted and instruction.opcode == "parameter" and noted.group(1) else instruction.name


def _leaves(tree: Tree) -> list[Source]:
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in _leaves(part)]
    return [] if tree is None else [tree]


def _done(started: Tree, second: bool) -> Tree:
    if isinstance(started, tuple) and len(started) > 1:
        return started[1 if second else 0]
    return started


def _passed_on(body: Computation) -> frozenset[int]:
    """The elements of the state that no turn changes."""
    if body.root.opcode != "tuple":
        return frozenset()
    return frozenset(
        index
        for index, part in enumerate(body.operands(body.root))
        if part.opcode == "get-tuple-element"
        and part.number("index", -1) == index
        and part.operands[0] == body.parameters[0].name
    )


def _keeps_bytes(instruction: Instruction, source: Operand) -> bool:
    """Whether a transposition leaves every byte in its place, extents of one aside; layouts are taken as written."""
    permutation = instruction.numbers("dimensions")
    moved = [axis for axis in permutation if axis < len(source.shape) and source.shape[axis] != 1]
    return moved == sorted(moved)


def _number(text: str) -> Attribute:
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text[:40]


def _check_size(module: Module) -> None:
    """Refuse a module that its calls blow up, before anything is inlined."""
    sizes: dict[str, int] = {}
    depths: dict[str, int] = {}
    for name in module.order:
        size, depth = 0, 0
        for instruction in module.computations[name].instructions:
            size += 1
            if instruction.opcode in ("call", "while", "conditional", "async-start"):
                called = [callee for names in instruction.called.values() for callee in names]
                size += sum(sizes[callee] for callee in called)
                depth = max([depth, *(1 + depths[callee] for callee in called)])
        sizes[name], depths[name] = size, depth
    if sizes[module.entry.name] > _MOST_INSTRUCTIONS:
        raise InvalidInputError(f"its calls expand to more than {_MOST_INSTRUCTIONS} instructions")
    if depths[module.entry.name] > _DEEPEST:
        raise InvalidInputError(f"its calls are nested more than {_DEEPEST} deep")
