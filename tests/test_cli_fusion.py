"""Fusing on the command line and in plan files: what is planned, kept, shown, and refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fusion_strategies import graphs, machine
from hypothesis import given, settings

from tierplan.fusing import Fused, Fusing, fuse_and_plan
from tierplan.fusion_answer import kernel_rows, ridges
from tierplan.hardware.build import read_hardware
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph
from tierplan.ir.outcome import Status
from tierplan.ir.plan_file import PlanFile, parse_plan, print_plan
from tierplan.ir.units import show_seconds
from tierplan.ir.verify import violations
from tierplan.planner.contract import Budget
from tierplan.programs import Shaping, read_program
from tierplan.sim.lowering import lower
from tierplan.sim.timeline import cost_s

HARDWARE = """\
schema: 1
name: chip
home: far
launch: 10 us
compute:
  matrix: {bfloat16: 100 Tflop/s}
  vector: {float32: 10 Tflop/s}
tiers:
  - {name: near, capacity: 64 MB, bandwidth: 10 TB/s}
  - {name: far, capacity: 8 GB, bandwidth: 1 TB/s}
links:
  - {from: far, to: near, bandwidth: 1 TB/s, duplex: true}
"""
ASKED = ("--phase", "decode", "--context", "64", "--dtype", "bf16", "--planner", "greedy", "--hardware", "chip.yaml")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    from tierplan.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "chip.yaml").write_text(HARDWARE, encoding="utf-8")
    (tmp_path / "buffers.csv").write_text("id,lower,upper,size\na,0,3,400\nb,1,4,300\n", encoding="utf-8")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["tierplan", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call


def plan(graph: Graph, mode: str, **told: Any) -> Fused:
    chip = told.pop("machine", None) or machine(launch_s=0.5)
    return fuse_and_plan(graph, chip, Fusing(mode, **told), planner="greedy", budget=Budget(1.0))


def test_auto_keeps_the_fastest_plan_and_says_what_the_others_cost(run: Run) -> None:
    code, out, _ = run("plan", "gpt2", *ASKED, "--fusion", "auto", "--json")
    assert code == 0
    answer = json.loads(out)
    fusion = answer["fusion"]
    times = {cut["name"]: cut["time_s"] for cut in fusion["alternatives"]}
    assert set(times) <= {"none", "max", "cheapest"}
    assert {"none", "max"} <= set(times)
    assert answer["predicted"]["time_s"] == times[fusion["kept"]] == min(times.values())
    kept = next(cut for cut in fusion["alternatives"] if cut["name"] == fusion["kept"])
    assert kept["n_kernels"] == len(fusion["kernels"])
    assert kept["launch_s"] == pytest.approx(1e-5 * kept["n_kernels"])
    assert times["none"] - times["max"] > 1e-5 * 100
    for kernel in fusion["kernels"]:
        assert kernel["ops_per_byte"] == pytest.approx(kernel["ops"] / kernel["border_bytes"])
        assert sum(kernel["tier_bytes"].values()) == kernel["border_bytes"]
        assert kernel["scratch_bytes"] <= kept["scratch_bytes"] <= fusion["limit_bytes"]
    assert fusion["ridge"]["ops_per_byte"]["far"] == pytest.approx(100)


def test_fusing_moves_fewer_bytes_and_computes_as_much(run: Run) -> None:
    answers = {mode: json.loads(run("plan", "gpt2", *ASKED, "--fusion", mode, "--json")[1]) for mode in ("none", "max")}
    kernels = {mode: answer["fusion"]["kernels"] for mode, answer in answers.items()}
    assert sum(k["ops"] for k in kernels["none"]) == sum(k["ops"] for k in kernels["max"])
    assert sum(k["border_bytes"] for k in kernels["none"]) > sum(k["border_bytes"] for k in kernels["max"])
    names = [name for kernel in kernels["max"] for name in kernel["operations"]]
    assert names == [kernel["name"] for kernel in kernels["none"]]


def test_the_answer_for_people_has_every_cut_and_every_kernel(run: Run) -> None:
    code, out, _ = run("plan", "gpt2", *ASKED, "--fusion", "auto")
    assert code == 0
    for word in ("ways to fuse", "none", "max", "kept", "ops/byte", "ridge"):
        assert word in out


def test_a_plan_file_records_what_was_fused_and_stands_alone(run: Run, tmp_path: Path) -> None:
    assert run("plan", "gpt2", *ASKED, "--fusion", "max", "-o", "plan.json")[0] == 0
    file = parse_plan((tmp_path / "plan.json").read_text(), "plan.json")
    assert file.fusion is not None
    assert file.fusion.mode == file.fusion.kept == "max"
    assert file.fusion.launch_s == 1e-5
    alone, alternative = file.fusion.alternatives
    assert (alone.name, alternative.name) == ("none", "max")
    assert alternative.time_s == file.cost_s
    assert all(len(region.operations) > 1 for region in file.fusion.regions)
    assert parse_plan(print_plan(file), "again").fusion == file.fusion
    assert run("verify", "plan.json")[0] == 0
    code, out, _ = run("simulate", "plan.json")
    assert code == 0
    assert show_seconds(file.cost_s) in out


def test_compare_says_which_cut_each_planner_kept(run: Run) -> None:
    code, out, _ = run("compare", "gpt2", *ASKED[:6], *ASKED[8:], "--planners", "greedy", "--fusion", "max", "--json")
    assert code == 0
    assert [row["fusion"] for row in json.loads(out)["planners"]] == ["max"]
    out = run("compare", "gpt2", *ASKED[:6], *ASKED[8:], "--planners", "greedy", "--fusion", "max")[1]
    assert "kept by each planner: greedy max" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fusion", "maxx"), "did you mean 'max'"),
        (("--scratch", "1MB"), "--scratch needs --fusion none|auto|max"),
        (("--launch", "1us"), "--launch needs --fusion"),
        (("--region-ops", "3"), "--region-ops needs --fusion"),
        (("--fusion", "max", "--scratch", "64 MB"), "less than the 64000000 B of 'near'"),
        (("--fusion", "max", "--launch", "fast"), "is not a duration"),
        (("--fusion", "max", "--region-ops", "0"), "need 1 or more"),
    ],
)
def test_bad_input_is_told_in_one_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run("plan", "gpt2", *ASKED, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_what_cannot_be_fused_is_refused(run: Run) -> None:
    assert (
        "means nothing for a list of buffers"
        in run("plan", "buffers.csv", "--hardware", "chip.yaml", "--fusion", "max")[2]
    )
    code, _, err = run("plan", "gpt2", "--hardware", "h100", "--fusion", "auto")
    assert code == 2
    assert "give the bytes that a kernel may hold, like --scratch 32MiB" in err


@given(graphs(max_ops=6))
@settings(max_examples=30, deadline=None)
def test_every_cut_is_planned_legally_and_auto_is_never_slower(graph: Graph) -> None:
    found = plan(graph, "auto", scratch=100)
    costs: list[float] = []
    for cut in found.cuts:
        assert cut.outcome.plan is not None
        assert not list(violations(cut.problem, cut.outcome.plan))
        assert cut.scratch <= 100
        assert cut.problem.tiers.usable[0] == 1000 - cut.scratch
        assert sum(row.ops for row in kernel_rows(found, cut)) == sum(op.matrix_ops + op.vector_ops for op in graph.ops)
        costs.append(cost_s(cut.problem, cut.outcome.plan))
    assert found.kept.outcome.cost_s == pytest.approx(min(costs))
    assert found.cuts[0].name == "none"
    assert found.cuts[0].kernels != found.cuts[-1].kernels or len(found.cuts) == 1


def test_a_launch_takes_time_in_which_nothing_computes() -> None:
    graph = read_program("gpt2", Shaping("decode", 1, 16, "bf16"))
    idle = lower(graph, machine(near=10**8, launch_s=0.0))
    busy = lower(graph, machine(near=10**8, launch_s=0.25))
    assert busy.n_steps == 2 * idle.n_steps
    assert busy.step_names[0] == f"launch {idle.step_names[0]}"
    assert busy.compute_s.sum() == pytest.approx(idle.compute_s.sum() + 0.25 * idle.n_steps)
    assert (busy.compute_s[::2] == 0.25).all()
    assert len(busy.access_tensor) == len(idle.access_tensor)


def test_launch_is_a_key_of_hardware_files() -> None:
    assert read_hardware(HARDWARE, "chip.yaml").machine.launch_s == 1e-5
    assert read_hardware(HARDWARE.replace("launch: 10 us\n", ""), "chip.yaml").machine.launch_s == 0.0
    with pytest.raises(InvalidInputError, match=r"chip\.yaml:4:9: launch: '10' has no unit"):
        read_hardware(HARDWARE.replace("10 us", "'10'"), "chip.yaml")


def test_a_ridge_is_where_arithmetic_takes_as_long_as_reading() -> None:
    assert ridges(machine(), "float32") == {"near": pytest.approx(1.0), "far": pytest.approx(100.0)}


def test_a_cut_without_a_plan_is_recorded_as_such() -> None:
    graph = read_program("gpt2", Shaping("decode", 1, 16, "bf16"))
    tiny = machine(near=2000)
    found = plan(graph, "auto", machine=tiny, scratch=1000)
    assert found.kept.outcome.cost_s is not None
    small = machine(near=2000).__class__(
        "small", tiny.matrix, tiny.vector, (tiny.tiers[0],), (), home="near", launch_s=1.0
    )
    refused = plan(graph, "auto", machine=small, scratch=1000)
    assert refused.kept.outcome.status is Status.INFEASIBLE
    assert all(alternative.time_s is None for alternative in refused.record.alternatives)


def test_a_file_without_fusion_reads_as_before() -> None:
    found = plan(read_program("gpt2", Shaping("decode", 1, 16, "bf16")), "none", machine=machine(near=10**8))
    cut = found.kept
    assert cut.outcome.plan is not None
    assert cut.outcome.cost_s is not None
    file = PlanFile(
        "0",
        "m",
        "h",
        "greedy",
        cut.outcome.status,
        cut.outcome.cost_s,
        cut.outcome.bound_s,
        cut.problem,
        cut.outcome.plan,
    )
    assert '"fusion"' not in print_plan(file)
    assert parse_plan(print_plan(file), "f").fusion is None


def test_fusing_says_that_it_leaves_fitted_constants_aside(run: Run) -> None:
    asked = ("plan", "gpt2", *ASKED[:-1])
    _, of_gpu, _ = run(*asked, "h100", "--fusion", "none")
    assert "rates       peak ones: the constants of h100 are not used, as no fused kernel was measured" in of_gpu
    assert ", uncalibrated" in of_gpu
    _, of_chip, _ = run(*asked, "chip.yaml", "--fusion", "none")
    assert "peak ones" not in of_chip
    _, told, _ = run(*asked, "h100", "--fusion", "none", "--json")
    assert json.loads(told)["fusion"]["peak_rates"] is True
