"""What a turn takes as one number of a machine is scaled: more is never slower, and only that number changes."""

from pathlib import Path

import numpy as np
import pytest
from small import machine, problem, training
from test_cli_bad_input import refused
from test_cli_commands import Run, json_of, run

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Link, Tier
from tierplan.ir.problem import Problem
from tierplan.ir.verify import violations
from tierplan.planner.contract import Budget
from tierplan.sensitivity import Knob, chosen_knobs, knobs_of, read_factors, scaled, sensitivity
from tierplan.sim.timeline import simulate

__all__ = ["run"]

BUDGET = Budget(seconds=0.5, workers=1, evaluations=200)


def reading(size: int = 500) -> Problem:
    """Two steps that read a weight each; one of the two fits the fast tier."""
    return problem(["read a", "read b"], {"a": size, "b": size}, home=["a", "b"], cyclic=True)


def test_each_knob_changes_its_number_alone() -> None:
    curve = ((4, 0.5), (8, 1.0))
    tiers = (
        Tier("sram", 1000, 100.0, 50.0, scratch=100),
        Tier("flash", 10**5, 1.0, 1.0, direct=False, read_curve=curve),
    )
    on = machine(tiers, [Link("up", "flash", "sram", 10.0)], "flash")
    base = problem(["read a"], {"a": 8}, home=["a"], on=on)
    assert [knob.label for knob in knobs_of(base)] == [
        "sram capacity", "sram bandwidth", "flash capacity", "flash bandwidth", "up bandwidth",
    ]  # fmt: skip
    for knob in knobs_of(base):
        there = scaled(base, knob, 2.0)
        changed = {
            name: (getattr(part, name), getattr(other, name))
            for part, other in ((base.tiers, there.tiers), (base.links, there.links))
            for name in part.__dataclass_fields__
            if not _equal(getattr(part, name), getattr(other, name))
        }
        if knob.is_link:
            assert set(changed) == {"bandwidth"}
        elif knob.what == "capacity":
            assert set(changed) == {"capacity", "usable"}
        else:
            assert set(changed) == {"read_bandwidth", "write_bandwidth"} | (
                {"read_curve"} if knob.name == "flash" else set()
            )
    larger = scaled(base, Knob("capacity", "sram"), 0.05).tiers
    assert (larger.capacity[0], larger.usable[0]) == (101, 1)
    assert scaled(base, Knob("capacity", "sram"), 2.0).tiers.usable[0] == 1900
    assert scaled(base, Knob("bandwidth", "flash"), 2.0).tiers.read_curve[1] == ((4, 1.0), (8, 2.0))


def _equal(one: object, other: object) -> bool:
    return np.array_equal(one, other, equal_nan=True) if isinstance(one, np.ndarray) else one == other  # pyright: ignore


def test_times_are_those_worked_out_by_hand() -> None:
    """500 B at 100 B/s from the fast tier, 500 B at 10 B/s from the slow one: 55 s. Both fit twice the capacity."""
    found = sensitivity(reading(), knobs_of(reading()), (0.5, 1.0, 2.0), planner="greedy", budget=BUDGET)
    times = {(p.knob.label, p.factor): p.time_s for p in found.points}
    assert found.base_s == pytest.approx(55.0)
    assert times["sram capacity", 2.0] == pytest.approx(10.0)
    assert times["sram capacity", 0.5] == pytest.approx(100.0)
    assert times["dram bandwidth", 2.0] == pytest.approx(30.0)
    assert times["dram bandwidth", 0.5] == pytest.approx(105.0)
    assert times["flash capacity", 2.0] == pytest.approx(55.0)
    assert all(times[knob.label, 1.0] == found.base_s for knob in knobs_of(reading()))


