"""EDGE programs read into nouns, with line and column for whatever is wrong."""

from __future__ import annotations

import re

from tierplan.einsum.edge import (
    EdgeAccess,
    EdgeAction,
    EdgeCase,
    EdgeEinsum,
    EdgeFunction,
    EdgeGiven,
    EdgeProgram,
    EdgeRank,
    EdgeSection,
    EdgeStatement,
    EdgeTensor,
)
from tierplan.einsum.edge_text import LITERAL, NAME, Line, read_access, read_action, read_expression
from tierplan.einsum.parse import check_size
from tierplan.ir.errors import InvalidInputError


def read_edge(text: str) -> EdgeProgram:
    """An EDGE program.

    Raises: InvalidInputError: with line and column, and what was expected.
    """
    check_size(text)
    if not re.search(r"^\s*(-\s|<>)", text, re.M) and ";" in text:
        return _read_short(text)
    lines = [Line(line.split("#", 1)[0].rstrip(), n) for n, line in enumerate(text.splitlines(), 1)]
    lines = [line for line in lines if line.text.strip()]
    tensors: list[EdgeTensor] = []
    sections: list[tuple[str, list[EdgeStatement]]] = []
    stop: str | None = None
    title = ""
    while lines:
        line = lines.pop(0)
        if line.accept("- "):
            title = " ".join(line.text[line.place :].split())
            if not title.lower().startswith("tensor"):
                sections.append((title, []))
        elif line.accept("<>"):
            line.take(":")
            if stop is not None or line.done:
                raise line.error("one stopping condition")
            stop = " ".join(line.text[line.place :].split())
        elif not title:
            raise line.error("a section, like '- Tensors'")
        elif title.lower().startswith("tensor"):
            tensors.append(_tensor(line))
        else:
            sections[-1][1].append(_statement(line, lines))
    return _program(tensors, sections, stop)


def _program(
    tensors: list[EdgeTensor], sections: list[tuple[str, list[EdgeStatement]]], stop: str | None
) -> EdgeProgram:
    if not any(isinstance(s, EdgeEinsum) for _, statements in sections for s in statements):
        raise InvalidInputError("line 1, column 1: the program has no Einsum; expected a section '- Extended Einsums'")
    known = [t.name for t in tensors]
    if len(set(known)) < len(known):
        twice = next(n for i, n in enumerate(known) if n in known[:i])
        raise InvalidInputError(f"line 1, column 1: tensor {twice} is declared twice")
    return EdgeProgram(tuple(tensors), tuple(EdgeSection(t, tuple(s)) for t, s in sections if s), stop)


def _read_short(text: str) -> EdgeProgram:
    """The other form: statements that end with `;`, tensors declared with brackets, comments after `//`."""
    tensors: list[EdgeTensor] = []
    sections: list[tuple[str, list[EdgeStatement]]] = [("Dimensions", []), ("Initialization", []), ("Einsums", [])]
    stop: str | None = None
    for line in _short_lines(text):
        if line.match(re.compile(r"tensor\b")):
            tensors.append(_short_tensor(line))
        elif line.match(re.compile(r"stop\b")):
            line.take(":")
            if stop is not None or line.done:
                raise line.error("one stopping condition")
            stop = " ".join(line.text[line.place :].split())
        elif word := line.match(re.compile(r"(dim|init)\b")):
            sections[0 if word == "dim" else 1][1].append(_statement(line, []))
        else:
            sections[2][1].append(_statement(line, []))
    return _program(tensors, [s for s in sections if s[1]], stop)


def _short_lines(text: str) -> list[Line]:
    """One line per statement, on the number of the line where it begins; its place in it is kept."""
    lines: list[Line] = []
    plain = re.sub(r"//[^\n]*", lambda found: " " * len(found.group()), text)
    place = 0
    for statement in plain.split(";"):
        begin = place + len(statement) - len(statement.lstrip())
        place += len(statement) + 1
        if statement.strip():
            column = begin - (plain.rfind("\n", 0, begin) + 1)
            flat = " " * column + " ".join(statement.strip().split("\n"))
            lines.append(Line(flat.rstrip(), plain.count("\n", 0, begin) + 1))
    return lines


