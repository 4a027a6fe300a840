"""What a calibration found: errors on rows that were held out, beside those of peak rates."""

from typing import Any

from rich.table import Table

from tierplan.calibration import Calibrated
from tierplan.sim.calibrate import Errors
from tierplan.terminal import console


def print_calibrated(found: Calibrated) -> None:
    """Per kind and element type, then by region of shapes."""
    out = console()
    table = Table(title=f"{found.machine.name}: errors of rows that were not fitted on", title_justify="left")
    table.add_column("kernels")
    table.add_column("of shapes")
    for heading in ("fitted on", "held out", "MAPE", "median", "90 %", "at peak rates"):
        table.add_column(heading, justify="right")
    for each in found.fits:
        name, at_peak = f"{each.kind} {each.dtype}", f"{each.roofline.mape:.1%}"
        table.add_row(name, "all", str(each.n_train), *_cells(each.held_out), at_peak, end_section=False)
        for at, (region, errors) in enumerate(each.by_region):
            table.add_row("", region, "", *_cells(errors), "", end_section=at == len(each.by_region) - 1)
    out.print(table)
    for note in found.left_out:
        out.print(f"left out    {note}")


def calibrated_row(found: Calibrated) -> dict[str, Any]:
    """The same for `--json`; errors are ratios."""
    return {
        "hardware": found.machine.name,
        "fits": [
            {
                "kind": each.kind,
                "dtype": each.dtype,
                "fitted_on_rows": each.n_train,
                "held_out": _row(each.held_out),
                "peak_rates": _row(each.roofline),
                "by_region": {region: _row(errors) for region, errors in each.by_region},
            }
            for each in found.fits
        ],
        "left_out": list(found.left_out),
    }


def _cells(errors: Errors) -> tuple[str, str, str, str]:
    return str(errors.n), f"{errors.mape:.1%}", f"{errors.median:.1%}", f"{errors.p90:.1%}"


def _row(errors: Errors) -> dict[str, Any]:
    return {"rows": errors.n, "mape": errors.mape, "median": errors.median, "p90": errors.p90}
