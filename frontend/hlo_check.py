"""What a module must be for its instructions to mean something: operands and computations exist, shapes fit."""

from collections.abc import Mapping
from dataclasses import replace

from tierplan.frontend.hlo_module import Computation, Instruction, Module
from tierplan.frontend.hlo_shape import HloShape
from tierplan.ir.errors import InvalidInputError, nearest

_N_OPERANDS = {
    "get-tuple-element": 1, "while": 1, "bitcast": 1, "copy": 1, "reshape": 1, "transpose": 1, "broadcast": 1,
    "convert": 1, "slice": 1, "negate": 1, "dot": 2, "convolution": 2, "select": 3, "clamp": 3, "pad": 2, "gather": 2,
    "add": 2, "subtract": 2, "multiply": 2, "divide": 2, "compare": 2, "maximum": 2, "minimum": 2, "fft": 1,
    "triangular-solve": 2, "cholesky": 1, "select-and-scatter": 3, "add-dependency": 2, "domain": 1, "reverse": 1,
    "bitcast-convert": 1,
}  # fmt: skip
_AT_LEAST = {
    "dynamic-update-slice": 2, "dynamic-slice": 1, "reduce": 2, "reduce-window": 2, "scatter": 3, "sort": 1,
    "conditional": 2, "concatenate": 1, "optimization-barrier": 1, "map": 1,
}  # fmt: skip
_ROLES = {
    "fusion": ("calls",), "call": ("to_apply",), "while": ("condition", "body"), "reduce": ("to_apply",),
    "reduce-window": ("to_apply",), "map": ("to_apply",), "scatter": ("to_apply",), "sort": ("to_apply",),
    "select-and-scatter": ("select", "scatter"),
}  # fmt: skip


def checked(module: Module, source: str) -> Module:
    """The module itself, with the order of its computations.

    Raises: InvalidInputError: an operand or a computation is missing, shapes do not fit, or computations call
        themselves.
    """

    def refuse(instruction: Instruction, why: str) -> InvalidInputError:
        return InvalidInputError(f"{source}, line {instruction.line}: '{instruction.name}' {why}")

    for computation in module.computations.values():
        for instruction in computation.instructions:
            for name in instruction.operands:
                if name not in computation.by_name:
                    raise refuse(instruction, f"reads '{name}', which {_absent(name, computation.by_name)}")
            for names in instruction.called.values():
                for name in names:
                    if name not in module.computations:
                        raise refuse(instruction, f"calls '{name}', which {_absent(name, module.computations)}")
            why = _misfit(instruction, computation, module)
            if why:
                raise refuse(instruction, why)
        _acyclic(computation, source)
    for alias in module.aliased:
        _check_alias(module, alias.output, alias.parameter, alias.place, source)
    return replace(module, order=_callees_first(module, source))


def _absent(name: str, known: Mapping[str, object]) -> str:
    guess = nearest(name, known)
    return "is not there" + (f"; did you mean '{guess}'?" if guess else "")


def _misfit(instruction: Instruction, computation: Computation, module: Module) -> str:
    """What is wrong with the operands or the computations of an instruction; empty if nothing."""
    opcode, n = instruction.opcode, len(instruction.operands)
    if _N_OPERANDS.get(opcode, n) != n or _AT_LEAST.get(opcode, 0) > n:
        return f"has {n} operands; {opcode} takes {_N_OPERANDS.get(opcode) or f'{_AT_LEAST[opcode]} or more'}"
    for role in _ROLES.get(opcode, ()):
        if role not in instruction.called:
            return f"is a {opcode} that names no {role}"
    if opcode == "get-tuple-element":
        shape, index = computation.by_name[instruction.operands[0]].shape, instruction.number("index", -1)
        if not 0 <= index < len(shape.elements):
            return f"takes element {index} of {len(shape.elements)}"
        return "" if _fit(shape.elements[index], instruction.shape) else "has another shape than the element it takes"
    if opcode == "tuple":
        operands = [operand.shape for operand in computation.operands(instruction)]
        same = len(operands) == len(instruction.shape.elements) and all(map(_fit, operands, instruction.shape.elements))
        return "" if same else "has another shape than its operands"
    if opcode in ("bitcast", "copy", "optimization-barrier", "domain", "add-dependency") and n >= 1:
        operand = computation.by_name[instruction.operands[0]].shape
        if operand.is_tuple != instruction.shape.is_tuple:
            return "has another shape than its operand"
    if opcode in ("call", "fusion", "while", "conditional"):
        return _misfit_call(instruction, computation, module)
    return ""


