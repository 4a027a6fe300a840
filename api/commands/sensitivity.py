"""`tierplan sensitivity`: what a turn takes if a part of the machine were smaller, larger, slower or faster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierplan.commands.options import (
    AsJson,
    Batch,
    Context,
    Cyclic,
    Dims,
    Dtype,
    Hardware,
    Model,
    Phase,
    Planner,
    Seed,
    Shapes,
)

if TYPE_CHECKING:
    from tierplan.sensitivity import Sensitivity


def sensitivity(
    model: Model,
    hardware: Hardware,
    phase: Phase = None,
    batch: Batch = None,
    context: Context = None,
    dtype: Dtype = None,
    shapes: Shapes = None,
    cyclic: Cyclic = None,
    dims: Dims = None,
    planner: Planner = "greedy",
    budget: Annotated[str, typer.Option(metavar="TIME", help="How long each plan may take to be found.")] = "5s",
    seed: Seed = 0,
    factors: Annotated[str, typer.Option(metavar="LIST", help="What the numbers are scaled by.")] = "0.5,1,2,4",
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="NAME", help="Only this tier or link; repeatable. Default: all."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Draw a plot: a .png, .svg or .pdf file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Scale each capacity and bandwidth of a machine, one at a time, and plan MODEL again.

    Each point keeps the best plan that is known to be legal there, so more capacity is never slower.
    """
    from tierplan.ir.units import read_seconds
    from tierplan.pipeline import lower
    from tierplan.planner.contract import Budget
    from tierplan.planner.registry import find_planner
    from tierplan.programs import Shaping, read_program
    from tierplan.sensitivity import chosen_knobs, read_factors
    from tierplan.sensitivity import sensitivity as scale
    from tierplan.terminal import check_folder, print_json, progress, steps

    find_planner(planner)
    if output is not None:
        from tierplan.plot_sensitivity import check_plot

        check_plot()
        check_folder(output)
    limit = Budget(seconds=read_seconds(budget), seed=seed)
    scales = read_factors(factors)
    with progress(f"reading {model}"):
        graph = read_program(model, Shaping(phase, batch, context, dtype, shapes, cyclic, tuple(dims or ())))
        problem = lower(graph, hardware)
    knobs = chosen_knobs(problem, parts or [])
    with steps(f"planning {model}", 1 + len(knobs) * len(scales)) as advance:
        found = scale(problem, knobs, scales, planner=planner, budget=limit, told=lambda part: advance(1, part))
    title = f"{graph.name} on {hardware}"
    if output is not None:
        from tierplan.plot_sensitivity import draw

        draw(found, title, output)
    if as_json:
        print_json(_row(found, model, hardware, planner))
        return
    _print(found, title, scales)
    if output is not None:
        typer.echo(f"plot written to {output}")


def _row(found: "Sensitivity", model: str, hardware: str, planner: str) -> dict[str, object]:
    points = [
        {
            "part": p.knob.name, "kind": "link" if p.knob.is_link else "tier", "what": p.knob.what, "factor": p.factor,
            "time_s": p.time_s, "bound_s": p.bound_s, "fits": p.fits, "found_there": p.own,
        }
        for p in found.points
    ]  # fmt: skip
    return {"model": model, "hardware": hardware, "planner": planner, "time_s": found.base_s, "points": points}


def _print(found: "Sensitivity", title: str, factors: tuple[float, ...]) -> None:
    from rich.table import Table

    from tierplan.ir.units import show_seconds
    from tierplan.terminal import console

    out = console()
    out.print(f"[bold]{title}[/]: {show_seconds(found.base_s)} a turn as it is")
    table = Table(title="time of a turn, and its change, with one number scaled", title_justify="left")
    table.add_column("part")
    for factor in factors:
        table.add_column(f"x {factor:g}", justify="right")
    for knob in dict.fromkeys(point.knob for point in found.points):
        cells: list[str] = []
        for point in (p for p in found.points if p.knob == knob):
            if point.time_s is None:
                cells.append("[red]no plan[/]")
                continue
            change = point.time_s / found.base_s - 1
            cells.append(f"{show_seconds(point.time_s)} ({'same' if abs(change) < 5e-4 else f'{change:+.1%}'})")
        table.add_row(("link " if knob.is_link else "") + knob.label, *cells)
    out.print(table)
    best = min((p for p in found.points if p.time_s is not None), key=lambda p: p.time_s or 0.0, default=None)
    if best is not None and best.time_s is not None and best.time_s < found.base_s * (1 - 5e-4):
        out.print(
            f"most helps  {best.knob.label} x {best.factor:g}: {show_seconds(best.time_s)} a turn, "
            f"{found.base_s / best.time_s:.3g} times as fast"
        )
    else:
        out.print("most helps  nothing here: no single capacity or bandwidth limits this program")
