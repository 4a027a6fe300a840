"""Offset allocation beside MiniMalloc: CPU seconds and search nodes, per instance, written as CSV.

    python benchmarks/offsets_vs_minimalloc.py FOLDER [FOLDER ...] -o offsets.csv

Every `*.csv` of the folders is an instance; a capacity in its name (`A.1048576.csv`) is the one to fit, others
are minimised. CPU seconds include all threads. `cpu_s` leaves out start-up and loading, `process_cpu_s` is a
whole `python` process that reads, solves and ends. With a MiniMalloc binary in the variable MINIMALLOC the same
instances run through it, too, each right after ours, and its offsets are verified like ours; `minimalloc_height` says
`none` where it found nothing in 300 s. The recorded figures of MiniMalloc were measured on a two-core machine, the
least of five runs.
"""

import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tierplan.frontend.buffers import load_text, read_buffers
from tierplan.ir.buffers import Buffers, broken
from tierplan.planner.offset_check import legal
from tierplan.planner.offset_problem import blocks_of, by_time
from tierplan.planner.offsets import load_kernels, solve

RECORDED_CPU_S = {"A": 4.47, "B": 3.42, "C": 0.59, "D": 2.37, "E": 3.24, "F": 4.55, "G": 0.98, "J": 0.76}
RECORDED_NODES = {
    "A": 116_412, "B": 102_692, "C": 30_642, "D": 11_582, "E": 154_625, "F": 52_454, "G": 5_467, "J": 2_046,
}  # fmt: skip

COLUMNS = [
    "instance", "n", "capacity", "status", "height", "lower_bound", "gap", "nodes", "cpu_s", "process_cpu_s",
    "minimalloc_recorded_cpu_s", "minimalloc_recorded_nodes", "minimalloc_cpu_s", "minimalloc_height",
    "verified", "load_average",
]  # fmt: skip


def capacity_of(path: Path) -> int | None:
    parts = path.name.split(".")
    return int(parts[-2]) if len(parts) > 2 and parts[-2].isdigit() else None


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_process(command: list[str], timeout_s: float) -> float | None:
    """CPU seconds of a command; None where it failed or ran too long."""
    before = children_cpu_s()
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=timeout_s)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return children_cpu_s() - before


def run_minimalloc(binary: str, path: Path, buffers: Buffers, capacity: int) -> tuple[float, int | None]:
    """CPU seconds of a MiniMalloc binary and the height that it reached, None where it found nothing.

    Raises: SystemExit: its offsets overlap or pass the capacity.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.csv"
        before = children_cpu_s()
        command = [binary, f"--capacity={capacity}", f"--input={path}", f"--output={out}", "--timeout=300s"]
        subprocess.run(command, capture_output=True, check=False)
        cpu_s = children_cpu_s() - before
        rows = list(csv.DictReader(out.open())) if out.exists() else []
    if not rows:
        return cpu_s, None
    offset_of = {row.get("id") or row.get("buffer") or row.get("buffer_id"): int(row["offset"]) for row in rows}
    offset = np.array([offset_of[name] for name in buffers.ids], np.int64)
    wrong = next(broken(buffers, offset, capacity), None)
    if wrong is not None:
        raise SystemExit(f"{binary} on {path}: {wrong.told}")
    return cpu_s, int((offset + buffers.size).max())


def measure(path: Path, budget_s: float, minimize: bool, seed: int, processes: bool) -> dict[str, object]:
    capacity = capacity_of(path)
    buffers = read_buffers(load_text(path), str(path))
    before = time.process_time()
    found = solve(buffers, capacity=capacity, budget=budget_s, minimize=minimize or None, seed=seed)
    cpu_s = time.process_time() - before
    verified = False
    if found.found and len(buffers) <= 2000:
        verified = not any(broken(buffers, found.offset, capacity))
    elif found.found:
        b, order = by_time(blocks_of(buffers))
        verified = legal(b, (found.offset // b.unit)[order])
    name = path.name.split(".")[0]
    binary = os.environ.get("MINIMALLOC")
    theirs, their_height = None, None
    if binary and capacity is not None:
        theirs, their_height = run_minimalloc(binary, path, buffers, capacity)
    process_s = None
    if processes:
        code = (
            "import sys; from pathlib import Path; from tierplan.frontend.buffers import load_text, read_buffers; "
            "from tierplan.planner.offsets import solve; "
            "table = read_buffers(load_text(Path(sys.argv[1]))); capacity = int(sys.argv[2]); "
            "solve(table, capacity=capacity if capacity >= 0 else None, budget=float(sys.argv[3]), "
            "minimize=True if sys.argv[5] == '1' else None, seed=int(sys.argv[4]))"
        )
        arguments = [str(-1 if capacity is None else capacity), str(budget_s), str(seed), "1" if minimize else "0"]
        process_s = run_process([sys.executable, "-c", code, str(path), *arguments], budget_s * 4 + 60)
    return {
        "instance": name,
        "n": len(buffers),
        "capacity": capacity,
        "status": found.status.name,
        "height": found.height,
        "lower_bound": found.lower_bound,
        "gap": f"{found.gap:.5f}",
        "nodes": found.n_nodes,
        "cpu_s": f"{cpu_s:.3f}",
        "process_cpu_s": "" if process_s is None else f"{process_s:.3f}",
        "minimalloc_recorded_cpu_s": RECORDED_CPU_S.get(name, "") if capacity == 1048576 and not minimize else "",
        "minimalloc_recorded_nodes": RECORDED_NODES.get(name, "") if capacity == 1048576 and not minimize else "",
        "minimalloc_cpu_s": "" if theirs is None else f"{theirs:.3f}",
        "minimalloc_height": "" if theirs is None else their_height or "none",
        "verified": verified,
        "load_average": f"{os.getloadavg()[0]:.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds per instance")
    parser.add_argument("--minimize", action="store_true", help="look for the least height, not only for the capacity")
    parser.add_argument("--no-processes", action="store_true", help="do not measure whole processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    binary = os.environ.get("MINIMALLOC")
    if binary and shutil.which(binary) is None:
        parser.error(f"MINIMALLOC is '{binary}', which is no program that can be run")
    paths = sorted(path for folder in args.folders for path in folder.glob("*.csv"))
    load_kernels()
    rows: list[dict[str, object]] = []
    for path in paths:
        rows.append(measure(path, args.budget, args.minimize, args.seed, not args.no_processes))
        print("  ".join(f"{name}={rows[-1][name]}" for name in COLUMNS if rows[-1][name] not in ("", None)), flush=True)
    for told, column in (("recorded", "minimalloc_recorded_cpu_s"), ("in this run", "minimalloc_cpu_s")):
        both = [row for row in rows if row[column] != ""]
        ours, whole, theirs = (sum(float(str(row[c] or 0)) for row in both) for c in ("cpu_s", "process_cpu_s", column))
        if ours > 0:
            started = f" ({whole:.2f} with start-up)" if whole else ""
            print(
                f"sum over {len(both)}: {ours:.2f} CPU s{started}; "
                f"MiniMalloc, {told}: {theirs:.2f} CPU s ({theirs / ours:.1f}x)"
            )
    if args.output:
        with args.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