def _fit(one: HloShape, other: HloShape) -> bool:
    """Whether two shapes hold the same arrays; layouts and packing aside."""
    return one is other or (
        one.dtype == other.dtype
        and one.extents == other.extents
        and len(one.elements) == len(other.elements)
        and all(map(_fit, one.elements, other.elements))
    )


def _misfit_call(instruction: Instruction, computation: Computation, module: Module) -> str:
    given = [operand.shape for operand in computation.operands(instruction)]
    wanted = instruction.shape
    if instruction.opcode == "while":
        condition = module.computations[instruction.called["condition"][0]]
        body = module.computations[instruction.called["body"][0]]
        if condition.root.shape.is_tuple or condition.root.shape.extents:
            return f"has the condition '{condition.name}', which does not give one truth value"
        called = [(condition, given, condition.root.shape), (body, given, wanted)]
    elif instruction.opcode == "conditional":
        branches = branches_of(instruction)
        if len(branches) != len(given) - 1:
            return f"has {len(branches)} branches for {len(given) - 1} operands"
        called = [(module.computations[b], [g], wanted) for b, g in zip(branches, given[1:], strict=True)]
    else:
        role = "calls" if instruction.opcode == "fusion" else "to_apply"
        called = [(module.computations[instruction.called[role][0]], given, wanted)]
    for target, arguments, result in called:
        if len(target.parameters) != len(arguments):
            return f"gives {len(arguments)} arguments to '{target.name}', which takes {len(target.parameters)}"
        if not all(_fit(p.shape, a) for p, a in zip(target.parameters, arguments, strict=True)):
            return f"gives arguments of other shapes than '{target.name}' takes"
        if not _fit(target.root.shape, result):
            return f"has another shape than the result of '{target.name}'"
    return ""


def branches_of(instruction: Instruction) -> tuple[str, ...]:
    """The computations between which a conditional chooses; of a boolean one, the one for true first."""
    called = instruction.called
    if "branch_computations" in called:
        return called["branch_computations"]
    return (*called.get("true_computation", ()), *called.get("false_computation", ()))


def _check_alias(module: Module, output: tuple[int, ...], parameter: int, place: tuple[int, ...], source: str) -> None:
    if parameter >= len(module.entry.parameters):
        raise InvalidInputError(f"{source}: input_output_alias names parameter {parameter}, which is not there")
    for what, shape, index in (
        ("output", module.entry.root.shape, output),
        (f"parameter {parameter}", module.entry.parameters[parameter].shape, place),
    ):
        for number in index:
            if number >= len(shape.elements):
                raise InvalidInputError(f"{source}: input_output_alias names {what} {{{number}}}, which is not there")
            shape = shape.elements[number]


def _acyclic(computation: Computation, source: str) -> None:
    """Refuse an instruction that needs its own result; operands nearly always stand before their readers."""
    seen: set[str] = set()
    late = False
    for instruction in computation.instructions:
        late = late or any(name not in seen for name in instruction.operands)
        seen.add(instruction.name)
    if late:
        edges = {i.name: i.operands for i in computation.instructions}
        cycle = _ordered(edges)[1]
        if cycle:
            line = computation.by_name[cycle].line
            raise InvalidInputError(f"{source}, line {line}: '{cycle}' needs its own result")


def _callees_first(module: Module, source: str) -> tuple[str, ...]:
    edges = {
        name: tuple(dict.fromkeys(c for i in comp.instructions for names in i.called.values() for c in names))
        for name, comp in module.computations.items()
    }
    order, cycle = _ordered(edges)
    if cycle:
        raise InvalidInputError(f"{source}: computation '{cycle}' calls itself, directly or through others")
    return tuple(order)


def _ordered(edges: Mapping[str, tuple[str, ...]]) -> tuple[list[str], str]:
    """The names with what each needs before it; where that is impossible, one that needs itself."""
    order: list[str] = []
    state: dict[str, int] = {}
    for first in edges:
        stack = [(first, iter(edges[first]))] if first not in state else []
        state.setdefault(first, 1)
        while stack:
            name, needed = stack[-1]
            for other in needed:
                if state.get(other) == 1:
                    return order, other
                if other not in state:
                    state[other] = 1
                    stack.append((other, iter(edges[other])))
                    break
            else:
                state[name] = 2
                order.append(name)
                stack.pop()
    return order, ""


def in_order(computation: Computation) -> tuple[Instruction, ...]:
    """The instructions with operands before their readers, the written order kept where it can be."""
    seen: set[str] = set()
    for instruction in computation.instructions:
        if not seen.issuperset(instruction.operands):
            edges = {i.name: i.operands for i in computation.instructions}
            return tuple(computation.by_name[name] for name in _ordered(edges)[0])
        seen.add(instruction.name)
    return computation.instructions
