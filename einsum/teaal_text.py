"""The small languages inside a TeAAL file: equations and partitioning steps, read and written."""

from __future__ import annotations

import re

from tierplan.einsum.teaal import Equation, Factor, IndexTerm, Product, Split
from tierplan.ir.errors import InvalidInputError, unknown_name

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"\s*(?:([A-Za-z_][A-Za-z0-9_]*)|(-?[0-9]+)|([\[\](),=+*-]))")
MAX_EXPRESSION = 4_000


class _Cursor:
    """Tokens of one expression, with the place of each for errors."""

    def __init__(self, text: str, where: str) -> None:
        self.where = where
        self.tokens: list[tuple[str, int]] = []
        if len(text) > MAX_EXPRESSION:
            raise InvalidInputError(f"{where}: the expression has {len(text)} characters; at most {MAX_EXPRESSION}")
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                column = place + 1 + len(text[place:]) - len(text[place:].lstrip())
                raise InvalidInputError(f"{where}: column {column}: unexpected '{text[column - 1]}'")
            self.tokens.append((match.group().strip(), match.end() - len(match.group().strip()) + 1))
            place = match.end()
        self.next = 0

    def peek(self) -> str:
        return self.tokens[self.next][0] if self.next < len(self.tokens) else ""

    def take(self, expected: str) -> None:
        if self.peek() != expected:
            raise self.error(f"'{expected}'")
        self.next += 1

    def name(self, what: str) -> str:
        if not NAME.fullmatch(self.peek()):
            raise self.error(what)
        self.next += 1
        return self.tokens[self.next - 1][0]

    def error(self, expected: str) -> InvalidInputError:
        found, column = self.tokens[self.next] if self.next < len(self.tokens) else ("the end", 0)
        place = f"column {column}: " if column else ""
        return InvalidInputError(f"{self.where}: {place}expected {expected}, found '{found}'")


def read_equation(text: str, where: str = "expression") -> Equation:
    """One Einsum of a TeAAL file.

    >>> write_equation(read_equation("T[k,m,n] = take(A[k,m], B[k,n], 1)"))
    'T[k, m, n] = take(A[k, m], B[k, n], 1)'

    Raises: InvalidInputError: with the column, and what was expected.
    """
    cursor = _Cursor(text, where)
    output = _read_factor(cursor)
    cursor.take("=")
    terms = [_read_term(cursor)]
    while cursor.peek() == "+":
        cursor.next += 1
        terms.append(_read_term(cursor))
    if cursor.peek():
        raise cursor.error("+ or the end")
    return Equation(output, tuple(terms))


def _read_term(cursor: _Cursor) -> Product:
    following = cursor.tokens[cursor.next + 1][0] if cursor.next + 1 < len(cursor.tokens) else ""
    if cursor.peek() == "take" and following == "(":
        cursor.next += 2
        factors = [_read_factor(cursor)]
        cursor.take(",")
        while not cursor.peek().isdigit():
            factors.append(_read_factor(cursor))
            cursor.take(",")
        number = int(cursor.peek()[:9])
        cursor.next += 1
        cursor.take(")")
        return Product(tuple(factors), number)
    factors = [_read_factor(cursor)]
    while cursor.peek() == "*":
        cursor.next += 1
        factors.append(_read_factor(cursor))
    return Product(tuple(factors))


def _read_factor(cursor: _Cursor) -> Factor:
    name = cursor.name("a tensor")
    if cursor.peek() != "[":
        return Factor(name)
    cursor.next += 1
    indices: list[tuple[IndexTerm, ...]] = []
    while cursor.peek() != "]":
        terms = [_read_index(cursor)]
        while cursor.peek() == "+":
            cursor.next += 1
            terms.append(_read_index(cursor))
        indices.append(tuple(terms))
        if cursor.peek() != "]":
            cursor.take(",")
    cursor.next += 1
    return Factor(name, tuple(indices))


def _read_index(cursor: _Cursor) -> IndexTerm:
    negative = cursor.peek() == "-"
    cursor.next += negative
    if re.fullmatch(r"-?[0-9]{1,9}", cursor.peek()):
        scale = int(cursor.peek()) * (-1 if negative else 1)
        cursor.next += 1
        cursor.take("*")
        return IndexTerm(cursor.name("a rank variable"), scale)
    name = cursor.name("a rank variable or a number")
    if cursor.peek() == "*" and not negative:
        cursor.next += 1
        return IndexTerm(cursor.name("a rank variable"), name)
    return IndexTerm(name, -1 if negative else 1)


def write_equation(expression: Equation) -> str:
    """One Einsum as text."""

    def factor(f: Factor) -> str:
        if f.indices is None:
            return f.name
        return f"{f.name}[{', '.join(' + '.join(map(index, terms)) for terms in f.indices)}]"

    def index(term: IndexTerm) -> str:
        return term.variable if term.scale == 1 else f"{term.scale} * {term.variable}"

    def product(p: Product) -> str:
        if p.take is None:
            return " * ".join(map(factor, p.factors))
        return f"take({', '.join(map(factor, p.factors))}, {p.take})"

    return f"{factor(expression.output)} = {' + '.join(map(product, expression.terms))}"


_SPLIT = re.compile(r"\s*(\w+)\s*\(\s*(?:(\w+)\s*\.\s*)?(\w*)\s*\)\s*")
_KINDS = ("nway_shape", "uniform_shape", "uniform_occupancy", "flatten", "follow")


def read_split(text: str, where: str = "partitioning") -> Split:
    """One partitioning step.

    >>> read_split("uniform_occupancy(A.16)")
    Split(kind='uniform_occupancy', size=16, leader='A')
    """
    match = _SPLIT.fullmatch(text)
    kind, leader, argument = match.groups() if match else ("", None, "")
    if kind not in _KINDS:
        if match is None:
            raise InvalidInputError(f"{where}: '{text[:40]}' is no partitioning; write one like uniform_shape(16)")
        raise InvalidInputError(f"{where}: {unknown_name('partitioning', kind, _KINDS)}")
    if (leader is not None) != (kind == "uniform_occupancy") or bool(argument) == (kind == "flatten"):
        shapes = {"uniform_occupancy": "uniform_occupancy(A.16)", "flatten": "flatten()", "follow": "follow(K)"}
        raise InvalidInputError(f"{where}: write {shapes.get(kind, f'{kind}(16)')}, not '{text[:40]}'")
    if kind == "follow":
        return Split(kind, None, argument)
    size = int(argument[:18]) if argument.isdigit() else argument or None
    return Split(kind, size, leader)


def write_split(split: Split) -> str:
    """One partitioning step as text."""
    if split.kind == "follow":
        return f"follow({split.leader})"
    leader = f"{split.leader}." if split.leader else ""
    return f"{split.kind}({leader}{'' if split.size is None else split.size})"
