"""The file that says what a sweep runs. `docs/sweeps.md` explains its keys to users."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tierplan.hardware.tree import KeyPath, Tree, Value, read_tree, show_path
from tierplan.ir.errors import InvalidInputError, nearest, unknown_name
from tierplan.sweep.axes import Axis, Range, Scalar, Values, read_range

OBJECTIVES = ("time", "energy", "cost")
_LARGEST_FILE = 1024 * 1024
_PLURALS = {
    "models": "model", "phases": "phase", "batches": "batch", "contexts": "context", "dtypes": "dtype",
    "routings": "routing", "planners": "planner", "budgets": "budget", "seeds": "seed",
}  # fmt: skip
_DEFAULTS: dict[str, Scalar] = {"planners": "greedy", "budgets": "10 s", "seeds": 0}
NUMBERED = ("batch", "context", "seed")
FIXED = (*(name for name in _PLURALS.values() if name not in ("planner", "budget", "seed")), "hardware")
"""Axes that every sweep may have, in this order; keys of the hardware follow, then planner, budget and seed."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _named(value: Any) -> Any:
    return {"base": value} if isinstance(value, str) else value


def _product(value: Any) -> Any:
    return {} if value == "product" else value


class HardwarePart(_Part):
    """A machine, and keys of its file that take other values."""

    base: Annotated[str, Field(strict=True)]
    set: dict[str, Any] = {}


class PointsPart(_Part):
    """Which points are run: the product of all axes, so many drawn at random, or so many found by search."""

    sample: Annotated[int, Field(strict=True, ge=1)] | None = None
    search: Annotated[int, Field(strict=True, ge=1)] | None = None
    objectives: Annotated[list[str], Field(min_length=1)] = ["time", "cost"]
    batch: Annotated[int, Field(strict=True, ge=1)] = 8
    seed: Annotated[int, Field(strict=True, ge=0)] = 0

    @model_validator(mode="after")
    def _one_way(self) -> "PointsPart":
        if self.sample is not None and self.search is not None:
            raise PydanticCustomError("tierplan", "give either 'sample' or 'search', not both")
        for name in self.objectives:
            if name not in OBJECTIVES:
                message = str(unknown_name("objective", name, OBJECTIVES))
                raise PydanticCustomError("tierplan", "{message}", {"message": message})
        return self


class LimitsPart(_Part):
    """What one point may use before it is ended."""

    time: str | None = None
    memory: str | None = None


class SpecFile(_Part):
    """All keys of a spec."""

    sweep: Literal[1]
    models: Any
    phases: Any = None
    batches: Any = None
    contexts: Any = None
    dtypes: Any = None
    routings: Any = None
    hardware: Annotated[list[Annotated[HardwarePart, BeforeValidator(_named)]], Field(min_length=1)]
    planners: Any = None
    budgets: Any = None
    seeds: Any = None
    points: Annotated[PointsPart, BeforeValidator(_product)] = PointsPart()
    limits: LimitsPart = LimitsPart()
    threads: Annotated[int, Field(strict=True, ge=1)] = 1


@dataclass(frozen=True, slots=True)
class Branch:
    """One machine of a sweep, with every axis that its points have, in their order."""

    hardware: str
    axes: dict[str, Axis]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a sweep runs. `written` is what the file says, to tell one sweep from another."""

    tree: Tree
    written: dict[str, Any]
    branches: tuple[Branch, ...]
    points: PointsPart
    limits: LimitsPart
    threads: int

    def settings(self) -> list[str]:
        """The keys of hardware files that are axes of some branch."""
        return list(dict.fromkeys(key for branch in self.branches for key in branch.axes if is_setting(key)))


def is_setting(axis: str) -> bool:
    """Whether an axis is a key of the hardware file."""
    return axis not in FIXED and axis not in _PLURALS.values()


def read_spec(path: Path) -> Spec:
    """Read a spec.

    Raises: InvalidInputError: one line that says what is wrong, where, and what to write instead.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise InvalidInputError(f"no file '{path}'; docs/sweeps.md shows what a spec looks like") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInputError(f"cannot read '{path}': {reason}") from None
    if len(raw) > _LARGEST_FILE:
        raise InvalidInputError(f"'{path}' is larger than 1 MiB; is this a spec?")
    return parse_spec(text, str(path))


def parse_spec(text: str, file: str) -> Spec:
    """The spec that a text describes; `file` is its name in messages.

    Raises: InvalidInputError: as `read_spec`.
    """
    tree = read_tree(text, file, see="docs/sweeps.md shows what a spec needs")
    try:
        parts = SpecFile.model_validate(tree.value)
    except ValidationError as error:
        raise _mistake(tree, error) from None
    given: dict[str, Any] = {**_DEFAULTS, **{k: v for k, v in parts if k in _PLURALS and v is not None}}
    shared = {_PLURALS[key]: _axis(tree, (key,), given[key], parts.points) for key in _PLURALS if key in given}
    branches = tuple(_branch(tree, n, part, shared, parts.points) for n, part in enumerate(parts.hardware))
    _check(tree, shared)
    written = cast(dict[str, Any], tree.value)
    return Spec(tree, written, branches, parts.points, parts.limits, parts.threads)


