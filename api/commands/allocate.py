"""`tierplan allocate`: offsets for the buffers of a CSV file, within a capacity or as low as can be."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tierplan.commands.options import AsJson, Seconds, Seed

if TYPE_CHECKING:
    from tierplan.ir.buffers import Allocation, Buffers


def allocate(
    buffers: Annotated[
        str, typer.Argument(metavar="BUFFERS.csv", help="A table with id, lower, upper and size; see the docs.")
    ],
    capacity: Annotated[int | None, typer.Option(metavar="N", help="Bytes that all buffers must fit into.")] = None,
    minimize: Annotated[
        bool, typer.Option("--minimize", help="Look for the least height. The default without --capacity.")
    ] = False,
    budget: Seconds = "10s",
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(metavar="N", help="Searches that run side by side.")] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the table with its offsets.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the memory map over time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give every buffer an offset so that none overlap; exit 1 if none was found."""
    from tierplan.frontend.buffers import load_text, read_buffers, write_buffers
    from tierplan.ir.units import read_seconds
    from tierplan.planner.offsets import solve
    from tierplan.terminal import print_json, progress, write_whole

    limit_s = read_seconds(budget)
    text = load_text(Path(buffers))
    table = read_buffers(text, buffers)
    with progress(f"allocating {len(table)} buffers"):
        found = solve(
            table,
            capacity=capacity,
            minimize=True if minimize else None,
            budget=limit_s,
            seed=seed,
            n_workers=workers,
            explain=True,
        )
    _verify(table, found, capacity)
    if found.found and output is not None:
        write_whole(output, write_buffers(text, table, found))
    if found.found and plot is not None:
        _draw(table, found, plot)
    if as_json:
        print_json(_row(table, found))
    else:
        _print(table, found)
    if not found.found:
        raise typer.Exit(1)


def _verify(table: "Buffers", found: "Allocation", capacity: int | None) -> None:
    """Check the answer the slow way where that takes no more than about a second."""
    from tierplan.ir.buffers import broken
    from tierplan.ir.errors import InvalidPlanError

    if found.found and len(table) <= 1000:
        for rule in broken(table, found.offset, capacity):
            raise InvalidPlanError(rule.told)


def _row(table: "Buffers", found: "Allocation") -> dict[str, object]:
    return {
        "status": found.status.name.lower(),
        "height": found.height if found.height >= 0 else None,
        "capacity": found.capacity if found.capacity >= 0 else None,
        "lower_bound": found.lower_bound,
        "gap": found.gap if found.height >= 0 else None,
        "n_buffers": len(table),
        "seconds": found.seconds,
        "planner": found.planner,
        "conflict": [table.name(i) for i in found.conflict],
    }


def _print(table: "Buffers", found: "Allocation") -> None:
    from rich.table import Table

    from tierplan.ir.units import show_bytes, show_seconds
    from tierplan.terminal import console

    def exact(value: int) -> str:
        return f"{value:,} B ({show_bytes(value)})" if value >= 0 else "none"

    grid = Table(show_header=False, box=None)
    rows = [("buffers", f"{len(table)}"), ("status", found.status.value)]
    if found.height >= 0:
        rows.append(("height" if found.found else "lowest height found", exact(found.height)))
    rows += [("capacity", exact(found.capacity)), ("lower bound", exact(found.lower_bound))]
    if found.height >= 0:
        rows.append(("gap", f"{found.gap:.3%}"))
    rows += [("found by", found.planner), ("time", show_seconds(found.seconds))]
    if found.conflict:
        rows.append(("cannot fit together", ", ".join(table.name(i) for i in found.conflict)))
    for row in rows:
        grid.add_row(*row)
    console().print(grid)


def _draw(table: "Buffers", found: "Allocation", path: Path) -> None:
    from tierplan.ir.buffers import held
    from tierplan.ir.errors import InvalidInputError, MissingDependencyError

    try:
        import matplotlib as mpl
        from matplotlib.collections import PatchCollection
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    except ImportError:
        raise MissingDependencyError("matplotlib", "plot") from None
    figure: Any = Figure(figsize=(10, 6), layout="constrained")
    axes: Any = figure.add_subplot()
    patches = [
        Rectangle((start, int(found.offset[i]) + low), stop - start, high - low)
        for i in range(len(table))
        for start, stop, low, high in held(table, i)
    ]
    shades = mpl.colormaps["tab20"]([i % 20 for i in range(len(patches))])
    axes.add_collection(PatchCollection(patches, facecolor=shades, edgecolor="black", linewidth=0.2))
    axes.set_xlim(int(table.start.min(initial=0)), int(table.stop.max(initial=1)))
    axes.set_ylim(0, max(found.height, found.capacity, 1))
    axes.axhline(found.lower_bound, color="black", linestyle=":", linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("offset (B)")
    axes.set_title(f"{len(table)} buffers, height {found.height:,} B, lower bound {found.lower_bound:,} B")
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot draw '{path}': {error}") from None
