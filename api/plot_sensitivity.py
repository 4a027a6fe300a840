"""The plot of a sensitivity: time over factor, one line for each part of the machine that matters."""

# pyright: basic
import importlib.util
import io
import os
from pathlib import Path

from tierplan.ir.errors import InvalidInputError, MissingDependencyError
from tierplan.sensitivity import CAPACITY, Sensitivity
from tierplan.terminal import write_bytes_whole

_MOVES = 1e-3


def check_plot() -> None:
    """Refuse to begin without matplotlib.

    Raises: MissingDependencyError: it is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("matplotlib", "plot")


def draw(found: Sensitivity, title: str, path: Path) -> None:
    """Write the plot; its kind is that of the file's name (.png, .svg, .pdf).

    Raises: InvalidInputError: a kind that matplotlib does not write, or a folder that cannot be written to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    kind = path.suffix.removeprefix(".") or "png"
    if kind not in canvas.get_supported_filetypes():
        raise InvalidInputError(f"cannot draw a '.{kind}' file; name it .png, .svg or .pdf")
    axes = figure.subplots()
    still: list[str] = []
    for knob in dict.fromkeys(point.knob for point in found.points):
        points = [p for p in found.points if p.knob == knob and p.time_s is not None]
        times = [1e3 * p.time_s for p in points if p.time_s is not None]
        if not times or max(times) - min(times) <= _MOVES * 1e3 * found.base_s:
            still.append(knob.label)
            continue
        style = "o--" if knob.what == CAPACITY else "s-"
        axes.plot([p.factor for p in points], times, style, label=knob.label)
    axes.axhline(1e3 * found.base_s, color="0.6", linewidth=0.8)
    axes.set_xscale("log", base=2)
    factors = sorted({p.factor for p in found.points})
    axes.set_xticks(factors, [f"{factor:g}" for factor in factors])
    axes.set_xlabel("factor on the capacity or bandwidth")
    axes.set_ylabel("ms a turn")
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    if axes.has_data() and axes.get_legend_handles_labels()[0]:
        axes.legend()
    if still:
        axes.annotate("no effect: " + ", ".join(still), (0.01, 0.01), xycoords="axes fraction", fontsize=7, wrap=True)
    written = io.BytesIO()
    figure.savefig(written, format=kind, dpi=110, metadata={} if kind != "png" else {"Software": None})
    write_bytes_whole(Path(os.fspath(path)), written.getvalue())
