"""Whatever a hardware file holds, reading it ends in a machine or in one line that says why not."""

import random
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.hardware.build import read_hardware
from tierplan.hardware.load import builtin_names, load_machine, read_source
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Machine

SOURCES = [read_source(name)[1] for name in builtin_names()]
WORDS = [
    "-1", "0", "nan", ".nan", ".inf", "1e999", "1e400 GB", "null", "~", "yes", "{}", "[]", "''", "[a, b]", "{a: b}",
    "&a", "*a", "<<: *a", "!!str", "!x", "|", ">", "#", ":", "- ", "? ", "---", "...", "%YAML 1.1", "\t",
    "\u2028", "\x85", "\ud7ff",
    "99999999999999999999 GB", "1 GB/s", "1 GB", "1 us", "0x_", "0b_", "1:60", "2001-13-45", "=",
    "far", "name: x", "\\", '"',
    "12_", "\u0660 GB", "1\u00a0GB", "_", "1e-400 s", "true", "[[[[", "}}}}",
]  # fmt: skip


def machine_or_one_line(text: str) -> Machine | None:
    """The machine of `text`, or None when it was refused properly."""
    try:
        return read_hardware(text, "x.yaml").machine
    except InvalidInputError as error:
        told = str(error)
        assert re.match(r"x\.yaml(:\d+:\d+)?: \S", told), told
        assert told.isprintable(), told
        assert len(told) < 2_000, told
        return None


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_random_text(text: str) -> None:
    assert machine_or_one_line(text) is None


@given(st.lists(st.sampled_from([*WORDS, "schema: 1\n", "tiers:\n", "  - ", "\n", " ", "compute: "]), max_size=30))
@settings(max_examples=300, deadline=None)
def test_random_yaml_words(words: list[str]) -> None:
    assert machine_or_one_line("".join(words)) is None


_plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS)
_keys = st.sampled_from(
    ["schema", "name", "tiers", "links", "compute", "matrix", "home", "capacity", "from", "to", "float32"]
)
_trees = st.recursive(_plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=6))


@given(_trees)
@settings(max_examples=200, deadline=None)
def test_random_trees(tree: object) -> None:
    assert machine_or_one_line(yaml.safe_dump(tree)) is None


@given(st.sampled_from(SOURCES), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_mutated_files(source: str, draw: random.Random) -> None:
    """Cut, double, swap and overwrite pieces of valid files: nothing but a machine or one line comes out."""
    text = source
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(text) + 1)
        stop = min(len(text), start + draw.choice((0, 1, 1, 5, 40)))
        piece = draw.choice(("", text[start:stop] * 2, draw.choice(WORDS), chr(draw.randrange(32, 0x3000))))
        text = text[:start] + piece + text[stop:]
    machine_or_one_line(text)


@given(st.sampled_from(SOURCES), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_mutated_values(source: str, draw: random.Random) -> None:
    """Replace one value of a valid file by another plain value, which reaches behind the syntax."""
    spans = [match.span(1) for match in re.finditer(r": ([^\s#{}\[\],][^#{}\[\],\n]*)", re.sub(r"#.*", _blank, source))]
    start, stop = draw.choice(spans)
    other_start, other_stop = draw.choice(spans)
    piece = draw.choice((draw.choice(WORDS), source[other_start:other_stop]))
    machine_or_one_line(source[:start] + piece + source[stop:])


@given(st.sampled_from(SOURCES), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_a_misspelt_key_is_found_where_it_stands(source: str, draw: random.Random) -> None:
    keys = list(re.finditer(r"\b([a-z_]{4,})(?=: )", re.sub(r"#.*", _blank, source)))
    key = draw.choice(
        [match for match in keys if match.group(1) in ("name", "capacity", "bandwidth", "home", "schema")]
    )
    misspelt = key.group(1)[:2] + key.group(1)[3:]
    with pytest.raises(InvalidInputError) as caught:
        read_hardware(source[: key.start()] + misspelt + source[key.end() :], "x.yaml")
    line = source.count("\n", 0, key.start()) + 1
    column = key.start() - (source.rfind("\n", 0, key.start()) + 1) + 1
    assert str(caught.value).startswith(f"x.yaml:{line}:{column}: ")
    assert f"did you mean '{key.group(1)}'?" in str(caught.value)


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def test_the_fuzz_starts_from_files_that_load() -> None:
    for name, source in zip(builtin_names(), SOURCES, strict=True):
        assert machine_or_one_line(source) == load_machine(name)
