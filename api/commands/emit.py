"""`tierplan emit`: a saved plan as flags or source for a runtime."""

from typing import Annotated

import typer

from tierplan.commands.options import AsJson, PlanPath

Runtime = Annotated[
    str, typer.Option("--for", metavar="RUNTIME", help="The runtime: llama.cpp, accelerate, vllm or jax.")
]
Gpus = Annotated[
    int,
    typer.Option("--gpus", metavar="N", help="vLLM: over how many GPUs the machine's memory is spread."),
]


def emit(
    plan: PlanPath,
    runtime: Runtime,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The planned model, if it has moved since.")
    ] = None,
    gpus: Gpus = 1,
    as_json: AsJson = False,
) -> None:
    """Turn a plan into what makes a runtime follow it: flags for llama.cpp or vLLM, Python for Accelerate or JAX.

    Standard output has nothing else, so that it can be pasted and piped; what the runtime cannot express is told on
    standard error.
    """
    from tierplan.plans import read_plan
    from tierplan.runtimes.emitted import Wanted, check_runtime
    from tierplan.runtimes.emitted import emit as write
    from tierplan.terminal import print_json, progress

    check_runtime(runtime)
    file = read_plan(plan)
    with progress(f"emitting {plan} for {runtime}"):
        emitted = write(file, runtime, Wanted(model, gpus, plan))
    if as_json:
        print_json(emitted.row())
        return
    from tierplan.runtimes.emitted import print_emitted

    print_emitted(emitted)
