"""The journal of results: nothing that was written is lost, nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import task_work

from tierplan.ir.errors import InvalidInputError
from tierplan.tasks.contract import End, Ended, Job, Task
from tierplan.tasks.journal import Journal, finish, read_journal
from tierplan.tasks.pool import ProcessPool

ENDS = [
    Ended("a", End.DONE, {"rows": [1, 2.5, None, "é"]}, "", 0.25),
    Ended("b", End.TIMED_OUT, None, "ran longer than 1 s", 1.0),
    Ended("c", End.DONE, [], "", 0.0),
]


def written(path: Path, ends: list[Ended], of: str = "these") -> Path:
    with Journal.open(path, of) as journal:
        for ended in ends:
            journal.add(ended)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "journal", ENDS)
    assert read_journal(path) == ("these", {ended.key: ended for ended in ENDS})
    with Journal.open(path, "these") as journal:
        assert journal.ended == {ended.key: ended for ended in ENDS}


def test_a_journal_cut_anywhere_keeps_every_whole_line(tmp_path: Path) -> None:
    raw = written(tmp_path / "journal", ENDS).read_bytes()
    path = tmp_path / "cut"
    for length in range(len(raw) + 1):
        path.write_bytes(raw[:length])
        n_whole = max(0, raw[:length].count(b"\n") - 1)
        with Journal.open(path, "these") as journal:
            assert list(journal.ended) == [ended.key for ended in ENDS[:n_whole]]
            journal.add(Ended("z", End.DONE, 1))
        assert list(read_journal(path)[1]) == [*(ended.key for ended in ENDS[:n_whole]), "z"]


def test_rubbish_in_the_last_line_is_dropped_and_elsewhere_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "journal", ENDS)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0\0\0\n")
    with Journal.open(path, "these") as journal:
        assert list(journal.ended) == ["a", "b", "c"]
    assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b'"key":"a"', b'"key":"a'))
    with pytest.raises(InvalidInputError, match="journal:2: not a line"):
        Journal.open(path, "these")


def test_other_journals_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "journal", ENDS)
    with pytest.raises(InvalidInputError, match="other tasks"):
        Journal.open(path, "those")
    path.write_text("a line of text\n")
    with pytest.raises(InvalidInputError, match="not a line of a journal"):
        Journal.open(path, "these")
    with pytest.raises(InvalidInputError, match="cannot write"):
        Journal.open(tmp_path / "none" / "journal", "these")
    with pytest.raises(InvalidInputError, match="cannot read"):
        read_journal(tmp_path / "none")


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    path = written(tmp_path / "journal", ENDS)
    with Journal.open(path, "these"), pytest.raises(InvalidInputError, match="another process"):
        Journal.open(path, "these")
    Journal.open(path, "these").close()


def test_a_value_that_is_no_json_is_told(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal", "these") as journal, pytest.raises(InvalidInputError, match="task 'a'"):
        journal.add(Ended("a", End.DONE, {1, 2}))


def test_only_what_lacks_is_run(tmp_path: Path) -> None:
    path, ran = written(tmp_path / "journal", ENDS), tmp_path / "ran"
    tasks = [Task(key, (str(ran), key)) for key in "abcd"]
    with Journal.open(path, "these") as journal, ProcessPool(Job.of(task_work.touch), workers=1) as pool:
        assert [ended.key for ended in finish(tasks, pool, journal)] == ["d"]
        assert [ended.key for ended in finish(tasks, pool, journal)] == []
        assert [ended.key for ended in finish(tasks, pool, journal, retry=True)] == ["b"]
    assert ran.read_text().split() == ["d", "b"]
    assert all(ended.ok for ended in read_journal(path)[1].values())


_RUN = """
import sys, task_work
from pathlib import Path
from tierplan.tasks.contract import Job, Task
from tierplan.tasks.journal import Journal, finish
from tierplan.tasks.pool import ProcessPool
folder = Path(sys.argv[1])
tasks = [Task(str(n), (str(folder / "ran"), str(n))) for n in range(400)]
with Journal.open(folder / "journal", "these") as journal, ProcessPool(Job.of(task_work.touch), workers=2) as pool:
    for ended in finish(tasks, pool, journal):
        pass
"""


def test_a_killed_run_resumes_and_no_written_task_runs_twice(tmp_path: Path) -> None:
    journal, ran = tmp_path / "journal", tmp_path / "ran"
    command = [sys.executable, "-c", _RUN, str(tmp_path)]
    here = Path(__file__).parent
    for n_lines in (20, 150):
        run = subprocess.Popen(command, cwd=here)
        while run.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < n_lines):
            time.sleep(0.01)
        assert run.poll() is None
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    subprocess.run(command, cwd=here, check=True)
    _, ends = read_journal(journal)
    assert {key: ended.value for key, ended in ends.items()} == {str(n): str(n) for n in range(400)}
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()[1:]]
    assert len(keys) == len(set(keys)) == 400
    times = ran.read_text().split()
    assert len(times) <= 400 + 2 * 2  # those that ran, unwritten, when the kill came
