"""Worker processes of this machine."""

import time
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self

from tierplan.ir.errors import InvalidInputError
from tierplan.tasks.contract import End, Ended, Job, Task
from tierplan.tasks.process import Worker


class ProcessPool:
    """A `Pool` of processes, started when there is a task for them and kept until `close`."""

    def __init__(self, job: Job, workers: int = 2) -> None:
        if workers < 1:
            raise InvalidInputError(f"{workers} workers; need at least 1")
        self._job = job
        self._most = workers
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, at once."""
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def run(self, tasks: Iterable[Task]) -> Generator[Ended]:
        """As `Pool.run`."""
        waiting = iter(tasks)
        task = next(waiting, None)
        try:
            while True:
                while task is not None and (idle := self._idle()) is not None:
                    idle.begin(task)
                    task = next(waiting, None)
                if task is None and not any(worker.task for worker in self._workers):
                    return
                if task is not None and len(self._workers) < self._most:
                    self._workers.append(Worker(self._job))
                    continue
                yield from self._ended()
        finally:
            self._drop([worker for worker in self._workers if worker.task is not None])

    def _idle(self) -> Worker | None:
        return next((worker for worker in self._workers if worker.ready and worker.task is None), None)

    def _ended(self) -> Iterator[Ended]:
        """Wait until a worker says something, dies, or has run out of time; how its task ended, if it had one."""
        by_connection = {worker.connection: worker for worker in self._workers}
        timeout_s = min(worker.deadline_s for worker in self._workers) - time.perf_counter()
        heard = wait(list(by_connection), None if timeout_s == float("inf") else max(0.0, timeout_s))
        ends: list[Ended] = []
        for connection in heard:
            worker = by_connection[connection]  # pyright: ignore[reportArgumentType]
            ended = worker.receive()
            if ended is not None:
                ends.append(ended)
                if ended.end is End.OUT_OF_MEMORY:  # what is left of the process cannot be trusted
                    worker.kill()
        now_s = time.perf_counter()
        ends += [worker.overrun() for worker in self._workers if worker.alive and worker.deadline_s <= now_s]
        self._workers = [worker for worker in self._workers if worker.alive]
        yield from ends

    def _drop(self, workers: list[Worker]) -> None:
        for worker in workers:
            worker.kill()
        self._workers = [worker for worker in self._workers if worker.alive]
