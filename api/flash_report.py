"""How neurons are loaded from flash, as tables for people: what was chosen, beside what, and why it does not fit."""

from rich.table import Table

from tierplan.flash_plan import FlashPlan, Rated, rated, short_by
from tierplan.ir.outcome import Outcome
from tierplan.ir.units import show_bytes, show_seconds
from tierplan.sim.flash_ways import Kind, show_kib
from tierplan.terminal import console


def print_flash(found: FlashPlan, outcome: Outcome) -> None:
    """The alternative that was taken and those beside it; for a program that does not fit, its parts."""
    assert found.choice is not None
    out = console()
    if outcome.plan is None:
        out.print(_parts_table(found))
        lacking = short_by(found)
        if lacking:
            out.print(f"short by    {show_bytes(lacking)}, with all read from flash that can be; raise --dram")
        return
    rows = rated(found, outcome)
    taken = next(row for row in rows if row.taken)
    tier = found.problem.tiers.names[taken.way.tier]
    predictor = 0 if taken.way.kind is Kind.DENSE else found.choice.predictor
    room = f"{show_bytes(taken.way.held)} for neurons and {show_bytes(predictor)} for the predictor"
    out.print(f"loading     {taken.way.name}; in {tier}, {room}")
    if taken.way.moved:
        rewriting = f", rewriting rows of the cache {show_seconds(taken.way.rewrite_s)}" if taken.way.window else ""
        out.print(
            f"            a token reads {show_bytes(taken.way.moved)} in {show_seconds(taken.way.io_s)}{rewriting}"
        )
    shown = _shown(rows, taken)
    out.print(_alternatives_table(found, shown))
    if len(shown) < len(rows):
        left_out = f"{len(rows) - len(shown)} more are slower with the same window, or too large for any plan"
        out.print(f"            {left_out}: --json has all")


def _parts_table(found: FlashPlan) -> Table:
    table = Table(title="what the model needs beside feed-forward weights in flash", title_justify="left")
    table.add_column("part")
    table.add_column("bytes", justify="right")
    for part, size in found.parts:
        table.add_row(part, show_bytes(size))
    table.add_row("all of it in memory", show_bytes(sum(size for _, size in found.parts)), style="bold")
    return table


def _shown(rows: tuple[Rated, ...], taken: Rated) -> list[Rated]:
    """The best of each window and tier, of each kind, and what differs from the plan in one respect.

    What no plan has room for is left out.
    """
    seen: set[object] = set()
    shown: list[Rated] = []
    for row in rows:
        way, mine = row.way, taken.way
        key = (way.kind, way.window, way.tier)
        beside = way.kind is Kind.SPARSE and (way.window, way.tier) == (mine.window, mine.tier)
        if (key not in seen or beside or row.taken) and (row.bound_s is not None or row.time_s is not None):
            shown.append(row)
        seen.add(key)
    return shown


def _alternatives_table(found: FlashPlan, rows: list[Rated]) -> Table:
    """One row per alternative; the time is that of the plan with this one alternative exchanged."""
    table = Table(title="ways to load, with the rest of the plan as it is", title_justify="left")
    table.add_column("way")
    for column in ("rows", "a read", "threads", "kept", "new/token", "reading", "a token"):
        table.add_column(column, justify="right")
    several = len({row.way.tier for row in rows}) > 1
    for row in rows:
        way = row.way
        if row.time_s is not None:
            time = show_seconds(row.time_s)
        else:
            bound = "" if row.bound_s is None else f", > {show_seconds(row.bound_s)}"
            time = f"lacks {show_bytes(row.lacking)}{bound}"
        where = f" in {found.problem.tiers.names[way.tier]}" if several else ""
        label = way.name if way.window is None else f"window {way.window}{where}"
        layout = "-" if way.bundled is None else "bundled" if way.bundled else "apart"
        table.add_row(
            f"[bold]{label} *[/]" if row.taken else label,
            layout,
            show_kib(way.chunk) if way.bundled is not None else "-",
            str(way.threads) if way.moved else "-",
            show_bytes(way.held),
            show_bytes(way.wanted) + (f" of {show_bytes(way.moved)}" if way.moved > way.wanted * 1.001 else ""),
            show_seconds(way.io_s),
            time,
        )
    return table
