"""An HLO module: computations of instructions, as XLA prints them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tierplan.frontend.hlo_shape import HloShape

Index = tuple[int, ...]
"""The path to an element of nested tuples."""

_NUMBERS = re.compile(r"-?\d+")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: `name = shape opcode(operands), attributes`.

    `argument` is what stands in the parentheses of a constant or a parameter. `line` is where it stands in the file,
    `called` names the computations that it calls by the role that each plays.
    """

    name: str
    opcode: str
    shape: HloShape
    operands: tuple[str, ...]
    argument: str
    attributes: str
    line: int
    called: Mapping[str, tuple[str, ...]]

    def word(self, key: str) -> str:
        """The value of an attribute that is one word, or empty."""
        found = re.search(rf"\b{key}=%?([\w.\-]+)", self.attributes)
        return found.group(1) if found else ""

    def numbers(self, key: str) -> tuple[int, ...]:
        """The numbers of an attribute like `dimensions={0,1}`; none where it is missing."""
        found = re.search(rf"\b{key}=\{{([^}}]*)\}}", self.attributes)
        return tuple(int(number) for number in _NUMBERS.findall(found.group(1))) if found else ()

    def number(self, key: str, default: int) -> int:
        """The number of an attribute like `index=1`."""
        found = re.search(rf"\b{key}=(-?\d+)", self.attributes)
        return int(found.group(1)) if found else default


@dataclass(frozen=True, slots=True)
class Computation:
    """Instructions in the order in which they stand; the last one marked ROOT, or the last, gives the result."""

    name: str
    instructions: tuple[Instruction, ...]
    root: Instruction
    parameters: tuple[Instruction, ...]
    by_name: Mapping[str, Instruction]

    def operands(self, instruction: Instruction) -> Iterator[Instruction]:
        """Yield the instructions whose results an instruction takes."""
        yield from (self.by_name[name] for name in instruction.operands)


@dataclass(frozen=True, slots=True)
class Aliased:
    """An output that takes the place of an argument: the path of one, number and path of the other."""

    output: Index
    parameter: int
    place: Index


@dataclass(frozen=True, slots=True)
class Module:
    """A program: computations by name, the one that it begins with, outputs that replace arguments.

    `callees` gives the computations that each one calls, in an order in which callees come before their callers.
    `scheduled`: instructions stand in the order in which they run.
    """

    name: str
    entry: Computation
    computations: Mapping[str, Computation]
    aliased: tuple[Aliased, ...]
    scheduled: bool
    order: tuple[str, ...]

    @property
    def n_instructions(self) -> int:
        """Number of instructions of all computations."""
        return sum(len(computation.instructions) for computation in self.computations.values())
