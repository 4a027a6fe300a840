"""Which bytes the results of a scheduled HLO module lie in, and from when to when.

Every array and every tuple's table of pointers is a value. Instructions that only pass on what they are given make
none. Values that XLA puts at one address by rule are one group: the state of a loop through all its turns, what a
conditional's branches give, an array and its update in place, an argument and the output that replaces it.

Source: XLA's HloDataflowAnalysis, HloAliasAnalysis and HloLiveRange, restated for modules after copy insertion.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tierplan.frontend.hlo_check import branches_of
from tierplan.frontend.hlo_inplace import in_place_pairs
from tierplan.frontend.hlo_module import Computation, Index, Instruction, Module
from tierplan.frontend.hlo_shape import HloShape
from tierplan.ir.errors import InvalidInputError

_FORWARDS = frozenset(("bitcast", "optimization-barrier", "domain", "add-dependency"))
_ASYNC = re.compile(r"-(start|done|update)$")
_DEEPEST = 60


@dataclass(slots=True, eq=False)
class Value:
    """What one instruction makes at one place of its result; live at the steps `start <= t <= end`."""

    instruction: Instruction
    index: Index
    shape: HloShape
    start: int
    end: int
    group: "Group"


@dataclass(slots=True, eq=False)
class Group:
    """Values at one address, in the order in which they are made; what they are to the whole program."""

    values: list[Value] = field(default_factory=list[Value])
    constant: bool = False
    argument: bool = False
    replaced: bool = False
    live_out: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return max(value.shape.n_bytes for value in self.values)

    @property
    def is_temporary(self) -> bool:
        """Whether it lies in memory that the program takes for itself while it runs."""
        return not (self.constant or self.argument or self.live_out)

    def lives(self) -> list[tuple[int, int]]:
        """Half-open runs of steps in which the bytes are taken, in order, apart from each other."""
        runs: list[tuple[int, int]] = []
        for start, end in sorted((value.start, value.end + 1) for value in self.values):
            if runs and start <= runs[-1][1]:
                runs[-1] = runs[-1][0], max(runs[-1][1], end)
            else:
                runs.append((start, end))
        return runs


@dataclass(frozen=True, slots=True)
class Values:
    """All values of a module, and what each instruction that runs on its own gives at each place.

    `made_in` names the computation of every such instruction, by its identity.
    """

    module: Module
    groups: list[Group]
    at: dict[str, dict[str, dict[Index, Value]]]
    made_in: dict[int, str]
    n_steps: int

    def all(self) -> Iterator[Value]:
        """Yield every value."""
        for group in self.groups:
            yield from group.values


def values_of(module: Module) -> Values:
    """The values of a scheduled module.

    Raises: InvalidInputError: it is not scheduled, or runs computations side by side.
    """
    if not module.scheduled:
        raise InvalidInputError(
            f"module '{module.name}' is not scheduled (is_scheduled=true); give the compiled module's text"
        )
    reader = _Reader(module)
    arguments = [reader.fresh(p, 0) for p in module.entry.parameters]
    for places in arguments:
        for value in places.values():
            value.group.argument = True
    reader.run(module.entry, arguments, 0)
    reader.finish()
    for alias in module.aliased:
        argument = arguments[alias.parameter].get(alias.place)
        out = reader.at[module.entry.name][module.entry.root.name].get(alias.output)
        if argument is not None and out is not None:
            reader.join(argument, out).replaced = True
    groups = list(dict.fromkeys(value.group for value in reader.values))
    made_in = {id(i): name for name in reader.at for i in module.computations[name].instructions}
    return Values(module, groups, reader.at, made_in, reader.clock)


class _Reader:
    """Runs through a module in the order of its schedule; every computation is passed once."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.values: list[Value] = []
        self.at: dict[str, dict[str, dict[Index, Value]]] = {}
        self.time: dict[tuple[str, str], int] = {}
        self.span: dict[str, tuple[int, int]] = {}
        self.clock = 0

    def fresh(self, instruction: Instruction, start: int) -> dict[Index, Value]:
        """A new value at every place of a result."""
        return {index: self._value(instruction, index, shape, start) for index, shape in instruction.shape.places()}

    def _value(self, instruction: Instruction, index: Index, shape: HloShape, start: int) -> Value:
        group = Group()
        value = Value(instruction, index, shape, start, start, group)
        group.values.append(value)
        self.values.append(value)
        return value

    def join(self, first: Value, second: Value) -> Group:
        """Put two groups at one address; the larger one takes in the other."""
        one, other = first.group, second.group
        if one is other:
            return one
        if len(one.values) < len(other.values):
            one, other = other, one
        for value in other.values:
            value.group = one
        one.values.extend(other.values)
        one.constant |= other.constant
        one.argument |= other.argument
        one.replaced |= other.replaced
        one.live_out |= other.live_out
        return one

    def run(self, computation: Computation, arguments: list[dict[Index, Value]], depth: int) -> dict[Index, Value]:
        """Pass a computation; what its root gives."""
        if computation.name in self.at:
            raise InvalidInputError(f"computation '{computation.name}' is called from two places; compile the module")
        if depth > _DEEPEST:
            raise InvalidInputError(f"calls are nested more than {_DEEPEST} deep")
        here = self.at[computation.name] = {}
        begin = self.clock
        for instruction in computation.instructions:
            if _ASYNC.search(instruction.opcode):
                raise InvalidInputError(
                    f"line {instruction.line}: '{instruction.name}' runs beside others ({instruction.opcode}), "
                    "which lifespans of one schedule do not tell"
                )
            if instruction.opcode == "parameter":
                here[instruction.name] = arguments[int(instruction.argument)]
            else:
                operands = [here[name] for name in instruction.operands]
                here[instruction.name] = self._result(instruction, operands, computation, depth)
            self.time[computation.name, instruction.name] = self.clock
            for value in here[instruction.name].values():
                if value.instruction is instruction and instruction.opcode != "parameter":
                    value.start = value.end = self.clock
            self.clock += 1
        self.span[computation.name] = begin, self.clock
        return here[computation.root.name]

    def _result(
        self, instruction: Instruction, operands: list[dict[Index, Value]], around: Computation, depth: int
    ) -> dict[Index, Value]:
        opcode = instruction.opcode
        if opcode == "get-tuple-element":
            element = instruction.number("index", 0)
            return {index[1:]: value for index, value in operands[0].items() if index[:1] == (element,)}
        if opcode == "tuple":
            places = {(): self._value(instruction, (), instruction.shape, self.clock)}
            for number, operand in enumerate(operands):
                places |= {(number, *index): value for index, value in operand.items()}
            return places
        if opcode in _FORWARDS:
            return operands[0]
        if opcode == "call":
            return self.run(self.module.computations[instruction.called["to_apply"][0]], operands, depth + 1)
        if opcode == "while":
            return self._while(instruction, operands[0], depth)
        if opcode == "conditional":
            outs = [
                self.run(self.module.computations[branch], [operand], depth + 1)
                for branch, operand in zip(branches_of(instruction), operands[1:], strict=True)
            ]
            return self._joined(instruction, outs)
        places = self.fresh(instruction, self.clock)
        if opcode == "constant":
            for value in places.values():
                value.group.constant = True
        for index, number, place in in_place_pairs(instruction, self.module):
            if place in operands[number] and index in places:
                self.join(operands[number][place], places[index])
        return places

    def _while(self, loop: Instruction, initial: dict[Index, Value], depth: int) -> dict[Index, Value]:
        condition, body = (self.module.computations[loop.called[role][0]] for role in ("condition", "body"))
        tested = self.fresh(condition.parameters[0], self.clock)
        self.run(condition, [tested], depth + 1)
        entering = self.fresh(body.parameters[0], self.clock)
        after = self.run(body, [entering], depth + 1)
        return self._joined(loop, [initial, tested, entering, after])

    def _joined(self, instruction: Instruction, parts: list[dict[Index, Value]]) -> dict[Index, Value]:
        places = self.fresh(instruction, self.clock)
        for index, value in places.items():
            for part in parts:
                self.join(part[index], value)
        return places

    def finish(self) -> None:
        """Find the last step at which each value is needed, and what is needed after the program."""
        for name, here in self.at.items():
            computation = self.module.computations[name]
            for instruction in computation.instructions:
                time = self.time[name, instruction.name]
                until = self.span[name][1] if instruction is computation.root else time
                for value in here[instruction.name].values():
                    value.end = max(value.end, until)
                used = self._used_at(instruction, time)
                for operand in instruction.operands if used is not None else ():
                    for index, value in here[operand].items():
                        if not index or instruction.opcode not in ("get-tuple-element", "copy"):
                            value.end = max(value.end, used or 0)
        for value in self.at[self.module.entry.name][self.module.entry.root.name].values():
            value.group.live_out = True

    def _used_at(self, instruction: Instruction, time: int) -> int | None:
        """The step until which an instruction needs its operands; None where only what it calls does.

        Source: HloLiveRange: what enters a loop is needed until its body begins.
        """
        if instruction.opcode in ("tuple", "domain", "call"):
            return None
        if instruction.opcode == "while":
            body = self.module.computations[instruction.called["body"][0]]
            return self.time[body.name, body.parameters[0].name]
        return time
