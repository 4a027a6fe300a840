"""One line of an EDGE program: a cursor, and the expressions, indices and actions that it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tierplan.einsum.edge import (
    MAX_DEPTH,
    EdgeAccess,
    EdgeAction,
    EdgeAnonymous,
    EdgeCall,
    EdgeExpression,
    EdgeIndex,
    EdgeLiteral,
    EdgePair,
)
from tierplan.einsum.operators import MERGES
from tierplan.ir.errors import InvalidInputError, unknown_name

NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*'*")
LITERAL = re.compile(r"\|[A-Za-z][A-Za-z0-9]*\||'[^']*'|[-+]?inf\b|[-+]?[0-9]+(?:\.[0-9]+)?|True\b|False\b")
_ARRAY = re.compile(r"\[[-+0-9a-zA-Z., \t\[\]]*\]")
_COORDINATE = re.compile(r"[A-Za-z0-9+\-' ]+")
_COMPUTE = re.compile(r"<<|<-|->|<=|>=|==|!=|[-+*/<>]|[A-Za-z_][A-Za-z0-9_-]*|[0-9]+")
_SYMBOLS = {"\u2229": "intersect", "\u222a": "union"}


@dataclass(slots=True)
class Line:
    """One line and how far it has been read."""

    text: str
    number: int
    place: int = 0
    depth: int = 0

    def error(self, expected: str) -> InvalidInputError:
        found = self.text[self.place : self.place + 12].strip() or "the end of the line"
        return InvalidInputError(f"line {self.number}, column {self.place + 1}: expected {expected}, found '{found}'")

    def skip(self) -> None:
        while self.place < len(self.text) and self.text[self.place] in " \t":
            self.place += 1

    def at(self, sign: str) -> bool:
        self.skip()
        return self.text.startswith(sign, self.place)

    def accept(self, sign: str) -> bool:
        if self.at(sign):
            self.place += len(sign)
            return True
        return False

    def take(self, sign: str) -> None:
        if not self.accept(sign):
            raise self.error(f"'{sign}'")

    def match(self, pattern: re.Pattern[str]) -> str | None:
        self.skip()
        found = pattern.match(self.text, self.place)
        if found is None:
            return None
        self.place = found.end()
        return found.group()

    def need(self, pattern: re.Pattern[str], what: str) -> str:
        found = self.match(pattern)
        if not found:
            raise self.error(what)
        return found

    @property
    def done(self) -> bool:
        self.skip()
        return self.place >= len(self.text)

    def until(self, signs: str) -> str:
        """The text before the next of `signs` that is outside round brackets."""
        depth, start = 0, self.place
        while self.place < len(self.text):
            character = self.text[self.place]
            if character in signs and not depth:
                break
            depth += (character == "(") - (character == ")")
            self.place += 1
        return " ".join(self.text[start : self.place].split())


def read_access(line: Line) -> EdgeAccess:
    """A tensor at coordinates."""
    return EdgeAccess(line.need(NAME, "a tensor"), read_subscript(line))


def read_subscript(line: Line) -> tuple[EdgeIndex, ...]:
    """Indices in `_{...}` or `[...]`, or one short index after `_`; none are no indices."""
    close = "]" if line.text.startswith("[", line.place) else "}"
    if close == "}":
        if not line.text.startswith("_", line.place):
            return ()
        line.place += 1
        if not line.text.startswith("{", line.place):
            return (EdgeIndex(line.need(re.compile(r"[A-Za-z0-9]+"), "a coordinate")),)
    line.place += 1
    indices: list[EdgeIndex] = []
    while not line.accept(close):
        coordinate = "".join(line.need(_COORDINATE, "a coordinate").split())
        if not coordinate:
            raise line.error("a coordinate")
        starred = line.accept("*")
        condition = None
        if line.accept(":"):
            line.skip()
            condition = line.until(f",{close}")
            if not condition:
                raise line.error("a condition")
        indices.append(EdgeIndex(coordinate, condition, starred))
        if not line.at(close):
            line.take(",")
    return tuple(indices)


def read_expression(line: Line) -> EdgeExpression:
    """Operands joined by `.` or by operators, left to right."""
    line.depth += 1
    if line.depth > MAX_DEPTH:
        raise line.error(f"at most {MAX_DEPTH} levels of nesting")
    value = _operand(line)
    n_pairs = 0
    while True:
        line.skip()
        if line.at("::") or line.at("<<<"):
            break
        if line.accept("."):
            label = line.need(re.compile(r"[0-9]+"), "a label") if line.accept("^") else None
            value = EdgePair(".", value, _operand(line), label)
        else:
            sign = line.match(re.compile(r"[-+*/]"))
            if sign is None:
                break
            value = EdgePair(sign, value, _operand(line))
        n_pairs += 1
        if n_pairs > MAX_DEPTH:
            raise line.error(f"at most {MAX_DEPTH} operators in a row")
    line.depth -= 1
    return value


def _operand(line: Line) -> EdgeExpression:
    line.depth += 1
    if line.depth > MAX_DEPTH:
        raise line.error(f"at most {MAX_DEPTH} levels of nesting")
    try:
        if line.accept("("):
            value = read_expression(line)
            line.take(")")
            return EdgeAnonymous(value, read_subscript(line))
        literal = line.match(_ARRAY) or line.match(LITERAL)
        if literal is not None:
            return EdgeLiteral(literal)
        call = re.compile(r"([A-Za-z]\w*)\(").match(line.text, line.place)
        if call:
            line.place = call.end()
            operands = [read_expression(line)]
            while line.accept(","):
                operands.append(read_expression(line))
            line.take(")")
            return EdgeCall(call.group(1), tuple(operands))
        if line.match(re.compile(r"not\b")):
            return EdgeCall("not", (_operand(line),))
        return read_access(line)
    finally:
        line.depth -= 1


def read_action(line: Line) -> EdgeAction:
    """`/\\\\_s +(union)`, `\\\\/ max(union)`, `<<<_{s*} 1(select)`, or `map(min, intersect)`."""
    word = line.match(re.compile(r"(map|reduce)\s*\("))
    if word:
        compute = line.need(_COMPUTE, "a compute operator")
        line.take(",")
        merge = _merge(line)
        return EdgeAction(word.split("(")[0].strip(), compute, merge)
    kinds = {"/\\": "map", "\\/": "reduce", "<<<": "populate"}
    sign = next((sign for sign in kinds if line.accept(sign)), None)
    if sign is None:
        raise line.error("an action: /\\ (map), \\/ (reduce) or <<< (populate)")
    label = line.need(re.compile(r"[0-9]+"), "a label") if line.accept("^") else None
    rank = None
    if line.text.startswith("_", line.place):
        line.place += 1
        braced = line.accept("{")
        rank = line.need(re.compile(r"[A-Za-z][A-Za-z0-9]*\*?"), "a rank")
        if braced:
            line.take("}")
    compute = line.need(_COMPUTE, "a compute operator")
    line.take("(")
    return EdgeAction(kinds[sign], compute, _merge(line, kinds[sign] == "populate"), rank, label)


def _merge(line: Line, free: bool = False) -> str:
    """A merge operator and the bracket that ends it; a populate action names any coordinate operator."""
    line.skip()
    start = line.place
    merge = line.until(")")
    line.take(")")
    merge = _SYMBOLS.get(merge, merge)
    if not merge or not (free or merge in MERGES):
        known = unknown_name("merge operator", merge, MERGES) if merge else "expected a merge operator"
        raise InvalidInputError(f"line {line.number}, column {start + 1}: {known}")
    return merge
