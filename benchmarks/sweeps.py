"""What sweeps cost beside their points: throughput of workers, overhead per point, and time to resume.

    python benchmarks/sweeps.py [--points 20] [--resumed 10000] [--kinds sleep,compute] [--csv FILE]

Prints one line per measurement, wall clock and CPU seconds of all processes, with the load of the machine:

- points of one second each (they sleep, or compute until their process has used a second of CPU), on 1 and 2 workers;
- points that do nothing, each written and synced before the next;
- a sweep of which every point is done, from reading its spec to writing its tables.
"""

import argparse
import csv
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tierplan.sweep.check import models_on_disk, sources
from tierplan.sweep.folder import identity, key_of, open_folder
from tierplan.sweep.point import run
from tierplan.sweep.points import points
from tierplan.sweep.run import Where, run_sweep
from tierplan.sweep.spec import read_spec
from tierplan.tasks.contract import End, Ended, Job, Task
from tierplan.tasks.journal import Journal, finish
from tierplan.tasks.pool import ProcessPool

sys.path.insert(0, str(Path(__file__).parent))  # so that workers can import this file by its name
SPEC = """\
sweep: 1
models: gpt2
hardware: [h100]
planners: greedy
seeds: {from: 0, to: LAST, steps: N}
"""


def point(kind: str) -> dict[str, Any]:
    """A point of one second, or one that does nothing."""
    if kind == "sleep":
        time.sleep(1.0)
    elif kind == "compute":
        begin = time.process_time()
        while time.process_time() - begin < 1.0:
            pass
    return {"kind": kind}


def swept(kind: str, n: int, workers: int) -> None:
    """Run points and keep a journal, as a sweep does."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal.open(Path(folder) / "journal", "benchmark") as journal,
        ProcessPool(Job("sweeps:point"), workers) as pool,
    ):
        for _ in pool.run(Task(f"warm {n}", "nothing") for n in range(workers)):
            pass
        tick(f"{kind} on {workers}")
        for ended in finish((Task(str(m), kind) for m in range(n)), pool, journal):
            assert ended.ok
        tock(n)


def resumed(n: int) -> None:
    """Resume a sweep of which each point is done."""
    with tempfile.TemporaryDirectory() as name:
        path, folder = Path(name) / "spec.yaml", Path(name) / "results"
        path.write_text(SPEC.replace("LAST", str(n - 1)).replace("N}", f"{n}}}"))
        spec = read_spec(path)
        files = sources(spec)
        texts = {hardware: source.text for hardware, source in files.items()}
        every = list(points(spec))
        value = run({"values": every[0].values, "text": texts["h100"], "threads": 1})
        os.fsync, sync = lambda descriptor: None, os.fsync  # writing 10,000 points is not what is measured
        with open_folder(folder, identity(spec, texts, models_on_disk(spec))) as journal:
            for each in every:
                journal.add(Ended(key_of(each), End.DONE, value, "", 0.1))
        os.fsync = sync
        tick(f"resume {n} points")
        found = run_sweep(read_spec(path), folder, Where(2), lambda total, done: refuse)
        tock(n)
        assert len(found) == n


def refuse(ended: Ended) -> None:
    """No point may run."""
    raise AssertionError(f"{ended.key} ran again")


_rows: list[dict[str, Any]] = []
_began: list[Any] = []


def cpu_s() -> float:
    """CPU seconds of this process and of the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def tick(what: str) -> None:
    """Begin a measurement."""
    _began[:] = [what, time.perf_counter(), cpu_s()]


def tock(n: int) -> None:
    """End it, and print it."""
    what, wall, cpu = _began
    wall_s, own_s = time.perf_counter() - wall, cpu_s() - cpu
    load = os.getloadavg()[0]
    _rows.append({"what": what, "points": n, "wall_s": wall_s, "own_cpu_s": own_s, "load": load})
    print(
        f"{what:<24} {n:>6} points {wall_s:8.3f} s wall, {own_s:7.3f} s CPU of the parent, load {load:.1f}", flush=True
    )


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--resumed", type=int, default=10_000)
    parser.add_argument("--kinds", default="sleep,compute", help="what points of a second do")
    parser.add_argument("--csv", type=Path)
    asked = parser.parse_args()
    kinds = asked.kinds.split(",")
    measures: list[Callable[[], None]] = [
        *(lambda k=kind, w=w: swept(k, asked.points, w) for kind in kinds for w in (1, 2)),
        *(lambda w=w: swept("nothing", 500, w) for w in (1, 2)),
        lambda: resumed(asked.resumed),
    ]
    for measure in measures:
        measure()
    wall = {row["what"]: row["wall_s"] for row in _rows}
    for kind in kinds:
        print(f"{kind}: 2 workers have {wall[f'{kind} on 1'] / wall[f'{kind} on 2']:.2f} times the throughput of 1")
    print(f"overhead: {wall['nothing on 1'] / 500 * 1e3:.2f} ms per point on 1 worker")
    if asked.csv:
        with asked.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(_rows[0]))
            writer.writeheader()
            writer.writerows(_rows)


if __name__ == "__main__":
    main()
