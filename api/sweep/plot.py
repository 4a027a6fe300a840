"""Pictures of a sweep: its Pareto front, or a map of one quantity over two keys of the machine."""

# pyright: basic
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tierplan.ir.errors import InvalidInputError, MissingDependencyError, unknown_name
from tierplan.ir.units import show_joules, show_price, show_seconds
from tierplan.sweep.axes import base_number
from tierplan.sweep.folder import Found, planned
from tierplan.sweep.front import front
from tierplan.sweep.report import changing, short, show_value
from tierplan.sweep.search import COLUMNS

_TITLES = {"time": "time of a turn", "energy": "energy of a turn", "cost": "price of the memory"}
_SHOW = {"time": show_seconds, "energy": show_joules, "cost": show_price}


def plot_front(found: Sequence[Found], objectives: list[str], path: Path) -> None:
    """Draw every point by the first two objectives, and the front.

    Raises: InvalidInputError: fewer than two objectives have figures, or the file cannot be written.
    """
    if len(objectives) < 2:
        raise InvalidInputError(
            "a Pareto plot needs two objectives with figures; energies and prices are keys of tiers"
        )
    figure = _figure()
    panel = figure.subplots()
    x, y = objectives[:2]
    best = {each.index for each in front(found, objectives)}
    good = [each for each in found if planned(each) and all(_figures(each, name) is not None for name in (x, y))]
    for label, chosen, style in (
        ("points", [each for each in good if each.index not in best], {"s": 14, "color": "#9aa5b1"}),
        ("Pareto front", [each for each in good if each.index in best], {"s": 30, "color": "#b0413e"}),
    ):
        panel.scatter([_figures(e, x) for e in chosen], [_figures(e, y) for e in chosen], label=label, **style)
    for set_scale, set_label, axis, name in (
        (panel.set_xscale, panel.set_xlabel, panel.xaxis, x),
        (panel.set_yscale, panel.set_ylabel, panel.yaxis, y),
    ):
        values = [_figures(each, name) for each in good]
        if values and min(values) > 0 and max(values) > 10 * min(values):
            set_scale("log")
        set_label(_TITLES[name])
        axis.set_major_formatter(lambda value, _, name=name: _SHOW[name](value))
    panel.grid(alpha=0.3, which="both")
    panel.set_axisbelow(True)
    panel.legend(frameon=False)
    _save(figure, path)


def plot_map(found: Sequence[Found], x: str, y: str, path: Path) -> None:
    """Draw the best time for each pair of values of two axes, as a map; what has no plan stays white.

    Raises: InvalidInputError: no such axis, no plan at all, or the file cannot be written.
    """
    x, y = (_axis(found, name) for name in (x, y))
    good = [each for each in found if planned(each) and x in each.values and y in each.values]
    if not good:
        raise InvalidInputError("no point has a plan; there is nothing to draw")
    columns, rows = (_sorted_values(found, name) for name in (x, y))
    best: dict[tuple[str, str], float] = {}
    for each in good:
        place = (str(each.values[x]), str(each.values[y]))
        best[place] = min(best.get(place, float("inf")), each.ended.value["point"]["time_s"])
    from matplotlib.colors import LogNorm

    grid = [[best.get((column, row), float("nan")) for column in columns] for row in rows]
    figure = _figure(1.5 + 0.95 * len(columns), 1.6 + 0.5 * len(rows))
    panel = figure.subplots()
    image = panel.imshow(
        grid,
        origin="lower",
        aspect="auto",
        cmap="viridis_r",
        norm=LogNorm(min(best.values()), max(best.values()) * 1.001),
    )
    middle = (min(best.values()) * max(best.values())) ** 0.5
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            value = best.get((column, row))
            text, dark = ("no plan", False) if value is None else (show_seconds(float(f"{value:.3g}")), value > middle)
            panel.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    panel.set_xticks(range(len(columns)), [show_value(column) for column in columns])
    panel.set_yticks(range(len(rows)), [show_value(row) for row in rows])
    panel.set_xlabel(short(x))
    panel.set_ylabel(short(y))
    bar = figure.colorbar(image, label="time of a turn")
    bar.ax.yaxis.set_major_formatter(lambda value, _: show_seconds(value))
    bar.ax.yaxis.set_minor_formatter(lambda value, _: "")
    _save(figure, path)


def _figures(found: Found, name: str) -> Any:
    return found.ended.value["point"].get(COLUMNS[name])


def _axis(found: Sequence[Found], name: str) -> str:
    """The axis that a name means: as the spec writes it, its first key, or that key's short form."""
    axes = changing(found)
    for axis in axes:
        if name in (axis, axis.partition(",")[0], short(axis)):
            return axis
    raise unknown_name("axis", name, axes)


def _sorted_values(found: Sequence[Found], name: str) -> list[str]:
    values = {str(each.values[name]): base_number(each.values[name]) for each in found if name in each.values}
    return sorted(values, key=lambda value: (values[value] is None, values[value] or 0.0, value))


def _figure(width: float = 6.4, height: float = 4.0) -> Any:
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        raise MissingDependencyError("matplotlib", "plot") from None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    import matplotlib as mpl

    try:
        with mpl.rc_context({"font.size": 8}):
            figure.savefig(path, dpi=110, metadata={"Software": None})
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot write '{path}': {getattr(error, 'strerror', None) or error}") from None
