"""Sweeps as they run: the same results however many workers, whenever they were killed, whatever points do."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_specs import spec, write_inputs

import tierplan
from tierplan.ir.errors import InvalidInputError
from tierplan.programs import Shaping, read_program
from tierplan.sweep.folder import Found, identity, open_folder, read_found
from tierplan.sweep.front import front
from tierplan.sweep.point import KINDS
from tierplan.sweep.run import Where, run_sweep
from tierplan.sweep.spec import parse_spec
from tierplan.sweep.tables import TABLES, TIMINGS
from tierplan.tasks.contract import End, Ended

Rows = list[dict[str, Any]]
Watch = Callable[[int, int], Callable[[Ended], None]]


@pytest.fixture(autouse=True)
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)


def no_watch(total: int, done: int) -> Callable[[Ended], None]:
    return lambda _: None


def swept(text: str, folder: str = "results", workers: int = 1, retry: bool = False) -> list[Found]:
    return run_sweep(parse_spec(text, "s.yaml"), Path(folder), Where(workers, retry=retry), no_watch)


def tables(folder: str) -> dict[str, Rows]:
    """The rows of each table, without the columns that depend on this machine."""
    found: dict[str, Rows] = {}
    for name in TABLES:
        rows: Rows = pq.read_table(f"{folder}/{name}.parquet").to_pylist()  # pyright: ignore[reportUnknownMemberType]
        found[name] = [{key: value for key, value in row.items() if key not in TIMINGS} for row in rows]
    return found


def test_each_point_is_what_plan_says(tmp_path: Path) -> None:
    found = swept(spec())
    assert [each.index for each in found] == list(range(12))
    rows = tables("results")
    graph = read_program("buffers.csv", Shaping())
    for row in rows["points"]:
        text = (tmp_path / "bench.yaml").read_text()
        text = text.replace("64 kB", f"{row['tiers.near.capacity']:.0f} B")
        text = text.replace(
            "to: near, bandwidth: 1 GB/s", f"to: near, bandwidth: {row['links.near->far.bandwidth']:.0f} B/s"
        )
        (tmp_path / "one.yaml").write_text(text)
        outcome = tierplan.plan(graph, "one.yaml", planner=row["planner"])
        assert row["time_s"] == outcome.cost_s
        assert row["bound_s"] == outcome.bound_s
        assert row["status"] == outcome.status.name
        assert row["cost_usd"] == pytest.approx(row["tiers.near.capacity"] * 10e-9)
    assert len({row["time_s"] for row in rows["points"]}) >= 3

    assert [(row["point"], row["tier"]) for row in rows["tiers"]] == list(itertools.product(range(12), ("near", "far")))
    assert {row["link"] for row in rows["links"]} == {"far->near", "near->far"}
    for row in rows["tiers"]:
        assert row["peak_bytes"] == sum(row[f"{kind}_bytes"] for kind in KINDS) <= row["capacity_bytes"]


def test_failures_become_rows_and_can_be_run_again() -> None:
    small: dict[str, Any] = {
        "hardware": [{"base": "bench.yaml", "set": {"tiers.near.capacity": ["200 B", "1 kB"]}}],
        "planners": "greedy",
    }
    found = swept(spec(**small, limits={"time": "1 us"}), workers=2)
    assert [each.ended.end for each in found] == [End.TIMED_OUT] * 2
    assert all(row["error"] == "ran longer than 1e-06 s" for row in tables("results")["points"])
    text = spec(**small, limits={"memory": "1 MB"})
    assert {each.ended.end for each in swept(text)} == {End.TIMED_OUT}  # done, if not well
    found = swept(text, retry=True)
    assert {each.ended.end for each in found} <= {End.OUT_OF_MEMORY, End.FAILED, End.CRASHED}
    assert all(each.ended.error for each in found)
    assert {each.ended.end for each in swept(spec(**small), retry=True)} == {End.DONE}


def test_a_value_that_no_machine_can_have_is_told_before_points_run() -> None:
    settings = {"tiers.near.capacity": ["4 kB", "1 kB"], "tiers.near.alignment": ["1 B", "2 kB", "8 kB"]}
    with pytest.raises(InvalidInputError, match="alignment is 8000 B, more than the capacity"):
        swept(spec(hardware=[{"base": "bench.yaml", "set": settings}], planners="greedy"))
    assert not Path("results").exists()


SEARCH = spec(
    hardware=[
        {
            "base": "bench.yaml",
            "set": {
                "tiers.near.capacity": {"from": "100 B", "to": "2 kB"},
                "links.near->far.bandwidth": {"from": "1 GB/s", "to": "8 GB/s", "log": True},
            },
        }
    ],
    points={"search": 24, "objectives": ["time", "cost"], "batch": 4},
)


def test_a_search_finds_the_same_points_with_any_number_of_workers_and_when_it_resumes() -> None:
    one, two = swept(SEARCH, "one", workers=1), swept(SEARCH, "two", workers=2)
    assert [each.values for each in one] == [each.values for each in two]
    assert tables("one") == tables("two")
    assert len({str(each.values) for each in one}) == 24

    path = Path("one/journal.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:11]) + lines[11][:20])
    ran: list[str] = []
    watch: Watch = lambda n, done: lambda ended: ran.append(ended.key)  # noqa: E731
    again = run_sweep(parse_spec(SEARCH, "s.yaml"), Path("one"), Where(1), watch)
    assert len(ran) == 14
    assert [each.values for each in again] == [each.values for each in one]


_RUN = """
import sys
from pathlib import Path
from tierplan.sweep.run import Where, run_sweep
from tierplan.sweep.spec import read_spec
run_sweep(read_spec(Path("sweep.yaml")), Path(sys.argv[1]), Where(2), lambda n, done: lambda ended: None)
"""


def test_a_killed_sweep_resumes_to_the_same_tables_and_does_no_point_twice(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(spec(seeds=list(range(20))))  # 240 points
    journal = tmp_path / "killed" / "journal.jsonl"
    run = subprocess.Popen([sys.executable, "-c", _RUN, "killed"], cwd=tmp_path)
    while run.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 30):
        time.sleep(0.01)
    assert run.poll() is None
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "killed" / "points.parquet").exists()
    before = read_found(tmp_path / "killed")
    assert 29 <= len(before) < 240
    text = (tmp_path / "sweep.yaml").read_text()
    swept(text, "killed", workers=2)
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()[1:]]
    assert len(keys) == len(set(keys)) == 240
    swept(text, "whole", workers=1)
    assert tables("killed") == tables("whole")


def test_folders_of_other_sweeps_and_no_folders_are_refused(tmp_path: Path) -> None:
    def opened(text: str, folder: str = "results", hardware: str = "text") -> None:
        open_folder(Path(folder), identity(parse_spec(text, "s.yaml"), {"bench.yaml": hardware}, [])).close()

    opened(spec(planners="greedy"))
    opened(spec(planners="greedy", limits={"time": "3 s"}))
    with pytest.raises(InvalidInputError, match=r"'results' holds the results of another spec \(other 'planners'\)"):
        opened(spec())
    with pytest.raises(InvalidInputError, match=r"other content of 'bench\.yaml'"):
        opened(spec(planners="greedy"), hardware="another text")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="is a file"):
        opened(spec(), "file")
    with pytest.raises(InvalidInputError, match="cannot write the folder"):
        opened(spec(), "file/inner")
    with pytest.raises(InvalidInputError, match="no results of a sweep"):
        read_found(tmp_path)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.integers(0, 4), st.booleans()), min_size=1, max_size=12
    )
)
def test_the_front_is_what_nothing_beats(drawn: list[tuple[str, int, int, bool]]) -> None:
    found = [
        Found(n, {"model": model}, Ended(str(n), End.DONE, {"point": {"time_s": t, "cost_usd": c if known else None}}))
        for n, (model, t, c, known) in enumerate(drawn)
    ]
    best = {each.index for each in front(found, ["time", "cost"])}

    def beats(a: int, b: int) -> bool:
        (model, *x, known), (other, *y, _) = drawn[a], drawn[b]
        worse = any(i > j for i, j in zip(x, y, strict=True))
        return known and model == other and not worse and (x != y or a < b)

    for n, (*_, known) in enumerate(drawn):
        assert (n in best) == (known and not any(beats(m, n) for m in range(len(drawn)) if m != n))
