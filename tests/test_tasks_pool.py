"""Tasks on worker processes: each ends, whatever it does, and the others go on."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import task_work

from tierplan.ir.errors import InvalidInputError, TierplanError
from tierplan.tasks.contract import End, Ended, Job, Task
from tierplan.tasks.open import open_pool
from tierplan.tasks.pool import ProcessPool

MEBI = 2**20


def by_key(ends: Iterator[Ended]) -> dict[str, Ended]:
    found = list(ends)
    assert len({ended.key for ended in found}) == len(found)
    return {ended.key: ended for ended in found}


def test_every_task_ends_once_and_workers_live_on() -> None:
    with open_pool(Job.of(task_work.square), workers=2) as pool:
        ends = by_key(pool.run(Task(str(n), n) for n in range(50)))
        again = by_key(pool.run([Task("x", 5)]))
    assert {key: ended.value for key, ended in ends.items()} == {str(n): n * n for n in range(50)}
    assert all(ended.ok and not ended.error for ended in ends.values())
    assert again["x"].value == 25


def test_a_worker_is_prepared_once() -> None:
    with ProcessPool(Job.of(task_work.prepared, prepare=task_work.prepare), workers=1) as pool:
        seen = [ended.value for _ in range(2) for ended in pool.run([Task("a", None), Task("b", None)])]
    assert len(seen) == 4
    assert all(value == seen[0] and len(value) == 2 and value[0] == value[1] for value in seen)
    assert seen[0][0] != os.getpid()


def test_each_way_to_end_is_told_and_the_others_go_on() -> None:
    ways = ["raise", "exit 7", "leave", "signal SIGSEGV", "signal SIGKILL", "sleep 60", "hold 400", "fine", "hold 10"]
    with ProcessPool(Job.of(task_work.act, seconds=1.0, memory_bytes=300 * MEBI), workers=2) as pool:
        ends = by_key(pool.run(Task(way, way) for way in ways))
    assert {way: ends[way].end for way in ways} == {
        "raise": End.FAILED,
        "exit 7": End.CRASHED,
        "leave": End.FAILED,
        "signal SIGSEGV": End.CRASHED,
        "signal SIGKILL": End.CRASHED,
        "sleep 60": End.TIMED_OUT,
        "hold 400": End.OUT_OF_MEMORY,
        "fine": End.DONE,
        "hold 10": End.DONE,
    }
    assert ends["raise"].error == "ValueError: a reason"
    assert ends["exit 7"].error == "died with exit code 7"
    assert ends["leave"].error == "SystemExit: 3"
    assert ends["signal SIGSEGV"].error == "died with signal 11 (SIGSEGV)"
    assert "runs out" in ends["signal SIGKILL"].error
    assert ends["sleep 60"].error == "ran longer than 1 s"
    assert ends["hold 400"].error == f"needs more memory than the limit of {300 * MEBI} B"
    assert ends["hold 10"].value == str(10 * MEBI)


def test_what_a_task_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with ProcessPool(Job.of(task_work.act, seconds=1.0), workers=1) as pool:
        (ended,) = pool.run([Task("a", f"child {note}")])
    assert ended.end is End.TIMED_OUT
    assert ends_soon(int(note.read_text()))


def test_a_caller_that_stops_asking_ends_the_tasks_that_run() -> None:
    with ProcessPool(Job.of(task_work.act), workers=2) as pool:
        ends = pool.run([Task("slow", "sleep 60"), Task("quick", "fine")])
        assert next(ends).key == "quick"
        ends.close()
        assert by_key(pool.run([Task("next", "fine")]))["next"].ok


def test_the_next_task_waits_for_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with ProcessPool(Job.of(task_work.touch), workers=1) as pool:
        ends = pool.run(Task(key, (str(path), key)) for key in "abc")
        for n, _ in enumerate(ends, start=1):
            time.sleep(0.05)
            assert len(path.read_text().split()) == n


def test_a_value_that_cannot_be_sent_is_a_failure() -> None:
    with ProcessPool(Job.of(task_work.unpicklable), workers=1) as pool:
        (ended,) = pool.run([Task("a", None)])
    assert ended.end is End.FAILED
    assert "pickle" in ended.error


def test_workers_that_cannot_start_are_told() -> None:
    for job in (Job.of(task_work.square, prepare=task_work.cannot_prepare), Job("no_such_module:f")):
        with ProcessPool(job, workers=2) as pool, pytest.raises(TierplanError, match=r"cannot start: .*no.*"):
            list(pool.run([Task("a", 1)]))


def test_bad_jobs_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="top of a module"):
        Job.of(lambda _: 0)
    with pytest.raises(InvalidInputError, match="seconds"):
        Job.of(task_work.square, seconds=0)
    with pytest.raises(InvalidInputError, match="bytes"):
        Job.of(task_work.square, memory_bytes=-1)
    with pytest.raises(InvalidInputError, match="workers"):
        open_pool(Job.of(task_work.square), workers=0)
    with (
        ProcessPool(Job.of(task_work.square), workers=1) as pool,
        pytest.raises(InvalidInputError, match="payload of task 'a'"),
    ):
        list(pool.run([Task("a", lambda: 0)]))


def ends_soon(pid: int) -> bool:
    """Whether a process has ended, or does within two seconds."""
    for _ in range(40):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