def _branch(tree: Tree, n: int, part: HardwarePart, shared: dict[str, Axis], points: PointsPart) -> Branch:
    axes = {name: axis for name, axis in shared.items() if name in FIXED}
    axes["hardware"] = Values((part.base,))
    keys: list[str] = []
    for key, value in part.set.items():
        place = ("hardware", n, "set", key)
        for one in split_keys(key):
            if one in keys:
                raise tree.error(place, f"'{one}' is set twice", of_key=True)
            if not is_setting(one):
                raise tree.error(
                    place, f"'{one}' is no key of a hardware file; write it beside 'hardware'", of_key=True
                )
            keys.append(one)
        axes[", ".join(split_keys(key))] = _axis(tree, place, value, points)
    axes |= {name: axis for name, axis in shared.items() if name not in FIXED}
    return Branch(part.base, axes)


def split_keys(axis: str) -> list[str]:
    """The keys of a hardware file that an axis sets together: `tiers.ddr.bandwidth, links.ddr->hbm.bandwidth`."""
    return [key.strip() for key in axis.split(",")]


def _axis(tree: Tree, path: KeyPath, value: Value, points: PointsPart) -> Axis:
    try:
        if isinstance(value, dict):
            axis = _range(tree, path, value)
            free = axis.steps is None and (points.sample is not None or points.search is not None)
            return axis if free else axis.stepped()
        values = value if isinstance(value, list) else [value]
        for n, each in enumerate(values):
            if each is None or isinstance(each, list | dict):
                raise tree.error((*path, n), "need a plain value, or one range {from: ..., to: ..., steps: ...}")
        return Values(tuple(cast(list[Scalar], values)))
    except InvalidInputError as error:
        if str(error).startswith(f"{tree.file}:"):
            raise
        raise tree.error(path, str(error)) from None


def _range(tree: Tree, path: KeyPath, value: dict[str, Value]) -> Range:
    known = ("from", "to", "steps", "log")
    for key in value:
        if key not in known:
            raise tree.error((*path, key), str(unknown_name("key", key, known)), of_key=True)
    low, high, steps, log = (value.get(key) for key in known)
    for key, end in (("from", low), ("to", high)):
        if not isinstance(end, str | int | float):
            raise tree.error(path, f"a range needs '{key}', a number with or without a unit")
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool)):
        raise tree.error((*path, "steps"), "need a whole number")
    if log is not None and not isinstance(log, bool):
        raise tree.error((*path, "log"), "need true or false")
    return read_range(cast(Scalar, low), cast(Scalar, high), steps, bool(log))


def _check(tree: Tree, shared: dict[str, Axis]) -> None:
    """Refuse values of a kind that an axis cannot take."""
    for plural, name in _PLURALS.items():
        axis = shared.get(name)
        if isinstance(axis, Range) and (name not in NUMBERED or not axis.whole):
            raise tree.error((plural,), f"a range of {plural}; list them, or give whole numbers from and to")
        for n, value in enumerate(axis.values if isinstance(axis, Values) else ()):
            least = 0 if name == "seed" else 1
            if name in NUMBERED and not (isinstance(value, int) and value is not True and value >= least):
                raise tree.error((plural, n), f"'{value}': need a whole number")
            if name not in NUMBERED and not isinstance(value, str):
                raise tree.error((plural, n), f"'{value}': need text")


def _mistake(tree: Tree, error: ValidationError) -> InvalidInputError:
    """The first mistake: a misspelt key before the missing one that it causes."""
    mistakes = sorted(error.errors(include_url=False), key=lambda m: m["type"] != "extra_forbidden")
    mistake = mistakes[0]
    path, kind = tuple(mistake["loc"]), mistake["type"]
    if kind == "extra_forbidden":
        known = list(_known(path[:-1]))
        singular = next((plural for plural, one in _PLURALS.items() if one == path[-1]), None)
        guess = singular if singular in known else nearest(str(path[-1]), known)
        hint = f"; did you mean '{guess}'?" if guess else "."
        return tree.error(path, f"unknown key '{path[-1]}'{hint} Known: {', '.join(sorted(known))}", of_key=True)
    if kind == "missing":
        return tree.error(path[:-1], f"missing key '{path[-1]}'")
    if path == ("sweep",):
        return tree.error(path, "write 'sweep: 1', the version of the format that this tierplan reads")
    words = {
        "too_short": "an empty list: there would be no point; give at least one",
        "model_type": f"need a mapping{_like(path)}", "dict_type": "need a mapping of keys to values",
        "list_type": "need a list: one '- ...' per entry", "string_type": "need text",
        "int_type": "need a whole number",
    }  # fmt: skip
    return tree.error(path, words.get(kind) or mistake["msg"].replace("Input should", "must"))


def _like(path: KeyPath) -> str:
    return {"points": ", like {sample: 100}, or 'product'", "limits": ", like {time: 60 s, memory: 4 GiB}"}.get(
        show_path(path), ": one 'key: value' per line"
    )


def _known(path: KeyPath) -> Iterator[str]:
    model: type[BaseModel] = SpecFile
    if path:
        model = {"hardware": HardwarePart, "points": PointsPart, "limits": LimitsPart}[str(path[0])]
    yield from model.model_fields
