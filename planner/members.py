"""Members of a planner that run side by side in threads until one of them, or the clock, ends it."""

import sys
import threading
import time
from collections.abc import Callable

_POLL_S = 0.02
_SWITCH_S = 1e-3
_FAREWELL_S = 5.0  # for which members that were told to stop are waited for: they ask several times a second


def side_by_side(runs: dict[str, Callable[[], None]], over: Callable[[], bool], stop: threading.Event) -> None:
    """Run members, named, until all have ended or it is `over`; then set `stop`, which all of them heed.

    Compiled loops come back to Python often, and must not wait for its lock for long: it changes hands sooner here.
    """
    threads = [threading.Thread(target=run, name=name) for name, run in runs.items()]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    for thread in threads:
        thread.start()
    try:
        while not over() and any(thread.is_alive() for thread in threads):
            time.sleep(_POLL_S)
    finally:
        stop.set()
        until = time.perf_counter() + _FAREWELL_S
        for thread in threads:
            thread.join(max(0.0, until - time.perf_counter()))
        sys.setswitchinterval(interval_s)
