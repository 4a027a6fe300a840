"""`tierplan plan`: what goes where, whether it fits, how fast it runs, and what limits it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierplan.commands.fusion_options import Fusion, Launch, MostOps, Scratch, read_fusing
from tierplan.commands.options import (
    AsJson,
    Batch,
    Context,
    Cyclic,
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
    from tierplan.ir.fusion_record import FusionRecord
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
    planner: Planner = "auto",
    budget: Seconds = "10s",
    gap: Gap = None,
    seed: Seed = 0,
    fusion: Fusion = None,
    scratch: Scratch = None,
    launch: Launch = None,
    region_ops: MostOps = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the plan as JSON.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plan where every tensor of MODEL lies on a machine, and predict how fast it runs."""
    from tierplan.answer import answer_row
    from tierplan.fusing import fuse_and_plan
    from tierplan.fusion_answer import fusion_answer, print_fusion
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
    fusing = read_fusing(fusion, scratch, launch, region_ops)
    limit = Budget(seconds=read_seconds(budget), seed=seed, gap=read_share(gap) if gap else 0.0)
    shaping = Shaping(phase, batch, context, dtype, shapes, cyclic)
    with progress(f"planning {model}"):
        graph = read_program(model, shaping)
        if fusing is None:
            fused = None
            problem = lower(graph, hardware)
            outcome = make_plan(problem, hardware, planner=planner, budget=limit)
        else:
            fused = fuse_and_plan(graph, hardware, fusing, planner=planner, budget=limit)
            problem, outcome = fused.kept.problem, fused.kept.outcome
        timeline = simulate(problem, outcome.plan) if outcome.plan is not None else None
    if output is not None and outcome.plan is not None:
        _write(output, describe(graph, shaping, model), hardware, problem, outcome, fused.record if fused else None)
    if as_json:
        answer = answer_row(model, hardware, problem, outcome, timeline)
        print_json({**answer, "fusion": fusion_answer(fused)} if fused else answer)
    else:
        from tierplan.report import print_answer

        print_answer(f"{graph.name} on {hardware}", problem, outcome, timeline)
        if fused:
            print_fusion(fused)
        if output is not None and outcome.plan is not None:
            typer.echo(f"plan written to {output}")
    if outcome.plan is None:
        raise typer.Exit(1)


def _write(
    path: Path, model: str, hardware: str, problem: "Problem", outcome: "Outcome", fusion: "FusionRecord | None"
) -> None:
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
        fusion=fusion,
    )
    write_whole(path, print_plan(file))
