"""`tierplan cascade`: what it prints, what it writes for machines, and the documentation's own examples."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tierplan.commands.cascade import cascade as command
from tierplan.einsum.library import names, source
from tierplan.einsum.parse import parse_cascade
from tierplan.ir.errors import InvalidInputError

ROOT = Path(__file__).parents[1]
APP = typer.Typer()
APP.command()(command)


def run(*arguments):
    result = CliRunner().invoke(APP, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def told(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


@pytest.mark.parametrize(
    ("name", "rank", "n_passes"),
    [
        ("product-2pass", "K", 2), ("product-1pass", "K", 1), ("product-iterative", "i", 1),
        ("attention-unstable", "M", 2), ("attention-unstable-deferred", "M", 1), ("attention-3pass", "M", 3),
        ("attention-2pass-deferred", "M", 2), ("attention-2pass", "m1,m0", 2), ("attention-1pass", "m1,m0", 1),
        ("attention-1pass", "M", 1), ("attention-1pass", "m0", 2), ("layernorm", "N", 3), ("mlp", "S", 1),
    ],
)  # fmt: skip
def test_prints_the_passes(name, rank, n_passes):
    assert f"passes over {rank}: {n_passes}\n" in run(name, "--rank", rank).stdout
    assert told(name, "--rank", rank)["passes"] == {rank: n_passes}


def test_json():
    found = told("attention-3pass", "--shape", "M=4096,P=1024", "--shape", "E=64", "--shape", "F=32")
    assert found["passes"] == {"M": 3, "P": 1, "E": 1, "F": 1}
    assert found["rank"] == "M"
    assert [(e["name"], e["level"]) for e in found["einsums"]] == [
        ("QK", 1), ("GM", 1), ("SN", 2), ("SD", 2), ("A", 3), ("AV", 3),
    ]  # fmt: skip
    counts = found["einsums"][0]["counts"]
    assert counts == {"multiply-accumulate": {"formula": "E*M*P", "value": 64 * 4096 * 1024}}
    assert [t["tensor"] for t in found["live_across"]] == ["QK", "SN"]
    assert found["bounds"]["live_per_fiber"] == [{"formula": "M", "value": 4096}] * 2
    compulsory = 64 * 1024 + 64 * 4096 + 32 * 4096 + 32 * 1024
    assert found["bounds"]["traffic_buffered"]["value"] == compulsory
    assert found["bounds"]["traffic_unbuffered"]["value"] == compulsory + 4 * 4096 * 1024
    assert parse_cascade(found["text"]).name == "attention-3pass"
    # The tables say the same.
    text = run("attention-3pass", "--shape", "M=4096,P=1024,E=64,F=32").stdout
    assert f"multiply-accumulate: E*M*P = {64 * 4096 * 1024:,}" in text
    assert f"{compulsory:,} elements" in text


def test_every_built_in_cascade_is_described_for_every_rank():
    for name in names():
        found = told(name)
        assert found["passes"][found["rank"]] == max(found["passes"].values())
        assert {e["name"] for e in found["einsums"]} >= set(parse_cascade(source(name)).outputs)


def test_rewrites_in_order():
    assert told("attention-3pass", "--rewrite", "defer-division")["passes"]["M"] == 2
    steps = ["--rewrite", "defer-division,partition:m", "--rewrite", "split-reduction", "--rewrite", "online"]
    found = told("attention-3pass", *steps)
    assert found["passes"]["M"] == 1
    assert found["live_across"] == [] or found["rank"] != "M"


def test_text_is_a_file_again(tmp_path):
    path = tmp_path / "deferred.cascade"
    path.write_text(run("attention-3pass", "--rewrite", "defer-division", "--text").stdout)
    assert told(str(path))["passes"]["M"] == 2


def test_names_are_listed():
    found = told()
    assert set(found["cascades"]) == set(names())
    assert "attention-1pass" in run().stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["attention-3pas"], "did you mean 'attention-3pass'"),
        (["attention-3pass", "--rank", "K"], "unknown rank 'K'"),
        (["attention-3pass", "--rank", "m,"], "not a rank"),
        (["attention-3pass", "--shape", "M"], "write a rank and a whole number"),
        (["attention-3pass", "--shape", "M=0"], "positive"),
        (["attention-3pass", "--shape", "M=-4"], "write a rank and a whole number"),
        (["attention-3pass", "--shape", "M=4", "--shape", "M=5"], "M twice"),
        (["attention-3pass", "--shape", "N=4"], "unknown rank 'N'"),
        (["attention-1pass", "--shape", "M=10,M0=4"], "not a multiple"),
        (["attention-3pass", "--rewrite", "defer"], "unknown rewrite"),
        (["mlp", "--rewrite", "defer-division"], "no sum divides"),
        (["nowhere.cascade"], "cannot be read"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)


def test_examples_are_the_built_in_cascades():
    files = {path.stem: path for path in (ROOT / "examples" / "cascades").glob("*.cascade")}
    assert set(files) == {name for name in names() if name.startswith("attention-")}
    for name, path in files.items():
        assert path.read_text() == source(name)


BLOCKS = re.findall(
    r"```console\n\$ tierplan cascade (.*)\n((?:.*\n)*?)```", (ROOT / "docs" / "cascades.md").read_text()
)


def test_the_documentation_has_examples():
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize(("arguments", "printed"), BLOCKS, ids=[block[0][:60] for block in BLOCKS])
def test_the_documentation_tells_the_truth(arguments, printed):
    lines = [line.rstrip() for line in run(*shlex.split(arguments)).stdout.rstrip().splitlines()]
    assert lines == printed.splitlines()


def test_importing_the_package_is_quick():
    """The nouns, the executor and the command bring in neither sympy nor lark nor jax."""
    modules = ["commands.cascade", "einsum.execute", "einsum.counts", "einsum.parse", "einsum.rewrites"]
    code = (
        f"import sys, {', '.join(f'tierplan.{module}' for module in modules)}\n"
        "print([m for m in ('sympy', 'lark', 'jax', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
