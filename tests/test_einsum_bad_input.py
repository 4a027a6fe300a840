"""Malformed cascades: one clear error with a place each, never a traceback, and never slow."""

import re
from pathlib import Path

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tierplan.commands.cascade import cascade as command
from tierplan.einsum.edge_read import read_edge
from tierplan.einsum.library import names, source
from tierplan.einsum.parse import MAX_CHARACTERS, parse_cascade, read_cascade
from tierplan.einsum.teaal_read import read_teaal
from tierplan.ir.errors import InvalidInputError

CORPUS = sorted((Path(__file__).parent / "corpus" / "cascades").glob("*.cascade"))
GRAMMAR = Path(__file__).parents[1] / "einsum" / "grammar.lark"


def test_the_corpus_breaks_every_production():
    assert len(CORPUS) >= 100
    rules = set(re.findall(r"^\??([a-z]\w*):", GRAMMAR.read_text(), re.M))
    # What only joins other productions cannot be broken on its own.
    joining = {"start", "just_einsum", "just_index", "body", "expression", "chain", "number_literal"}
    assert rules - joining == {path.stem.rsplit("-", 1)[0] for path in CORPUS}


@pytest.mark.parametrize("path", CORPUS, ids=[path.stem for path in CORPUS])
def test_corpus(path):
    with pytest.raises(InvalidInputError) as caught:
        read_cascade(path)
    message = str(caught.value)
    assert re.match(rf"{re.escape(str(path))}: line \d+, column \d+: \S", message), message
    assert "\n" not in message


def test_the_command_refuses_the_corpus():
    app = typer.Typer()
    app.command()(command)
    for path in CORPUS[::10]:
        result = CliRunner().invoke(app, [str(path)])
        assert isinstance(result.exception, InvalidInputError)


def parse_or_refuse(read, text):
    """Anything but a result or an InvalidInputError fails the test; so does a message of several lines."""
    message = ""
    try:
        read(text)
    except InvalidInputError as error:
        message = str(error)
    assert "\n" not in message


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda b: b.decode("latin-1"))))
@settings(deadline=None, max_examples=300)
@example("\x00")
@example("Z = " + "-" * 9000 + "A")
@example("Z = " + "not " * 2000 + "A[m]")
@example("Z = " + "+".join(["A[m]"] * 2000))
@example("Z[m] = " + "max[m] " * 1000 + "A[m]")
@example("Z = A[" + "m+" * 3000 + "m]")
def test_random_text(text):
    for read in (parse_cascade, read_edge, read_teaal):
        parse_or_refuse(read, text)


PIECES = [*"[](){}=:,+-*/|;<>\n#", "rank ", "if ", "A[m]"]


@st.composite
def mutations(draw):
    text = source(draw(st.sampled_from(names())))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        span = draw(st.integers(0, 6))
        piece = draw(st.one_of(st.text(max_size=4), st.sampled_from(PIECES)))
        text = text[:place] + piece + text[place + span :]
    return text


@given(mutations())
@settings(deadline=None, max_examples=400)
def test_mutated_cascades(text):
    parse_or_refuse(parse_cascade, text)


TEAAL = """einsum:
  declaration:
    A: [K, M]
    Z: [M]
  expressions:
    - Z[m] = A[k, m]
mapping:
  partitioning:
    Z:
      K: [uniform_shape(4)]
"""
EDGE = """- Tensors
G^{S = |V|, D = |V|} -> integer, empty = 0
- Extended Einsum
T_{i, d} = G_{s, d} . F_{i, s} :: /\\_s +(union)
"""


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_mutated_specifications(data):
    for read, text in ((read_teaal, TEAAL), (read_edge, EDGE)):
        place = data.draw(st.integers(0, len(text)))
        piece = data.draw(st.text(max_size=4))
        parse_or_refuse(read, text[:place] + piece + text[place + data.draw(st.integers(0, 8)) :])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Z = " + "(" * 100_000 + "A[m]" + ")" * 100_000, "the line has"),
        ("Z = " + "(\n" * 100_000, "nested deeper"),
        ("Z = A[" + "A[\n" * 50_000, "nested deeper"),
        ("Z = A[m]" + " + A[m]" * 1_500_000, f"at most {MAX_CHARACTERS}"),
        ("Z = " + "A" * 900_000, "the line has"),
        ("Z = " + "- " * 3_000 + "A[m]", "nested deeper than"),
    ],
    ids=["parentheses", "lines of parentheses", "brackets", "10 MB", "one name", "signs"],
)
def test_size_and_depth_are_bounded(text, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_cascade(text)
    with pytest.raises(InvalidInputError):
        read_edge(text)


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.cascade"
    path.write_bytes(b"A" * 10_000_000)
    with pytest.raises(InvalidInputError, match="at most"):
        read_cascade(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 2, column 1|line 1"),
        ("a: &x [1]\nb: *x", "line 2, column 4: aliases"),
        ("[" * 200, "nested deeper"),
        ("einsum:\n  declaration: 3", "einsum.declaration: expected names"),
        ("einsum:\n  expressions: ['Z[m] = A[m'] ", r"einsum.expressions\[0\]: expected ','"),
        ("einsum:\n  expressions: ['Z[m] = A[m] -'] ", r"column 13: expected \+ or the end"),
        ("einsum:\n  expressions: ['Z[m] = take(A[m], B[m], 2)'] ", "none of number 2"),
        ("mapping:\n  partitioning:\n    Z:\n      K: [uniform_shap(4)]", "did you mean 'uniform_shape'"),
        ("mapping:\n  partitioning:\n    Z:\n      K: [uniform_occupancy(4)]", "write uniform_occupancy"),
        ("mapping:\n  spacetime:\n    Z: {space: [K.poss]}", "did you mean 'pos'"),
        ("format:\n  A:\n    default: {K: {format: C}}", "needs a rank-order"),
        ("architecture:\n  X:\n  - name: PE[1..3]", r"write a name, like PE, or PE\[0..127\]"),
        ("bindings:\n  Z:\n  - bindings: []", "component: expected a name"),
        ("einsum: {declaration: {A: [K]}, declaration: {}}", "occurs twice"),
        ("other: 1", "no TeAAL section"),
    ],
)
def test_bad_specifications(text, message):
    with pytest.raises(InvalidInputError, match=message):
        read_teaal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("T_{i} = A_{i}", "line 1, column 1: expected a section"),
        ("- Tensors\nG^{S -> integer, empty = 0", "line 2, column 6: expected ','"),
        ("- Tensors\nG^{S} -> integer", "line 2, column 17: expected ','"),
        ("- Einsums\nT_{i} = A_{i} :: /\\_i +(interesct)", "did you mean 'intersect'"),
        ("- Einsums\nT_{i} = A_{i} :: +(union)", "line 2, column 18: expected an action"),
        ("- Einsums\nT_{i} = ", "line 2, column 8: expected a tensor"),
        ("- Einsums\nT_{i} = cases:\n", "expected cases"),
        ("- Tensors\nG^{S} -> integer, empty = 0\n", "no Einsum"),
    ],
)
def test_bad_programs(text, message):
    with pytest.raises(InvalidInputError, match=message):
        read_edge(text)
