"""Whole models and measured servers: constants are found again, and tables sum up what is in rows."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from tierplan.frontend.config import read_config
from tierplan.models import load

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import accuracy_models
import measured_models
import servers

POINT = measured_models.Point(
    "h100",
    "maker/m",
    "vllm",
    "1",
    "fixed",
    1000,
    100,
    8,
    measured_models.Parallel(2),
    measured_models.Precision(),
    1.0,
    0.1,
)


def test_constants_that_made_times_are_found_again() -> None:
    """Times that depend on one constant each are those of the fit, and points of other runtimes tell nothing."""
    points = [dataclasses.replace(POINT, runtime=name) for name in ("vllm", "trtllm", "vllm")]
    true = {"vllm": 0.002, "trtllm": 0.001}

    def run(indices: list[int], constants: servers.Constants) -> accuracy_models.Floats:
        off = [(0.5 + constants["host_s", points[i].runtime] / true[points[i].runtime] / 2, 0.1) for i in indices]
        return np.array(off)

    found = servers.fitted(points, run, [0, 1, 2])
    assert {name: found["host_s", name] for name in true} == true


def test_a_tenth_of_the_points_is_fitted_on() -> None:
    train = servers.training(1000, 0.1)
    assert len(set(train)) == 100
    assert max(train) < 1000
    assert train == servers.training(1000, 0.1) != list(range(100))


def test_servers_are_set_up_as_their_benchmark_says() -> None:
    def of(**changes: object) -> servers.Setting:
        return servers.setting(dataclasses.replace(POINT, **changes))

    assert of() == servers.Setting(2508, reads_first=False, recorded_tokens=512)
    assert of(runtime="trtllm", source="drawn", model="maker/Llama-3").step_tokens == 16384
    assert of(runtime="sglang", version="0.5.1.post1") == servers.Setting(2500, reads_first=True)
    assert not of(runtime="sglang", version="0.5.6").reads_first
    assert of(runtime="sglang", source="drawn") == servers.Setting(32768, reads_first=True)
    load = servers.load_of(POINT, 1e6, dict(servers.NONE) | {("way_s", "vllm fixed"): 0.25})
    assert (load.requests, load.step_tokens, load.way_s, load.shortest) == (80, 2508, 0.25, 1.0)


def test_errors_are_medians_by_device_and_model() -> None:
    def row(device: str, model: str, off: float) -> dict[str, object]:
        named = {f"{m} {w}": 1 + off for m in (*accuracy_models.METHODS, "genz") for w in ("first_s", "token_s")}
        about = {"device": device, "model": f"maker/{model}", "first_s": 1.0, "token_s": 1.0, "fitted on": False}
        return {**about, **named}

    rows = [row("x", "m", off) for off in (0.1, -0.2, 0.3)] + [row("y", "n", 0.5)]
    rows[0]["genz first_s"] = ""
    rows.append(row("x", "m", 9.0) | {"fitted on": "True"})  # as a file has it: not counted
    told = {line[0]: line[1:] for line in accuracy_models.summary(rows)}
    assert list(told) == ["x m", "x all", "y n", "y all", "all"]
    assert told["x m"][:2] == ["3", "20.0%"]
    assert told["x m"][5] == "25.0%"  # GenZ told two of the three
    assert told["all"][1] == "25.0%"


def test_layers_that_are_alike_are_counted_once() -> None:
    def counts(name: str) -> dict[int, int]:
        found = read_config(load(name), name)
        assert isinstance(found, measured_models.Architecture)
        return measured_models.alike(found)

    assert counts("llama3-8b") == {0: 32}
    assert counts("deepseek-v3") == {0: 3, 3: 58}
    assert sum(counts("gemma2-9b").values()) == 42
    assert len(counts("gemma2-9b")) == 2


def test_points_are_read_where_the_measurements_are_installed() -> None:
    pytest.importorskip("aiconfigurator_core")
    points, left_out = measured_models.read_points(("h100",))
    assert {point.device for point in points} == {"h100"}
    assert all(point.first_s > 0 and point.token_s > 0 and point.parallel.devices <= 8 for point in points)
    assert len(set(points)) == len(points)
    assert left_out["another device"] > 1000
