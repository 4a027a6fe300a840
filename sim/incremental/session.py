"""A plan that is edited tensor by tensor: its time after each edit, without simulating all of it again."""

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Floats, Ints, Problem
from tierplan.ir.tiny import tiny
from tierplan.sim.incremental._kernels import (
    Copies,
    Journal,
    Path,
    Rates,
    Steps,
    attach,
    change,
    change_back,
    fill_rows,
    resimulate,
    time_steps,
)
from tierplan.sim.timeline import access_tiers, base_loads, cost_s

_WIDTH = 32  # copies under way at once that rows have room for at first
_TURNS = 8  # that an edit may need to settle before all of it is simulated again
_FRESH = 64  # edits after which the sum of all rows is added up anew: rounding


class Simulated:
    """What a plan of a problem costs: its simulated seconds."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def __call__(self, plan: Plan, /) -> float:
        """Seconds of one run, or of one turn of a cyclic program, under a legal plan."""
        return cost_s(self.problem, plan)

    def follow(self, plan: Plan, /) -> "Session":
        """Edit a legal plan step by step."""
        return Session(self.problem, plan)

    def warm(self) -> None:
        """Compile what the first call would compile, if anything."""
        problem, plan = tiny()
        cost_s(problem, plan)
        session = Session(problem, plan)
        accesses = np.zeros(1, dtype=np.int64)
        session.change(accesses, accesses, np.zeros(0, dtype=np.int64), np.array([[0, 1, 0, 0, 1]]))
        session.undo()


class Session:
    """Follows a legal plan through edits: `change`, then `keep` or `undo`.

    Copies of one step are issued in the order in which they are needed, then by tensor and target. `serves` [A] is
    the tier that serves each access, and `rows` names the copies of the plan in its order: `change` takes and gives
    such names.
    Units: seconds and bytes. Source: docs/semantics.md.
    """

    def __init__(self, problem: Problem, plan: Plan) -> None:
        tiers, links = problem.tiers, problem.links
        self.problem = problem
        self.serves = access_tiers(problem, plan)
        self.rates = Rates(
            tiers.read_bandwidth, tiers.write_bandwidth, links.bandwidth, links.channels,
            tiers.read_link, tiers.write_link,
        )  # fmt: skip
        self._access_step = problem.access_step
        self._link = np.array(
            [[links.between(j, k) for k in range(problem.n_tiers)] for j in range(problem.n_tiers)], dtype=np.int64
        )
        self._cap = _caps(problem)
        self._latency_s = links.latency_s[self._link] + tiers.latency_s[:, None] if len(links.names) else self._cap[:0]
        compute_s, tier_read, tier_write, link = base_loads(problem, plan, self.serves)
        shape = problem.n_steps
        self.steps = Steps(
            tier_read, tier_write, link, compute_s,
            np.zeros(shape), np.zeros((shape, problem.n_tiers)), np.zeros((shape, len(links.names))),
        )  # fmt: skip
        time_steps(self.steps, self.rates)
        self.copies = _no_copies(max(64, 2 * len(plan.copies)))
        self._free: Ints = np.arange(len(self.copies.start))  # rows not in use are the first `_n_free` of it
        self._n_free = len(self._free)
        table = [(c.tensor, c.source, c.target, c.start, c.done) for c in plan.copies]
        self.rows = self._add(np.array(table, dtype=np.int64).reshape(-1, 5))
        first = np.full(problem.n_steps, -1, dtype=np.int64)
        self._path, self._journal = _empty_path(first, _WIDTH), _journal(0, _WIDTH)
        for row in self.rows.tolist():
            attach(row, self.copies, self._path)
        self._begin()
        self._last: tuple[Ints, ...] | None = None
        self._edits = 0

    @property
    def elapsed_s(self) -> Floats:
        """Shape [S + 1]: how long each step, and the end, takes with what it waits for."""
        return self._path.elapsed_s

    @property
    def supply(self) -> tuple[Floats, Floats, Floats]:
        """Shapes [S], [S, K], [S, L]: how long steps take, and use tiers and links, themselves."""
        return self.steps.own_s, self.steps.tier_s, self.steps.link_s

    def change(self, accesses: Ints, tiers: Ints, removed: Ints, added: Ints) -> float:
        """Seconds of the plan in which `tiers` serve these accesses, without some copies and with others.

        Rows of `added` [C, 5]: tensor, source, target, start, done.
        """
        rows = self._add(added)
        step, old = self._access_step[accesses], self.serves[accesses]
        reads, writes = self.problem.access_read[accesses], self.problem.access_write[accesses]
        extra = change(
            self.problem.cyclic, step, old, tiers, reads, writes, removed, rows,
            self.steps, self.rates, self.copies, self._path, self._journal,
        )  # fmt: skip
        self.serves[accesses] = tiers
        self._last = (accesses, step, old, tiers, reads, writes, removed, rows)
        self._before_s = self.seconds
        self._fresh = bool(np.isnan(extra))
        if self._fresh:
            self._begin()
        else:
            self.seconds += extra
        return self.seconds

    def keep(self) -> Ints:
        """Keep the last change; the names of the copies that it added."""
        assert self._last is not None
        removed, rows = self._last[-2:]
        self._release(removed)
        self._last = None
        self._edits += 1
        if self._edits % _FRESH == 0:
            self.seconds = float(self._path.elapsed_s.sum())
        return rows

    def undo(self) -> None:
        """Take the last change back."""
        assert self._last is not None
        accesses, step, old, tiers, reads, writes, removed, rows = self._last
        change_back(
            step, old, tiers, reads, writes, removed, rows,
            self.steps, self.rates, self.copies, self._path, self._journal,
        )  # fmt: skip
        self.serves[accesses] = old
        self._release(rows)
        self._last = None
        if self._fresh:
            self._begin()
        self.seconds = self._before_s

    def _add(self, added: Ints) -> Ints:
        """Rows for copies that no step issues yet."""
        n = len(added)
        while self._n_free < n:
            self._more_rows()
        self._n_free -= n
        rows = self._free[self._n_free : self._n_free + n].copy()
        if n:
            fill_rows(
                rows,
                added,
                self.problem.n_steps,
                self.problem.size,
                self._link,
                self._cap,
                self._latency_s,
                self.copies,
            )
        return rows

    def _release(self, rows: Ints) -> None:
        """Rows that are no longer in use."""
        self._free[self._n_free : self._n_free + len(rows)] = rows
        self._n_free += len(rows)

    def _more_rows(self) -> None:
        old = len(self.copies.start)
        more = _no_copies(2 * old)
        for wide, column in zip(more, self.copies, strict=True):
            wide[:old] = column
        self.copies = more
        free = self._free[: self._n_free]
        self._free = np.concatenate((np.arange(old, 2 * old), free, np.zeros(old - len(free), dtype=np.int64)))
        self._n_free += old

    def _begin(self) -> None:
        """Simulate all of it, with room for as many copies under way at once as there are."""
        n, cyclic, width = self.problem.n_steps, self.problem.cyclic, self._path.active.shape[1]
        while True:
            self._path = _empty_path(self._path.first, width)
            extra = resimulate(0, n, cyclic, self.steps, self.rates, self.copies, self._path, _journal(0, width))
            if not np.isnan(extra):
                break
            width *= 2
        if len(self._journal.step) == 0 or self._journal.active.shape[1] != width:
            self._journal = _journal(_TURNS * (n + 1), width)
        self.seconds = float(self._path.elapsed_s.sum())


def _caps(problem: Problem) -> Floats:
    """Shape [N, K]: the rate at which a copy of each tensor can be read from each tier."""
    tiers = problem.tiers
    cap = np.repeat(tiers.read_bandwidth[None, :], problem.n_tensors, axis=0)
    for k, curve in enumerate(tiers.read_curve):
        if curve:
            chunks, rates = zip(*curve, strict=True)
            cap[:, k] = np.interp(problem.size, chunks, rates)
    return cap


def _no_copies(n: int) -> Copies:
    def ints() -> Ints:
        return np.zeros(n, dtype=np.int64)

    def floats() -> Floats:
        return np.zeros(n, dtype=np.float64)

    return Copies(
        ints(), ints(), ints(), ints(), ints(), ints(), ints(), ints(),
        floats(), floats(), floats(), floats(), floats(), ints(), ints(),
    )  # fmt: skip


def _empty_path(first: Ints, width: int) -> Path:
    rows = len(first) + 1
    return Path(
        first, np.zeros(rows), np.full(rows, -1, dtype=np.int64), np.zeros((rows, width), dtype=np.int64),
        np.zeros((rows, width)), np.zeros((rows, width)),
    )  # fmt: skip


def _journal(rows: int, width: int) -> Journal:
    return Journal(
        np.zeros(1, dtype=np.int64), np.zeros(rows, dtype=np.int64), np.zeros(rows),
        np.zeros(rows, dtype=np.int64), np.zeros((rows, width), dtype=np.int64), np.zeros((rows, width)),
        np.zeros((rows, width)),
    )  # fmt: skip
