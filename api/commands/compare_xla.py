"""`tierplan compare-xla`: our peak of temporaries beside XLA's own, on the module that XLA compiled."""

from typing import TYPE_CHECKING, Annotated

import typer

from tierplan.commands.options import AsJson, Seconds, Seed, Shapes

if TYPE_CHECKING:
    from tierplan.xla_compare import Comparison


def compare_xla(
    functions: Annotated[
        list[str], typer.Argument(metavar="FUNCTION...", help="JAX functions: module:function or file.py:function.")
    ],
    shapes: Shapes = None,
    budget: Seconds = "10s",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compile JAX functions for the CPU and pack their temporaries beside XLA's buffer assignment.

    Both on the same schedule with the same aliasing; the budget is that of each function.
    """
    from tierplan.frontend.xla_compile import compile_spec
    from tierplan.ir.units import read_seconds
    from tierplan.terminal import print_json, progress
    from tierplan.xla_compare import compare_with_xla

    limit_s = read_seconds(budget)
    rows: list[Comparison] = []
    for spec in functions:
        with progress(f"compiling and packing {spec}"):
            rows.append(compare_with_xla(compile_spec(spec, shapes), budget=limit_s, seed=seed))
    mean = sum(row.saving for row in rows) / len(rows)
    if as_json:
        print_json({"programs": [row.row() for row in rows], "mean_saving": mean})
    else:
        _print(rows, mean)


def _print(rows: "list[Comparison]", mean: float) -> None:
    from rich.table import Table

    from tierplan.ir.units import show_bytes
    from tierplan.terminal import console

    grid = Table(title="temporaries of the compiled module, same schedule, same aliasing")
    grid.add_column("program")
    for name in ("instructions", "temporaries", "in results", "XLA", "ours", "no less than", "saving"):
        grid.add_column(name, justify="right")
    for row in rows:
        numbers = (row.n_instructions, row.n_temporaries, row.packed.n_in_rooms)
        sizes = (row.compiled.temporaries, row.packed.height, row.packed.lower_bound)
        grid.add_row(row.compiled.name, *map(str, numbers), *map(show_bytes, sizes), f"{row.saving:.2%}")
    out = console()
    out.print(grid)
    if len(rows) > 1:
        out.print(f"mean saving {mean:.2%}")
