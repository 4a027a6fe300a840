"""`tierplan compare`: planners side by side."""

from typing import Annotated

import typer

from tierplan.commands.flash_options import Bundling, Chunk, Dram, Sparsity, Threads, Window, wishes_of
from tierplan.commands.fusion_options import Fusion, Launch, MostOps, Scratch, read_fusing
from tierplan.commands.options import (
    AsJson,
    Batch,
    Context,
    Cyclic,
    Dims,
    Dtype,
    Ep,
    Gap,
    Hardware,
    Model,
    Phase,
    Pp,
    Seconds,
    Seed,
    Shapes,
    Tp,
)


def compare(
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
    planners: Annotated[
        str, typer.Option(metavar="LIST", help="Planners, separated by commas.")
    ] = "greedy,msa,flow,auto",
    budget: Seconds = "10s",
    gap: Gap = None,
    seed: Seed = 0,
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
    as_json: AsJson = False,
) -> None:
    """Plan MODEL with several planners, each with the whole budget, and compare predicted times and bounds."""
    from tierplan.ir.errors import InvalidInputError
    from tierplan.ir.outcome import Outcome
    from tierplan.ir.units import read_seconds, read_share
    from tierplan.planner.contract import Budget
    from tierplan.planner.registry import find_planner, planner_names
    from tierplan.programs import Shaping
    from tierplan.subject import Extras, read_subject
    from tierplan.terminal import console, print_json, progress

    names = [name.strip() for name in planners.split(",") if name.strip()]
    if not names:
        raise InvalidInputError(f"--planners names none; write like --planners {','.join(planner_names())}")
    for name in names:
        find_planner(name)
    fusing = read_fusing(fusion, scratch, launch, region_ops)
    limit = Budget(seconds=read_seconds(budget), seed=seed, gap=read_share(gap) if gap else 0.0)
    wishes = wishes_of(dram, sparsity, window, bundling, chunk, io_threads)
    shaping = Shaping(phase, batch, context, dtype, shapes, cyclic, tuple(dims or ()), tp, pp, ep)
    with progress(f"reading {model}"):
        subject = read_subject(model, shaping, hardware, Extras(seed=seed, wishes=wishes, fusing=fusing))
    outcomes: list[Outcome] = []
    kept: list[str] = []
    for name in names:
        with progress(f"planning {model} with {name}"):
            found = subject.search(name, limit)
            outcomes.append(found.outcome)
            if found.fusion is not None:
                kept.append(found.fusion.kept)
    if as_json:
        rows = [
            {
                "planner": o.planner,
                "status": o.status.name,
                "predicted": None if o.cost_s is None else {"time_s": o.cost_s},
                "bound_s": o.bound_s,
                "gap": o.gap,
                "planning_s": o.planning_s,
                **({"fusion": kept[n]} if kept else {}),
            }
            for n, o in enumerate(outcomes)
        ]
        print_json({"model": model, "hardware": subject.machine, "planners": rows})
    else:
        from tierplan.report import comparison_table

        out = console()
        problem = subject.problem
        out.print(
            f"[bold]{subject.title} on {subject.machine}[/]: {problem.n_steps} steps, {problem.n_tensors} tensors"
        )
        out.print(comparison_table(outcomes))
        if kept:
            pairs = ", ".join(f"{o.planner} {name}" for o, name in zip(outcomes, kept, strict=True))
            out.print(f"fusion      kept by each planner: {pairs}; a bound is that of its own kernels")
    if all(o.plan is None for o in outcomes):
        raise typer.Exit(1)
