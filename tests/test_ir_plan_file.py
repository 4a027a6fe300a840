"""Plan files: print then parse is the identity, and whatever is wrong is one line that says where."""

import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest
import small
import strategies
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.outcome import Status
from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.plan_file import PlanFile, parse_plan, print_plan
from tierplan.ir.problem import Alternative, Choice, Effect, Keep

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def assert_same(a: Any, b: Any, path: str = "file") -> None:
    """Every field, array and element type is the same; unknown figures (nan) are the same unknown."""
    assert type(a) is type(b), path
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, path
        assert a.shape == b.shape, path
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), path
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name), f"{path}.{field.name}")
    elif isinstance(a, tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{i}]")
    else:
        assert a == b, path


texts = st.text(max_size=8)
amounts = st.floats(0, 1e300)


@st.composite
def files(draw: st.DrawFn) -> PlanFile:
    problem = draw(strategies.problems())
    plan = draw(strategies.legal_plans(problem))
    assume(plan is not None)
    n = problem.n_tensors
    tensor_names = tuple(draw(st.lists(texts, min_size=n, max_size=n, unique=True)))
    compute_j = np.array([draw(st.sampled_from((np.nan, 0.0, 1e-12))) for _ in range(problem.n_steps)])
    problem = dataclasses.replace(
        problem, name=draw(texts), tokens=draw(st.integers(0, 9)), notes=tuple(draw(st.lists(texts, max_size=2))),
        tensor_names=tensor_names, compute_j=compute_j,
    )  # fmt: skip
    return PlanFile(
        draw(texts), draw(texts), draw(texts), draw(texts), draw(st.sampled_from((Status.OPTIMAL, Status.FEASIBLE))),
        draw(amounts), draw(amounts), problem, plan,
    )  # fmt: skip


@given(files())
@quick
def test_print_then_parse_is_the_identity(file: PlanFile) -> None:
    text = print_plan(file)
    assert_same(parse_plan(text, "plan.json"), file)
    assert print_plan(parse_plan(text, "plan.json")) == text


def a_file() -> PlanFile:
    wide = Alternative("wide", (9, 0, 0), (Effect(1, 0.5, link=(1, 2, 3)),))
    choices = [Choice("window", (Alternative("none", (0, 0, 0)), wide))]
    problem = small.problem(
        ["read w, produce y", "update y"],
        {"w": 100, "y": 60},
        home=("w",),
        keep={"y": Keep.SOMEWHERE},
        choices=choices,
    )
    plan = Plan(
        (Residency(0, 1, 0, 0, 2), Residency(0, 0, 0, 0, 2), Residency(1, 0, 100, 0, 2)),
        (Copy(0, 1, 0, 0, 1),),
        (Taken(0, 1),),
    )
    return PlanFile("0.1.0", "toy --batch 2", "small", "greedy", Status.FEASIBLE, 2.5, 1.25, problem, plan)


TEXT = print_plan(a_file())


def test_a_plan_file_names_what_it_was_made_for() -> None:
    rows = json.loads(TEXT)
    assert [rows[key] for key in ("schema", "tierplan", "model", "hardware", "planner", "status")] == [
        1, "0.1.0", "toy --batch 2", "small", "greedy", "FEASIBLE",
    ]  # fmt: skip
    assert rows["residencies"][1] == {"tensor": "w", "tier": "sram", "offset": 0, "start": 0, "stop": 2}
    assert rows["copies"] == [{"tensor": "w", "from": "dram", "to": "sram", "start": 0, "done": 1}]
    assert rows["taken"] == [{"choice": "window", "alternative": "wide"}]


def refusal(text: str) -> str:
    with pytest.raises(InvalidInputError) as error:
        parse_plan(text, "plan.json")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("plan.json")
    assert len(message) < 500
    return message


def changed(*path: str | int, to: Any) -> str:
    rows = json.loads(TEXT)
    place = rows
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return json.dumps(rows)


