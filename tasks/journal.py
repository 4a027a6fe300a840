"""A file to which the end of each task is appended, so that a killed run resumes and does no task twice.

JSON lines: a header that says whose tasks these are, then one line per end. A line is on disk, by fsync, before the
next task is taken; what a kill leaves of a line that was being written is cut off when the file is opened again.
"""

import fcntl
import json
import os
from collections.abc import Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tierplan.ir.errors import InvalidInputError
from tierplan.tasks.contract import End, Ended, Pool, Task

_VERSION = 1


class Journal:
    """The ends of tasks by their keys, in memory and in a file. One process writes it at a time."""

    def __init__(self, file: IO[bytes], ended: dict[str, Ended]) -> None:
        self._file = file
        self.ended = ended

    @classmethod
    def open(cls, path: Path, of: str) -> Self:
        """Open the journal of the tasks that `of` identifies; it is made if need be.

        Raises: InvalidInputError: a journal of other tasks, one that another process writes, no journal, or a folder
            that cannot be written to.
        """
        try:
            file = path.open("a+b")
        except OSError as error:
            raise InvalidInputError(f"cannot write '{path}': {error.strerror}") from None
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InvalidInputError(
                    f"'{path}' is being written by another process; wait for it, or end it"
                ) from None
            file.seek(0)
            written, ended, whole = _read(file.read(), path)
            if written not in (None, of):
                raise InvalidInputError(f"'{path}' holds the results of other tasks; name another folder")
            journal = cls(file, ended)
            file.truncate(whole)
            if written is None:
                journal._append({"journal": _VERSION, "of": of})
                _sync_folder(path.parent)
        except BaseException:
            file.close()
            raise
        return journal

    def add(self, ended: Ended) -> None:
        """Write one end; it is on disk when this returns.

        Raises: InvalidInputError: the disk is full, or the value is nothing that JSON can write.
        """
        row: dict[str, Any] = {"key": ended.key, "end": ended.end.value, "seconds": ended.seconds}
        row |= {"value": ended.value} if ended.ok else {"error": ended.error}
        self._append(row)
        self.ended[ended.key] = ended

    def close(self) -> None:
        """Close the file, and let others write it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, row: dict[str, Any]) -> None:
        try:
            line = json.dumps(row, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"the result of task '{row['key']}' cannot be written as JSON: {error}") from None
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InvalidInputError(f"cannot write '{self._file.name}': {error.strerror}") from None


def finish(tasks: Iterable[Task], pool: Pool, journal: Journal, *, retry: bool = False) -> Generator[Ended]:
    """Run the tasks that the journal lacks, and yield how each ended once that is written.

    Args:
        retry: run those again, too, that ended without a result.
    """
    known = {key for key, ended in journal.ended.items() if ended.ok or not retry}
    for ended in pool.run(task for task in tasks if task.key not in known):
        journal.add(ended)
        yield ended


def read_journal(path: Path) -> tuple[str, dict[str, Ended]]:
    """Whose tasks a journal holds, and how each ended; of a task that was run again, the last end.

    Raises: InvalidInputError: no journal, or one that cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"cannot read '{path}': {error.strerror}") from None
    of, ended, _ = _read(raw, path)
    if of is None:
        raise InvalidInputError(f"'{path}' holds no results")
    return of, ended


def _read(raw: bytes, path: Path) -> tuple[str | None, dict[str, Ended], int]:
    """Whose tasks, their ends, and how many bytes of `raw` are whole lines."""
    whole = raw.rfind(b"\n") + 1
    lines = raw[:whole].splitlines()
    of: str | None = None
    ended: dict[str, Ended] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row: dict[str, Any] = json.loads(line)
            if number == 1:
                of = _header(row)
            else:
                one = Ended(row["key"], End(row["end"]), row.get("value"), row.get("error", ""), row["seconds"])
                ended[one.key] = one
        except (ValueError, KeyError, TypeError):
            if number == len(lines) > 1:  # a kill of the machine, not of the process, may leave such a line
                whole -= len(line) + 1
                break
            raise InvalidInputError(f"{path}:{number}: not a line of a journal of results") from None
    if raw and of is None and whole:
        raise InvalidInputError(f"'{path}' is not a journal of results")
    return of, ended, whole


def _header(row: dict[str, Any]) -> str:
    if row["journal"] != _VERSION:
        raise ValueError("another version")
    return str(row["of"])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
