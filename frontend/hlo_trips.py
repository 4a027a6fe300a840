"""How often an HLO `while` runs: as XLA notes it, or from its counter, bound and step."""

import re

from tierplan.frontend.hlo_module import Computation, Instruction, Module

_NOTED = re.compile(r'known_trip_count"?\s*:\s*\{\s*"?n"?\s*:\s*"?(\d+)')
_SAME = frozenset(("copy", "bitcast", "reshape", "convert"))
_MIRRORED = {"LT": "GT", "LE": "GE", "GT": "LT", "GE": "LE"}
_MOST = 2**40


def constant_trips(loop: Instruction, around: Computation, module: Module) -> int | None:
    """Turns of a counting loop; None where the program does not tell.

    Source: XLA's own note `known_trip_count`; else `while (counter < bound) counter += step` with constants.
    """
    noted = _NOTED.search(loop.attributes)
    found = int(noted.group(1)) if noted else _counted(loop, around, module)
    return None if found is None or found > _MOST else found


def _counted(loop: Instruction, around: Computation, module: Module) -> int | None:
    condition, body = (module.computations[loop.called[role][0]] for role in ("condition", "body"))
    initial, after = around.by_name[loop.operands[0]], body.root
    test = _Seen(condition.root, condition, None).inside(module)
    direction = test.instruction.word("direction")
    if test.instruction.opcode != "compare" or direction not in _MIRRORED:
        return None
    left, right = (test.operand(i) for i in (0, 1))
    if left.number() is not None:
        left, right, direction = right, left, _MIRRORED[direction]
    bound, place = right.number(), left.element()
    if bound is None or place is None or initial.opcode != "tuple" or after.opcode != "tuple":
        return None
    start = _Seen(around.by_name[initial.operands[place]], around, None).number()
    step = _step(_Seen(body.by_name[after.operands[place]], body, None), place, module)
    if start is None or step is None:
        return None
    if direction in ("GT", "GE"):
        start, bound, step = -start, -bound, -step
    distance = bound - start + (direction in ("LE", "GE"))
    if distance <= 0:
        return 0
    return -(-distance // step) if step > 0 else None


class _Seen:
    """An instruction in its computation, which may be that of a fusion or a call made `at` another place."""

    def __init__(self, instruction: Instruction, computation: Computation, at: "_Seen | None") -> None:
        while True:
            if instruction.opcode in _SAME and instruction.shape.n_elements == 1:
                instruction = computation.by_name[instruction.operands[0]]
            elif instruction.opcode == "parameter" and at is not None:
                outer = at.operand(int(instruction.argument))
                instruction, computation, at = outer.instruction, outer.computation, outer.at
            else:
                break
        self.instruction, self.computation, self.at = instruction, computation, at

    def operand(self, index: int) -> "_Seen":
        """An operand, seen through copies and the arguments of fusions."""
        return _Seen(self.computation.by_name[self.instruction.operands[index]], self.computation, self.at)

    def inside(self, module: Module) -> "_Seen":
        """Of a fusion or a call, what it ends with."""
        seen, depth = self, 0
        while seen.instruction.opcode in ("fusion", "call") and depth < 8:
            callee = module.computations[next(iter(seen.instruction.called.values()))[0]]
            seen, depth = _Seen(callee.root, callee, seen), depth + 1
        return seen

    def number(self) -> int | None:
        """The integer that it is, if it is a constant."""
        if self.instruction.opcode != "constant":
            return None
        try:
            return int(self.instruction.argument.strip("{} "))
        except ValueError:
            return None

    def element(self) -> int | None:
        """Which element of the loop's state it is."""
        if self.instruction.opcode != "get-tuple-element" or self.at is not None:
            return None
        state = self.computation.by_name[self.instruction.operands[0]]
        return self.instruction.number("index", -1) if state.opcode == "parameter" else None


def _step(after: _Seen, place: int, module: Module) -> int | None:
    seen = after.inside(module)
    if seen.instruction.opcode not in ("add", "subtract"):
        return None
    left, right = seen.operand(0), seen.operand(1)
    if seen.instruction.opcode == "add" and left.number() is not None:
        left, right = right, left
    by = right.number()
    if left.element() != place or by is None:
        return None
    return by if seen.instruction.opcode == "add" else -by
