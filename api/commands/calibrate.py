"""`tierplan calibrate`: fit the constants of a machine to measured kernels."""

from pathlib import Path
from typing import Annotated

import typer

from tierplan.commands.options import AsJson


def calibrate(
    measured: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="FILE", help="Parquet file of measured kernels; repeatable."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="The machine that they ran on, built in or a YAML file; writes NAME.yaml. Default: as the rows say, "
            "and nothing is written.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the hardware file here.")
    ] = None,
    share: Annotated[
        str, typer.Option("--share", metavar="SHARE", help="Share of the rows to fit on; all others are tested on.")
    ] = "5%",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the choice of rows and of the fit's starts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a machine's constants to measured kernels, and tell the error on rows that were not fitted on."""
    from tierplan.ir.errors import InvalidInputError

    if not measured:
        raise InvalidInputError("nothing to calibrate from; give a Parquet file of measured kernels with --from FILE")
    _from_files(measured, device, output, _share(share), seed, as_json)


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
