"""`tierplan plan`: what goes where, whether it fits, how fast it runs, and what limits it."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierplan.commands.flash_options import Bundling, Chunk, Dram, Sparsity, Threads, Window, wishes_of
from tierplan.commands.fusion_options import Fusion, Launch, MostOps, Scratch, read_fusing
from tierplan.commands.options import (
    AsJson,
    Batch,
    Cached,
    Context,
    Cyclic,
    Dims,
    Dtype,
    Ep,
    Gap,
    Hardware,
    Model,
    New,
    Phase,
    Planner,
    Policy,
    Pp,
    Prompt,
    PromptChunk,
    Routing,
    Seconds,
    Seed,
    Shapes,
    Tp,
)

if TYPE_CHECKING:
    from tierplan.ir.plan_file import PlanFile
    from tierplan.runtimes.emitted import Emitted
    from tierplan.subject import Searched


def plan(
    model: Model,
    hardware: Hardware,
    phase: Phase = None,
    batch: Batch = None,
    context: Context = None,
    dtype: Dtype = None,
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    shapes: Shapes = None,
    cyclic: Cyclic = None,
    dims: Dims = None,
    planner: Planner = "auto",
    budget: Seconds = "10s",
    gap: Gap = None,
    seed: Seed = 0,
    prompt: Prompt = None,
    new: New = None,
    prompt_chunk: PromptChunk = None,
    cached: Cached = None,
    routing: Routing = None,
    policy: Policy = None,
    dram: Dram = None,
    sparsity: Sparsity = None,
    window: Window = None,
    bundling: Bundling = None,
    chunk: Chunk = None,
    io_threads: Threads = None,
    fusion: Fusion = None,
    scratch: Scratch = None,
    launch: Launch = None,
    region_ops: MostOps = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the plan as JSON.")
    ] = None,
    emit: Annotated[
        str | None,
        typer.Option(
            metavar="RUNTIME",
            help="Print what makes a runtime follow the plan: llama.cpp, accelerate, vllm or jax. The table then goes "
            "to standard error.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plan where every tensor of MODEL lies on a machine, and predict how fast it runs."""
    from tierplan.answer import answer_row
    from tierplan.ir.units import read_seconds, read_share
    from tierplan.planner.contract import Budget
    from tierplan.planner.registry import find_planner
    from tierplan.programs import Shaping
    from tierplan.sim.timeline import simulate
    from tierplan.subject import Extras, read_subject
    from tierplan.terminal import check_folder, print_json, progress, write_whole

    find_planner(planner)
    shaping = Shaping(phase, batch, context, dtype, shapes, cyclic, tuple(dims or ()), tp, pp, ep)
    if emit is not None:
        from tierplan.runtimes.emitted import check_emits

        check_emits(emit, model, shaping)
    if output is not None:
        check_folder(output)
    limit = Budget(seconds=read_seconds(budget), seed=seed, gap=read_share(gap) if gap else 0.0)
    wishes = wishes_of(dram, sparsity, window, bundling, chunk, io_threads)
    fusing = read_fusing(fusion, scratch, launch, region_ops)
    with progress(f"planning {model}"):
        extras = Extras(routing, policy, prompt, new, prompt_chunk, cached, seed, wishes, fusing)
        subject = read_subject(model, shaping, hardware, extras)
        found = subject.search(planner, limit)
        problem, outcome = found.problem, found.outcome
        timeline = simulate(problem, outcome.plan) if outcome.plan is not None else None
    file = _plan_file(subject.description, subject.machine, found) if outcome.plan is not None else None
    emitted = _emitted(file, emit, output) if file is not None and emit is not None else None
    if output is not None and file is not None:
        from tierplan.ir.plan_file import print_plan

        write_whole(output, print_plan(file))
    if as_json:
        row = answer_row(model, subject.machine, problem, outcome, timeline) | found.told.rows
        print_json(row if emit is None else row | {"emitted": emitted.row() if emitted is not None else None})
    else:
        from tierplan.report import print_answer

        with redirect_stdout(sys.stdout if emit is None else sys.stderr):
            print_answer(f"{subject.title} on {subject.machine}", problem, outcome, timeline)
            found.told.show()
            if output is not None and file is not None:
                typer.echo(f"plan written to {output}")
        if emitted is not None:
            from tierplan.runtimes.emitted import print_emitted

            print_emitted(emitted)
    if outcome.plan is None:
        raise typer.Exit(1)


def _emitted(file: "PlanFile", runtime: str, output: Path | None) -> "Emitted":
    from tierplan.runtimes.emitted import Wanted, emit

    return emit(file, runtime, Wanted(path=None if output is None else str(output)))


def _plan_file(model: str, hardware: str, found: "Searched") -> "PlanFile":
    from tierplan import __version__
    from tierplan.ir.plan_file import PlanFile

    outcome = found.outcome
    assert outcome.plan is not None
    assert outcome.cost_s is not None
    return PlanFile(
        version=__version__,
        model=model,
        hardware=hardware,
        planner=outcome.planner,
        status=outcome.status,
        cost_s=outcome.cost_s,
        bound_s=outcome.bound_s,
        problem=found.problem,
        plan=outcome.plan,
        fusion=found.fusion,
    )
