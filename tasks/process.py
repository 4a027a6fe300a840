"""One worker as the pool sees it: a process in a session of its own, at the other end of a socket."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection

from tierplan.ir.errors import InvalidInputError, TierplanError
from tierplan.tasks.contract import End, Ended, Job, Task
from tierplan.tasks.worker import READY

_START_S = 1800.0  # compiling, on a fresh installation and a busy machine
_LOST_MEMORY = ("bad_alloc", "memoryerror", "out of memory", "cannot allocate memory")
_TAIL = 4096


class Worker:
    """A process that runs one task at a time. What it writes to standard error is kept, to say why it died."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by `kill`
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tierplan.tasks.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is the pool's to handle, and what a task starts is ended with it
            )
        self.connection = Connection(ours.detach())
        self.ready = False
        self.task: Task | None = None
        self._begin_s = time.perf_counter()
        self._send((sys.path, job))

    @property
    def alive(self) -> bool:
        """Whether the process may still run."""
        return not self._log.closed

    @property
    def deadline_s(self) -> float:
        """When the worker has run out of time, on the clock of `time.perf_counter`."""
        if not self.ready:
            return self._begin_s + _START_S
        return float("inf") if self.task is None or self._job.seconds is None else self._begin_s + self._job.seconds

    def begin(self, task: Task) -> None:
        """Hand a task to the worker.

        Raises: InvalidInputError: its payload cannot be pickled.
        """
        self._log.seek(0)
        self._log.truncate()
        self.task = task
        self._begin_s = time.perf_counter()
        try:
            self._send(task)
        except Exception as error:
            self.task = None
            raise InvalidInputError(f"the payload of task '{task.key}' cannot be pickled: {error}") from None

    def receive(self) -> Ended | None:
        """What the worker says: how its task ended; None if it is ready now, or died without a task.

        Raises: TierplanError: the worker does not get ready.
        """
        try:
            told: Ended | str = self.connection.recv()
        except (EOFError, OSError):
            return self._died()
        if not self.ready:
            if told != READY:
                raise TierplanError(f"a worker cannot start: {told}")
            self.ready = True
            return None
        assert isinstance(told, Ended)
        self.task = None
        return told

    def overrun(self) -> Ended:
        """End the process because its time is over.

        Raises: TierplanError: it is still starting.
        """
        task, limit_s = self.task, self._job.seconds
        self.kill()
        if task is None:
            raise TierplanError(f"a worker did not get ready within {_START_S:.0f} s")
        return Ended(task.key, End.TIMED_OUT, None, f"ran longer than {limit_s:g} s", limit_s or 0.0)

    def kill(self) -> None:
        """End the process, and what it started, at once."""
        if not self.alive:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # they have ended already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.connection.close()
        self._log.close()

    def _send(self, what: object) -> None:
        with contextlib.suppress(OSError):  # it has died; `receive` finds out how
            self.connection.send(what)

    def _died(self) -> Ended | None:
        seconds = time.perf_counter() - self._begin_s
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it closed its socket, and lives
            code = 0
        last = self._last_words()
        task = self.task
        self.kill()
        why = f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.Signals(-code).name})"
        told = f"; it said: {last}" if last else ""
        if task is None:
            if not self.ready:
                raise TierplanError(f"a worker cannot start: it died with {why}{told}")
            return None
        if any(word in last.lower() for word in _LOST_MEMORY):
            return Ended(task.key, End.OUT_OF_MEMORY, None, f"died with {why}{told}", seconds)
        if -code == signal.SIGKILL:
            told += "; the system does that when memory runs out"
        return Ended(task.key, End.CRASHED, None, f"died with {why}{told}", seconds)

    def _last_words(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _TAIL))
        lines = [line.strip() for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else ""
