"""The figure of docs/accuracy-models.md: times of whole models, predicted against measured, on held-out points."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "accuracy-models.png"
_DPI = 80
_TIMES = {"first_s": "time to first token", "token_s": "time per output token"}


def draw(rows: Sequence[dict[str, Any]]) -> None:
    """Write the figure: a column for each time, a colour for each runtime, a line where both are equal."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    held_out = [row for row in rows if str(row["fitted on"]) != "True"]
    figure, axes = plt.subplots(1, len(_TIMES), figsize=(10, 4.6))
    for ax, (name, title) in zip(axes, _TIMES.items(), strict=True):
        for runtime in sorted({row["runtime"] for row in held_out}):
            own = [(float(r[name]), float(r[f"ours {name}"])) for r in held_out if r["runtime"] == runtime]
            measured, predicted = np.array(own).T * 1e3
            ax.scatter(measured, predicted, s=6, alpha=0.5, label=runtime)
        ends = np.array(ax.get_xlim())
        ends[0] = min(float(r[name]) for r in held_out) * 1e3
        ax.plot(ends, ends, color="black", linewidth=0.7)
        ax.set(xscale="log", yscale="log", title=title, xlabel="measured, ms", ylabel="predicted, ms")
        ax.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(_FIGURE, dpi=_DPI)
    plt.close(figure)
