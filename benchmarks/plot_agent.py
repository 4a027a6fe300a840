# pyright: basic
"""Pictures of training, of its ablations, and of the agent beside other methods.

python benchmarks/plot_agent.py curve benchmarks/agent_log.csv docs/figures/agent_curve.svg
python benchmarks/plot_agent.py ablation benchmarks/agent_ablation.csv docs/figures/agent_ablation.svg
python benchmarks/plot_agent.py methods benchmarks/agent_rows.csv docs/figures/agent_methods.svg
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

Rows = list[dict[str, str]]
mpl.rcParams["svg.hashsalt"] = "tierplan"
_WINDOW = 5  # rounds that a curve is averaged over
_SHOWN = ("msa", "flow", "anneal", "agent", "hybrid")


def curve(rows: Rows) -> Any:
    """What plays save over what the heuristics save, by round of training."""
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    rounds = [int(row["round"]) + 1 for row in rows]
    axes.plot(
        rounds, [float(row["best_saved"]) for row in rows], ".", markersize=3, label="best of a round's own plays"
    )
    axes.plot(
        rounds, [float(row["mean_saved"]) for row in rows], ".", markersize=3, label="mean of a round's own plays"
    )
    tested = [(int(row["round"]) + 1, float(row["evaluated"])) for row in rows if row["evaluated"]]
    axes.plot(*zip(*tested, strict=True), "o-", label="without noise, programs never trained on")
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.set_xlabel("round")
    axes.set_ylabel("seconds saved over the heuristics'")
    axes.legend(fontsize=8)
    return figure


def ablation(rows: Rows) -> Any:
    """The same for each arm and program, the mean over seeds."""
    programs = [name for name in dict.fromkeys(row["program"] for row in rows) if name != "unseen"]
    figure, axes = plt.subplots(1, len(programs), figsize=(9, 3.4), layout="constrained")
    for panel, program in zip(axes, programs, strict=True):
        arms: defaultdict[str, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            if row["program"] == program:
                arms[row["arm"]][int(row["round"]) + 1].append(float(row["mean_saved"]))
        for arm, by_round in arms.items():
            means = np.array([np.mean(values) for _, values in sorted(by_round.items())])
            smooth = np.convolve(means, np.ones(_WINDOW) / _WINDOW, mode="valid")
            panel.plot(np.arange(len(smooth)) + _WINDOW, smooth, label=arm, linewidth=1.3)
        panel.axhline(1.0, color="grey", linewidth=0.8)
        panel.set_title(program, fontsize=8)
        panel.set_xlabel("round")
    axes[0].set_ylabel("seconds saved over the heuristics'\n(mean of own plays)", fontsize=8)
    axes[-1].legend(fontsize=7)
    return figure


def methods(rows: Rows) -> Any:
    """The gap of methods to the proved bound, program by program."""
    gaps: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["method"] in _SHOWN:
            gaps[row["program"]][row["method"]].append(100 * (float(row["time_s"]) / float(row["bound_s"]) - 1))
    whole = [name for name, found in gaps.items() if "hybrid" in found]
    names = sorted(whole, key=lambda name: np.mean(gaps[name]["msa"]))
    figure, axes = plt.subplots(figsize=(7, 0.24 * len(names) + 1), layout="constrained")
    for marker, method in zip("sDo^*", _SHOWN, strict=True):
        points = [(np.mean(gaps[name][method]), i) for i, name in enumerate(names) if gaps[name][method]]
        axes.plot(*zip(*points, strict=True), marker, label=method, markersize=5, alpha=0.8)
    axes.set_yticks(range(len(names)), [name.split("://")[1] for name in names], fontsize=7)
    axes.set_xlabel("time over the proved bound, %")
    axes.grid(axis="x", linewidth=0.3)
    axes.legend(fontsize=8)
    return figure


def main(what: str, path: Path, picture: Path) -> None:
    """Draw it."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = {"curve": curve, "ablation": ablation, "methods": methods}[what](rows)
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
