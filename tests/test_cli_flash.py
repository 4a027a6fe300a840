"""`tierplan plan` of models larger than memory: pins, the answer, what does not fit, and bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tierplan.cli import app, main
from tierplan.sim.flash_generate import Activity, generate_trace
from tierplan.sim.flash_trace import ActivationTrace, save_trace

OPT = ["plan", "opt-125m", "--hardware", "m1-max", "--context", "128", "--planner", "greedy"]


def run(*args: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, [*OPT, *args])
    return found.exit_code, found.output


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> str:
    """The one line that is printed for bad input."""
    monkeypatch.setattr("sys.argv", ["tierplan", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert len(out.err.strip().splitlines()) == 1
    return out.err


def test_the_answer_shows_the_alternatives() -> None:
    code, text = run("--dram", "175MB", "--sparsity", "opt-6.7b-relu")
    assert code == 0
    assert "the sparsity 'opt-6.7b-relu' was measured on opt-6.7b" in text
    for word in ("loading     window", "ways to load", "window 0", "apart", "bundled", "dense, "):
        assert word in text
    code, text = run("--dram", "175MB", "--sparsity", "opt-6.7b-relu", "--json")
    row = json.loads(text)
    ways = row["flash"]["alternatives"]
    (taken,) = [way for way in ways if way["taken"]]
    assert taken["time_s"] == pytest.approx(row["predicted"]["time_s"])
    fitting = [way for way in ways if way["lacking_bytes"] == 0]
    assert all(way["time_s"] >= taken["time_s"] for way in fitting)
    assert any(way["lacking_bytes"] > 0 and way["time_s"] is None for way in ways)
    assert {way["kind"] for way in ways} == {"sparse", "resident", "dense"}


def test_pins_pin() -> None:
    pins = ["--window", "2", "--bundling", "off", "--io-threads", "8", "--chunk", "3KiB"]
    code, text = run("--dram", "200MB", "--sparsity", "opt-6.7b-relu", *pins, "--json")
    assert code == 0
    (way,) = json.loads(text)["flash"]["alternatives"]
    assert (way["window"], way["bundled"], way["io_threads"], way["chunk_bytes"]) == (2, False, 8, 3072)


def test_what_does_not_fit_is_told_by_part() -> None:
    code, text = run("--dram", "60MB", "--sparsity", "opt-6.7b-relu")
    assert code == 1
    for word in ("does not fit: proved", "attention", "embeddings", "predictor", "KV cache", "short by"):
        assert word in text
    code, text = run("--dram", "60MB", "--sparsity", "opt-6.7b-relu", "--json")
    row = json.loads(text)
    assert (code, row["status"]) == (1, "INFEASIBLE")
    parts = {part["part"]: part["bytes"] for part in row["flash"]["parts"]}
    assert parts["attention"] == 12 * 4 * (768 * 768 + 768) * 2
    assert parts["KV cache"] == 12 * 2 * 128 * 768 * 2
    # the head and its output, the predictor and one layer's neurons must fit together
    lacking = 50272 * 768 * 2 + parts["predictor"] + parts["feed-forward neurons, at least"] - 60_000_000
    assert row["flash"]["short_by_bytes"] == pytest.approx(lacking, abs=200_000)


def test_a_limit_alone_limits_the_memory_above_flash() -> None:
    code, text = run("--dram", "200MB", "--json")
    row = json.loads(text)
    assert code == 0
    assert {tier["name"]: tier["capacity_bytes"] for tier in row["tiers"]} == {"unified": 2 * 10**8, "flash": 10**12}
    assert row["traffic"]
    assert "flash" not in row
    found = CliRunner().invoke(
        app, ["plan", "opt-125m", "-H", "rtx4090-pc", "--dram", "64GB", "--planner", "greedy", "--json"]
    )
    assert [tier["capacity_bytes"] for tier in json.loads(found.output)["tiers"]] == [24 * 10**9, 64 * 10**9, 10**12]


def test_a_trace_of_the_model_plans_it(tmp_path: Path) -> None:
    trace = generate_trace(Activity(active=0.05, locality=0.6), 8, 12, 3072)
    save_trace(trace, tmp_path / "t.npz")
    code, text = run("--dram", "400MB", "--sparsity", str(tmp_path / "t.npz"), "--window", "4", "--json")
    assert code == 0
    ways = json.loads(text)["flash"]["alternatives"]
    last_four = np.bitwise_or.reduce([np.roll(trace.words, back, axis=0) for back in range(4)])[3:]
    most = np.bitwise_count(last_four).sum(axis=2, dtype=np.int64).max(axis=0).sum()  # each layer at its fullest
    assert {way["held_bytes"] for way in ways} == {int(most) * 2 * 768 * 2}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--window", "4"], "--window needs --sparsity"),
        (["--bundling", "on", "--chunk", "3KiB"], "--bundling, --chunk needs --sparsity"),
        (["--sparsity", "opt-6.7b-relu", "--bundling", "yes"], "--bundling is 'yes'; write on or off"),
        (["--sparsity", "opt-6.7b-relu", "--window", "-1"], "a window of -1 tokens"),
        (["--sparsity", "opt-6.7b-relu", "--io-threads", "0"], "0 I/O threads"),
        (["--sparsity", "opt-6.7b-relu", "--chunk", "5kB"], "hold no whole neurons"),
        (["--sparsity", "opt-6.7b-relu", "--chunk", "5"], "'5' has no unit"),
        (["--sparsity", "opt-6.7b-relu", "--phase", "prefill"], "--sparsity is for decode"),
        (["--sparsity", "opt-6.7b-relu", "--batch", "2"], "--sparsity is for decode"),
        (["--sparsity", "opt-6.7b-rel"], "did you mean 'opt-6.7b-relu'"),
        (["--dram", "lots"], "'lots' is not a size"),
        (["--sparsity", "short.npz", "--window", "9"], "a window of 9 tokens over a trace of 3 tokens; need 0 to 2"),
        (["--sparsity", "other.npz"], "the trace has 2 layers of 64 neurons, the model 12 of 3072"),
        (["--sparsity", "falls.yaml"], "aggregated use falls from 0.2 at k = 1 to 0.1 at k = 2"),
        (["--sparsity", "large.yaml"], "a share of 1.2; need 0 to 1"),
        (["--sparsity", "binary.npz"], "not an .npz archive"),
    ],
)
def test_bad_input_is_one_line(
    args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_trace(ActivationTrace.of(np.ones((3, 12, 3072), dtype=bool)), Path("short.npz"))
    save_trace(ActivationTrace.of(np.ones((3, 2, 64), dtype=bool)), Path("other.npz"))
    Path("falls.yaml").write_text("aggregated_use: [0.2, 0.1]\n")
    Path("large.yaml").write_text("active: 1.2\n")
    Path("binary.npz").write_bytes(b"\x00\x01")
    assert message in refused(capsys, monkeypatch, *OPT, *args)


def test_sparsity_needs_a_dense_language_model_and_flash(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for model, hardware, message in (
        ("mixtral-8x7b", "m1-max", "experts are sparse already"),
        ("opt-125m", "tpu-v4i", "has no tier like flash"),
    ):
        args = ["plan", model, "--hardware", hardware, "--context", "128", "--sparsity", "opt-6.7b-relu"]
        assert message in refused(capsys, monkeypatch, *args)
    args = ["plan", "opt-125m", "--hardware", "fusemax-cloud", "--dram", "1GB"]
    assert "--dram means nothing for" in refused(capsys, monkeypatch, *args)


def test_neurons_by_choice_and_fusing_are_planned_together(tmp_path: Path) -> None:
    pins = ["--window", "1", "--bundling", "on", "--io-threads", "32"]
    fused = ["--fusion", "max", "--scratch", "1MiB", "--launch", "5us", "-o", str(tmp_path / "plan.json")]
    code, text = run("--dram", "175MB", "--sparsity", "opt-6.7b-relu", *pins, *fused, "--json")
    assert code == 0
    row = json.loads(text)
    none, most = row["fusion"]["alternatives"]
    assert most["time_s"] < none["time_s"]
    assert sum(way["taken"] for way in row["flash"]["alternatives"]) == 1
    regions = json.loads((tmp_path / "plan.json").read_text())["fusion"]["regions"]
    assert regions
    assert not [name for region in regions for name in region["operations"] if name.endswith((".fc1", ".fc2"))]


def test_options_that_mean_nothing_together_say_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refused(capsys, monkeypatch, *OPT, "--sparsity", "opt-6.7b-relu", "--routing", "uniform")
    assert "--routing and --sparsity do not go together: experts are sparse already" in line
    serve = [*OPT, "--phase", "serve", "--prompt", "5", "--new", "3"]
    line = refused(capsys, monkeypatch, *serve, "--sparsity", "opt-6.7b-relu")
    assert "--sparsity does not go with --phase serve" in line
    assert "--phase decode --context N" in line
