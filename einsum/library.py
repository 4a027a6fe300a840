"""The cascades that come with the package, by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.parse import parse_cascade, read_cascade
from tierplan.ir.errors import InvalidInputError, unknown_name


def names() -> tuple[str, ...]:
    """Names of the cascades that come with the package."""
    found = (entry.name for entry in files("tierplan.einsum").iterdir())
    return tuple(sorted(name.removesuffix(".cascade") for name in found if name.endswith(".cascade")))


def source(name: str) -> str:
    """The text of a cascade that comes with the package.

    Raises: InvalidInputError: there is none of that name.
    """
    if name not in names():
        raise InvalidInputError(str(unknown_name("cascade", name, names())))
    return files("tierplan.einsum").joinpath(f"{name}.cascade").read_text(encoding="utf-8")


def named(name: str) -> Cascade:
    """A cascade that comes with the package.

    >>> named("attention-3pass").outputs
    ('AV',)
    """
    return parse_cascade(source(name), name)


def find(name_or_file: str) -> Cascade:
    """The cascade of that name, or else the one in the file of that name.

    Raises: InvalidInputError: it is neither.
    """
    if name_or_file in names():
        return named(name_or_file)
    path = Path(name_or_file)
    if path.suffix or path.exists():
        return read_cascade(path)
    raise InvalidInputError(f"{unknown_name('cascade', name_or_file, names())}; or give a file")
