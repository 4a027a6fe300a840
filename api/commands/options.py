"""Options that several commands share."""

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A built-in model, a config.json, a .gguf, .safetensors, .onnx or .pt2 file, HLO text, a buffer .csv, "
        "or module:function.",
    ),
]
Hardware = Annotated[
    str, typer.Option("--hardware", "-H", metavar="HW", help="A built-in machine or a hardware YAML file.")
]
Phase = Annotated[
    str | None, typer.Option(metavar="PHASE", help="Language models: prefill, decode, train or serve. Default: decode.")
]
Batch = Annotated[int | None, typer.Option(metavar="N", help="Language models: sequences at once. Default: 1.")]
Context = Annotated[
    int | None,
    typer.Option(metavar="N", help="Language models: tokens per sequence. Default: what the model allows, up to 4096."),
]
Dtype = Annotated[
    str | None, typer.Option(metavar="T", help="Language models: element type, like bf16. Default: the model's own.")
]
Tp = Annotated[
    int | None,
    typer.Option("--tp", metavar="N", help="Language models: devices that share the tensors of each layer."),
]
Pp = Annotated[
    int | None, typer.Option("--pp", metavar="N", help="Language models: stages of layers, one after another.")
]
Ep = Annotated[
    int | None,
    typer.Option("--ep", metavar="N", help="Mixtures of experts: devices that the experts of a layer are split over."),
]
Shapes = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="JAX functions: argument types, like 'f32[8,128],bf16[128,256]'."),
]
Cyclic = Annotated[
    bool | None, typer.Option("--cyclic/--once", help="JAX functions: repeats forever, or runs once (default).")
]
Dims = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="NAME=N", help="ONNX files: size of an open dimension, like batch=1; repeatable."),
]
Seconds = Annotated[str, typer.Option("--budget", metavar="TIME", help="How long to search, like 10s or 500ms.")]
Gap = Annotated[
    str | None,
    typer.Option("--gap", metavar="SHARE", help="Stop at a plan that is proved to be this close to the best: 1%."),
]
Planner = Annotated[str, typer.Option(metavar="NAME", help="Which planner to use.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of planners that draw at random.")]
Prompt = Annotated[
    int | None, typer.Option("--prompt", metavar="N", help="With --phase serve: positions that are read at first.")
]
New = Annotated[
    int | None, typer.Option("--new", metavar="N", help="With --phase serve: tokens that are then written.")
]
PromptChunk = Annotated[
    int | None,
    typer.Option(
        "--prompt-chunk",
        metavar="N",
        help="With --phase serve: the prompt is read in turns of at most N positions, which need room for less.",
    ),
]
Cached = Annotated[
    str | None,
    typer.Option(
        "--cached",
        metavar="N:TIER",
        help="With --phase serve: keys and values of the first N positions lie in a tier already, like 800:flash. How "
        "many of them are fetched, and how many read again, is then a choice of the plan.",
    ),
]
Routing = Annotated[
    str | None,
    typer.Option(
        metavar="DEMAND",
        help="Mixtures of experts: how tokens are routed: 'uniform', 'zipf:0.8', 'zipf:0.8,stay:0.3' (a token repeats "
        "the routing of the one before with that chance), or a trace .npz with 'routing' [tokens, layers, top-k]. Room "
        "for each layer's experts is then a choice of the plan.",
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="With --routing: which expert gives way: pinned, lru, lfu, planned (default) or belady (a bound).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, in base units.")]
PlanPath = Annotated[str, typer.Argument(metavar="PLAN", help="A plan file, as 'tierplan plan -o' writes it.")]
