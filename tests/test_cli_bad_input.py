"""Bad input is one clear line on standard error, exit 2, and no file written."""

import json
import os
from pathlib import Path

import pytest
from test_cli_commands import HARDWARE, Ran, Run, run

__all__ = ["run"]

CONFIG = {
    "model_type": "gpt2", "vocab_size": 100, "n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2,
}  # fmt: skip


def refused(run: Run, *arguments: str, output: bool = True) -> str:
    """The line that is told; no file may appear or change."""
    folder = Path.cwd()
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if not p.is_symlink()}
    ran: Ran = run(*arguments, *(("-o", "out.json") if output else ()))
    after = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if not p.is_symlink()}
    assert ran.code == 2, ran
    assert ran.out == ""
    assert ran.err.startswith("tierplan: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    assert {p: s for p, s in after.items() if "__pycache__" not in str(p)} == before
    return ran.err


def config(**changes: object) -> None:
    Path("config.json").write_text(json.dumps(CONFIG | changes))


def hardware(old: str, new: str) -> str:
    assert old in HARDWARE
    Path("changed.yaml").write_text(HARDWARE.replace(old, new, 1))
    return "changed.yaml"


def test_the_inputs_that_are_spoiled_below_are_good(run: Run) -> None:
    config()
    hardware("100 GB/s", "200 GB/s")
    assert run("plan", "config.json", "-H", "changed.yaml").code == 0


@pytest.mark.parametrize("name", ["nosuch.json", "nosuch.csv", "nosuch", "nosuch.py:f", "nosuch:f", "a" * 300, ""])
def test_a_model_that_is_not_there(run: Run, name: str) -> None:
    refused(run, "plan", name, "-H", "bench.yaml")


def test_a_model_with_a_misspelt_name(run: Run) -> None:
    assert "did you mean 'llama2-7b'?" in refused(run, "plan", "llama2-7", "-H", "laptop")


@pytest.mark.parametrize(("name", "told"), [("m.mlir", "as_text('hlo')"), ("m.pb", "HLO text"), ("m.pt", "pickle")])
def test_a_file_of_a_format_beside_those_that_are_read(run: Run, name: str, told: str) -> None:
    Path(name).write_bytes(b"\x80\x02}q.")
    assert told in refused(run, "plan", name, "-H", "bench.yaml")


@pytest.mark.parametrize("kind", ["folder", "loop", "binary", "below a file"])
@pytest.mark.parametrize("what", ["model", "hardware", "plan"])
def test_a_file_that_cannot_be_read(run: Run, what: str, kind: str) -> None:
    name = {"model": "x.json", "hardware": "x.yaml", "plan": "x.json"}[what]
    path = Path(name)
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00\x80")
    else:
        name = f"bench.yaml/{name}"
    if what == "plan":
        refused(run, "verify", name, output=False)
        refused(run, "simulate", name, "--trace", "trace.json", output=False)
    elif what == "model":
        assert name in refused(run, "plan", name, "-H", "bench.yaml")
    else:
        assert name in refused(run, "plan", "buffers.csv", "-H", name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(run: Run) -> None:
    Path("buffers.csv").chmod(0)
    assert "Permission denied" in refused(run, "plan", "buffers.csv", "-H", "bench.yaml")


def test_json_syntax_is_told_with_line_and_column(run: Run) -> None:
    Path("config.json").write_text('{\n  "model_type": "gpt2",,\n}')
    assert "config.json, line 2, column 24" in refused(run, "plan", "config.json", "-H", "bench.yaml")


def test_yaml_syntax_is_told_with_line_and_column(run: Run) -> None:
    line = refused(run, "plan", "buffers.csv", "-H", hardware("  - {name: far,", "  - {name: [far,"))
    assert "changed.yaml:9:" in line


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("capacity: 64 kB", "capcity: 64 kB", ("tiers[0]", "capcity", "did you mean 'capacity'?")),
        ("capacity: 64 kB", "capacity: 64 kb", ("tiers[0].capacity", "did you mean 'kB'?")),
        ("capacity: 64 kB", "capacity: 64 parsecs", ("unknown unit 'parsecs'",)),
        ("capacity: 64 kB", "capacity: -64 kB", ("'-64 kB' must be a positive, finite size",)),
        ("capacity: 64 kB", "capacity: 0 kB", ("'0 kB' must be a positive, finite size",)),
        ("capacity: 64 kB", "capacity: .nan", ("tiers[0].capacity",)),
        ("capacity: 64 kB", "capacity: 1e30 GB", ("absurdly large",)),
        ("bandwidth: 100 GB/s", "bandwidth: 100 GB", ("tiers[0]",)),
        ("home: far", "home: farr", ("did you mean 'far'?",)),
        ("{from: far, to: near", "{from: farr, to: near", ("did you mean 'far'?",)),
        ("1 MB, bandwidth: 1 GB/s", "1 MB, bandwidth: 1 GB/s, direct: false, x: 1", ("unknown key",)),
    ],
)
def test_a_hardware_file_that_makes_no_sense(run: Run, old: str, new: str, told: tuple[str, ...]) -> None:
    line = refused(run, "plan", "buffers.csv", "-H", hardware(old, new))
    for words in ("changed.yaml", *told):
        assert words in line


def test_a_tier_that_no_link_reaches(run: Run) -> None:
    name = hardware("links:", "  - {name: disk, capacity: 1 GB, bandwidth: 1 GB/s, direct: false}\nlinks:")
    line = refused(run, "plan", "buffers.csv", "-H", name)
    assert "no link leads from tier 'disk' towards" in line


