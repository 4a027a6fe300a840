"""Offsets by constraint programming: one rectangle per piece, none of which overlap (OR-Tools CP-SAT)."""

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from ortools.sat.python import cp_model

from tierplan.ir.buffers import Ints
from tierplan.planner.offset_problem import Blocks


class Verdict(Enum):
    """What CP-SAT found out."""

    FITS = auto()
    CANNOT_FIT = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict, and the offsets (in units) where it is FITS."""

    verdict: Verdict
    offset: Ints


def ask(b: Blocks, capacity: int, *, hint: Ints | None, seed: int, limit_s: float, wall_s: float) -> Answer:
    """Ask CP-SAT whether `b` fits `capacity` units.

    Units: `limit_s` is CP-SAT's deterministic time, so that the answer is the same on every machine; `wall_s` seconds.
    """
    model = cp_model.CpModel()
    times = np.unique(np.concatenate((b.start, b.stop)))
    start, stop = np.searchsorted(times, b.start), np.searchsorted(times, b.stop)
    offsets: list[cp_model.IntVar] = []
    spans: list[cp_model.IntervalVar] = []
    heights: list[cp_model.IntervalVar] = []
    for i in range(len(b.height)):
        top = capacity - int(b.height[i])
        if top < 0 or b.fixed[i] > top:
            return Answer(Verdict.CANNOT_FIT, np.empty(0, np.int64))
        offset = _offset(model, top, int(b.align[i]), int(b.fixed[i]))
        offsets.append(offset)
        for p in range(int(b.first[i]), int(b.first[i + 1])):
            held = int(b.high[p] - b.low[p])
            spans.append(model.new_fixed_size_interval_var(int(start[p]), int(stop[p] - start[p]), ""))
            heights.append(model.new_fixed_size_interval_var(offset + int(b.low[p]), held, ""))
        if hint is not None:
            model.add_hint(offset, min(int(hint[i]), top))
    model.add_no_overlap_2d(spans, heights)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.catch_sigint_signal = False
    solver.parameters.random_seed = seed
    solver.parameters.max_deterministic_time = limit_s
    solver.parameters.max_time_in_seconds = max(0.01, wall_s)
    status = solver.solve(model)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Answer(Verdict.FITS, np.array([solver.value(o) for o in offsets], np.int64))
    verdict = Verdict.CANNOT_FIT if status == cp_model.INFEASIBLE else Verdict.UNKNOWN
    return Answer(verdict, np.empty(0, np.int64))


def _offset(model: cp_model.CpModel, top: int, align: int, fixed: int) -> cp_model.IntVar:
    if fixed >= 0:
        return model.new_constant(fixed)
    if align == 1:
        return model.new_int_var(0, top, "")
    return _multiple(model, top, align)


def _multiple(model: cp_model.CpModel, top: int, align: int) -> cp_model.IntVar:
    offset = model.new_int_var(0, top, "")
    factor = model.new_int_var(0, top // align, "")
    model.add(offset == align * factor)
    return offset
