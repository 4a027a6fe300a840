"""Which results of an HLO instruction lie, or may lie, in the bytes of an operand.

Source: XLA's AliasInfo::GetInPlaceInputOutputPairs, and HloDataflowAnalysis::CanShareOperandBufferWithUser.
"""

import re
from collections.abc import Iterator

from tierplan.frontend.hlo_counts import ELEMENTWISE
from tierplan.frontend.hlo_module import Computation, Index, Instruction, Module, integer

_ALIASING = re.compile(r"\{([\d,\s]*)\}\s*:\s*\(\s*(\d+)\s*,\s*\{([\d,\s]*)\}")
_ELEMENTWISE = ELEMENTWISE | {"bitcast-convert", "copy", "map"}


def in_place_pairs(instruction: Instruction, module: Module) -> Iterator[tuple[Index, int, Index]]:
    """Yield place of the result, number of the operand, place in it, where both must be the same bytes."""
    opcode = instruction.opcode
    if opcode == "dynamic-update-slice":
        yield (), 0, ()
    elif opcode == "scatter":
        n = len(instruction.operands) // 2
        if instruction.shape.is_tuple:
            yield from (((i,), i, ()) for i in range(n))
        else:
            yield (), 0, ()
    elif opcode == "set-dimension-size":
        yield (), 0, ()
    elif opcode == "fusion":
        yield from _of_fusion(instruction, module)
    if "output_to_operand_aliasing={" in instruction.attributes:
        _, _, text = instruction.attributes.partition("output_to_operand_aliasing={")
        for match in _ALIASING.finditer(text.split("), ")[0] if "}}" not in text else text[: text.index(")}") + 1]):
            out, number, place = match.groups()
            if integer(number) < len(instruction.operands):
                yield _index(out), integer(number), _index(place)


def _of_fusion(fusion: Instruction, module: Module) -> Iterator[tuple[Index, int, Index]]:
    fused = module.computations[fusion.called["calls"][0]]
    for index, _ in fusion.shape.leaves():
        source, rest = _followed(fused.root, index, fused)
        for out, number, place in in_place_pairs(source, module):
            if out != rest:
                continue
            target, inner = _followed(fused.by_name[source.operands[number]], place, fused)
            if target.opcode == "parameter":
                yield index, int(target.argument), inner


def _followed(instruction: Instruction, index: Index, fused: Computation) -> tuple[Instruction, Index]:
    """Through tuples, elements and bitcasts to the instruction that makes what lies at a place."""
    while True:
        if instruction.opcode == "tuple" and index:
            instruction, index = fused.by_name[instruction.operands[index[0]]], index[1:]
        elif instruction.opcode == "get-tuple-element":
            index = (instruction.number("index", 0), *index)
            instruction = fused.by_name[instruction.operands[0]]
        elif instruction.opcode == "bitcast" and not index:
            instruction = fused.by_name[instruction.operands[0]]
        else:
            return instruction, index


def may_share(
    user: Instruction, index: Index, operand: Instruction, place: Index, n_users: int, module: Module
) -> bool:
    """Whether the result of `user` at `index` may be written over its operand at `place`, which nobody needs after it.

    `n_users` is the number of instructions that read the operand.
    """
    numbers = [i for i, name in enumerate(user.operands) if name == operand.name]
    if not numbers or _at(operand, place) != _at(user, index):
        return False
    if user.opcode == "fusion":
        return _fusion_may_share(user, numbers[0], module)
    if user.opcode in ("while", "conditional"):
        return True
    if user.opcode in ("dynamic-update-slice", "scatter", "set-dimension-size"):
        return numbers == [0]
    if user.opcode == "triangular-solve":
        return numbers == [1]
    if user.opcode == "sort":
        return n_users == 1 and (len(user.operands) == 1 or (len(numbers) == 1 and index[:1] == (numbers[0],)))
    return _elementwise_on(user, numbers[0])


def _at(instruction: Instruction, index: Index) -> object:
    shape = instruction.shape
    for number in index:
        shape = shape.elements[number]
    return shape


def _fusion_may_share(fusion: Instruction, number: int, module: Module) -> bool:
    fused = module.computations[fusion.called["calls"][0]]
    if fusion.word("kind") == "kOutput":
        return False
    users: dict[str, list[Instruction]] = {}
    for instruction in fused.instructions:
        for name in dict.fromkeys(instruction.operands):
            users.setdefault(name, []).append(instruction)
    reached, left = set[str](), [fused.parameters[number]]
    while left:
        instruction = left.pop()
        for user in users.get(instruction.name, ()):
            used_as = [i for i, name in enumerate(user.operands) if name == instruction.name]
            passed_on = user.opcode in ("tuple", "get-tuple-element")
            if not passed_on and not all(_elementwise_on(user, i) for i in used_as):
                return False
            if user.name not in reached:
                reached.add(user.name)
                left.append(user)
    return True


def _elementwise_on(user: Instruction, number: int) -> bool:
    return user.opcode in _ELEMENTWISE or (user.opcode == "dynamic-update-slice" and number == 0)


def _index(text: str) -> Index:
    return tuple(integer(number) for number in re.findall(r"\d+", text))
