"""Solve the relaxation with HiGHS: rows over windows of time are added until none is broken."""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import numpy as np

from tierplan.ir.problem import Floats, Problem
from tierplan.planner.flow_bound import proved_s
from tierplan.planner.flow_flights import flights_of, waiting
from tierplan.planner.flow_model import Lp, build
from tierplan.planner.flow_pairs import together
from tierplan.planner.flow_places import Place
from tierplan.planner.flow_room import Lead
from tierplan.planner.flow_rows import Matrix
from tierplan.planner.flow_windows import demands, violated, whole_run

_MOST_ROUNDS = 40
_EXACT = (1e-6, 3)  # a relative rise of the bound, and the rounds without one after which no more rows are added
_QUICK = (1e-3, 1)  # where a stronger relaxation comes next
_SLOW = (1e-5, 1)  # where each round takes long
_FINE = 4.5  # with flows, the first round takes about so many times as long as without
_FIRST_BATCHES = 2
_WHILE_S = 1.0  # for which the simplex method is not asked to stop
_BUILD_S = 1e-4  # for one access and one tier
_LARGE = 5_000  # rows from which the first solve is by the interior point method
_MANY = 20_000  # rows from which a round takes long
_HUGE = 40_000  # rows from which it takes so long that it must be asked to stop
_WIDE = 15_000  # rows from which no basis is made of its solution: that may take many times as long


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """A solved relaxation: fractions by column, the beginning of each step in seconds, and the proved bound.

    `solved`: the fractions are a solution. `infeasible`: the rows contradict each other, so that no legal plan exists.
    `whole`: the problem whose plans it bounds, if not that of the program, which then has tiers of it merged:
    tier k is in `group[k]`.
    """

    lp: Lp
    x: Floats
    begin_s: Floats
    bound_s: float
    solved: bool = False
    infeasible: bool = False
    whole: Problem | None = None
    group: tuple[int, ...] = ()

    @property
    def problem(self) -> Problem:
        """The problem whose plans it bounds."""
        return self.whole or self.lp.problem

    @property
    def groups(self) -> tuple[int, ...]:
        """The tier of the program for each tier of the problem."""
        return self.group or tuple(range(self.lp.problem.n_tiers))

    @property
    def is_whole(self) -> bool:
        """Whether no tiers are merged."""
        return self.whole is None


def build_s(problem: Problem) -> float:
    """Seconds that it takes to write down the relaxation with flows, about: measured on one core."""
    return _BUILD_S * len(problem.access_tensor) * problem.n_tiers


def relax(problem: Problem, seconds: float, stop: Event | None = None) -> Relaxation:
    """Solve the relaxation of `problem` within about `seconds` of wall clock: without flows, then with them.

    The bound is valid however early the clock, or `stop` once it is set, stops the solver.
    """
    *_, last = stages(problem, time.perf_counter() + seconds, stop)
    return last


def stages(problem: Problem, until: float, stop: Event | None = None) -> Iterator[Relaxation]:
    """The relaxation without flows, and that with them if the clock leaves time; each with the best bound so far."""
    solver = Solver(build(problem, flows=False), stop)
    rough = solver.settle(until, _QUICK)
    yield rough
    if rough.infeasible or not rough.solved:
        return
    if until - time.perf_counter() < build_s(problem) + _FINE * solver.first_s:
        longer = solver.settle(until)
        if longer.solved or longer.infeasible:
            yield longer
        return
    fine = Solver(build(problem), stop).settle(until)
    bound_s = max(rough.bound_s, fine.bound_s)
    yield replace(fine if fine.solved or fine.infeasible else rough, bound_s=bound_s)


