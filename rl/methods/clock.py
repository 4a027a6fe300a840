"""Planners go by the clock on the wall; this ends them by processor time, so that a loaded machine cuts none short."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

_POLL_S = 0.01


@contextmanager
def stop_after(cpu_s: float) -> Generator[threading.Event]:
    """An event for `Budget.stop` that is set once this process has used so many seconds of processor time."""
    event, done = threading.Event(), threading.Event()
    until = time.process_time() + cpu_s

    def watch() -> None:
        while not done.wait(_POLL_S):
            if time.process_time() >= until:
                event.set()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield event
    finally:
        done.set()
        watcher.join()
