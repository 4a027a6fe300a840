"""EDGE programs written back; reading the text again gives an equal program."""

from __future__ import annotations

from tierplan.einsum.edge import (
    EdgeAccess,
    EdgeAction,
    EdgeAnonymous,
    EdgeCall,
    EdgeEinsum,
    EdgeExpression,
    EdgeFunction,
    EdgeGiven,
    EdgeIndex,
    EdgeLiteral,
    EdgePair,
    EdgeProgram,
    EdgeStatement,
    EdgeTensor,
)

_SIGNS = {"map": "/\\", "reduce": "\\/", "populate": "<<<"}


def write_edge(program: EdgeProgram) -> str:
    """A program as text, a section after the other."""
    lines = ["- Tensors", *(_tensor(tensor) for tensor in program.tensors)]
    for section in program.sections:
        lines += ["", f"- {section.title}"]
        for statement in section.statements:
            lines += _statement(statement)
    if program.stop is not None:
        lines.append(f"<> : {program.stop}")
    return "\n".join(lines) + "\n"


def _tensor(tensor: EdgeTensor) -> str:
    ranks = ", ".join(r.name if r.shape is None else f"{r.name} = {r.shape}" for r in tensor.ranks)
    return f"{tensor.name}^{{{ranks}}} -> {tensor.dtype}, empty = {tensor.empty}"


def _statement(statement: EdgeStatement) -> list[str]:
    match statement:
        case EdgeGiven(names=names):
            return [f"{', '.join(map(_access, names))} -> <user-specified>"]
        case EdgeFunction(name=name, parameters=parameters, body=body):
            return [f"{name}({', '.join(parameters)}) = {_expression(body)}"]
        case EdgeEinsum():
            return _einsum(statement)


def _einsum(einsum: EdgeEinsum) -> list[str]:
    output = _access(einsum.output)
    if einsum.expression is None:
        rows = [
            f"    {_expression(case.value)} " + ("otherwise" if case.condition is None else f"if {case.condition}")
            for case in einsum.cases
        ]
        return [f"{output} = cases:", *rows]
    if einsum.update:
        return [f"{output} << {_expression(einsum.expression)}"]
    actions = " ".join(_action(action) for action in einsum.actions)
    return [f"{output} = {_expression(einsum.expression)}" + (f" :: {actions}" if actions else "")]


def _action(action: EdgeAction) -> str:
    label = f"^{action.label}" if action.label else ""
    rank = f"_{{{action.rank}}}" if action.rank else ""
    return f"{_SIGNS[action.kind]}{label}{rank} {action.compute}({action.merge})"


def _index(index: EdgeIndex) -> str:
    star = "*" if index.starred else ""
    return f"{index.coordinate}{star}" + (f" : {index.condition}" if index.condition else "")


def _indices(indices: tuple[EdgeIndex, ...]) -> str:
    return f"_{{{', '.join(map(_index, indices))}}}" if indices else ""


def _access(access: EdgeAccess) -> str:
    return f"{access.tensor}{_indices(access.indices)}"


def _expression(node: EdgeExpression) -> str:
    match node:
        case EdgeAccess():
            return _access(node)
        case EdgeLiteral(text=text):
            return text
        case EdgeCall(function="not", operands=(operand,)):
            return f"not {_expression(operand)}"
        case EdgeCall(function=function, operands=operands):
            return f"{function}({', '.join(map(_expression, operands))})"
        case EdgeAnonymous(value=value, indices=indices):
            return f"({_expression(value)}){_indices(indices)}"
        case EdgePair(operator=operator, left=left, right=right, label=label):
            sign = f"{operator}^{label}" if label else operator
            return f"{_expression(left)} {sign} {_expression(right)}"