def renamed(*path: str | int, to: str) -> str:
    rows = json.loads(TEXT)
    place = rows
    for key in path[:-1]:
        place = place[key]
    place[to] = place.pop(path[-1])
    return json.dumps(rows)


def test_a_syntax_error_is_told_with_line_and_column() -> None:
    lines = TEXT.splitlines()
    lines[2] = lines[2].replace(":", ";")
    assert refusal("\n".join(lines)) == "plan.json, line 3, column 12: JSON syntax: Expecting ':' delimiter"


@pytest.mark.parametrize("text", ["", " ", "{", "[]", "null", "3", '"x"', "nonsense", "\x00\x01\xff", "{}"])
def test_what_is_no_plan_file_is_refused(text: str) -> None:
    refusal(text)


def test_deep_nesting_and_huge_numbers_are_refused() -> None:
    refusal("[" * 100_000)
    refusal('{"a":' * 100_000)
    refusal(changed("residencies", 0, "offset", to=0).replace('"offset": 0', '"offset": ' + "9" * 5000, 1))
    refusal(changed("problem", "tensors", 0, "size", to=2**63))
    refusal(changed("problem", "tensors", 0, "size", to=2**62))
    assert "problem: " in refusal(changed("problem", "steps", 0, "accesses", 0, "read", to=2**62))


