"""Auto: the best of its members, whatever happens to one of them."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import small
from test_planner_local import all_slow, weights_that_do_not_fit

from tierplan.cli import main
from tierplan.ir.outcome import Status
from tierplan.ir.verify import violations
from tierplan.planner import auto, flow_merge, flow_solve
from tierplan.planner.contract import Budget
from tierplan.planner.local import walk
from tierplan.planner.registry import DEFAULT, find_planner
from tierplan.sim.incremental.session import Simulated

BEST_S = 6 * 1.5 + 4 * 15.0  # six weights fill the fast tier, four are read from the slow one


@pytest.mark.parametrize("workers", [1, 2])
def test_finds_and_proves_the_best_plan(workers: int) -> None:
    problem = weights_that_do_not_fit()
    outcome = auto.plan(problem, Budget(20.0, workers=workers), cost=Simulated(problem))
    assert outcome.plan is not None
    assert list(violations(problem, outcome.plan)) == []
    assert outcome.cost_s == pytest.approx(BEST_S)
    assert outcome.bound_s == pytest.approx(BEST_S, rel=1e-6)
    assert outcome.planning_s < 15.0  # it stops when the gap is closed


def test_stops_at_the_gap_that_is_asked_for() -> None:
    problem = weights_that_do_not_fit()
    wide = auto.plan(problem, Budget(20.0, gap=10.0), start=all_slow(problem), cost=Simulated(problem))
    assert wide.gap is not None
    assert wide.gap <= 10.0
    assert wide.planning_s < 5.0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_member_that_fails_is_named_and_the_others_go_on(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(flow_merge, "relaxations", broken)
    problem = weights_that_do_not_fit()
    outcome = auto.plan(problem, Budget(2.0, workers=workers), cost=Simulated(problem))
    assert outcome.cost_s == pytest.approx(BEST_S)
    assert any("'flow' failed" in note and "out of luck" in note for note in outcome.notes)


def test_an_interrupt_returns_the_best_plan_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(auto.time, "sleep", interrupted)
    problem = weights_that_do_not_fit()
    outcome = auto.plan(problem, Budget(30.0), cost=Simulated(problem))
    assert outcome.plan is not None
    assert list(violations(problem, outcome.plan)) == []
    assert outcome.planning_s < 15.0


def test_it_can_be_told_to_stop() -> None:
    stop = threading.Event()
    stop.set()
    problem = weights_that_do_not_fit()
    outcome = auto.plan(problem, Budget(30.0, stop=stop), cost=Simulated(problem))
    assert outcome.plan is not None
    assert outcome.planning_s < 5.0


def test_a_number_of_evaluations_gives_the_same_plan_again() -> None:
    problem = weights_that_do_not_fit()
    budget = Budget(60.0, evaluations=200, seed=1)
    first, second = (auto.plan(problem, budget, start=all_slow(problem), cost=Simulated(problem)) for _ in range(2))
    assert (first.plan, first.bound_s) == (second.plan, second.bound_s)


def test_inputs_that_exceed_every_tier_are_infeasible_with_the_numbers() -> None:
    problem = small.problem(["read a"], {"a": 20_000}, home=["a"], on=small.machine(home="dram"))
    outcome = auto.plan(problem, Budget(5.0), cost=Simulated(problem))
    assert outcome.status is Status.INFEASIBLE
    assert sum(outcome.missing.values()) > 0


def test_it_is_the_default() -> None:
    assert find_planner(DEFAULT) is auto.plan


def test_groups_of_repeated_layers_are_edited_alike() -> None:
    problem = weights_that_do_not_fit()
    found = walk.Walk(problem, all_slow(problem), Simulated(problem).follow(all_slow(problem)), 0).groups
    assert [members.tolist() for members in found] == [np.arange(10).tolist()]


def test_the_relaxation_ends_when_it_is_told_to() -> None:
    stop = threading.Event()
    problem = small.training(40, seed=0)
    whole = flow_solve.relax(problem, 30.0)
    assert whole.solved
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    found = flow_solve.relax(problem, 30.0, stop)
    timer.join()
    assert not found.solved or found.bound_s <= whole.bound_s * (1 + 1e-9)
    assert found.bound_s < whole.bound_s


def test_a_signal_to_terminate_gives_the_answer_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    arguments = ["tierplan", "plan", "gpt2", "-H", "tpu-v4i", "--phase", "train", "--budget", "300s", "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    planning = threading.Event()
    team = auto._Team  # pyright: ignore[reportPrivateUsage] # made when the clock starts

    def begins(*given: object) -> object:
        planning.set()
        return team(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(auto, "_Team", begins)

    def terminate() -> None:
        planning.wait(200.0)
        time.sleep(2.0)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code in (0, None)
    row = json.loads(capsys.readouterr().out)
    assert row["predicted"]["time_s"] >= row["bound_s"]
    assert row["planning_s"] < 100.0
