"""Shapes on the command line: `f32[8,128],bf16[128,256]`, one array per argument.

The grammar, blanks allowed anywhere between words:

    shapes: array ("," array)*
    array:  dtype "[" [extent ("," extent)*] "]"

A scalar is `f32[]`. Nested arguments (dictionaries, lists of arrays) cannot be written this way; a module says those in
its `example_args`.
"""

# pyright: reportUnknownMemberType=false

import re
from typing import Any

from tierplan.ir.dtypes import dtype_name
from tierplan.ir.errors import InvalidInputError

_EXAMPLE = "write shapes like 'f32[8,128],bf16[128,256]'"
_WORD = re.compile(r"\s*([A-Za-z][A-Za-z0-9_.]*|[0-9]+|\S)")
_LARGEST = 2**40


class _Words:
    """The words of a text, from the left, with where each begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def peek(self) -> str:
        match = _WORD.match(self._text, self._place)
        return match.group(1) if match else ""

    def take(self) -> str:
        match = _WORD.match(self._text, self._place)
        if match is None:
            return ""
        self._place = match.end()
        return match.group(1)

    def wrong(self, expected: str) -> InvalidInputError:
        match = _WORD.match(self._text, self._place)
        place = match.start(1) if match else len(self._text)
        found = f"'{match.group(1)}'" if match else "the end"
        return InvalidInputError(
            f"shapes '{self._text}', position {place + 1}: expected {expected}, found {found}; {_EXAMPLE}"
            " (nested arguments go into the module's example_args)"
        )


def read_shapes(text: str) -> tuple[Any, ...]:
    """Abstract arrays, one per argument.

    >>> read_shapes("f32[8, 128], i32[]")
    (ShapeDtypeStruct(shape=(8, 128), dtype=float32), ShapeDtypeStruct(shape=(), dtype=int32))

    Raises: InvalidInputError: the text breaks the grammar (says at which position), an unknown element type, or a
        64-bit one while JAX runs without them.
    """
    words = _Words(text)
    arrays = [_array(words)]
    while words.peek():
        _expect(words, ",")
        arrays.append(_array(words))
    return tuple(arrays)


def _expect(words: _Words, word: str) -> None:
    if words.peek() != word:
        raise words.wrong(f"'{word}'")
    words.take()


def _array(words: _Words) -> Any:
    import jax

    if not words.peek()[:1].isalpha():
        raise words.wrong("an element type")
    dtype = dtype_name(words.peek())
    if dtype in ("float64", "int64", "uint64", "complex128") and not jax.config.read("jax_enable_x64"):
        raise words.wrong("a type of at most 32 bits (JAX runs without 64-bit types unless JAX_ENABLE_X64=1)")
    words.take()
    _expect(words, "[")
    shape: list[int] = []
    while words.peek() != "]":
        if shape:
            _expect(words, ",")
        if not words.peek().isdecimal() or not 0 < int(words.peek()) <= _LARGEST:
            raise words.wrong(f"an extent from 1 to {_LARGEST}" if shape else "an extent or ']'")
        shape.append(int(words.take()))
    words.take()
    return jax.ShapeDtypeStruct(tuple(shape), dtype)
