"""Whole models and measured servers: constants are found again, and tables sum up what is in rows."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tierplan.frontend.config import read_config
from tierplan.models import load

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import accuracy_models
import measured_models

RNG = np.random.default_rng(0)
MODELS = np.array(["a"] * 40 + ["b"] * 20)


def test_constants_that_made_times_are_found_again() -> None:
    with_starts = RNG.uniform(0.01, 0.1, 60)
    without = with_starts - RNG.uniform(0.001, 0.005, 60)
    real = 0.4 * with_starts + 0.6 * without + 0.003
    share, step_s = accuracy_models.runtime_constants(real, with_starts, without, MODELS)
    assert (share, step_s) == (pytest.approx(0.4), pytest.approx(0.003))


def test_the_closest_constant_is_a_weighted_median_of_differences() -> None:
    real, one = np.array([1.0, 2.0, 4.0]), np.array(["a", "a", "a"])
    assert accuracy_models.closest(real, real - np.array([0.1, 0.2, 0.9]), one) == pytest.approx(0.1)
    assert accuracy_models.closest(real, real + 1, one) == 0  # a runtime cannot save time


def test_errors_are_medians_by_device_and_model() -> None:
    def row(device: str, model: str, off: float) -> dict[str, object]:
        named = {f"{m} {w}": 1 + off for m in (*accuracy_models.METHODS, "genz") for w in ("first_s", "token_s")}
        return {"device": device, "model": f"maker/{model}", "first_s": 1.0, "token_s": 1.0, **named}

    rows = [row("x", "m", off) for off in (0.1, -0.2, 0.3)] + [row("y", "n", 0.5)]
    rows[0]["genz first_s"] = ""
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