@pytest.mark.parametrize("planner", ["greedy", "msa"])
@pytest.mark.parametrize("seed", [0, 1])
def test_more_capacity_is_never_slower(planner: str, seed: int) -> None:
    base = training(5, seed)
    knobs = [knob for knob in knobs_of(base) if knob.what == "capacity"]
    found = sensitivity(base, knobs, (1.0, 1.3, 2.0, 4.0), planner=planner, budget=BUDGET)
    for knob in knobs:
        times = [p.time_s for p in found.points if p.knob == knob and p.time_s is not None]
        assert times == sorted(times, reverse=True)
        assert times[0] <= found.base_s


def test_a_planner_that_finds_less_where_there_is_more_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    from tierplan.ir.outcome import Outcome, Status
    from tierplan.planner import greedy

    calls = [0]

    def worse(there: Problem, budget: Budget, **given: object) -> Outcome:
        calls[0] += 1
        if calls[0] == 1:
            return greedy.plan(there, budget, cost=given["cost"])  # pyright: ignore[reportArgumentType]
        return Outcome("worse", Status.GAVE_UP, None, None, 0.0, 0.0)

    monkeypatch.setattr("tierplan.sensitivity.find_planner", lambda _: worse)
    found = sensitivity(reading(), knobs_of(reading()), (0.5, 1.0, 2.0), planner="worse", budget=BUDGET)
    by = {(p.knob.label, p.factor): p for p in found.points}
    assert by["sram capacity", 2.0].time_s == found.base_s
    assert by["sram capacity", 0.5].time_s is None
    assert not by["sram capacity", 0.5].fits
    assert by["dram bandwidth", 2.0].time_s == pytest.approx(30.0)
    assert not by["dram bandwidth", 2.0].own


def test_every_time_is_that_of_a_legal_plan() -> None:
    base = training(4, 2)
    assert not list(violations(base, sensitivity(base, (), (1.0,), planner="greedy", budget=BUDGET).base))
    found = sensitivity(base, knobs_of(base)[:1], (1.0,), planner="greedy", budget=BUDGET)
    assert found.points[0].time_s == simulate(base, found.base).time_s


def test_names_and_factors_that_are_none() -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'dram'"):
        chosen_knobs(reading(), ["drum"])
    assert [knob.label for knob in chosen_knobs(reading(), ["up"])] == ["up bandwidth"]
    assert read_factors("4, 0.5,1") == (0.5, 1.0, 4.0)
    for text in ("", "a", "0", "-1,2", "inf", "1,,2"):
        with pytest.raises(InvalidInputError, match="--factors"):
            read_factors(text)


def test_the_command_line_prints_and_draws(run: Run, tmp_path: Path) -> None:
    arguments = ("sensitivity", "buffers.csv", "-H", "bench.yaml", "--planner", "greedy", "--budget", "1s")
    row = json_of(run(*arguments, "--factors", "1,2", "--json"))
    assert {p["what"] for p in row["points"]} == {"capacity", "bandwidth"}
    assert {p["kind"] for p in row["points"]} == {"tier", "link"}
    assert len(row["points"]) == 2 * 5
    told = run(*arguments, "--factors", "1,2", "--part", "near", "-o", "plot.png")
    assert told.code == 0
    assert "near capacity" in told.out
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "cannot draw a '.xyz' file" in run(*arguments, "--factors", "1", "--part", "near", "-o", "plot.xyz").err
    assert not (tmp_path / "plot.xyz").exists()


def test_bad_input_of_the_command_line(run: Run) -> None:
    assert "no tier or link" in refused(
        run, "sensitivity", "buffers.csv", "-H", "bench.yaml", "--part", "x", output=False
    )
    assert "there is no folder" in refused(
        run, "sensitivity", "buffers.csv", "-H", "bench.yaml", "-o", "nosuch/plot.png", output=False
    )


def test_matplotlib_may_be_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tierplan.plot_sensitivity.importlib.util.find_spec", lambda _: None)
    told = refused(run, "sensitivity", "buffers.csv", "-H", "bench.yaml", "-o", "plot.png", output=False)
    assert "pip install 'tierplan[plot]'" in told
