"""`tierplan plan`: what goes where, whether it fits, how fast it runs, and what limits it."""

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
    Gap,
    Hardware,
    Model,
    Phase,
    Planner,
    Seconds,
    Seed,
    Shapes,
)

if TYPE_CHECKING:
    from tierplan.ir.outcome import Outcome
    from tierplan.ir.problem import Problem


def plan(
    model: Model,
    hardware: Hardware,
    phase: Phase = None,
    batch: Batch = None,
    context: Context = None,
    dtype: Dtype = None,
    shapes: Shapes = None,
    cyclic: Cyclic = None,
    dims: Dims = None,
    planner: Planner = "auto",
    budget: Seconds = "10s",
    gap: Gap = None,
    seed: Seed = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the plan as JSON.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plan where every tensor of MODEL lies on a machine, and predict how fast it runs."""
    from tierplan.answer import answer_row
    from tierplan.ir.units import read_seconds, read_share
    from tierplan.pipeline import lower
    from tierplan.pipeline import plan as make_plan
    from tierplan.planner.contract import Budget
    from tierplan.planner.registry import find_planner
    from tierplan.programs import Shaping, describe, read_program
    from tierplan.sim.timeline import simulate
    from tierplan.terminal import check_folder, print_json, progress

    find_planner(planner)
    if output is not None:
        check_folder(output)
    limit = Budget(seconds=read_seconds(budget), seed=seed, gap=read_share(gap) if gap else 0.0)
    shaping = Shaping(phase, batch, context, dtype, shapes, cyclic, tuple(dims or ()))
    with progress(f"planning {model}"):
        graph = read_program(model, shaping)
        problem = lower(graph, hardware)
        outcome = make_plan(problem, hardware, planner=planner, budget=limit)
        timeline = simulate(problem, outcome.plan) if outcome.plan is not None else None
    if output is not None and outcome.plan is not None:
        _write(output, describe(graph, shaping, model), hardware, problem, outcome)
    if as_json:
        print_json(answer_row(model, hardware, problem, outcome, timeline))
    else:
        from tierplan.report import print_answer

        print_answer(f"{graph.name} on {hardware}", problem, outcome, timeline)
        if output is not None and outcome.plan is not None:
            typer.echo(f"plan written to {output}")
    if outcome.plan is None:
        raise typer.Exit(1)


def _write(path: Path, model: str, hardware: str, problem: "Problem", outcome: "Outcome") -> None:
    from tierplan import __version__
    from tierplan.ir.plan_file import PlanFile, print_plan
    from tierplan.terminal import write_whole

    assert outcome.plan is not None
    assert outcome.cost_s is not None
    file = PlanFile(
        version=__version__,
        model=model,
        hardware=hardware,
        planner=outcome.planner,
        status=outcome.status,
        cost_s=outcome.cost_s,
        bound_s=outcome.bound_s,
        problem=problem,
        plan=outcome.plan,
    )
    write_whole(path, print_plan(file))
