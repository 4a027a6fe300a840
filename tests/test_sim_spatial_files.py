"""Specification files: what is read, and how each mistake is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.spatial_machine import load_spatial
from tierplan.sim.spatial_mapping import Choice
from tierplan.sim.spatial_read import load_specification, names, read_specification
from tierplan.sim.spatial_search import evaluate

TINY = """\
schema: 1
name: tiny
cascade: |
  cascade tiny
  input A[K, M], B[K, N]
  Y[m, n] = A[k, m] * B[k, n]
  Z[m, n] = exp(Y[m, n])
hardware: fusemax-cloud
phases:
  - loops: { outer: [m, n], inner: [m, n, k], columns: m, rows: n }
    einsums:
      Y: { array: 2d, dram: [A, B], buffer: [A, B] }
      Z: { array: 2d, dram: [Z] }
    groups:
      - [Y]
      - [Z]
"""
SIZES = {"K": 64, "M": 512, "N": 256}


def cost_of(text: str, sizes: Mapping[str, int] = SIZES, choices: tuple[Choice, ...] | None = None) -> float:
    spec = read_specification(text, "tiny.yaml")
    return evaluate(spec, load_spatial(spec.hardware), sizes, choices=choices).cost.latency_s


def test_the_tiny_file_is_costed() -> None:
    """Two tiles of 256 x 256: 64 cycles each for the product, 6 for exp; memory is slower where it is narrow."""
    spec = read_specification(TINY, "tiny.yaml")
    machine = load_spatial(spec.hardware)
    n_bytes = 2 * (64 * 512 + 64 * 256 + 512 * 256)
    cost = evaluate(spec, machine, SIZES).cost
    assert cost.dram_bytes == n_bytes
    assert cost.latency_s == pytest.approx(n_bytes / (400 * 2**30), rel=1e-12)
    quick = replace(machine, dram=replace(machine.dram, bandwidth=1e15))
    assert evaluate(spec, quick, SIZES).cost.latency_s == pytest.approx(2 * (64 + 6) / 940e6, rel=1e-12)


@pytest.mark.parametrize("name", names())
def test_built_in_files_say_what_they_are(name: str) -> None:
    spec = load_specification(name)
    assert spec.name == name
    assert spec.description
    assert load_spatial(spec.hardware).arrays


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    assert load_specification(str(path)) == read_specification(TINY, "tiny.yaml")


BAD = {
    "key": ("groups:", "grups:", "tiny.yaml:14:5: phases[0].grups: unknown key 'grups'; did you mean 'groups'?"),
    "schema": ("schema: 1", "schema: 2", "tiny.yaml:1:9: schema: write 'schema: 1'"),
    "no array": (
        "{ array: 2d, dram: [Z] }",
        "{ dram: [Z] }",
        "tiny.yaml:13:7: phases[0].einsums.Z: Einsum Z is bound to no array",
    ),
    "missing": (
        "      Z: { array: 2d, dram: [Z] }\n    groups:\n      - [Y]\n      - [Z]\n",
        "",
        "Einsum Z is bound to no array",
    ),
    "einsum": ("      Z: {", "      X: {", "tiny.yaml:13:7: phases[0].einsums.X: unknown Einsum 'X'"),
    "twice": ("- [Y]", "- [Y, Y]", "tiny.yaml:15:13: phases[0].groups[0][1]: Y is named twice in one group"),
    "two groups": ("- [Z]", "- [Z, Y]", "tiny.yaml:15:7: phases[0].groups: Einsum Y is in more than one group"),
    "no group": ("      - [Z]\n", "", "phases[0].groups: Einsum Z is in no group"),
    "group of unknown": (
        "- [Z]",
        "- [Zz]",
        "tiny.yaml:16:10: phases[0].groups[1][0]: unknown Einsum 'Zz'; did you mean 'Z'?",
    ),
    "loop twice": ("outer: [m, n]", "outer: [m, m]", "tiny.yaml:10:12: phases[0].loops: loops over 'm' twice"),
    "no loop": (
        "inner: [m, n, k]",
        "inner: [m, n]",
        "tiny.yaml:12:7: phases[0].einsums.Y: no loop walks rank variable 'k'",
    ),
    "array": ("Y: { array: 2d", "Y: { array: 3d", "phases[0].einsums.Y: unknown array '3d'. Known: 1d, 2d"),
    "rows": (
        "Y: { array: 2d",
        "Y: { array: 1d",
        "phases[0].einsums.Y: array '1d' has one row; it cannot spread 'n' over rows",
    ),
    "operation": ("= exp(Y[m, n])", "= sqrt(Y[m, n])", "Z on array '2d': unknown operation 'sqrt'"),
    "tensor": ("dram: [A, B]", "dram: [A, Q]", "phases[0].einsums.Y: unknown tensor 'Q'. Known: A, B, Y"),
    "input": ("dram: [A, B]", "dram: [A]", "tiny.yaml: input B lies in DRAM for no Einsum"),
    "output": (", dram: [Z] }", " }", "tiny.yaml: output Z lies in DRAM for no Einsum"),
    "cascade": ("B[k, n]\n  Z", "B[k, n\n  Z", "tiny.yaml:3:10: cascade: "),
    "hardware": ("fusemax-cloud", "fusemax-clod", "did you mean 'fusemax-cloud'?"),
    "no arrays": ("fusemax-cloud", "h100", "h100: has no 'spatial' section"),
    "list": ("- [Z]", "- Z", "tiny.yaml:16:9: phases[0].groups[1]: need a list"),
    "yaml": ("phases:", "phases: [", "tiny.yaml:"),
    "phases": (TINY[TINY.index("phases:") :], "", "tiny.yaml:1:1: missing key 'phases'"),
    "number": ("phases:", "fits_in: 16\nphases:", "tiny.yaml:9:10: fits_in: need text"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_told_in_place(name: str) -> None:
    before, after, message = BAD[name]
    assert TINY.count(before) == 1
    with pytest.raises(InvalidInputError) as caught:
        cost_of(TINY.replace(before, after))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


CHOICE = "choices:\n  - {{ workloads: [X], lengths: [512], {} }}\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("overflows: [A, Q]", "tiny.yaml:17:16: overflows[1]: unknown tensor 'Q'. Known: A, B, Y, Z"),
        ("in_place: [[Y, Zz]]", "tiny.yaml:17:16: in_place[0][1]: unknown tensor 'Zz'; did you mean 'Z'?"),
        ("accumulated: { C: [m] }", "tiny.yaml:17:16: accumulated.C: unknown tensor 'C'"),
        ("ranks: { M: 3d rows }", "tiny.yaml: ranks.M: unknown array '3d'"),
        ("ranks: { M: 2d }", "tiny.yaml:17:13: ranks.M: need an array and its side, like '2d rows'"),
        (CHOICE.format("on_chip: [A]"), "choices[0].on_chip[0]: unknown optional tensor 'A'"),
        (CHOICE.format("tiles: { k: 2 }"), "choices[0].tiles.k: unknown tiled rank variable 'k'. Known: m, n"),
        (CHOICE.format("tiles: { m: 0 }"), "choices[0].tiles.m: need a positive whole number"),
        (CHOICE.format("orders: { X: a }"), "choices[0].orders.X: unknown Einsum 'X'"),
        (CHOICE.format("orders: { Y: a }"), "choices[0].orders.Y: unknown order 'a'"),
        (CHOICE.format("spilled: 1.5"), "choices[0].spilled: need a share of at least 0 and less than 1"),
    ],
)
def test_mistakes_in_what_may_follow(line: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        cost_of(f"{TINY}{line}\n")
    assert message in str(caught.value)


def test_an_empty_file() -> None:
    with pytest.raises(InvalidInputError, match="the file is empty"):
        read_specification(" \n", "e.yaml")


def test_a_rank_that_is_not_divided_evenly() -> None:
    with pytest.raises(InvalidInputError, match=r"tiny.yaml:12:7: .*Einsum Y: 300 of rank M is not a multiple of 256"):
        cost_of(TINY, SIZES | {"M": 300}, choices=(Choice({"m": 300, "n": 256}),))
    spec = load_specification("fusemax")
    sizes = {"B": 1, "H": 1, "E": 64, "F": 64, "M": 1000, "P": 1024}
    with pytest.raises(InvalidInputError, match=r"fusemax.yaml: rank M = 1000 is not a multiple of 256"):
        evaluate(spec, load_spatial("fusemax-cloud"), sizes)


def test_a_tile_that_does_not_divide_its_rank() -> None:
    with pytest.raises(InvalidInputError, match="Einsum Y: 512 of rank M is not a multiple of 300"):
        cost_of(TINY, choices=(Choice({"m": 300}),))


def test_a_mapping_that_does_not_fit() -> None:
    with pytest.raises(
        InvalidInputError, match=r"tiny.yaml:12:7: .*does not fit: the tiles take at least [0-9,]+ bytes"
    ):
        cost_of(TINY, {"K": 2**24, "M": 512, "N": 256})
    with pytest.raises(InvalidInputError, match="does not fit"):
        cost_of(TINY, {"K": 2**16, "M": 512, "N": 256}, choices=(Choice({"m": 512, "n": 256}),))


def test_sizes_that_are_missing() -> None:
    with pytest.raises(InvalidInputError, match="rank N has no shape"):
        cost_of(TINY, {"K": 1, "M": 1})
    with pytest.raises(InvalidInputError, match="rank B has no shape; give one, like B=64"):
        evaluate(load_specification("flat"), load_spatial("flat-cloud"), {"H": 1, "E": 1, "F": 1, "M": 1, "P": 1})


def test_unknown_specifications_and_orders() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown specification 'fusmax'; did you mean 'fusemax'\?"):
        load_specification("fusmax")
    sizes = {"B": 1, "H": 1, "E": 64, "F": 64, "M": 256, "P": 256}
    choice = Choice({"p": 256}, frozenset({"QK", "A"}), {"QK": "wait"})
    with pytest.raises(InvalidInputError, match="unknown order 'wait'"):
        evaluate(load_specification("flat"), load_spatial("flat-cloud"), sizes, choices=(choice,))


def test_choices_refuse_nonsense() -> None:
    with pytest.raises(InvalidInputError, match="cannot spill"):
        Choice(spilled=1.0)
    with pytest.raises(InvalidInputError, match="the tile of 'p' is 0"):
        Choice({"p": 0})
    with pytest.raises(InvalidInputError, match="2 choices for 1 phases"):
        cost_of(TINY, choices=(Choice(), Choice()))


def test_every_specification_is_packaged() -> None:
    folder = files("tierplan.sim").joinpath("specifications")
    assert {entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml")} == {f"{n}.yaml" for n in names()}
    assert {"unfused", "flat", "cascade", "architecture", "fusemax", "flat-deferred", "matmul"} <= set(names())
