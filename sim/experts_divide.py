"""Divide the room of each tier over the layers of a mixture of experts so that the loads take least time."""

# pyright: reportUnknownMemberType=false

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tierplan.sim.experts_options import ExpertOption

_SECONDS = 3.0
_GAP = 1e-4
_SLACK = 1e-6  # what the solver's tolerances may add to a bound
_FEASIBLE = 2  # HiGHS: the solution is feasible


@dataclass(frozen=True, slots=True)
class Division:
    """The index of one option per layer, None if none fits, and seconds that no division can beat."""

    taken: tuple[int, ...] | None
    bound_s: float


def divide(options: Sequence[Sequence[ExpertOption]], room: Sequence[int]) -> Division:
    """One option per layer whose times sum to the least, within `room` bytes per tier.

    Within 0.01 % of the least, or the best found in three seconds.
    Source: a multiple-choice knapsack, solved as an integer program by HiGHS.
    """
    import highspy
    from highspy import _core  # pyright: ignore[reportPrivateUsage] # highspy.Highs() greets on stdout

    flat = [option for layer in options for option in layer]
    ends = np.cumsum([len(layer) for layer in options]).tolist()
    scale = max((option.time_s for option in flat), default=1.0) or 1.0
    solver: Any = _core._Highs()  # pyright: ignore[reportPrivateUsage]
    for name, setting in (("output_flag", False), ("threads", 1), ("time_limit", _SECONDS), ("mip_rel_gap", _GAP)):
        solver.setOptionValue(name, setting)
    none, nothing = np.zeros(0, dtype=np.int32), np.zeros(len(flat), dtype=np.int32)
    cost = np.array([option.time_s / scale for option in flat])
    solver.addCols(len(flat), cost, np.zeros(len(flat)), np.ones(len(flat)), 0, nothing, none, np.zeros(0))
    columns = np.arange(len(flat), dtype=np.int32)
    solver.changeColsIntegrality(len(flat), columns, np.full(len(flat), highspy.HighsVarType.kInteger))
    for first, end in zip([0, *ends[:-1]], ends, strict=True):
        solver.addRow(1.0, 1.0, end - first, columns[first:end], np.ones(end - first))
    for tier, n_bytes in enumerate(room):
        unit = max(1, max(option.reserved[tier] for option in flat))
        share = np.array([option.reserved[tier] / unit for option in flat])
        solver.addRow(-highspy.kHighsInf, max(0, n_bytes) / unit, len(flat), columns, share)
    solver.run()
    value, told = np.array(solver.getSolution().col_value), solver.getInfo()
    bound_s = max(0.0, float(told.mip_dual_bound)) * scale * (1 - _SLACK) if math.isfinite(told.mip_dual_bound) else 0.0
    if len(value) != len(flat) or told.primal_solution_status != _FEASIBLE:
        return Division(None, bound_s)
    taken = tuple(int(np.argmax(value[first:end])) for first, end in zip([0, *ends[:-1]], ends, strict=True))
    return Division(taken if _fits(options, taken, room) else None, bound_s)


def _fits(options: Sequence[Sequence[ExpertOption]], taken: Sequence[int], room: Sequence[int]) -> bool:
    """Whether the division fits to the byte, which the solver checks within a tolerance only."""
    used = [layer[index].reserved for layer, index in zip(options, taken, strict=True)]
    return all(sum(column) <= n_bytes for column, n_bytes in zip(zip(*used, strict=True), room, strict=True))
