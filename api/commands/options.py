"""Options that several commands share."""

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A built-in model, a config.json, a .gguf or .safetensors file or its folder, a buffer .csv, "
        "or module:function for JAX.",
    ),
]
Hardware = Annotated[
    str, typer.Option("--hardware", "-H", metavar="HW", help="A built-in machine or a hardware YAML file.")
]
Phase = Annotated[
    str | None, typer.Option(metavar="PHASE", help="Language models: prefill, decode or train. Default: decode.")
]
Batch = Annotated[int | None, typer.Option(metavar="N", help="Language models: sequences at once. Default: 1.")]
Context = Annotated[
    int | None,
    typer.Option(metavar="N", help="Language models: tokens per sequence. Default: what the model allows, up to 4096."),
]
Dtype = Annotated[
    str | None, typer.Option(metavar="T", help="Language models: element type, like bf16. Default: the model's own.")
]
Shapes = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="JAX functions: argument types, like 'f32[8,128],bf16[128,256]'."),
]
Cyclic = Annotated[
    bool | None, typer.Option("--cyclic/--once", help="JAX functions: repeats forever, or runs once (default).")
]
Seconds = Annotated[str, typer.Option("--budget", metavar="TIME", help="How long to search, like 10s or 500ms.")]
Gap = Annotated[
    str | None,
    typer.Option("--gap", metavar="SHARE", help="Stop at a plan that is proved to be this close to the best: 1%."),
]
Planner = Annotated[str, typer.Option(metavar="NAME", help="Which planner to use.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of planners that draw at random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, in base units.")]
PlanPath = Annotated[str, typer.Argument(metavar="PLAN", help="A plan file, as 'tierplan plan -o' writes it.")]
