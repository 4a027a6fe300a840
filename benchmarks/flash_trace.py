"""A token-level trace of a 7B model - 32 layers of 16,384 neurons, 256 tokens - is simulated in less than two seconds.

Prints one CSV row per window and per policy, with the seconds that it took; the trace is drawn first and not counted.
Run: python benchmarks/flash_trace.py
"""

import csv
import sys
import time

from tierplan.sim.flash_cache import run_policy, run_window
from tierplan.sim.flash_generate import Activity, generate_trace
from tierplan.sim.flash_trace import aggregated_use
from tierplan.sim.replacement import Policy

WINDOW = 4


def main() -> None:
    """Measure, each thing once after a small run that compiles it."""
    activity = Activity(active=0.033, locality=0.6, skew=0.5)
    small = generate_trace(activity, n_tokens=8, n_layers=1, n_neurons=64)
    for policy in Policy:
        run_policy(small, 32, policy)
    trace = generate_trace(activity, n_tokens=256, n_layers=32, n_neurons=16384)
    of_all = trace.n_tokens * trace.n_layers * trace.n_neurons
    rows = csv.writer(sys.stdout)
    rows.writerow(("what", "new_share", "seconds"))
    began = time.perf_counter()
    run = run_window(trace, WINDOW)
    rows.writerow((f"window {WINDOW}", f"{run.loaded.sum() / of_all:.4%}", f"{time.perf_counter() - began:.3f}"))
    began = time.perf_counter()
    use = aggregated_use(trace, WINDOW + 1)
    rows.writerow((f"s_agg of {WINDOW}", f"{use.new(WINDOW):.4%}", f"{time.perf_counter() - began:.3f}"))
    for policy in Policy:
        began = time.perf_counter()
        loads = sum(cache.n_loads for cache in run_policy(trace, run.most_held, policy))
        rows.writerow((policy.name.lower(), f"{loads / of_all:.4%}", f"{time.perf_counter() - began:.3f}"))


if __name__ == "__main__":
    main()