def test_an_architecture_that_is_not_supported(run: Run) -> None:
    config(model_type="mamba")
    line = refused(run, "plan", "config.json", "-H", "bench.yaml")
    for family in ("mamba", "llama", "mistral", "opt", "falcon", "phi", "gpt2", "bert", "mixtral"):
        assert family in line


@pytest.mark.parametrize("value", [-1, 0, 1.5, "many", None, 10**30, True, float("nan")])
def test_a_number_in_a_config_that_makes_no_sense(run: Run, value: object) -> None:
    config(n_layer=value)
    line = refused(run, "plan", "config.json", "-H", "bench.yaml")
    assert "config.json" in line
    assert "n_layer" in line or "NaN" in line


@pytest.mark.parametrize("option", ["--batch", "--context"])
@pytest.mark.parametrize("value", ["-1", "0", "1.5", "nan", "many", "9" * 30, ""])
def test_a_number_on_the_command_line_that_makes_no_sense(run: Run, option: str, value: str) -> None:
    refused(run, "plan", "gpt2", "-H", "laptop", option, value)


@pytest.mark.parametrize("value", ["10", "0s", "-1s", "nan s", "inf s", "1 parsec", "1e300 s", "soon", ""])
def test_a_budget_that_makes_no_sense(run: Run, value: str) -> None:
    refused(run, "plan", "buffers.csv", "-H", "bench.yaml", "--budget", value)
    refused(run, "compare", "buffers.csv", "-H", "bench.yaml", "--budget", value, output=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("plan", "gpt2", "-H", "laptop", "--phase", "decod"), "did you mean 'decode'?"),
        (("plan", "gpt2", "-H", "laptop", "--dtype", "bf17"), "did you mean 'bf16'?"),
        (("plan", "gpt2", "-H", "laptop", "--planner", "gredy"), "did you mean 'greedy'?"),
        (("plan", "gpt2", "-H", "laptp"), "did you mean 'laptop'?"),
        (("plan", "gpt2", "-H", "laptop", "--shapes", "f32[2]"), "--shapes means nothing for a language model"),
        (("plan", "buffers.csv", "-H", "bench.yaml", "--batch", "2"), "--batch means nothing for a list of buffers"),
        (("plan", "gpt2"), "Missing option '--hardware'"),
        (("plan", "-H", "laptop"), "Missing argument 'MODEL'"),
        (("plan", "gpt2", "-H", "laptop", "--hardwar", "x"), "--hardware"),
        (("pln",), "Did you mean 'plan'?"),
        (("compare", "gpt2", "-H", "laptop", "--planners", "greedy,exat"), "did you mean 'exact'?"),
        (("compare", "gpt2", "-H", "laptop", "--planners", ","), "--planners names none"),
        (("models", "--show", "gpt"), "unknown model 'gpt'"),
        (("hardware", "--show", "lap"), "did you mean 'laptop'?"),
        (("hardware", "--schema", "--json"), "--schema stands alone"),
    ],
)
def test_options_that_make_no_sense(run: Run, arguments: tuple[str, ...], told: str) -> None:
    assert told in refused(run, *arguments, output=False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,lower,upper,size\na,0,3,-4\n", "size"),
        ("id,lower,upper,size\na,0,3,nan\n", "nan"),
        ("id,lower,upper,size\na,3,3,4\n", "[3, 3)"),
        ("id,lower,uper,size\na,0,3,4\n", "uper"),
        ("", "buffers.csv"),
    ],
)
def test_a_buffer_file_that_makes_no_sense(run: Run, text: str, told: str) -> None:
    Path("buffers.csv").write_text(text)
    assert told in refused(run, "plan", "buffers.csv", "-H", "bench.yaml")


def test_a_function_that_cannot_be_traced(run: Run) -> None:
    pytest.importorskip("jax")
    line = refused(run, "plan", "layers.py:branches", "-H", "bench.yaml")
    assert "layers.py:branches" in line
    assert "TracerBoolConversionError" in line or "traced" in line
    assert len(line) < 800
    assert "did you mean 'layer'?" in refused(run, "plan", "layers.py:layr", "-H", "bench.yaml")


@pytest.mark.parametrize("target", ["nosuch/plan.json", "folder", "bench.yaml/plan.json", ""])
def test_an_output_that_cannot_be_written(run: Run, target: str) -> None:
    Path("folder").mkdir()
    refused(run, "plan", "buffers.csv", "-H", "bench.yaml", "-o", target, output=False)


def test_a_trace_that_cannot_be_written(run: Run) -> None:
    assert run("plan", "buffers.csv", "-H", "bench.yaml", "-o", "plan.json").code == 0
    refused(run, "simulate", "plan.json", "--trace", "nosuch/trace.json", output=False)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"residencies"', '"residencie"', "did you mean 'residencies'?"),
        ('"schema": 1', '"schema": 2', "schema"),
        ('"offset": 0', '"offset": -1', "offset"),
        ('"offset": 0', '"offset": NaN', "NaN"),
        ('"offset": 0', '"offset": 0,,', "line"),
        ('"tier": "near"', '"tier": "nera"', "did you mean 'near'?"),
    ],
)
def test_a_plan_file_that_makes_no_sense(run: Run, old: str, new: str, told: str) -> None:
    assert run("plan", "buffers.csv", "-H", "bench.yaml", "-o", "plan.json").code == 0
    text = Path("plan.json").read_text()
    assert old in text
    Path("plan.json").write_text(text.replace(old, new, 1))
    for command in ("verify", "simulate"):
        line = refused(run, command, "plan.json", output=False)
        assert "plan.json" in line
        assert told in line
