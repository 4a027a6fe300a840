"""The figures of docs/accuracy.md: predicted against measured, and the error by shape."""

from pathlib import Path

import numpy as np
from accuracy_tables import SOURCES, rows_of

from tierplan.hardware.load import load_machine
from tierplan.sim.calibrate import split
from tierplan.sim.measurements import Rows
from tierplan.sim.silicon import kernel_s
from tierplan.sim.workloads import Floats, Gemm

_FIGURES = Path(__file__).parent.parent / "docs" / "figures"
_DEVICES = ("h100", "h200", "l40s")
_DRAWN = 6000
_DPI = 70


def draw() -> None:
    """Write all figures."""
    import matplotlib as mpl

    mpl.use("Agg")
    _scatter()
    _by_shape()


def _held_out(device: str, kind: str) -> tuple[Rows, Floats]:
    machine = load_machine(device)
    rows = next(rows for rows in rows_of(device, kind, SOURCES[device].fitted) if rows.dtype == "bfloat16")
    test = rows.part(split(rows)[1])
    return test, kernel_s(test.work, machine, measured=True)


def _scatter() -> None:
    """Predicted against measured microseconds, by device and kind."""
    import matplotlib.pyplot as plt

    kinds = ("gemm", "prefill", "decode")
    figure, axes = plt.subplots(len(kinds), len(_DEVICES), figsize=(10, 9.5))
    for row, kind in enumerate(kinds):
        for column, device in enumerate(_DEVICES):
            test, predicted = _held_out(device, kind)
            some = np.random.default_rng(0).permutation(test.n)[:_DRAWN]
            ax = axes[row][column]
            measured = test.seconds[some] * 1e6
            ax.hexbin(measured, predicted[some] * 1e6, xscale="log", yscale="log", gridsize=60, bins="log", mincnt=1)
            ends = [measured.min(), measured.max()]
            ax.plot(ends, ends, color="black", linewidth=0.7)
            ax.set_title(f"{device} {kind} bfloat16", fontsize=9)
            ax.tick_params(labelsize=7)
            if row == len(kinds) - 1:
                ax.set_xlabel("measured, us", fontsize=8)
            if column == 0:
                ax.set_ylabel("predicted, us", fontsize=8)
    figure.tight_layout()
    figure.savefig(_FIGURES / "accuracy-predicted.png", dpi=_DPI)
    plt.close(figure)


def _by_shape() -> None:
    """Mean absolute error of matrix products by rows and by size of the weights."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(_DEVICES), figsize=(10, 3.4))
    m_edges = 2.0 ** np.arange(0, 16, 1.5)
    weight_edges = 2.0 ** np.arange(10, 33, 2)
    for ax, device in zip(axes, _DEVICES, strict=True):
        test, predicted = _held_out(device, "gemm")
        assert isinstance(test.work, Gemm)
        off = np.abs(predicted / test.seconds - 1)
        weights = np.asarray(test.work.n) * np.asarray(test.work.k)
        count = np.histogram2d(np.asarray(test.work.m), weights, [m_edges, weight_edges])[0]
        total = np.histogram2d(np.asarray(test.work.m), weights, [m_edges, weight_edges], weights=off)[0]
        mean = np.where(count >= 5, total / np.maximum(count, 1), np.nan)
        drawn = ax.pcolormesh(m_edges, weight_edges, mean.T * 100, vmin=0, vmax=25, cmap="viridis")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.set_title(f"{device}: error of products, %", fontsize=9)
        ax.set_xlabel("m", fontsize=8)
        ax.tick_params(labelsize=7)
        figure.colorbar(drawn, ax=ax)
    axes[0].set_ylabel("n k", fontsize=8)
    figure.tight_layout()
    figure.savefig(_FIGURES / "accuracy-by-shape.png", dpi=_DPI)
    plt.close(figure)
