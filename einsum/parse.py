"""Text to cascades: bounded in size and depth, with errors that name the place and what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Affine, affine_of
from tierplan.einsum.statements import Einsum
from tierplan.ir.errors import InvalidInputError, nearest

if TYPE_CHECKING:
    from lark import Lark, Token

MAX_CHARACTERS = 1_000_000
MAX_LINE = 10_000
MAX_NESTING = 60

_NAMES = {
    "LOWER": "a rank variable or an operator (lower case)", "UPPER": "a tensor or a rank (upper case)",
    "NUMBER": "a number", "LABEL": "a name", "_NL": "the end of the line", "SIGN": "+ or -",
    "COMPARE": "a comparison", "TIMES": "* or /", "POWER": "**", "LSQB": "[", "RSQB": "]", "LPAR": "(",
    "RPAR": ")", "LBRACE": "{", "RBRACE": "}", "COMMA": ",", "COLON": ":", "EQUAL": "=", "VBAR": "|",
    "$END": "the end", "__ANON_0": "<>",
}  # fmt: skip


class _JoinLines:
    """Drops the ends of lines inside round and square brackets."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth = 0
        for token in stream:
            if token.type in ("LPAR", "LSQB"):
                depth += 1
            elif token.type in ("RPAR", "RSQB"):
                depth -= 1
            if token.type != "_NL" or token == ";" or depth <= 0:
                yield token


@cache
def _parser() -> Lark:
    from lark import Lark

    from tierplan.einsum.build import Build

    grammar = files("tierplan.einsum").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        start=["start", "just_einsum", "just_index"],
        postlex=_JoinLines(),  # pyright: ignore[reportArgumentType]
        transformer=Build(),
        maybe_placeholders=True,
    )


def check_size(text: str, max_line: int = MAX_LINE) -> None:
    """Refuse a text that is too large, or too deeply nested, before any parser sees it."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidInputError(f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > max_line:
            raise InvalidInputError(
                f"line {number}, column {max_line + 1}: the line has {len(line)} characters; "
                f"at most {max_line} are read; break it inside brackets"
            )
    depth = 0
    line, start = 1, 0
    for place, character in enumerate(text):
        if character in "([":
            depth += 1
            if depth > MAX_NESTING:
                raise InvalidInputError(
                    f"line {line}, column {place - start + 1}: brackets are nested deeper than {MAX_NESTING}"
                )
        elif character in ")]":
            depth = max(depth - 1, 0)
        elif character == "\n":
            line, start = line + 1, place + 1


def _parse(text: str, start: str) -> object:
    from lark import UnexpectedInput

    check_size(text)
    try:
        built: object = _parser().parse(text + "\n", start=start)  # pyright: ignore[reportUnknownMemberType]
        return built
    except UnexpectedInput as error:
        _explain(error, text)


def _explain(error: Any, text: str) -> NoReturn:
    """Say where, what was expected and what was found; the error's type is open, lark's are generic."""
    where = f"line {error.line}, column {error.column}"
    expected: set[str] = set()
    found = "the end of the text"
    if type(error).__name__ == "UnexpectedToken":
        try:
            expected = set(error.interactive_parser.accepts())
        except InvalidInputError:
            expected = set(error.expected)
        if error.token.type == "_NL":
            found = "the end of the line"
        elif error.token.type != "$END":
            found = f"'{str(error.token)[:40]}'"
    elif type(error).__name__ == "UnexpectedCharacters":
        expected = set(error.allowed or ())
        if error.pos_in_stream < len(text):
            found = f"'{text[error.pos_in_stream]}'"
    words = sorted(_NAMES.get(name, name.lower()) for name in expected if name != "_NL")
    words += [_NAMES["_NL"]] if "_NL" in expected else []
    guess = nearest(found.strip("'"), [word for word in words if word.isidentifier()])
    hint = f"; did you mean '{guess}'?" if guess else ""
    raise InvalidInputError(f"{where}: expected {', '.join(words) or 'nothing more'}; found {found}{hint}")


def parse_cascade(text: str, name: str = "") -> Cascade:
    """The cascade that `text` spells.

    >>> parse_cascade("Z[m, n] = A[k, m] * B[k, n]").outputs
    ('Z',)

    Raises: InvalidInputError: with line and column, what was expected, and the nearest valid name.
    """
    from tierplan.einsum.build import Statements

    statements = _parse(text, "start")
    assert isinstance(statements, Statements)
    cascade = statements.cascade()
    return cascade if cascade.name or not name else replace(cascade, name=name)


def parse_einsum(text: str) -> Einsum:
    """One Einsum. A bare upper-case name is a rank's shape; write `X[]` for a scalar tensor.

    >>> parse_einsum("GM[p] = max[m] QK[m, p]").reduced_variables
    ('m',)
    """
    einsum = _parse(text, "just_einsum")
    assert isinstance(einsum, Einsum)
    return einsum


def parse_index(text: str) -> Affine:
    """One index of an access.

    >>> parse_index("m1*M0 + m0").variables
    ('m1', 'm0')
    """
    from tierplan.einsum.expressions import Expression

    node = _parse(text, "just_index")
    assert isinstance(node, Expression)
    return affine_of(node)


def read_cascade(path: Path) -> Cascade:
    """The cascade in a file; its name is the file's unless the text gives one.

    Raises: InvalidInputError: with the file's name before the place.
    """
    try:
        size = path.stat().st_size
        if size > 4 * MAX_CHARACTERS:
            raise InvalidInputError(f"{path}: the file has {size} bytes; at most {MAX_CHARACTERS} are read")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: byte {error.start} is not UTF-8 text") from None
    try:
        return parse_cascade(text, name=path.stem)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None