@pytest.mark.parametrize("cut", range(0, len(TEXT) - 2, max(1, len(TEXT) // 40)))
def test_a_file_cut_short_is_refused(cut: int) -> None:
    refusal(TEXT[:cut])


@pytest.mark.parametrize(
    ("path", "to", "where", "guess"),
    [
        (("residencies",), "residencie", "residencie", "residencies"),
        (("residencies", 0, "offset"), "ofset", "residencies[0].ofset", "offset"),
        (("copies", 0, "from"), "form", "copies[0].form", "from"),
        (("taken", 0, "alternative"), "alternativ", "taken[0].alternativ", "alternative"),
        (("problem", "cyclic"), "cylic", "problem.cylic", "cyclic"),
        (
            ("problem", "tiers", 0, "read_bandwidth"),
            "read_bandwith",
            "problem.tiers[0].read_bandwith",
            "read_bandwidth",
        ),
        (("problem", "steps", 1, "accesses", 0, "mode"), "mod", "problem.steps[1].accesses[0].mod", "mode"),
    ],
)
def test_a_misspelt_key_is_told_with_its_path_and_the_nearest(path: Any, to: str, where: str, guess: str) -> None:
    assert refusal(renamed(*path, to=to)) == f"plan.json: {where}: unknown key; did you mean '{guess}'?"


def test_a_key_that_lacks_is_told_with_its_path() -> None:
    rows = json.loads(TEXT)
    del rows["problem"]["tensors"][1]["size"]
    assert refusal(json.dumps(rows)) == "plan.json: problem.tensors[1].size: Field required"


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("schema",), 2),
        (("cost_s",), "2.5"),
        (("cost_s",), -1.0),
        (("bound_s",), None),
        (("status",), "INFEASIBLE"),
        (("status",), "FEASABLE"),
        (("planner",), 3),
        (("residencies",), {}),
        (("residencies", 0), None),
        (("residencies", 0, "tensor"), 0),
        (("residencies", 0, "offset"), -1),
        (("residencies", 0, "offset"), 1.5),
        (("residencies", 0, "offset"), True),
        (("residencies", 0, "stop"), 0),
        (("copies", 0, "to"), "dram"),
        (("copies", 0, "done"), 0),
        (("problem", "tiers"), []),
        (("problem", "steps"), []),
        (("problem", "tiers", 0, "capacity"), 0),
        (("problem", "tiers", 0, "usable"), 1001),
        (("problem", "tiers", 0, "alignment"), 0),
        (("problem", "tiers", 0, "read_bandwidth"), 0.0),
        (("problem", "tiers", 0, "read_bandwidth"), -5.0),
        (("problem", "tiers", 0, "read_link"), 3),
        (("problem", "tiers", 0, "read_link"), -2),
        (("problem", "tiers", 1, "name"), "sram"),
        (("problem", "links", 0, "source"), 3),
        (("problem", "links", 0, "channels"), 0),
        (("problem", "links", 1, "name"), "up"),
        (("problem", "tensors", 0, "home"), 3),
        (("problem", "tensors", 0, "size"), -1),
        (("problem", "tensors", 1, "name"), "w"),
        (("problem", "tensors", 1, "keep"), 2),
        (("problem", "tensors", 1, "keep"), 3),
        (("problem", "steps", 0, "compute_s"), -1e-3),
        (("problem", "steps", 0, "accesses", 0, "tensor"), 2),
        (("problem", "steps", 0, "accesses", 0, "tensor"), 1),
        (("problem", "steps", 0, "accesses", 0, "mode"), 3),
        (("problem", "choices", 0, "alternatives"), []),
        (("problem", "choices", 0, "alternatives", 0, "reserved"), [0]),
        (("problem", "choices", 0, "alternatives", 0, "name"), "wide"),
        (("problem", "choices", 0, "alternatives", 1, "effects", 0, "step"), 2),
        (("problem", "choices", 0, "alternatives", 1, "effects", 0, "link"), [1]),
        (("problem", "choices", 0, "alternatives", 1, "effects", 0, "link"), [1, 2, 10**30]),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(path: Any, to: Any) -> None:
    parse_plan(TEXT, "plan.json")
    refusal(changed(*path, to=to))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_not_a_number_is_refused(word: str) -> None:
    refusal(TEXT.replace('"cost_s": 2.5', f'"cost_s": {word}'))
    refusal(re.sub(r'"compute_s": 0\.5', f'"compute_s": {word}', TEXT))


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (
            ("residencies", 0, "tensor"),
            "ww",
            "residencies[0]: 'ww'@; did you mean 'w'?",
        ),
        (
            ("residencies", 1, "tier"),
            "srm",
            "residencies[1]: 'srm'@; did you mean 'sram'?",
        ),
        (("copies", 0, "from"), "disk", "copies[0]: 'disk'@"),
        (("taken", 0, "choice"), "windw", "taken[0]: 'windw'@; did you mean 'window'?"),
        (("taken", 0, "alternative"), "x", "taken[0]: 'x'@"),
        (("residencies", 0, "start"), 2, "residencies[0]: residency over [2, 2): need 0 <= start < stop"),
    ],
)
def test_a_name_or_range_that_is_wrong_is_told_with_its_place(path: Any, to: Any, message: str) -> None:
    assert refusal(changed(*path, to=to)) == "plan.json: " + message.replace("@", " is not in the plan's own problem")


def test_names_with_line_breaks_still_give_one_line() -> None:
    refusal(changed("residencies", 0, "tensor", to="a\nb" * 1000))
    refusal(renamed("residencies", 0, "tensor", to="a\nb" * 1000))
    refusal(changed("status", to="a\nb" * 1000))


def parses_or_refuses(text: str) -> None:
    message = ""
    try:
        parse_plan(text, "plan.json")
    except InvalidInputError as error:
        message = str(error)
    assert "\n" not in message


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_text_is_read_or_refused_but_nothing_else(data: st.DataObject) -> None:
    text = TEXT
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 30)))
        added = data.draw(
            st.sampled_from(("", *'{}[]",:-0129.eE\\x\n\x00é')) | st.text(max_size=5) | st.just(text[start:stop] * 2)
        )
        text = text[:start] + added + text[stop:]
    parses_or_refuses(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, item in inner for p in [(*path, key), *_paths(item, (*path, key))]]


@given(st.sampled_from(_paths(json.loads(TEXT))), values)
@settings(max_examples=300, deadline=None)
def test_any_value_in_any_place_is_read_or_refused_but_nothing_else(path: tuple[str | int, ...], value: Any) -> None:
    parses_or_refuses(changed(*path, to=value))
