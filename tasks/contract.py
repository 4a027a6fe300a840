"""What a pool of workers does: tasks in, how each ended out. Whoever has more to compute than one process uses this.

    from tierplan.tasks.contract import Job, Task
    from tierplan.tasks.journal import Journal, finish
    from tierplan.tasks.open import open_pool

    job = Job.of(play_games, prepare=load_network, seconds=60, memory_bytes=2 * 2**30)
    with open_pool(job, workers=2) as pool:                        # or open_pool(job, ray="auto"): a cluster
        for end in pool.run(Task(f"game-{n}", (n, path)) for n in range(100)):
            use(end.value) if end.ok else complain(end.key, end.error)

`play_games(payload)` is a function at the top of a module. It runs in a worker process, started afresh (never forked),
which lives on from task to task and from one `run` to the next, so that what `prepare()` loads or compiles is paid
once per worker. What the function returns, and the payload, must be picklable; they only ever pass through a pipe.

A task that raises, kills its process, runs past `seconds` or needs more than `memory_bytes` ends with an `End` and a
sentence; its process is replaced and the others go on. Ends are yielded in the order in which tasks end, and a worker
is given its next task only when the caller asks for the next end: what the caller does with one end, such as writing
it down, is done before that. `Journal` keeps ends in a file, so that a killed run resumes:

    with Journal.open(folder / "journal.jsonl", of=digest) as journal, open_pool(job) as pool:
        for end in finish(tasks, pool, journal):                   # those that the journal lacks
            ...
"""

import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Protocol, Self

from tierplan.ir.errors import InvalidInputError


class End(Enum):
    """How a task ended; the value is what people read."""

    DONE = "done"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True, slots=True)
class Task:
    """One call of the job's function. `key` names it, the same in each run of the same tasks."""

    key: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended: what the function returned, or the sentence that says why there is nothing."""

    key: str
    end: End
    value: Any = None
    error: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the function returned."""
        return self.end is End.DONE


@dataclass(frozen=True, slots=True)
class Job:
    """The function that tasks call, named `module:function`, and what each call may use.

    `prepare` is called once in each worker, before its first task and without limits. `seconds` of wall clock;
    `memory_bytes` of data (not of files mapped into memory), for one worker. None: no limit.
    """

    work: str
    prepare: str | None = None
    seconds: float | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise InvalidInputError(f"a limit of {self.seconds} seconds for a task; need a positive, finite number")
        if self.memory_bytes is not None and self.memory_bytes <= 0:
            raise InvalidInputError(f"a limit of {self.memory_bytes} bytes for a task; need a positive number")

    @staticmethod
    def of(
        work: Callable[[Any], Any],
        *,
        prepare: Callable[[], object] | None = None,
        seconds: float | None = None,
        memory_bytes: int | None = None,
    ) -> "Job":
        """The job that calls a function which a worker can import.

        Raises: InvalidInputError: a lambda, a function inside another, or one of the script that runs.
        """
        return Job(_name(work), None if prepare is None else _name(prepare), seconds, memory_bytes)


def _name(function: Callable[..., Any]) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", repr(function))
    if not isinstance(module, str) or module == "__main__" or not str(name).isidentifier():
        raise InvalidInputError(
            f"workers cannot import '{name}' of '{module}'; put the function at the top of a module that is not the "
            "script that runs"
        )
    return f"{module}:{name}"


class Pool(Protocol):
    """Workers that run the tasks of one job."""

    def run(self, tasks: Iterable[Task]) -> Generator[Ended]:
        """Run tasks, and yield how each ended, in the order in which they end.

        A caller that stops asking ends the tasks that run.
        Raises: TierplanError: workers cannot be started.
        """
        ...

    def close(self) -> None:
        """End all workers, at once."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
