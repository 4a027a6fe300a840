"""Calibrate a machine from measured kernels: which machine, the fits, their errors on rows that were not fitted on."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tierplan.hardware.build import read_hardware
from tierplan.hardware.calibration_text import remarks_of, with_calibration
from tierplan.hardware.load import builtin_names, read_source
from tierplan.ir.calibration import KINDS, Calibration, Constants
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Machine
from tierplan.sim.calibrate import Errors, errors_of, fit, predicted_s
from tierplan.sim.calibration_regions import regions
from tierplan.sim.device import device_of
from tierplan.sim.measurements import Measurements, Rows, read_measurements
from tierplan.sim.roofline import roofline_s


@dataclass(frozen=True, slots=True)
class Fitted:
    """One kind of kernel in one element type: its constants, and errors on the rows that were held out."""

    kind: str
    dtype: str
    constants: Constants
    n_train: int
    held_out: Errors
    roofline: Errors
    by_region: tuple[tuple[str, Errors], ...]

    @property
    def remark(self) -> str:
        """The errors as a hardware file tells them."""
        e = self.held_out
        return f"held out: MAPE {e.mape:.1%}, median {e.median:.1%}, p90 {e.p90:.1%} of {e.n} rows"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """All fits for a machine, and the text of its hardware file with them."""

    machine: Machine
    fits: tuple[Fitted, ...]
    left_out: tuple[str, ...]
    text: str


def calibrate_from(paths: list[Path], device: str | None, *, share: float, seed: int) -> Calibrated:
    """Fit the constants of a machine to the rows of these files.

    Raises:
        InvalidInputError: files that cannot be read, a machine that is not known, too few rows, or no convergence.
        MissingDependencyError: pyarrow or scipy is not installed.
    """
    measured = read_measurements(paths)
    _refuse_twice(measured)
    file, text = read_source(device or _named(measured))
    machine = read_hardware(text, file).machine
    if machine.calibration is None:
        raise InvalidInputError(
            f"{file}: a calibration needs sizes that rates do not tell; add 'calibration:' with 'units: 132' "
            "(multiprocessors) and 'cache: 50 MB' (the last cache before memory)"
        )
    fits = tuple(_fitted(rows, machine, share, seed) for rows in measured.rows)
    source = f"{share:.0%} of {', '.join(_short(path) for path in paths)}"
    calibration = merged(machine.calibration, fits, source)
    remarks = {**remarks_of(text), **{(each.kind, each.dtype): each.remark for each in fits}}
    return Calibrated(machine, fits, measured.left_out, with_calibration(text, calibration, remarks))


def _fitted(rows: Rows, machine: Machine, share: float, seed: int) -> Fitted:
    device = device_of(machine, "bfloat16" if rows.kind == "collective" else rows.dtype)
    if rows.kind == "collective" and not device.peer_bandwidth:
        raise InvalidInputError(f"machine '{machine.name}' needs 'peer' in its 'calibration' to fit exchanges")
    found = fit(rows, device, share=share, seed=seed)
    test = rows.part(found.test)
    predicted = predicted_s(test, found.constants, device)
    by_region = ((name, errors_of(predicted[mask], test.seconds[mask])) for name, mask in regions(test))
    return Fitted(
        rows.kind, rows.dtype, found.constants, len(found.train), errors_of(predicted, test.seconds),
        errors_of(roofline_s(test.work, machine), test.seconds), tuple(by_region),
    )  # fmt: skip


def merged(calibration: Calibration, fits: tuple[Fitted, ...], source: str) -> Calibration:
    """The calibration with these fits in place of what it had for their kinds and types."""
    changed: dict[str, Any] = {
        kind: {**calibration.of(kind), **{each.dtype: each.constants for each in fits if each.kind == kind}}
        for kind in KINDS
    }
    known = [part for part in calibration.source.split("; ") if part and part != source]
    return replace(calibration, **changed, source="; ".join([*known, source]))


def _refuse_twice(measured: Measurements) -> None:
    names = [(rows.kind, rows.dtype) for rows in measured.rows]
    for kind, dtype in names:
        if names.count((kind, dtype)) > 1:
            raise InvalidInputError(f"two files have rows of {kind} in {dtype}; fit them one after the other")
    if not names:
        raise InvalidInputError(f"nothing to fit: {'; '.join(measured.left_out)}")


def _named(measured: Measurements) -> str:
    """The built-in machine that the files' own device names mean."""
    for device in measured.devices:
        words = set(re.findall(r"[a-z0-9]+", device.lower()))
        fitting = [name for name in builtin_names() if set(name.split("-")) <= words]
        if fitting:
            return max(fitting, key=len)
    named = ", ".join(measured.devices) or "no device"
    raise InvalidInputError(f"the rows are of {named}, for which no machine is built in; name one with --device")


def _short(path: Path) -> str:
    """The last parts of a path that tell tables of several versions apart."""
    return "/".join(path.with_suffix("").parts[-4:]) if len(path.parts) > 4 else path.name
