"""`tierplan train`: an agent learns mallocGame."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tierplan.commands.options import AsJson


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What to train on and how; see docs/agent.md.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="State, log and network. Default: CONFIG without .yaml."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train an agent that plays mallocGame; Ctrl-C or worse at any moment loses at most the last interval."""
    from tierplan.ir.errors import MissingDependencyError
    from tierplan.rl.agent.config import read_training
    from tierplan.terminal import print_json, steps

    training = read_training(config)
    folder = output or config.with_suffix("")
    try:
        from tierplan.rl.agent.training import train as run
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "rl") from None
    rows: list[dict[str, Any]] = []
    with steps("training", training.rounds) as advance:

        def told(row: dict[str, Any]) -> None:
            done = int(row["round"]) + 1
            advance(1 if rows else done)
            rows.append(row)
            if not as_json:
                evaluated = f", on others {row['evaluated']}" if row["evaluated"] else ""
                typer.echo(
                    f"round {done}/{training.rounds}  {row['program']}: saves {row['mean_saved']} of what the "
                    f"heuristics save, at best {row['best_saved']}{evaluated}  ({row['cpu_s']} s)"
                )

        run(training, folder, resume=resume, told=told)
    if as_json:
        print_json({"folder": str(folder), "rounds": training.rounds, "last": rows[-1] if rows else None})
    else:
        typer.echo(f"{training.rounds} rounds done; network, state and log in {folder}")
