"""What a sweep found, for people and for machines."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tierplan.ir.units import show_joules, show_price, show_seconds
from tierplan.sweep.axes import Scalar
from tierplan.sweep.folder import Found, planned
from tierplan.sweep.front import front
from tierplan.sweep.spec import is_setting
from tierplan.sweep.tables import point_row
from tierplan.terminal import console

_MOST_ROWS = 20
_MOST_ERRORS = 5
_SHOW: dict[str, tuple[str, Callable[[float], str]]] = {
    "time_s": ("time", show_seconds),
    "energy_j": ("energy", show_joules),
    "cost_usd": ("cost", show_price),
    "gap": ("gap", lambda gap: f"{gap:.2%}"),
}


def print_found(folder: Path, found: Sequence[Found], objectives: list[str], *, every: bool = False) -> None:
    """How points ended, the fastest of them, and the front; `every`: all points."""
    out = console()
    out.print(f"[bold]{folder}[/]: {summary(found)}")
    failed = [each for each in found if not each.ended.ok]
    for each in failed[:_MOST_ERRORS]:
        out.print(f"[red]{each.ended.end.value}[/] point {each.index} ({_written(each)}): {each.ended.error}")
    if len(failed) > _MOST_ERRORS:
        out.print(f"... and {len(failed) - _MOST_ERRORS} more; points.parquet has them all")
    good = sorted((each for each in found if planned(each)), key=_time_s)
    if not good:
        return
    axes = changing(found)
    shown = good if every else good[:_MOST_ROWS]
    title = "points by time" if len(shown) == len(good) else f"the fastest {len(shown)} of {len(good)} points"
    best = front(found, objectives)
    out.print(_table(title, shown, axes, {each.index for each in best} if len(objectives) > 1 else set()))
    if len(objectives) > 1:
        names = ", ".join(objectives)
        out.print(
            _table(f"Pareto front of {names}: no point is better in one and as good in the others", best, axes, set())
        )


def summary(found: Sequence[Found]) -> str:
    """How many points ended how."""
    n_planned = sum(map(planned, found))
    unplanned = sum(each.ended.ok for each in found) - n_planned
    ends = Counter(each.ended.end.value for each in found if not each.ended.ok)
    parts = [f"{n_planned} with a plan", *([f"{unplanned} without"] if unplanned else ())]
    return f"{len(found)} points: " + ", ".join([*parts, *(f"{n} {end}" for end, n in ends.items())])


def found_row(folder: Path, found: Sequence[Found], objectives: list[str]) -> dict[str, Any]:
    """The same for `--json`; every point is in the tables."""
    return {
        "folder": str(folder),
        "points": len(found),
        "planned": sum(map(planned, found)),
        "ends": dict(Counter(each.ended.end.value for each in found)),
        "objectives": objectives,
        "front": [point_row(each) for each in front(found, objectives)] if objectives else [],
        "errors": [{"point": each.index, "error": each.ended.error} for each in found if not each.ended.ok],
    }


def changing(found: Sequence[Found]) -> list[str]:
    """The axes that take more than one value."""
    names = dict.fromkeys(name for each in found for name in each.values)
    return [name for name in names if len({str(each.values.get(name)) for each in found}) > 1]


def short(axis: str) -> str:
    """A short name of an axis: the first of the keys that it sets, without the name of their list."""
    return axis.partition(",")[0].partition(".")[2] if is_setting(axis) and "." in axis else axis


def show_value(value: Scalar | None) -> str:
    """A value as it was written, rounded for people."""
    if value is None:
        return "-"
    number, space, unit = str(value).partition(" ")
    try:
        return f"{float(number):.4g} {unit}" if space else str(value)
    except ValueError:
        return str(value)


def _table(title: str, found: Sequence[Found], axes: list[str], marked: set[int]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("point", justify="right")
    for axis in axes:
        table.add_column(short(axis).replace(".", " "), justify="right")
    columns = [name for name in _SHOW if any(each.ended.value["point"].get(name) is not None for each in found)]
    for name in columns:
        table.add_column(_SHOW[name][0], justify="right")
    table.add_column("limited by")
    for each in found:
        row = each.ended.value["point"]
        cells = ["-" if row.get(name) is None else _SHOW[name][1](row[name]) for name in columns]
        limit = (
            f"{row['limited_by'].replace('waiting for ', '')} {row['limited_share']:.0%}"
            if row.get("limited_by")
            else "-"
        )
        values = [show_value(each.values.get(axis)) for axis in axes]
        table.add_row(f"{each.index}{' *' if each.index in marked else ''}", *values, *cells, limit)
    return table


def _written(found: Found) -> str:
    return ", ".join(f"{name} {show_value(value)}" for name, value in found.values.items())


def _time_s(found: Found) -> float:
    return found.ended.value["point"]["time_s"]
