"""What is told of a plan equals a recount of its parts, and the trace is one that viewers can show."""

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
import small
import strategies
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tierplan.answer import answer_row, limits, occupancy, tokens_per_s, traffic
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Copy, Plan, Residency
from tierplan.ir.problem import Problem
from tierplan.ir.verify import reserved_bytes
from tierplan.sim.timeline import access_tiers, simulate
from tierplan.trace import trace_rows


@st.composite
def planned(draw: st.DrawFn) -> tuple[Problem, Plan]:
    problem = draw(strategies.problems())
    plan = draw(strategies.legal_plans(problem))
    assume(plan is not None)
    return problem, plan


quick = settings(max_examples=60, deadline=None)


@given(planned())
@quick
def test_limits_sum_to_one_and_to_the_whole_time(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    line = simulate(problem, plan)
    shares = limits(problem, line)
    assert [s.share for s in shares] == sorted((s.share for s in shares), reverse=True)
    assert all(s.share > 0 for s in shares)
    if line.time_s > 0:
        assert sum(s.share for s in shares) == pytest.approx(1.0)
        waits = sum(s.share for s in shares if s.what.startswith("waiting"))
        assert waits * line.time_s == pytest.approx(line.wait_s.sum() + line.tail_wait_s, rel=1e-6, abs=1e-12)
    else:
        assert shares == []


def test_limits_by_hand() -> None:
    problem = small.problem(["", "read w", "read v"], {"w": 100, "v": 30}, home=("w", "v"), compute_s=[4.0, 0.0, 0.0])
    lying = (Residency(0, 1, 0, 0, 3), Residency(0, 0, 0, 0, 3), Residency(1, 1, 100, 0, 3))
    line = simulate(problem, Plan(lying, (Copy(0, 1, 0, 0, 1),)))
    # 4 s of a step that uses nothing, 6 s of waiting for w, 1 s of reading it above, 3 s of reading v below.
    assert {s.what: s.share for s in limits(problem, line)} == pytest.approx(
        {"starting kernels": 4 / 14, "waiting for copies on up": 6 / 14, "tier sram": 1 / 14, "tier dram": 3 / 14}
    )


@given(planned())
@quick
def test_occupancy_equals_a_recount_of_every_step(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    for k, tier in enumerate(occupancy(problem, plan)):
        by_step = [
            sum(int(problem.size[r.tensor]) for r in plan.residencies if r.tier == k and r.start <= t < r.stop)
            for t in range(problem.n_steps)
        ]
        assert tier.name == problem.tiers.names[k]
        assert tier.capacity_bytes == problem.tiers.capacity[k]
        assert tier.peak_bytes == max(by_step) + reserved_bytes(problem, plan, k)
        assert sum(tier.by_kind.values()) == tier.peak_bytes


@given(planned())
@quick
def test_traffic_equals_a_recount_of_accesses_and_copies(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    counted: dict[tuple[str, str], int] = defaultdict(int)
    names = problem.tiers.names
    for a, k in enumerate(access_tiers(problem, plan).tolist()):
        counted[names[k], "compute"] += int(problem.access_read[a])
        counted["compute", names[k]] += int(problem.access_write[a])
    for taken in plan.taken:
        for effect in problem.choices[taken.choice].alternatives[taken.alternative].effects:
            for k, name in enumerate(names):
                counted[name, "compute"] += effect.tier_read[k]
                counted["compute", name] += effect.tier_write[k]
    for c in plan.copies:
        counted[names[c.source], names[c.target]] += int(problem.size[c.tensor])
    flows = traffic(problem, plan, simulate(problem, plan))
    assert {(f.source, f.target): f.bytes for f in flows} == {pair: n for pair, n in counted.items() if n}


KEYS = {
    "model", "hardware", "planner", "status", "predicted", "bound_s", "gap", "limits", "tiers", "traffic", "planning_s",
}  # fmt: skip


@given(planned())
@quick
def test_the_answer_is_json_with_all_its_keys(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    line = simulate(problem, plan)
    outcome = Outcome("greedy", Status.FEASIBLE, plan, line.time_s, line.time_s / 2, 0.1)
    row = json.loads(json.dumps(answer_row("m", "h", problem, outcome, line), allow_nan=False))
    assert set(row) >= KEYS
    assert set(row["predicted"]) >= {"time_s", "tokens_per_s", "energy_j"}
    assert row["predicted"]["time_s"] == line.time_s
    assert all(set(limit) == {"what", "share"} for limit in row["limits"])
    assert all(set(tier) >= {"name", "capacity_bytes", "peak_bytes"} for tier in row["tiers"])
    assert all(set(flow) == {"from", "to", "bytes"} for flow in row["traffic"])


def test_the_answer_without_a_plan_tells_what_lacks() -> None:
    problem = small.problem(["produce y"], {"y": 60})
    outcome = Outcome("greedy", Status.INFEASIBLE, None, None, 1.0, 0.1, {"sram": 7})
    row = answer_row("m", "h", problem, outcome, None)
    assert set(row) >= KEYS
    assert (row["predicted"], row["limits"], row["traffic"]) == (None, [], [])
    assert row["missing_bytes"] == {"sram": 7}
    assert [tier["peak_bytes"] for tier in row["tiers"]] == [None, None, None]


def test_tokens_per_second() -> None:
    problem = small.problem(["read w"], {"w": 100}, home=("w",))
    line = simulate(problem, Plan((Residency(0, 1, 0, 0, 1),)))
    assert tokens_per_s(problem, line) is None
    import dataclasses

    assert tokens_per_s(dataclasses.replace(problem, tokens=5), line) == pytest.approx(0.5)


@given(planned())
@quick
def test_the_trace_has_what_viewers_need_and_no_slices_that_cross(case: tuple[Problem, Plan]) -> None:
    problem, plan = case
    line = simulate(problem, plan)
    trace: dict[str, Any] = json.loads(json.dumps(trace_rows(problem, plan, line), allow_nan=False))
    rows: dict[int, list[tuple[float, float]]] = defaultdict(list)
    named = {e["tid"] for e in trace["traceEvents"] if e["ph"] == "M" and e["name"] == "thread_name"}
    for event in trace["traceEvents"]:
        assert event["ph"] in ("M", "X", "C")
        assert isinstance(event["pid"], int)
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert event["tid"] in named
            rows[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        if event["ph"] == "C":
            assert event["args"]["bytes"] >= 0
    for slices in rows.values():
        for (_, end), (begin, _) in pairwise(sorted(slices)):
            assert end <= begin + 1e-6  # microseconds
    n_slices = sum(len(slices) for slices in rows.values())
    assert n_slices == problem.n_steps + len(plan.copies)


def test_the_trace_by_hand() -> None:
    problem = small.problem(["", "read w"], {"w": 100}, home=("w",), compute_s=[4.0, 0.0])
    plan = Plan((Residency(0, 1, 0, 0, 2), Residency(0, 0, 0, 0, 2)), (Copy(0, 1, 0, 0, 1),))
    events = trace_rows(problem, plan, simulate(problem, plan))["traceEvents"]
    slices = {e["name"]: (e["ts"], e["dur"], e["tid"]) for e in events if e["ph"] == "X"}
    assert slices == {"op0": (0.0, 4e6, 1), "w": (0.0, 10e6, 2), "op1": (10e6, 1e6, 1)}
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names == {1: "compute", 2: "link up", 3: "link down", 4: "link load"}
    counters = [(e["name"], e["args"]["bytes"]) for e in events if e["ph"] == "C"]
    assert counters == [("tier sram", 100), ("tier dram", 100), ("tier flash", 0)]
