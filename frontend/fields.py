"""Reading the fields of a JSON object, with errors that name the file, the place and the key."""

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, NoReturn, cast

from tierplan.ir.errors import InvalidInputError

_SPACE = re.compile(r"[ \t\n\r]*")
_LARGEST_COUNT = 10**9


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of a JSON file; `asked` collects the names that a reader looked up.

    `within` names the key of the top-level object under which it stands; empty for that one itself.
    """

    source: str
    text: str
    values: Mapping[str, object]
    asked: set[str] = field(default_factory=lambda: set[str]())
    within: str = ""

    @property
    def model(self) -> str:
        """The name of the model: that of the file, or of its folder where the file is a `config.json`."""
        path = PurePath(self.source)
        return path.parent.name or path.stem if path.name == "config.json" else path.name.removesuffix(".json")

    def fail(self, key: str, message: str) -> NoReturn:
        """Refuse the value of a key.

        Raises: InvalidInputError: always; it says in which line and column the value stands.
        """
        place = None if self.within else _positions(self.text).get(key)
        where = f"{self.source}, line {place[0]}, column {place[1]}" if place else self.place
        raise InvalidInputError(f"{where}: {key!r} {message}")

    @property
    def place(self) -> str:
        """The file, and the key in it under which the object stands."""
        return f"{self.source}: {self.within}" if self.within else self.source

    def inner(self, key: str, inherited: Sequence[str] = ()) -> "Fields":
        """The object under a key, with the `inherited` fields of this one where it lacks them.

        Raises: InvalidInputError: there is no object under that key.
        """
        if self.found(key) is None:
            raise self.missing(key)
        value = self.values[key]
        if not isinstance(value, dict):
            self.fail(key, "is not an object, {...}")
        self.asked.update(inherited)
        outer = {name: self.values[name] for name in inherited if name in self.values}
        return Fields(self.source, self.text, {**outer, **cast("dict[str, object]", value)}, within=key)

    def found(self, *names: str) -> str | None:
        """The first of `names` that the file has with a value other than null."""
        self.asked.update(names)
        return next((name for name in names if self.values.get(name) is not None), None)

    def missing(self, name: str) -> InvalidInputError:
        """The error for a field that must be there."""
        close = difflib.get_close_matches(name, [key for key in self.values if key not in self.asked], n=1)
        hint = f"; is {close[0]!r} a misspelling of it?" if close else ""
        return InvalidInputError(f"{self.place}: the field '{name}' is missing{hint}")

    def count(self, *names: str, default: int | None = None) -> int:
        """A positive whole number under any of `names`; `default` where there is none."""
        value = self.optional_count(*names)
        if value is not None:
            return value
        if default is None:
            raise self.missing(names[0])
        return default

    def optional_count(self, *names: str) -> int | None:
        """A positive whole number, or None where the file has none."""
        name = self.found(*names)
        if name is None:
            return None
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(name, f"is {json.dumps(value)[:60]}; write a positive whole number")
        if value < 1:
            self.fail(name, f"is {value}; write a positive whole number")
        if value > _LARGEST_COUNT:
            self.fail(name, "is absurdly large; write a number up to a billion")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        if self.found(name) is None:
            return default
        value = self.values[name]
        if not isinstance(value, bool):
            self.fail(name, f"is {json.dumps(value)[:60]}; write true or false")
        return value

    def string(self, *names: str) -> str | None:
        """A string, or None where the file has none."""
        name = self.found(*names)
        if name is None:
            return None
        value = self.values[name]
        if not isinstance(value, str):
            self.fail(name, f"is {json.dumps(value)[:60]}; write a string")
        if not value.isprintable() or len(value) > 200:
            self.fail(name, f"is {json.dumps(value)[:60]}; write a plain name")
        return value

    def fraction(self, name: str, default: float) -> float:
        """A number above 0 and up to 1."""
        if self.found(name) is None:
            return default
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.fail(name, f"is {json.dumps(value)[:60]}; write a number above 0 and up to 1")
        if not 0 < value <= 1:
            self.fail(name, f"is {value}; write a number above 0 and up to 1")
        return float(value)

    def number(self, name: str) -> float | None:
        """A finite number above 0, or None where the file has none."""
        if self.found(name) is None:
            return None
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e300:
            self.fail(name, f"is {json.dumps(value)[:60]}; write a number above 0")
        return float(value)

    def listed(self, name: str) -> list[object] | None:
        """A list, or None where the file has none."""
        if self.found(name) is None:
            return None
        value = self.values[name]
        if not isinstance(value, list):
            self.fail(name, f"is {json.dumps(value)[:60]}; write a list")
        return cast("list[object]", value)

    def check_spelling(self) -> None:
        """Refuse a key that looks like a misspelling of one that was looked up and is not there.

        Other unknown keys are left alone: configurations carry many fields that say nothing about the structure.
        """
        absent = [name for name in self.asked if name not in self.values]
        for key in self.values:
            if key not in self.asked:
                close = difflib.get_close_matches(key, absent, n=1, cutoff=0.86)
                if close:
                    self.fail(key, f"is not a known field; did you mean '{close[0]}'?")


def read_object(text: str, source: str, what: str = "a configuration") -> Fields:
    """Read a JSON object, which is to be `what` in errors.

    Raises: InvalidInputError: a syntax error, with file, line and column; a key that stands there twice;
        NaN or Infinity; something other than an object.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            repeated = next(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
            raise InvalidInputError(f"{source}: the key {repeated[:80]!r} stands there twice; keep one")
        return values

    def not_a_number(name: str) -> NoReturn:
        raise InvalidInputError(f"{source}: {name} is not a number that JSON allows; write a finite one")

    text = text.removeprefix("\ufeff")
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=not_a_number)
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"{source}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}"
        ) from None
    except RecursionError:
        raise InvalidInputError(f"{source}: not {what}: its values are nested too deeply") from None
    except ValueError:
        raise InvalidInputError(f"{source}: not {what}: it has a number of thousands of digits") from None
    if not isinstance(value, dict):
        raise InvalidInputError(f"{source}: not {what}: need a JSON object, {{...}}")
    return Fields(source, text, cast("dict[str, object]", value))


def _positions(text: str) -> dict[str, tuple[int, int]]:
    """Line and column of the value of each top-level key of a text that is known to be a JSON object."""
    decoder = json.JSONDecoder()
    places: dict[str, tuple[int, int]] = {}

    def after_space(index: int) -> int:
        match = _SPACE.match(text, index)
        return match.end() if match else index

    index = after_space(after_space(0) + 1)
    while text[index] != "}":
        key, index = decoder.raw_decode(text, index)
        index = after_space(after_space(index) + 1)
        places[key] = (text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))
        _, index = decoder.raw_decode(text, index)
        index = after_space(index)
        if text[index] == ",":
            index = after_space(index + 1)
    return places
