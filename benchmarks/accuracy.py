"""Predicted against measured kernels: ours, three fitted constants, and peak rates, on rows that were not fitted on.

python benchmarks/accuracy.py [out.csv] [--docs]    # --docs writes tables and figures of docs/accuracy.md

Needs `pip install 'tierplan[calibration,plot]'`. The constants are those of the built-in machines; they were fitted on
5% of the rows of one framework's version with seed 0, and the same seed tells here which rows those were. Besides:
the rows of other frameworks and versions (`other`), and the constants of another device with the peak rates, units and
cache of this one (`transfer`).
"""

import csv
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import accuracy_plots
import numpy as np
from accuracy_tables import KINDS, SOURCES, exchanges_of, rows_of
from scipy.optimize import minimize
from tables import write_table

from tierplan.hardware.load import load_machine
from tierplan.ir.machine import Machine
from tierplan.sim.calibrate import Errors, errors_of, split
from tierplan.sim.device import memory_of
from tierplan.sim.measurements import Rows
from tierplan.sim.roofline import roofline_s
from tierplan.sim.silicon import constants_of, kernel_s
from tierplan.sim.workloads import Collective, Floats

Model = Callable[[Rows], Floats]


@dataclass(frozen=True, slots=True)
class Line:
    """The error of one model on one set of rows."""

    device: str
    kind: str
    dtype: str
    rows: str
    model: str
    errors: Errors
    us_per_op: float


def three_constants(train: Rows, machine: Machine) -> Model:
    """Shares of both peak rates and a constant time, fitted for the least mean absolute logarithm.

    Exchanges have one rate, and so two constants.
    """

    def predict(rows: Rows, constants: Floats) -> Floats:
        share, memory, start_s = np.exp(constants)
        if isinstance(rows.work, Collective):
            return start_s + roofline_s(rows.work, machine) / share
        arithmetic = rows.work.ops / (machine.matrix.rate(rows.work.dtype) * share)
        return start_s + np.maximum(arithmetic, rows.work.bytes / (memory_of(machine).read_bandwidth * memory))

    def loss(constants: Floats) -> float:
        return float(np.abs(np.log(predict(train, constants) / train.seconds)).mean())

    starts = (np.log([share, 0.8, start_s]) for share in (0.7, 0.3) for start_s in (3e-6, 1e-5, 3e-5))
    best = min((minimize(loss, start, method="Nelder-Mead", options={"maxiter": 300}) for start in starts),
               key=lambda found: found.fun)  # fmt: skip
    return lambda rows: predict(rows, best.x)


def lines_of(device: str, kind: str, rows: Rows) -> Iterator[Line]:
    """All models on the rows of a device that no constants were fitted on."""
    machine = load_machine(device)
    if rows.n < 100 or constants_of(rows.work, machine) is None:
        return
    train, test = (rows.part(index) for index in split(rows))
    models: dict[str, Model] = {
        "ours": lambda some: kernel_s(some.work, machine, measured=True),
        "three constants": three_constants(train, machine),
        "peak rates": lambda some: roofline_s(some.work, machine),
    }
    if kind != "collective":
        models["transfer"] = transferred(device)
    for name, model in models.items():
        model(test.part(np.arange(10)))  # compiles what is compiled
        started = time.process_time()
        predicted = model(test)
        us = (time.process_time() - started) / test.n * 1e6
        yield Line(device, kind, rows.dtype, "held out", name, errors_of(predicted, test.seconds), us)


def transferred(device: str) -> Model:
    """The constants of another device, at this one's peak rates, units and cache."""
    machine, other = load_machine(device), load_machine(SOURCES[device].like)
    assert machine.calibration is not None
    assert other.calibration is not None
    mine = machine.calibration
    calibration = replace(other.calibration, units=mine.units, cache=mine.cache, peer_bandwidth=mine.peer_bandwidth)
    both = replace(machine, calibration=calibration)
    return lambda rows: kernel_s(rows.work, both, measured=True)


def measure() -> Iterator[Line]:
    """Every device and kind; then other frameworks and versions."""
    for device, source in SOURCES.items():
        machine = load_machine(device)
        for kind in KINDS:
            for rows in rows_of(device, kind, source.fitted):
                yield from lines_of(device, kind, rows)
            for version in source.others:
                for rows in rows_of(device, kind, version):
                    if rows.dtype != "bfloat16":
                        continue
                    predicted = kernel_s(rows.work, machine, measured=True)
                    yield Line(device, kind, rows.dtype, version, "ours", errors_of(predicted, rows.seconds), 0.0)
        for rows in exchanges_of(device):
            if rows.dtype != "all_reduce":  # the built-in constants of all_reduce are of each framework's own kernel
                yield from lines_of(device, "collective", rows)


def write_csv(path: Path, lines: list[Line]) -> None:
    """One row per device, kind, element type, set of rows and model; errors are ratios."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["device", "kind", "dtype", "rows", "model", "n", "mape", "median", "p90", "us_per_op"])
        for line in lines:
            e = line.errors
            numbers = (f"{value:.4f}" for value in (e.mape, e.median, e.p90, line.us_per_op))
            out.writerow([line.device, line.kind, line.dtype, line.rows, line.model, e.n, *numbers])


def write_docs(lines: list[Line]) -> None:
    """The tables of docs/accuracy.md, and its figures."""
    held_out = [line for line in lines if line.rows == "held out"]
    by_place: dict[tuple[str, str, str], dict[str, Line]] = {}
    for line in held_out:
        by_place.setdefault((line.device, line.kind, line.dtype), {})[line.model] = line
    header = ["kernels", "rows", "MAPE", "median", "90 %", "three constants", "peak rates", "transfer"]
    table = [
        [f"{device} {kind} {dtype}", f"{models['ours'].errors.n:,}", *_shown(models["ours"].errors)]
        + [f"{models[name].errors.mape:.1%}" if name in models else "" for name in header[5:]]
        for (device, kind, dtype), models in by_place.items()
    ]
    write_table("accuracy.md", "held out", header, table)
    others = [line for line in lines if line.rows != "held out"]
    table = [
        [f"{line.device} {line.kind} {line.dtype}", line.rows, f"{line.errors.n:,}", *_shown(line.errors)]
        for line in others
    ]
    write_table("accuracy.md", "other versions", ["kernels", "version", "rows", "MAPE", "median", "90 %"], table)
    accuracy_plots.draw()


def _shown(errors: Errors) -> list[str]:
    return [f"{errors.mape:.1%}", f"{errors.median:.1%}", f"{errors.p90:.1%}"]


def main() -> None:
    """Measure, print, and write what is asked for."""
    paths = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("--")]
    lines: list[Line] = []
    for line in measure():
        lines.append(line)
        e = line.errors
        name = f"{line.device} {line.kind} {line.dtype}"
        print(f"{name:40} {line.rows:18} {line.model:16} {e.n:6} {e.mape:7.1%} {e.median:7.1%} {e.p90:7.1%} "
              f"{line.us_per_op:6.2f} us", flush=True)  # fmt: skip
    if paths:
        write_csv(paths[0], lines)
    if "--docs" in sys.argv:
        write_docs(lines)


if __name__ == "__main__":
    main()
