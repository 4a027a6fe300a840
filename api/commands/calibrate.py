"""`tierplan calibrate`: measure this machine, and write it as a hardware file."""

from pathlib import Path
from typing import Annotated

import typer

from tierplan.commands.options import AsJson


def calibrate(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the machine as a hardware YAML.")
    ] = None,
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder on the disk to measure. Default: the current one.")
    ] = Path(),
    file_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Bytes that are written there, and given back at the end.")
    ] = "512MiB",
    repeats: Annotated[int, typer.Option(metavar="N", help="How often each figure is measured.")] = 5,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What the machine is called.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this machine's memory, disk, operations and GPU; about a minute. Leave it alone meanwhile."""
    from contextlib import ExitStack

    from tierplan.ir.units import read_bytes, show_bytes
    from tierplan.measure_machine import Effort, measure
    from tierplan.measured_report import figures_row, print_figures
    from tierplan.measured_yaml import hardware_yaml
    from tierplan.scratch_file import check_space
    from tierplan.terminal import check_folder, print_json, steps, write_whole

    if output is not None:
        check_folder(output)
    effort = Effort(folder, read_bytes(file_size), repeats)
    free = check_space(folder, effort.file_bytes)
    typer.echo(
        f"tierplan writes {show_bytes(effort.file_bytes)} to a nameless file in {folder.resolve()} "
        f"({show_bytes(free)} free), then reads it; nothing is left of it",
        err=True,
    )
    with ExitStack() as stack:
        found = measure(
            name or (output.stem if output else "my-machine"),
            effort,
            lambda total: stack.enter_context(steps("measuring", total)),
        )
    text = hardware_yaml(found)
    if output is not None:
        write_whole(output, text)
    if as_json:
        print_json(figures_row(found))
        return
    print_figures(found)
    if output is not None:
        typer.echo(f"machine written to {output}; 'tierplan plan MODEL --hardware {output}' plans for it")
    else:
        typer.echo("-o FILE writes this as a hardware file")
