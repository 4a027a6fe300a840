"""What tests give to workers: functions at the top of a module, each of which ends in its own way."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

PREPARED: list[int] = []


def prepare() -> None:
    PREPARED.append(os.getpid())


def square(number: int) -> int:
    return number * number


def prepared(_: object) -> list[int]:
    """The processes in which `prepare` ran, and this one."""
    return [*PREPARED, os.getpid()]


def cannot_prepare() -> None:
    raise ValueError("no network")


def act(what: str) -> str:
    """End as the payload says."""
    print("printed to nobody")
    match what.split():
        case ["raise"]:
            raise ValueError("a\nreason")
        case ["exit", code]:
            os._exit(int(code))
        case ["leave"]:
            raise SystemExit(3)
        case ["signal", name]:
            os.kill(os.getpid(), signal.Signals[name])
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["hold", megabytes]:
            return str(len(bytearray(int(megabytes) << 20)))
        case ["child", path]:
            child = subprocess.Popen(["sleep", "60"])
            Path(path).write_text(str(child.pid))
            time.sleep(60)
        case _:
            pass
    return what


def raylet(seconds: float) -> str:
    """The process that manages the Ray node of this worker."""
    time.sleep(seconds)
    return os.environ["RAY_RAYLET_PID"]


def unpicklable(_: object) -> Any:
    return lambda: 0


def touch(payload: tuple[str, str]) -> str:
    """Append a key to a file: once for each time that the task is run."""
    path, key = payload
    with open(path, "a", encoding="utf-8") as file:
        file.write(key + "\n")
    return key
