"""`tierplan reproduce`: a paper's numbers beside ours, with the relative error and what was fitted."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierplan.commands.options import AsJson

if TYPE_CHECKING:
    from rich.console import Console

    from tierplan.reproduction import Report, Section

PAPERS = {
    "fusemax": "tierplan.reproduce_fusemax",
    "flash": "tierplan.reproduce_flash",
    "sn40l": "tierplan.reproduce_sn40l",
}
"""Modules with a function `report(energy) -> Report`, by the name of the paper."""

ENERGIES = ("compatible", "all-pes")


def reproduce(
    paper: Annotated[str, typer.Argument(metavar="PAPER", help=f"Which paper: {', '.join(PAPERS)}.")],
    rows: Annotated[bool, typer.Option("--rows", help="Show every point and input, too.")] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="DIR", help="Draw the paper's figures into a folder.")
    ] = None,
    energy: Annotated[
        str, typer.Option(metavar="MODE", help="compatible: energy as the paper counts it; all-pes: everything.")
    ] = "compatible",
    as_json: AsJson = False,
) -> None:
    """Print a paper's numbers beside ours."""
    from tierplan.ir.errors import InvalidInputError, unknown_name
    from tierplan.terminal import console, print_json, progress

    if paper not in PAPERS:
        raise unknown_name("paper", paper, PAPERS)
    if energy not in ENERGIES:
        raise unknown_name("way to count energy", energy, ENERGIES)
    if paper != "fusemax" and (plot is not None or energy != ENERGIES[0]):
        option = "--plot" if plot is not None else "--energy"
        raise InvalidInputError(f"{option} is for 'fusemax': there are no figures and no energies of '{paper}'")
    if plot is not None and plot.exists() and not plot.is_dir():
        raise InvalidInputError(f"'{plot}' is not a folder; --plot takes the folder to draw into")
    with progress(f"reproducing {paper}"):
        report: Report = import_module(PAPERS[paper]).report(energy)
        drawn = report.plot(plot) if plot is not None and report.plot is not None else []
    if as_json:
        print_json(report.as_json() | {"energy": energy, "figures": [str(path) for path in drawn]})
        return
    screen = console()
    for section in report.sections:
        if rows or not section.detailed:
            _print_section(screen, section, notes=rows)
    for remark in report.remarks:
        screen.print(f"- {remark}")
    for path in drawn:
        screen.print(f"drawn: {path}")


def _print_section(screen: "Console", section: "Section", *, notes: bool) -> None:
    from rich.table import Table

    from tierplan.reproduction import show_error, show_kind, show_length, show_value

    table = Table(title=section.title, title_justify="left")
    told = any(row.kind for row in section.rows)
    for name in ("config", "model", *(() if told else ("length",)), "quantity"):
        table.add_column(name)
    for name in (section.theirs, section.ours, section.difference):
        table.add_column(name, justify="right")
    noted = notes and any(row.note for row in section.rows)
    for name in (*(("kind",) if told else ()), *(("note",) if noted else ())):
        table.add_column(name)
    for row in section.rows:
        numbers = (show_value(row.quantity, row.paper), show_value(row.quantity, row.ours), show_error(row))
        what = (row.config, row.model, *(() if told else (show_length(row.seq_len),)), row.quantity)
        marks = (*((show_kind(row),) if told else ()), *((row.note,) if noted else ()))
        table.add_row(*what, *numbers, *marks)
    screen.print(table)
