"""`tierplan simulate`: run a plan again."""

from pathlib import Path
from typing import Annotated

import typer

from tierplan.commands.options import AsJson, PlanPath


def simulate(
    plan: PlanPath,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the timeline as JSON for ui.perfetto.dev.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the timeline of a plan file: time, what limits it, bytes per link."""
    import json

    from tierplan.answer import answer_row, occupancy
    from tierplan.ir.outcome import Outcome
    from tierplan.pipeline import simulate as run
    from tierplan.plans import read_plan
    from tierplan.terminal import check_folder, console, print_json, progress, write_whole

    if trace is not None:
        check_folder(trace)
    file = read_plan(plan)
    with progress(f"simulating {plan}"):
        timeline = run(file.problem, file.plan)
    if trace is not None:
        from tierplan.trace import trace_rows

        write_whole(trace, json.dumps(trace_rows(file.problem, file.plan, timeline)) + "\n")
    if as_json:
        outcome = Outcome(file.planner, file.status, file.plan, timeline.time_s, file.bound_s, 0.0)
        print_json(answer_row(file.model, file.hardware, file.problem, outcome, timeline))
        return
    from tierplan.report import print_prediction, tier_table

    out = console()
    out.print(f"[bold]{file.model} on {file.hardware}[/], planned by {file.planner} (tierplan {file.version})")
    out.print(tier_table(occupancy(file.problem, file.plan)))
    print_prediction(file.problem, file.plan, timeline)
    if trace is not None:
        typer.echo(f"trace written to {trace}; open it in Perfetto (ui.perfetto.dev)")