def realistic_lead(found: Relaxation, slack: float) -> Lead:
    """Steps that each copy needs, alone, at the pace of a solved relaxation, `slack` times."""
    problem, begin = found.lp.problem, found.begin_s
    n, turn = problem.n_steps, float(begin[-1])
    moves = found.lp.moves
    tensors: list[int] = moves.tensor.tolist()
    targets: list[int] = moves.target.tolist()
    seconds: list[float] = moves.alone_s.tolist()
    alone_s = {(x, k): s for x, k, s in zip(tensors, targets, seconds, strict=True)}
    ahead = np.concatenate((begin[:-1] - turn, begin))

    def lead(place: Place, tier: int) -> int:
        step = place.visit.step
        wanted = ahead[step + n] - slack * float(alone_s[place.visit.tensor, tier])
        start = int(np.searchsorted(ahead, wanted, side="right")) - 1 - n
        return max(1, step - max(start, place.visit.opens))

    return lead


class Solver:
    """HiGHS with the columns of a relaxation and of the beginning of each step, and the rows added so far."""

    def __init__(self, lp: Lp, stop: Event | None = None) -> None:
        import highspy
        from highspy import _core  # pyright: ignore[reportPrivateUsage] # highspy.Highs() greets on stdout

        self.lp, self.stop = lp, stop
        self.batches: list[Matrix] = []
        self.first_s = 0.0  # that the first round took
        self.within = np.zeros(lp.n_columns), np.ones(lp.n_columns)
        self.highs: Any = _core._Highs()  # pyright: ignore[reportPrivateUsage]
        self.highs.setOptionValue("output_flag", False)
        self.highs.setOptionValue("threads", 1)
        self.highs.setOptionValue("random_seed", 0)
        if stop is not None:
            self._obey(stop)
        n = lp.problem.n_steps
        upper = np.concatenate((np.ones(lp.n_columns), [0.0], np.full(n, highspy.kHighsInf)))
        cost = np.zeros(lp.n_columns + n + 1)
        cost[-1] = 1.0
        nothing = np.zeros(0, dtype=np.int32)
        self.highs.addCols(
            len(cost), cost, np.zeros(len(cost)), upper, 0, np.zeros(len(cost), dtype=np.int32), nothing, np.zeros(0)
        )
        self.infinity = highspy.kHighsInf
        self.add(lp.rows)
        self.wanted = demands(lp)
        self.flights = flights_of(lp) if lp.flows else []
        self.add(whole_run(lp, self.wanted))

    @property
    def n_rows(self) -> int:
        """Rows added so far."""
        return sum(rows.n_rows for rows in self.batches)

    def _obey(self, stop: Event) -> None:
        """Let long runs of the interior point method end once `stop` is set: it asks between iterations.

        Those of the simplex method, and of making a basis, are too many to ask in each: asking takes Python's lock,
        which other threads hold. The simplex method runs for a while, and then goes on.
        """
        from highspy import cb

        def ask(_kind: object, _message: str, _out: object, answer: Any, _mine: object) -> None:
            if stop.is_set():
                answer.user_interrupt = True

        self.highs.setCallback(ask, None)
        self.interrupt = cb.HighsCallbackType.kCallbackIpmInterrupt

    def settle(self, until: float, patience: tuple[float, int] | None = None) -> Relaxation:
        """Solve, and add rows that the solution breaks, until there are none or the clock says `until`.

        `patience`: the relative rise of the bound that is worth a round, and the rounds in a row that may lack it.
        """
        lp = self.lp
        enough, most_idle = patience or (_SLOW if self.n_rows > _MANY else _EXACT)
        found = Relaxation(lp, np.zeros(lp.n_columns), np.zeros(lp.problem.n_steps + 1), 0.0)
        idle, took_s = 0, 0.0
        for _ in range(_MOST_ROUNDS):
            began = time.perf_counter()
            left = until - began
            late = found.solved and self.n_rows > _WIDE and left < took_s
            if left <= 0 or late or (self.stop is not None and self.stop.is_set()):
                break
            state = self.run(left)
            took_s = time.perf_counter() - began
            self.first_s = self.first_s or took_s
            if state == "infeasible":
                return replace(found, infeasible=True)
            bound_s = max(found.bound_s, proved_s(lp, self.batches, self.prices(), self.within))
            if state != "optimal":
                return replace(found, bound_s=bound_s)
            idle = idle + 1 if bound_s <= found.bound_s * (1 + enough) else 0
            x, begin = self.fractions()
            found = Relaxation(lp, x, begin * lp.unit_s, bound_s, solved=True)
            broken = [
                violated(lp, self.wanted, x, begin),
                together(lp.crowds, x, lp.n_columns),
                waiting(lp, self.flights, x, begin),
            ]
            if not any(rows.n_rows for rows in broken) or idle >= most_idle:
                break
            for rows in broken:
                self.add(rows)
        return found

    def fix(self, bounds: dict[int, tuple[float, float]]) -> None:
        """Let columns vary only within bounds."""
        columns = np.array(list(bounds), dtype=np.int32)
        lower, upper = (np.array([pair[i] for pair in bounds.values()]) for i in (0, 1))
        self.within[0][columns], self.within[1][columns] = lower, upper
        self.highs.changeColsBounds(len(columns), columns, lower, upper)

    def add(self, rows: Matrix) -> None:
        """Add rows; a span is a difference of beginnings."""
        first = self.lp.n_columns
        n, r = self.lp.problem.n_steps, np.arange(rows.n_rows)
        timed = rows.since != rows.until
        wraps = timed & (rows.since < 0)
        parts = (
            (rows.row, rows.column, rows.value),
            (r[timed], first + rows.until[timed], np.ones(int(timed.sum()))),
            (r[timed], first + rows.since[timed] + n * wraps[timed], -np.ones(int(timed.sum()))),
            (r[wraps], np.full(int(wraps.sum()), first + n), np.ones(int(wraps.sum()))),
        )
        row, column, value = (np.concatenate([part[i] for part in parts]) for i in range(3))
        width = first + n + 1
        key, place = np.unique(row * width + column, return_inverse=True)
        value = np.bincount(place, value, minlength=len(key))
        kept = value != 0.0
        key, value = key[kept], value[kept]
        starts = np.searchsorted(key // width, r).astype(np.int32)
        upper = np.where(rows.equal, rows.lower, self.infinity)
        self.highs.addRows(rows.n_rows, rows.lower, upper, len(key), starts, (key % width).astype(np.int32), value)
        self.batches.append(rows)

    def run(self, seconds: float) -> str:
        """Solve for at most `seconds`: 'optimal', 'infeasible', or 'stopped'."""
        import highspy

        first = len(self.batches) <= _FIRST_BATCHES
        inside = self.n_rows > (_LARGE if first else _WIDE)
        self.highs.setOptionValue("solver", "ipm" if inside else "simplex")
        self.highs.setOptionValue("run_crossover", "off" if self.n_rows > _WIDE else "on")
        if self.stop is not None and self.n_rows > _HUGE:
            self.highs.startCallback(self.interrupt)
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0 and not (self.stop is not None and self.stop.is_set()):
            self.highs.setOptionValue("time_limit", self.highs.getRunTime() + (left if inside else min(left, _WHILE_S)))
            self.highs.run()
            status = self.highs.getModelStatus()
            if status == highspy.HighsModelStatus.kOptimal:
                return "optimal"
            if status == highspy.HighsModelStatus.kInfeasible:
                return "infeasible"
            if inside or status != highspy.HighsModelStatus.kTimeLimit:
                break
        return "stopped"

    def prices(self) -> list[Floats]:
        """The dual of each row, batch by batch; zeros if there are none."""
        solution = self.highs.getSolution()
        n_rows = self.n_rows
        all_prices = np.array(solution.row_dual, dtype=np.float64)
        if len(all_prices) != n_rows:
            all_prices = np.zeros(n_rows)
        return np.split(all_prices, np.cumsum([rows.n_rows for rows in self.batches])[:-1])

    def fractions(self) -> tuple[Floats, Floats]:
        """The fractions by column, and the beginning of each step and of the end in units of time."""
        value = np.array(self.highs.getSolution().col_value, dtype=np.float64)
        n = self.lp.n_columns
        return np.clip(value[:n], 0.0, 1.0), value[n:]
