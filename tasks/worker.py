"""The process of one worker: `python -m tierplan.tasks.worker FD` reads tasks from a socket and answers each.

It is started with nothing but the number of its end of the socket. It dies with the process that started it, and a
little after the time of a task is over, even if nobody is left to kill it.
"""

import importlib
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tierplan.tasks.contract import End, Ended, Job, Task

READY = "ready"
_GRACE_S = 5.0
_LONGEST_ERROR = 500


def main(descriptor: int) -> None:
    """Take a job from the socket, then tasks until it is closed."""
    connection = Connection(descriptor)
    threading.Thread(target=_die_with, args=(descriptor,), daemon=True).start()
    job: Job
    path, job = connection.recv()
    sys.path[:] = path
    try:
        work = _load(job.work)
        if job.prepare is not None:
            _load(job.prepare)()
    except Exception as error:
        connection.send(_sentence(error))
        return
    _limit(job.memory_bytes)
    connection.send(READY)
    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        except Exception as error:  # what the payload needs cannot be imported here
            connection.send(Ended("", End.FAILED, None, _sentence(error)))
            continue
        ended = _run(work, task, job.seconds)
        try:
            connection.send(ended)  # nothing is written if it cannot be pickled
        except Exception as error:
            connection.send(Ended(task.key, End.FAILED, None, _sentence(error), ended.seconds))


def _run(work: Callable[[Any], Any], task: Task, limit_s: float | None) -> Ended:
    """Run one task, and tell how it ended."""
    if limit_s is not None:  # the default action of this signal ends the process, whatever it does
        signal.setitimer(signal.ITIMER_REAL, limit_s + _GRACE_S)
    begin = time.perf_counter()
    end, value, error = End.DONE, None, ""
    try:
        value = work(task.payload)
    except MemoryError:
        limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
        end, error = End.OUT_OF_MEMORY, f"needs more memory than the limit of {limit} B"
    except (Exception, SystemExit) as raised:
        end, error = End.FAILED, _sentence(raised)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return Ended(task.key, end, value, error, time.perf_counter() - begin)


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())[:_LONGEST_ERROR]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _load(name: str) -> Callable[..., Any]:
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def _limit(memory_bytes: int | None) -> None:
    if memory_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _die_with(descriptor: int) -> None:
    """End this process and those that it started once the other end of the socket is closed."""
    poller = select.poll()
    poller.register(descriptor, 0)  # nothing but a hang-up, which is always told
    poller.poll()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
