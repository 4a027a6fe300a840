"""Memory for the temporaries of 42 compiled JAX programs: XLA's own buffer assignment beside our offsets.

python benchmarks/compare_xla.py [out.csv] [--budget=10] [--docs]    # --docs writes the table into docs/xla.md

The same schedule, the same aliasing, the same alignment; both may use a result's memory while it holds nothing.
"""

import csv
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from programs.catalog import programs
from tables import write_table

from tierplan.frontend.xla_compile import compile_function
from tierplan.xla_compare import Comparison, compare_with_xla


def main() -> None:
    """Print the table with its mean saving; write it where asked."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    budget = next((float(word.removeprefix("--budget=")) for word in sys.argv if word.startswith("--budget=")), 10.0)
    rows: list[Comparison] = []
    for name, fn, args in programs():
        began = time.perf_counter()
        row = compare_with_xla(compile_function(fn, args, name), budget=budget)
        rows.append(row)
        mark = "  ABOVE XLA" if row.packed.height > row.compiled.temporaries else ""
        print(
            f"{name:22} {row.n_instructions:6} {row.n_temporaries:5} {row.compiled.temporaries:>14,} "
            f"{row.packed.height:>14,} {row.packed.lower_bound:>14,} {row.saving:8.3%} "
            f"{time.perf_counter() - began:6.1f} s{mark}",
            flush=True,
        )
    above = sum(row.packed.height > row.compiled.temporaries for row in rows)
    proved = sum(row.packed.height == row.packed.lower_bound for row in rows)
    mean = sum(row.saving for row in rows) / len(rows)
    typical = statistics.median(row.saving for row in rows)
    print(
        f"{len(rows)} programs: {above} above XLA, {proved} proved least, mean saving {mean:.3%}, median {typical:.3%}"
    )
    if "--docs" in sys.argv:
        _write_docs(rows)
    if words:
        with open(words[0], "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0].row()))
            writer.writeheader()
            writer.writerows(row.row() for row in rows)


def _write_docs(rows: list[Comparison]) -> None:
    header = ("program", "instructions", "temporaries", "XLA", "tierplan", "no less than", "saving")
    table = [
        (
            row.compiled.name,
            f"{row.n_instructions:,}",
            f"{row.n_temporaries:,}",
            f"{row.compiled.temporaries:,}",
            f"{row.packed.height:,}",
            f"{row.packed.lower_bound:,}",
            f"{row.saving:.3%}",
        )
        for row in rows
    ]
    write_table("xla.md", "temporaries", header, table)


if __name__ == "__main__":
    main()
