"""Plan files: a plan as JSON with all that is needed to check and run it again.

A plan file says which model, hardware and version of tierplan it was made for, and carries the
problem itself, so that `verify` and `simulate` need no other file. Print then parse is the identity.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, Field, ValidationError

from tierplan.ir.errors import InvalidInputError, nearest
from tierplan.ir.fusion_record import FUSION_PARTS, FusionRecord, FusionRow, fusion_of, fusion_rows
from tierplan.ir.outcome import Status
from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import Problem
from tierplan.ir.problem_rows import (
    AccessRow,
    AlternativeRow,
    Amount,
    ChoiceRow,
    Count,
    LinkRow,
    ProblemRow,
    Row,
    StepRow,
    TensorRow,
    TierRow,
    problem_of,
    problem_rows,
)

_FOUND = (Status.OPTIMAL.name, Status.FEASIBLE.name)  # of the others there is no plan to write
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True, eq=False)
class PlanFile:
    """What a plan file holds. `model` and `hardware` are as the user named them."""

    version: str
    model: str
    hardware: str
    planner: str
    status: Status
    cost_s: float
    bound_s: float
    problem: Problem
    plan: Plan
    fusion: FusionRecord | None = None


class _Residency(Row):
    tensor: str
    tier: str
    offset: Count
    start: Count
    stop: Count


class _Copy(Row):
    tensor: str
    source: Annotated[str, Field(alias="from")]
    target: Annotated[str, Field(alias="to")]
    start: Count
    done: Count


class _Taken(Row):
    choice: str
    alternative: str


class _File(Row):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    tierplan: str
    model: str
    hardware: str
    planner: str
    status: str
    cost_s: Amount
    bound_s: Amount
    residencies: list[_Residency]
    copies: list[_Copy]
    taken: list[_Taken]
    fusion: FusionRow | None = None
    problem: ProblemRow


def print_plan(file: PlanFile) -> str:
    """The JSON text of a plan file, one residency, copy, step and tensor a line."""
    problem, plan = file.problem, file.plan
    names, tiers = problem.tensor_names, problem.tiers.names
    rows: dict[str, Any] = {
        "schema": 1,
        "tierplan": file.version,
        "model": file.model,
        "hardware": file.hardware,
        "planner": file.planner,
        "status": file.status.name,
        "cost_s": file.cost_s,
        "bound_s": file.bound_s,
        "residencies": [
            {"tensor": names[r.tensor], "tier": tiers[r.tier], "offset": r.offset, "start": r.start, "stop": r.stop}
            for r in plan.residencies
        ],
        "copies": [
            {
                "tensor": names[c.tensor],
                "from": tiers[c.source],
                "to": tiers[c.target],
                "start": c.start,
                "done": c.done,
            }
            for c in plan.copies
        ],
        "taken": [
            {
                "choice": (choice := problem.choices[t.choice]).name,
                "alternative": choice.alternatives[t.alternative].name,
            }
            for t in plan.taken
        ],
        **({} if file.fusion is None else {"fusion": fusion_rows(file.fusion)}),
        "problem": problem_rows(problem),
    }
    return _lines(rows) + "\n"


def parse_plan(text: str, source: str) -> PlanFile:
    """Read a plan file.

    Raises: InvalidInputError: not JSON (line, column), a key that is wrong (key path and the nearest
        valid one), a number out of range, or a name that the file's own problem lacks.
    """
    file = _validated(_File, _loaded(text, source), source)
    with _at(f"{source}: problem"):
        problem = problem_of(file.problem)
    tensor = {name: index for index, name in enumerate(problem.tensor_names)}
    tier = {name: index for index, name in enumerate(problem.tiers.names)}
    residencies: list[Residency] = []
    for i, r in enumerate(file.residencies):
        with _at(f"{source}: residencies[{i}]"):
            residencies.append(Residency(_index(tensor, r.tensor), _index(tier, r.tier), r.offset, r.start, r.stop))
    copies: list[Copy] = []
    for i, c in enumerate(file.copies):
        with _at(f"{source}: copies[{i}]"):
            ends = _index(tier, c.source), _index(tier, c.target)
            copies.append(Copy(_index(tensor, c.tensor), *ends, c.start, c.done))
    choice = {c.name: index for index, c in enumerate(problem.choices)}
    taken: list[Taken] = []
    for i, t in enumerate(file.taken):
        with _at(f"{source}: taken[{i}]"):
            index = _index(choice, t.choice)
            alternatives = {a.name: i for i, a in enumerate(problem.choices[index].alternatives)}
            taken.append(Taken(index, _index(alternatives, t.alternative)))
    if file.status not in _FOUND:
        raise InvalidInputError(f"{source}: status: '{_short(file.status)}' is none of {', '.join(_FOUND)}")
    return PlanFile(
        file.tierplan, file.model, file.hardware, file.planner, Status[file.status], file.cost_s, file.bound_s,
        problem, Plan(tuple(residencies), tuple(copies), tuple(taken)),
        None if file.fusion is None else fusion_of(file.fusion),
    )  # fmt: skip


def _loaded(text: str, source: str) -> object:
    def no_nan(word: str) -> float:
        raise InvalidInputError(f"{source}: {word} is not a number that a plan can hold")

    try:
        return json.loads(text, parse_constant=no_nan)
    except json.JSONDecodeError as error:
        where = f"{source}, line {error.lineno}, column {error.colno}"
        raise InvalidInputError(f"{where}: JSON syntax: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise InvalidInputError(f"{source}: not a plan file: {type(error).__name__}") from None


_M = TypeVar("_M", bound=BaseModel)


def _validated(model: type[_M], value: object, source: str) -> _M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors()
        misspelt = (e for e in errors if e["type"] == "extra_forbidden")  # tells more than the key that lacks
        first = next(misspelt, errors[0])
        steps = (f"[{p}]" if isinstance(p, int) else f".{_short(p)}" for p in first["loc"])
        path = "".join(steps).removeprefix(".")
        message = first["msg"]
        if first["type"] == "extra_forbidden":
            known = {key for row in _rows(_File) for key in _keys(row)}
            guess = nearest(str(first["loc"][-1]), known)
            message = "unknown key" + (f"; did you mean '{guess}'?" if guess else "")
        raise InvalidInputError(f"{source}: {path or 'the file'}: {message}") from None


def _rows(model: type[BaseModel]) -> list[type[BaseModel]]:
    return [
        model,
        _Residency,
        _Copy,
        _Taken,
        ProblemRow,
        TierRow,
        LinkRow,
        StepRow,
        AccessRow,
        TensorRow,
        ChoiceRow,
        AlternativeRow,
        FusionRow,
        *FUSION_PARTS,
    ]


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _index(known: dict[str, int], name: str) -> int:
    if name not in known:
        guess = nearest(name, known)
        hint = f"; did you mean '{_short(guess)}'?" if guess else ""
        raise InvalidInputError(f"'{_short(name)}' is not in the plan's own problem{hint}")
    return known[name]


@contextmanager
def _at(where: str) -> Generator[None]:
    """Say in every error where in the file it was found."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from None


def _short(text: str) -> str:
    """A name from the file, on one line and no longer than a message can bear."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[: _LONGEST_SHOWN - 3]}..."


def _lines(value: object, depth: int = 0) -> str:
    """JSON with one line per residency, copy, tier, tensor and step: readable, and small in a diff."""
    indent = " " * depth
    if isinstance(value, dict) and depth < 2:
        pairs = cast(dict[str, Any], value).items()
        inner = [f"{indent} {json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in pairs]
        return "{\n" + ",\n".join(inner) + f"\n{indent}}}"
    if isinstance(value, list) and value and depth < 3:
        inner = [f"{indent} {json.dumps(item)}" for item in cast(list[Any], value)]
        return "[\n" + ",\n".join(inner) + f"\n{indent}]"
    return json.dumps(value)
