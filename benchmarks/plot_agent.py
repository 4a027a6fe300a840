"""The learning curve in a log of `tierplan train`: what plays save, over what the heuristics save.

python benchmarks/plot_agent.py benchmarks/agent_log.csv docs/figures/agent_curve.svg
"""

import csv
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def main(log: Path, picture: Path) -> None:
    """Draw it."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    rounds = [int(row["round"]) + 1 for row in rows]
    axes.plot(rounds, [float(row["best_saved"]) for row in rows], ".", label="best of a round's own plays")
    axes.plot(rounds, [float(row["mean_saved"]) for row in rows], ".", label="mean of a round's own plays")
    tested = [(int(row["round"]) + 1, float(row["evaluated"])) for row in rows if row["evaluated"]]
    axes.plot(*zip(*tested, strict=True), "o-", label="without noise, programs never trained on")
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.set_xlabel("round")
    axes.set_ylabel("seconds saved over the heuristics'")
    axes.legend(fontsize=8)
    figure.savefig(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