def _short_tensor(line: Line) -> EdgeTensor:
    name = line.need(NAME, "a tensor")
    line.take("[")
    ranks: list[EdgeRank] = []
    while not line.accept("]"):
        line.match(re.compile(r"gen\b"))
        ranks.append(_rank(line))
        if not line.at("]"):
            line.take(",")
    line.take(":")
    return _typed(line, name, ranks)


def _tensor(line: Line) -> EdgeTensor:
    name = line.need(NAME, "a tensor")
    line.take("^")
    line.take("{")
    ranks: list[EdgeRank] = []
    while not line.accept("}"):
        ranks.append(_rank(line))
        if not line.at("}"):
            line.take(",")
    line.take("->")
    return _typed(line, name, ranks)


def _rank(line: Line) -> EdgeRank:
    rank = line.need(NAME, "a rank")
    if not line.accept("="):
        return EdgeRank(rank)
    return EdgeRank(rank, line.match(LITERAL) or line.need(NAME, "a shape, like |V| or 4"))


def _typed(line: Line, name: str, ranks: list[EdgeRank]) -> EdgeTensor:
    dtype = line.need(NAME, "a type")
    line.take(",")
    line.take("empty")
    line.take("=")
    empty = line.need(LITERAL, "a value")
    if not line.done:
        raise line.error("the end of the line")
    return EdgeTensor(name, tuple(ranks), dtype, empty)


def _statement(line: Line, following: list[Line]) -> EdgeStatement:
    head = re.match(r"\s*([A-Za-z][A-Za-z0-9_']*)\s*->\s*<user-specified>\s*$", line.text)
    if head and "_" in head.group(1) and not re.search(r"_[0-9a-z]$", head.group(1)):
        return EdgeGiven((EdgeAccess(head.group(1)),))
    function = re.match(r"\s*([A-Za-z]\w*)\s*\(([^()]*)\)\s*=(?!=)", line.text)
    if function:
        line.place = function.end()
        parameters = tuple(part.strip() for part in function.group(2).split(","))
        body = read_expression(line)
        _end(line)
        return EdgeFunction(function.group(1), parameters, body)
    output = read_access(line)
    if line.at(",") or line.at("->"):
        names = [output]
        while line.accept(","):
            names.append(read_access(line))
        line.take("->")
        line.take("<user-specified>")
        _end(line)
        return EdgeGiven(tuple(names))
    if line.accept("<<") and not line.at("<"):
        value = read_expression(line)
        _end(line)
        return EdgeEinsum(output, value, update=True)
    line.take("=")
    if line.accept("cases:"):
        return EdgeEinsum(output, None, cases=_cases(line, following))
    value = read_expression(line)
    actions: list[EdgeAction] = []
    if line.at("<<<"):
        actions.append(read_action(line))
    if line.accept("::"):
        while not line.done:
            actions.append(read_action(line))
    _end(line)
    return EdgeEinsum(output, value, tuple(actions))


def _end(line: Line) -> None:
    if not line.done:
        raise line.error("an operator, '::' or the end of the line")


def _cases(line: Line, following: list[Line]) -> tuple[EdgeCase, ...]:
    cases: list[EdgeCase] = []
    while following:
        row = following[0]
        if not re.search(r"\bif\b|\botherwise\b", row.text) or "=" in row.text.split(" if ")[0]:
            break
        following.pop(0)
        value = read_expression(row)
        if row.accept("otherwise"):
            _end(row)
            cases.append(EdgeCase(value, None))
            break
        row.take("if")
        cases.append(EdgeCase(value, " ".join(row.text[row.place :].split())))
    if not cases:
        raise line.error("cases on the lines below, like '0 if u = s'")
    return tuple(cases)
