"""What can go wrong, told so that the reader knows what to write instead."""

import difflib
from collections.abc import Iterable


class TierplanError(Exception):
    """Base of every error that tierplan raises on purpose."""


class InvalidInputError(TierplanError):
    """The user's input is wrong; the message says what, where, and what to write instead."""


class InvalidPlanError(TierplanError):
    """A planner returned a plan that breaks a rule: a bug in the planner, never in the input."""


class MissingDependencyError(TierplanError):
    """An optional package is not installed; the message is the `pip install` line to run."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs {package}: run  pip install 'tierplan[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that `name` is most likely a misspelling of.

    >>> nearest("bandwith", ["bandwidth", "latency"])
    'bandwidth'
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown_name(what: str, name: str, known: Iterable[str]) -> InvalidInputError:
    """An error for a name that is not among `known`, with the nearest valid one.

    >>> str(unknown_name("planner", "gredy", ["exact", "greedy"]))
    "unknown planner 'gredy'; did you mean 'greedy'? Known: exact, greedy"
    """
    names = sorted(known)
    guess = nearest(name, names)
    hint = f"; did you mean '{guess}'?" if guess else "."
    return InvalidInputError(f"unknown {what} '{name}'{hint} Known: {', '.join(names)}")


def one_line(text: str) -> str:
    """A message that quotes names of a file: what does not print becomes '?', and the middle of a long one is left out.

    >>> one_line("reads 'a\\nb'")
    "reads 'a?b'"
    """
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= 600 else f"{plain[:400]} ... {plain[-190:]}"
