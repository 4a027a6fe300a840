"""`tierplan plan`: what goes where, whether it fits, how fast it runs, and what limits it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    Policy,
    Routing,
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
    planner: Planner = "auto",
    budget: Seconds = "10s",
    gap: Gap = None,
    seed: Seed = 0,
    routing: Routing = None,
    policy: Policy = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the plan as JSON.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plan where every tensor of MODEL lies on a machine, and predict how fast it runs."""
    from tierplan.answer import answer_row
    from tierplan.experts_answer import answer_experts, experts_row, mixed, plan_experts
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
    shaping = Shaping(phase, batch, context, dtype, shapes, cyclic)
    with progress(f"planning {model}"):
        graph = read_program(model, shaping)
        problem = lower(graph, hardware)
        experts = mixed(graph, problem, routing, policy, seed)
        problem = problem if experts is None else experts.problem
        outcome = (
            make_plan(problem, hardware, planner=planner, budget=limit)
            if experts is None
            else plan_experts(experts, hardware, planner, limit)
        )
        timeline = simulate(problem, outcome.plan) if outcome.plan is not None else None
    if output is not None and outcome.plan is not None:
        _write(output, describe(graph, shaping, model), hardware, problem, outcome)
    told = answer_experts(experts, routing, outcome.plan) if experts and routing and outcome.plan else None
    if as_json:
        row = answer_row(model, hardware, problem, outcome, timeline)
        print_json(row if told is None else row | {"experts": experts_row(told)})
    else:
        from tierplan.experts_report import print_experts, print_least
        from tierplan.report import print_answer

        print_answer(f"{graph.name} on {hardware}", problem, outcome, timeline)
        if told is not None:
            print_experts(told)
        elif experts is not None:
            print_least(problem)
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
