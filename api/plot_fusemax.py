"""FuseMax's figures: speed-up, energy and utilization by length, one panel per model."""

# pyright: basic
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tierplan.ir.errors import InvalidInputError, MissingDependencyError
from tierplan.reproduction import show_length
from tierplan.sim.fusemax_study import LENGTHS, MODELS, Point

_COLOURS = {
    "unfused": "#8c8c8c",
    "flat": "#d9a441",
    "cascade": "#7fb069",
    "architecture": "#4a90c2",
    "fusemax": "#b0413e",
}
Measure = Callable[[Point, Point], float]


def draw(points: Sequence[Point], labels: Mapping[str, str], folder: Path) -> list[Path]:
    """Draw the figures into `folder`, which is made if need be; `labels` names the configurations in order.

    Raises: MissingDependencyError: matplotlib is not installed. InvalidInputError: the folder cannot be written.
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        raise MissingDependencyError("matplotlib", "plot") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot make the folder '{folder}': {error.strerror}") from None
    figures: dict[str, tuple[str, list[tuple[str, Measure]]]] = {
        "speedup": (
            "speed-up over unfused",
            [(scope, _speedup(scope)) for scope in ("attention", "layer")],
        ),
        "energy": (
            "energy, share of unfused",
            [(scope, _energy(scope)) for scope in ("attention", "layer")],
        ),
        "utilization": (
            "utilization",
            [("2D array", _utilization("2d")), ("1D array", _utilization("1d"))],
        ),
    }
    drawn: list[Path] = []
    with mpl.rc_context({"font.size": 8}):
        for name, (what, measures) in figures.items():
            path = folder / f"fusemax-{name}.png"
            _figure(points, labels, what, measures, path)
            drawn.append(path)
    return drawn


def _speedup(scope: str) -> Measure:
    return lambda point, base: base.latency_s(scope) / point.latency_s(scope)


def _energy(scope: str) -> Measure:
    return lambda point, base: point.energy_j(scope) / base.energy_j(scope)


def _utilization(array: str) -> Measure:
    return lambda point, base: point.attention.utilization(point.machine)[array]


def _figure(
    points: Sequence[Point], labels: Mapping[str, str], what: str, measures: list[tuple[str, Measure]], path: Path
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.2 * len(measures)), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(len(measures), len(MODELS), sharex=True, sharey="row", squeeze=False)
    bases = {(point.model, point.length): point for point in points if point.configuration == "unfused"}
    width = 0.8 / len(labels)
    for row, (title, measure) in enumerate(measures):
        for column, model in enumerate(MODELS):
            panel = panels[row][column]
            for place, (configuration, label) in enumerate(labels.items()):
                shown = [each for each in points if (each.configuration, each.model) == (configuration, model)]
                heights = [measure(each, bases[each.model, each.length]) for each in shown]
                at = [n + (place - 2) * width for n in range(len(shown))]
                panel.bar(at, heights, width, label=label, color=_COLOURS[configuration])
            panel.set_xticks(range(len(LENGTHS)), [show_length(length) for length in LENGTHS])
            panel.grid(axis="y", alpha=0.3)
            panel.set_axisbelow(True)
            if row == 0:
                panel.set_title(model)
            if column == 0:
                panel.set_ylabel(f"{title}: {what}")
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(labels), frameon=False
    )
    try:
        figure.savefig(path, dpi=90, metadata={"Software": None})
    except OSError as error:
        raise InvalidInputError(f"cannot write '{path}': {error.strerror}") from None
