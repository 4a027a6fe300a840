"""`tierplan calibrate`: measure this machine, or fit the constants of one to measured kernels."""

from pathlib import Path
from typing import Annotated

import typer

from tierplan.commands.options import AsJson


def calibrate(
    measured: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", metavar="FILE", help="Fit to this Parquet file of measured kernels instead; repeatable."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="With --from: the machine that they ran on, built in or a YAML file; writes NAME.yaml. "
            "Default: as the rows say, and nothing is written.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the machine as a hardware YAML.")
    ] = None,
    share: Annotated[
        str,
        typer.Option(
            "--share", metavar="SHARE", help="With --from: share of the rows to fit on; the rest are tested on."
        ),
    ] = "5%",
    seed: Annotated[
        int, typer.Option(metavar="N", help="With --from: seed of the choice of rows and of the fit's starts.")
    ] = 0,
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
    """Measure this machine, or fit a machine's constants to measured kernels.

    Without --from: memory, disk, operations and GPU of this machine, in about a minute in which it is best left alone.
    With --from: the constants of a machine, and the error on rows that were not fitted on.
    """
    from tierplan.ir.errors import InvalidInputError
    from tierplan.ir.units import read_bytes

    if measured:
        _from_files(measured, device, output, _share(share), seed, as_json)
        return
    if device is not None:
        raise InvalidInputError("--device names the machine of measured kernels: give those with --from FILE")
    _this_machine(output, folder, read_bytes(file_size), repeats, name, as_json)


def _this_machine(
    output: Path | None, folder: Path, file_bytes: int, repeats: int, name: str | None, as_json: bool
) -> None:
    from contextlib import ExitStack

    from tierplan.ir.units import show_bytes
    from tierplan.measure_machine import Effort, measure
    from tierplan.measured_report import figures_row, print_figures
    from tierplan.measured_yaml import hardware_yaml
    from tierplan.scratch_file import check_space
    from tierplan.terminal import check_folder, print_json, steps, write_whole

    if output is not None:
        check_folder(output)
    effort = Effort(folder, file_bytes, repeats)
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


def _from_files(
    measured: list[Path], device: str | None, output: Path | None, share: float, seed: int, as_json: bool
) -> None:
    from tierplan.calibration import calibrate_from
    from tierplan.calibration_report import calibrated_row, print_calibrated
    from tierplan.ir.errors import InvalidInputError
    from tierplan.terminal import check_folder, print_json, progress, write_whole

    target = output
    if target is None and device is not None:
        target = Path(f"{Path(device).stem}.yaml")
        if target.exists():
            raise InvalidInputError(f"'{target}' exists; name the file to write with -o")
    if target is not None:
        check_folder(target)
    with progress("fitting"):
        found = calibrate_from(measured, device, share=share, seed=seed)
    if target is not None:
        write_whole(target, found.text)
    if as_json:
        print_json({**calibrated_row(found), "written": None if target is None else str(target)})
        return
    print_calibrated(found)
    if target is not None:
        typer.echo(f"wrote {target}; use it with --hardware {target}")


def _share(text: str) -> float:
    from tierplan.ir import units
    from tierplan.ir.errors import InvalidInputError

    share = units.read(text, units.SHARE)
    if not 0 < share <= 0.5:
        raise InvalidInputError(f"--share {text}: at most half of the rows can be fitted on")
    return share
