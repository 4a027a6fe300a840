"""`tierplan report`: a plan as one HTML page to look at."""

from pathlib import Path
from typing import Annotated

import typer

from tierplan.commands.options import AsJson, PlanPath


def report(
    plan: PlanPath,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")],
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="How long to search for what would help most.")
    ] = "10s",
    what_if: Annotated[
        bool, typer.Option("--what-if/--no-what-if", help="Whether to find out what would help most.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Write a page that shows a plan: memory over time, timeline, traffic, largest tensors, what would help most."""
    from tierplan.ir.units import read_seconds, show_bytes
    from tierplan.page import Planned, page
    from tierplan.pipeline import simulate
    from tierplan.plans import read_plan
    from tierplan.terminal import check_folder, print_json, steps, write_whole
    from tierplan.what_if import n_resources, what_helps

    check_folder(output)
    seconds = read_seconds(budget)
    file = read_plan(plan)
    problem = file.problem
    timeline = simulate(problem, file.plan)
    helps = None
    if what_if:
        with steps("trying machines", n_resources(problem)) as advance:
            helps = what_helps(problem, file.plan, timeline.time_s, seconds, advance)
    planned = Planned(f"{file.model} on {file.hardware}", file.planner, file.status, file.bound_s, helps)
    html = page(problem, file.plan, timeline, planned).html
    write_whole(output, html)
    if as_json:
        print_json({"report": str(output), "bytes": len(html.encode()), "time_s": timeline.time_s})
        return
    typer.echo(f"report written to {output} ({show_bytes(len(html.encode()))}); open it in a browser")
