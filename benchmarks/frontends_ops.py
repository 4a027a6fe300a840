"""Operations of 42 JAX programs: ours from the function, ours from its HLO text, and XLA's own count.

python benchmarks/frontends_ops.py [out.csv] [--docs]    # --docs writes the table into docs/xla.md

Both counts are of the program as it is lowered, before XLA optimises it (`jax.jit(f).lower(...).cost_analysis()`):
what XLA calls flops, plus what it calls transcendentals, which a Graph counts as one operation each. The body of a
loop counts once on both sides, as XLA's analysis does; of a conditional's branches the costlier one.
"""

import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import jax
from programs.catalog import Entry, programs
from tables import write_table

from tierplan.frontend.hlo_counts import Counter
from tierplan.frontend.hlo_parse import read_hlo
from tierplan.frontend.jax_function import trace

TOLERANCE = 0.02


def row_of(entry: Entry) -> dict[str, object]:
    """One program's counts."""
    name, fn, args = entry
    lowered = jax.jit(fn).lower(*args)
    told = lowered.cost_analysis()
    xla = told["flops"] + told.get("transcendentals", 0.0)
    graph = trace(fn, args, name=name)
    ours = sum(op.matrix_ops + op.vector_ops for op in graph.ops)
    counts = Counter(read_hlo(lowered.as_text(dialect="hlo"), name)).total()
    text = counts.flops + counts.transcendental
    return {
        "program": name,
        "operations": ours,
        "operations_of_hlo": text,
        "xla_flops": int(told["flops"]),
        "xla_transcendentals": int(told.get("transcendentals", 0)),
        "difference": round(ours / xla - 1, 6),
        "difference_of_hlo": round(text / xla - 1, 8),
    }


def main() -> None:
    """Print the table; write it where asked."""
    rows: list[dict[str, object]] = []
    for entry in programs():
        row = row_of(entry)
        rows.append(row)
        mark = "" if abs(float(str(row["difference"]))) <= TOLERANCE else "  MORE THAN 2%"
        print(
            f"{row['program']:22} {row['operations']:>16,} {row['operations_of_hlo']:>16,} {row['xla_flops']:>16,} "
            f"{row['xla_transcendentals']:>10,} {float(str(row['difference'])):+9.3%} "
            f"{float(str(row['difference_of_hlo'])):+10.5%}{mark}",
            flush=True,
        )
    within = sum(abs(float(str(row["difference"]))) <= TOLERANCE for row in rows)
    print(f"{within} of {len(rows)} within {TOLERANCE:.0%}")
    if "--docs" in sys.argv:
        _write_docs(rows)
    files = [word for word in sys.argv[1:] if word != "--docs"]
    if files:
        with open(files[0], "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _write_docs(rows: list[dict[str, object]]) -> None:
    header = ("program", "tierplan", "of its HLO text", "XLA flops", "XLA transcendentals", "difference", "of HLO text")
    keys = ("operations", "operations_of_hlo", "xla_flops", "xla_transcendentals")
    table = [
        (
            str(row["program"]),
            *(f"{row[key]:,}" for key in keys),
            f"{float(str(row['difference'])):+.3%}",
            f"{float(str(row['difference_of_hlo'])):+.5%}",
        )
        for row in rows
    ]
    write_table("xla.md", "operations", header, table)


if __name__ == "__main__":
    main()
