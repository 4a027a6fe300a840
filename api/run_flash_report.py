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
        f"({run.past_cache}); load {run.load[0]:.1f} to {run.load[1]:.1f}"
    )
    n = len(held)
    table = Table(title=f"a token, medians of {n}: predicted beside measured", title_justify="left")
    table.add_column("way")
    for column in ("reads", "of", "term", "predicted", "measured", "quartiles", "error"):
        table.add_column(column, justify="left" if column == "term" else "right")
    for predicted, measured in run.ways:
        heads = [measured.way.value, f"{np.median(measured.reads[run.counted]):.0f}", _chunk(measured.way, run)]
        rows = terms(run, predicted, measured)
        for term in rows:
            if not term.predicted_s:
                continue
            error = "" if term.error is None else f"{term.error:+.0%}"
            quartiles = f"{show_seconds(term.low_s)} to {show_seconds(term.high_s)}"
            cells = [show_seconds(term.predicted_s), show_seconds(term.measured_s), quartiles, error]
            shown = heads.pop(0) if heads else "", heads.pop(0) if heads else "", heads.pop(0) if heads else ""
            table.add_row(*shown, term.name, *cells, end_section=term is rows[-1])
    out.print(table)


def _chunk(way: FlashWay, run: FlashRun) -> str:
    if way is FlashWay.NAIVE:
        return "1 MiB"
    return show_kib(run.file.bundle if way is FlashWay.BUNDLED else run.file.row)
