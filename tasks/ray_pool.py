"""Workers of a Ray cluster: nodes may join and leave while tasks run."""

# pyright: basic
import logging
import os
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Any, Self

from tierplan.ir.errors import InvalidInputError, MissingDependencyError, TierplanError
from tierplan.tasks.contract import End, Ended, Job, Task
from tierplan.tasks.pool import ProcessPool

LOCAL = "local"
_ANSWER_S = 5.0
_JOIN = "import logging, ray, sys; ray.init(sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)"
_JOIN_S = 30.0
_LOOK_S = 1.0
_FAREWELL_S = 1.0
_MOST_LOSSES = 5
_MOST_FAILURES = 20  # of workers to start, one after the other; a node that dies is a few


class _Seat:
    """The actor for one CPU of the cluster: a pool of one process, so that a task that dies kills no actor."""

    def __init__(self, folder: str, path: list[str], job: Job) -> None:
        if os.path.isdir(folder):  # so that relative paths mean here what they mean to the caller
            os.chdir(folder)
        sys.path += [folder for folder in path if folder not in sys.path]
        self._raylet = os.getppid()
        self._pool = ProcessPool(job, workers=1)

    def ready(self) -> bool:
        """Answer once the actor runs."""
        return True

    def run(self, task: Task) -> Ended | str:
        """How a task ended; or why this node cannot run any."""
        try:
            (ended,) = self._pool.run([task])
        except TierplanError as error:
            return str(error)
        if ended.end is End.CRASHED:  # perhaps with its node, which takes this actor with it a little later
            time.sleep(_FAREWELL_S)
            if os.getppid() != self._raylet:
                os._exit(1)
        return ended


class RayPool:
    """A `Pool` on a Ray cluster: one worker for each of its CPUs, at most `workers`, as nodes come and go.

    A task whose node dies is run again elsewhere; one that itself dies ends as in a `ProcessPool`. tierplan must be
    installed on each node. `address`: that of a cluster, "auto" for the one that runs on this machine, or "local" to
    start one.
    """

    def __init__(self, job: Job, address: str, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise InvalidInputError(f"{workers} workers; need at least 1")
        self._ray = _import_ray()
        self._connected = _connect(self._ray, address)
        self._seat = self._ray.remote(num_cpus=1, max_restarts=0)(_Seat)
        self._job, self._most = job, workers
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Any, Task]] = {}
        self._looked_s = float("-inf")
        self._failed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, at once, and leave the cluster if this pool joined it."""
        self._stop()
        for actor in [*self._idle, *self._starting.values()]:
            self._ray.kill(actor)
        self._idle, self._starting = [], {}
        if self._connected:
            self._ray.shutdown()
            self._connected = False

    def run(self, tasks: Iterable[Task]) -> Generator[Ended]:
        """As `Pool.run`."""
        waiting = iter(tasks)
        lost: deque[Task] = deque()
        losses: Counter[str] = Counter()
        task = next(waiting, None)
        try:
            while task is not None or lost or self._running:
                self._grow()
                while self._idle and (lost or task is not None):
                    if lost:
                        self._begin(lost.popleft())
                    elif task is not None:
                        self._begin(task)
                        task = next(waiting, None)
                for ended in self._ended():
                    if isinstance(ended, Ended):
                        yield ended
                    elif losses[ended.key] < _MOST_LOSSES:
                        losses[ended.key] += 1
                        lost.append(ended)
                    else:
                        sentence = f"its node, or its Ray worker, died {_MOST_LOSSES + 1} times"
                        yield Ended(ended.key, End.CRASHED, None, sentence)
        finally:
            self._stop()

    def _begin(self, task: Task) -> None:
        actor = self._idle.pop()
        try:
            self._running[actor.run.remote(task)] = (actor, task)
        except TypeError as error:
            raise InvalidInputError(f"the payload of task '{task.key}' cannot be pickled: {error}") from None

    def _ended(self) -> list[Ended | Task]:
        """Wait a little; how tasks ended, and the tasks that were lost with their node."""
        refs = [*self._running, *self._starting]
        if not refs:
            time.sleep(_LOOK_S / 10)
            return []
        done, _ = self._ray.wait(refs, num_returns=1, timeout=_LOOK_S)
        ends: list[Ended | Task] = []
        for ref in done:
            actor, task = self._running.pop(ref, None) or (self._starting.pop(ref), None)
            try:
                told = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                self._ray.kill(actor)
                self._looked_s = float("-inf")
                if isinstance(error, self._ray.exceptions.RayTaskError):
                    raise TierplanError(f"a Ray worker failed: {str(error).splitlines()[-1]}") from None
                if task is not None:
                    ends.append(task)
                    continue
                self._failed += 1
                if self._failed > _MOST_FAILURES:
                    raise TierplanError(f"Ray workers do not start: {str(error).splitlines()[-1].strip()}") from None
                continue
            self._failed = 0
            self._idle.append(actor)
            if isinstance(told, str):
                raise TierplanError(told)
            if isinstance(told, Ended):
                ends.append(told)
        return ends

    def _grow(self) -> None:
        """Start workers for the CPUs that have none, when it was last looked a while ago."""
        if time.monotonic() - self._looked_s < _LOOK_S:
            return
        self._looked_s = time.monotonic()
        cpus = int(self._ray.cluster_resources().get("CPU", 0))
        wanted = cpus if self._most is None else min(cpus, self._most)
        for _ in range(wanted - len(self._idle) - len(self._starting) - len(self._running)):
            actor = self._seat.remote(os.getcwd(), sys.path, self._job)
            self._starting[actor.ready.remote()] = actor

    def _stop(self) -> None:
        """End the tasks that run, with their workers."""
        for actor, _ in self._running.values():
            self._ray.kill(actor)
        self._running = {}
        self._looked_s = float("-inf")


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.exceptions  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise MissingDependencyError("ray", "ray") from None
    return ray


def _connect(ray: Any, address: str) -> bool:
    """Join the cluster, or start one; False if this process has joined one already.

    Raises: InvalidInputError: it does not answer.
    """
    if ray.is_initialized():
        return False
    if address not in ("auto", LOCAL):
        _check_answers(address)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        hint = (
            "no Ray cluster runs on this machine; start one with 'ray start --head', name an address, or write 'local'"
            if address == "auto"
            else f"the Ray cluster at '{address}' does not answer as one: {str(error).splitlines()[0][:200]}"
        )
        raise InvalidInputError(hint) from None
    return True


def _check_answers(address: str) -> None:
    """Refuse an address at which no cluster answers soon; Ray itself would try for minutes, deaf to Ctrl-C."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit() or not host:
        raise InvalidInputError(f"'{address}' is no address of a Ray cluster; write HOST:PORT, 'auto' or 'local'")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(f"the Ray cluster at '{address}' does not answer: {reason}") from None
    try:
        joined = subprocess.run(
            [sys.executable, "-c", _JOIN, address], capture_output=True, timeout=_JOIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InvalidInputError(f"no Ray cluster answers at '{address}' within {_JOIN_S:.0f} s") from None
    if joined.returncode:
        lines = joined.stderr.decode("utf-8", "replace").strip().splitlines() or ["it gives no reason"]
        raise InvalidInputError(f"no Ray cluster answers at '{address}': {lines[-1][:300]}")
