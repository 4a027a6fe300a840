"""`tierplan compare`: planners side by side."""

from typing import Annotated

import typer

from tierplan.commands.options import (
    AsJson,
    Batch,
    Context,
    Cyclic,
    Dims,
    Dtype,
    Gap,
    Hardware,
    Model,
    Phase,
    Seconds,
    Seed,
    Shapes,
)


def compare(
    model: Model,
    hardware: Hardware,
    phase: Phase = None,
    batch: Batch = None,
    context: Context = None,
    dtype: Dtype = None,
    shapes: Shapes = None,
    cyclic: Cyclic = None,
    dims: Dims = None,
    planners: Annotated[
        str, typer.Option(metavar="LIST", help="Planners, separated by commas.")
    ] = "greedy,msa,flow,auto",
    budget: Seconds = "10s",
    gap: Gap = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Plan MODEL with several planners, each with the whole budget, and compare predicted times and bounds."""
    from tierplan.ir.errors import InvalidInputError
    from tierplan.ir.outcome import Outcome
    from tierplan.ir.units import read_seconds, read_share
    from tierplan.pipeline import lower, plan
    from tierplan.planner.contract import Budget
    from tierplan.planner.registry import find_planner, planner_names
    from tierplan.programs import Shaping, read_program
    from tierplan.terminal import console, print_json, progress

    names = [name.strip() for name in planners.split(",") if name.strip()]
    if not names:
        raise InvalidInputError(f"--planners names none; write like --planners {','.join(planner_names())}")
    for name in names:
        find_planner(name)
    limit = Budget(seconds=read_seconds(budget), seed=seed, gap=read_share(gap) if gap else 0.0)
    with progress(f"reading {model}"):
        graph = read_program(model, Shaping(phase, batch, context, dtype, shapes, cyclic, tuple(dims or ())))
        problem = lower(graph, hardware)
    outcomes: list[Outcome] = []
    for name in names:
        with progress(f"planning {model} with {name}"):
            outcomes.append(plan(problem, hardware, planner=name, budget=limit))
    if as_json:
        rows = [
            {
                "planner": o.planner,
                "status": o.status.name,
                "predicted": None if o.cost_s is None else {"time_s": o.cost_s},
                "bound_s": o.bound_s,
                "gap": o.gap,
                "planning_s": o.planning_s,
            }
            for o in outcomes
        ]
        print_json({"model": model, "hardware": hardware, "planners": rows})
    else:
        from tierplan.report import comparison_table

        out = console()
        out.print(f"[bold]{graph.name} on {hardware}[/]: {problem.n_steps} steps, {problem.n_tensors} tensors")
        out.print(comparison_table(outcomes))
    if all(o.plan is None for o in outcomes):
        raise typer.Exit(1)
