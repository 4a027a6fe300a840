"""Sources for the parts of a tuple, and what single instructions say about them."""

import re
from typing import TypeAlias

from tierplan.frontend.hlo_module import Computation, Instruction
from tierplan.frontend.jaxpr_block import Operand, Source
from tierplan.ir.graph import Attribute

Tree: TypeAlias = "Source | tuple[Tree, ...] | None"
"""A source for every array of a shape; None for a token."""

_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_GIVEN_FIRST = frozenset(("all-gather-start", "collective-permute-start"))


def started(instruction: Instruction, operands: list[Tree], made: Tree) -> Tree:
    """What an instruction gives that others wait for: its results, beside the operands that it hands on."""
    if not isinstance(made, tuple) or len(made) < 2 or len(operands) != 1:
        return made
    if instruction.opcode == "copy-start":
        return (made[0], operands[0])
    return (operands[0], made[1]) if instruction.opcode in _GIVEN_FIRST else made


def named(instruction: Instruction) -> str:
    """What the program calls an instruction: the name that JAX noted for an argument, else its own."""
    noted = _OP_NAME.search(instruction.attributes)
    return noted.group(1) if noted and instruction.opcode == "parameter" and noted.group(1) else instruction.name


def leaves(tree: Tree) -> list[Source]:
    """The sources of a tree, in order."""
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [] if tree is None else [tree]


def done(started: Tree, second: bool) -> Tree:
    """What an instruction that began earlier gives when it ends."""
    if isinstance(started, tuple) and len(started) > 1:
        return started[1 if second else 0]
    return started


def passed_on(body: Computation) -> frozenset[int]:
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


def keeps_bytes(instruction: Instruction, source: Operand) -> bool:
    """Whether a transposition leaves every byte in its place, extents of one aside; layouts are taken as written."""
    permutation = instruction.numbers("dimensions")
    moved = [axis for axis in permutation if axis < len(source.shape) and source.shape[axis] != 1]
    return moved == sorted(moved)


def number_of(text: str) -> Attribute:
    """The number that a constant's text writes; the text itself where it is none."""
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
