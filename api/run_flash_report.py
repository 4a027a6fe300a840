"""Predicted beside measured, per way and term, for people."""

import numpy as np
from rich.table import Table

from tierplan.ir.units import show_bytes, show_seconds
from tierplan.run_flash import FlashRun, terms
from tierplan.run_flash_ways import FlashWay
from tierplan.sim.flash_ways import show_kib
from tierplan.terminal import console


def print_run(run: FlashRun) -> None:
    """One row per way and term; the error is that of the prediction."""
    out, file = console(), run.file
    held = run.window.held[run.counted].sum(axis=1)
    kept = show_bytes(float(np.median(held)) * file.neuron)
    out.print(
        f"window of {run.window.window} tokens, {kept} kept; {run.threads} threads past the page cache "
        f"({run.past_cache})"
    )
    out.print(str(run.usage))
    n = len(held)
    table = Table(title=f"a token, of {n}: predicted beside measured", title_justify="left")
    table.add_column("way")
    for column in ("reads", "term", "predicted", "undisturbed", "error", "by the clock", "quartiles", "error"):
        table.add_column(column, justify="left" if column == "term" else "right", no_wrap=column == "quartiles")
    for predicted, measured in run.ways:
        reads = f"{np.median(measured.reads[run.counted]):.0f} x {_chunk(measured.way, run)}"
        rows = terms(run, predicted, measured)
        for term in rows:
            if not term.predicted_s:
                continue
            quartiles = f"{show_seconds(term.low_s)} - {show_seconds(term.high_s)}"
            cells = [
                show_seconds(term.predicted_s), show_seconds(term.undisturbed_s), _error(term.undisturbed_error),
                show_seconds(term.measured_s), quartiles, _error(term.error),
            ]  # fmt: skip
            shown = (measured.way.value, reads) if term is rows[0] else ("", "")
            table.add_row(*shown, term.name, *cells, end_section=term is rows[-1])
    out.print(table)
    out.print("undisturbed I/O: the tenth of the layers' reads that did best; other terms: time that the thread ran")
    if run.measured_now:
        out.print("the hardware file has no 'execution': costs of rows were measured before the run, reads modelled")


def _error(error: float | None) -> str:
    return "" if error is None else f"{error:+.0%}"


def _chunk(way: FlashWay, run: FlashRun) -> str:
    if way is FlashWay.NAIVE:
        return "1 MiB"
    return show_kib(run.file.bundle if way is FlashWay.BUNDLED else run.file.row)
