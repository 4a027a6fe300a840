"""What a fusion streams of each operand, and which of them it updates in place."""

from dataclasses import dataclass

from tierplan.frontend.hlo_module import Computation, Instruction

_NOTHING_MOVES = frozenset(("bitcast", "reshape", "copy"))
_PARTS = frozenset(("slice", "dynamic-slice", "gather"))


@dataclass(frozen=True, slots=True)
class Streams:
    """Bytes read of each operand, None for all of them; the operand that is updated, and the bytes of its update."""

    read: tuple[int | None, ...]
    target: int | None = None
    update: int = 0


def streams_of(fused: Computation) -> Streams:
    """How the computation of a fusion uses its parameters.

    Source: XLA's HloCostAnalysis::FusionParameterReadBytes: an operand of which only slices are used is read in part,
    and the target of a dynamic-update-slice at the end not at all.
    """
    users: dict[str, list[Instruction]] = {}
    for instruction in fused.instructions:
        for name in dict.fromkeys(instruction.operands):
            users.setdefault(name, []).append(instruction)
    update = _beneath(fused.root, fused)
    target = None
    if update.opcode == "dynamic-update-slice":
        base = _beneath(fused.by_name[update.operands[0]], fused)
        target = int(base.argument) if base.opcode == "parameter" else None
    read: list[int | None] = []
    for parameter in fused.parameters:
        using = users.get(parameter.name, [])
        if target is not None and parameter is fused.parameters[target] and len(using) == 1:
            read.append(0)
        elif using and all(u.opcode in _PARTS and u.operands[0] == parameter.name for u in using):
            read.append(min(parameter.shape.n_bytes, sum(user.shape.n_bytes for user in using)))
        else:
            read.append(None)
    if target is None or read[target] != 0:
        return Streams(tuple(read))
    return Streams(tuple(read), target, fused.by_name[update.operands[1]].shape.n_bytes)


def _beneath(instruction: Instruction, fused: Computation) -> Instruction:
    """What an instruction is when nothing but its view is taken off."""
    while instruction.opcode in _NOTHING_MOVES and not instruction.shape.is_tuple:
        instruction = fused.by_name[instruction.operands[0]]
    return instruction
