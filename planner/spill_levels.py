"""Which tier holds each tensor between two uses: short gaps lie in fast tiers, long ones are spilled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.problem import NO_LINK, Bools, Floats, Ints, Mode, Problem
from tierplan.planner.visits import Visit

_NOT_YET = -1
_A_COPY = 1e-4  # a copy saved is worth so much of a tier: small tensors are not moved about


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Where tensors lie, by visit [V] in the order of tensors: `gap` before each visit, and `serve` at it.

    `base` [N] is where a tensor that exists lies throughout.
    """

    gap: Ints
    serve: Ints
    base: Ints


class Table:
    """The visits of all tensors as arrays [V]; those of tensor x are `at[x] : at[x + 1]`."""

    def __init__(self, problem: Problem, visits: Sequence[tuple[Visit, ...]]) -> None:
        self.problem, self.visits = problem, visits
        flat = [v for of_tensor in visits for v in of_tensor]
        n = problem.n_steps
        self.at = np.concatenate(([0], np.cumsum([len(v) for v in visits]))).astype(np.int64)
        self.tensor = np.array([v.tensor for v in flat], dtype=np.int64)
        self.step = np.array([v.step for v in flat], dtype=np.int64)
        self.since = np.array([v.since for v in flat], dtype=np.int64)
        self.access = np.array([v.access for v in flat], dtype=np.int64)
        self.mode = np.array([int(v.mode) for v in flat], dtype=np.int64)
        self.is_end: Bools = self.step == n
        self.produced: Bools = np.array([v.before is None for v in flat], dtype=np.bool_)
        first = np.zeros(len(flat), dtype=np.bool_)
        first[self.at[:-1][np.diff(self.at) > 0]] = True
        self.from_base: Bools = first & ~self.produced  # what lies in its base since the beginning or the turn before
        self.exists = np.zeros(problem.n_tensors, dtype=np.bool_)
        self.exists[self.tensor[self.from_base]] = True
        self.size = problem.size[self.tensor]
        read, write = problem.access_read, problem.access_write
        real = ~self.is_end
        self.bytes = np.where(self.is_end, self.size, 0)
        self.bytes[real] = (read + write)[self.access[real]]
        self.last = np.zeros(len(flat), dtype=np.bool_)  # no visit needs this value after it
        self.last[:-1] = self.produced[1:] | (self.tensor[1:] != self.tensor[:-1])
        self.last[-1:] = True


class Filling:
    """Fills tier after tier, fastest first: what saves most bytes per byte and step is let in while there is room."""

    def __init__(self, table: Table, room: Ints, pace_s: Floats) -> None:
        self.table, self.problem, self.room = table, table.problem, room
        self.n = self.problem.n_steps
        self.begin_s = np.concatenate(([0.0], np.cumsum(pace_s)))

    def levels(self) -> Levels | None:
        """The tiers of all gaps and visits; None if what must lie in a tier does not fit there."""
        problem, table, n_tiers = self.problem, self.table, self.problem.n_tiers
        gap = np.full(len(table.step), _NOT_YET, dtype=np.int64)
        serve = np.full(len(table.step), _NOT_YET, dtype=np.int64)
        base = np.full(problem.n_tensors, _NOT_YET, dtype=np.int64)
        if not problem.cyclic:
            base[table.exists] = problem.home[table.exists]
        direct = np.flatnonzero(problem.tiers.direct)
        for k in range(n_tiers):
            if not self._fill(k, gap, serve, base, must=k == direct[-1]):
                return None
        return Levels(gap, serve, base) if (gap[~table.produced] >= 0).all() else None

    def _fill(self, k: int, gap: Ints, serve: Ints, base: Ints, *, must: bool) -> bool:
        """Let in what tier k has room for; whether all that `must` be served from it fits."""
        from tierplan.planner._kernels import fill_tier, passing

        table, problem, n = self.table, self.problem, self.n
        room, slowest = int(self.room[k].max()), k == problem.n_tiers - 1
        load = room - self.room[k]
        mine = np.flatnonzero((base == k) & table.exists)
        load += int(problem.size[mine].sum())
        counted = np.isin(table.tensor, mine)
        if must:
            forced = np.flatnonzero((serve < 0) & ~table.is_end & ~counted)
            np.add.at(load, table.step[forced], table.size[forced])
            counted[forced] = True
            if load.max(initial=0) > room:
                return False
        x = np.flatnonzero(table.exists & (base < 0) & (problem.size <= room)) if problem.cyclic else np.zeros(0, int)
        may_stay = (gap < 0) & ~table.produced & ~table.from_base & (table.size <= room)
        if slowest:
            may_stay &= ~table.exists[table.tensor]
        open_gap = np.flatnonzero(may_stay)
        visit = np.zeros(0, dtype=np.int64)
        if problem.tiers.direct[k] and not slowest:
            visit = np.flatnonzero((serve < 0) & ~table.is_end & (table.size <= room))
        leads = self._leads(k)
        head, tail = passing(
            k, must, len(gap), n, table.at, table.since, table.step, table.mode, table.produced, table.size,
            table.tensor, *leads, gap, serve, load,
        )  # fmt: skip
        since, until = self._window(visit, *leads)
        total = np.bincount(table.tensor, table.bytes, minlength=problem.n_tensors)
        lo = np.concatenate((np.zeros(len(x), dtype=np.int64), table.since[open_gap], since))
        hi = np.concatenate((np.full(len(x), n), np.minimum(table.step[open_gap] + 1, n), until))
        kind = np.repeat(np.array([0, 1, 2]), [len(x), len(open_gap), len(visit)])
        which = np.concatenate((x, open_gap, visit))
        worth = np.concatenate((total[x], self._worth(open_gap), table.bytes[visit] * 0.5))
        size = np.concatenate((problem.size[x], table.size[open_gap], table.size[visit]))
        worth += _A_COPY * room
        order = np.argsort(-worth / (np.maximum(size, 1) * np.maximum(hi - lo, 1)), kind="stable")
        fill_tier(
            k, room, order, kind, which, lo, hi, size, table.at, table.tensor, table.since, table.step,
            table.produced, bool(problem.tiers.direct[k]), head, tail, load, counted, gap, serve, base,
        )  # fmt: skip
        at_base = base[table.tensor] == k
        gap[at_base & (gap < 0) & ~table.produced] = k
        if problem.tiers.direct[k]:
            serve[(at_base | must) & (serve < 0) & ~table.is_end] = k
        return True

    def _worth(self, v: Ints) -> Floats:
        """Bytes that need not be moved if a tensor stays over the gaps before these visits."""
        table = self.table
        worth = table.bytes[v].astype(np.float64)
        only = table.last[v] & table.produced[v - 1]
        worth[only] += table.bytes[v - 1][only]
        return worth

    def _leads(self, k: int) -> tuple[Ints, Ints]:
        """Shapes [V], [V]: steps that a copy in from the next slower tier takes before each visit, and out after it."""
        table, n = self.table, self.n
        step = np.minimum(table.step, n - 1)
        begin = self.begin_s[table.step]
        since = np.searchsorted(self.begin_s, begin - self._copy_s(k + 1, k)[table.tensor], side="right") - 1
        into = np.clip(table.step - since, 1, np.maximum(table.step, 1))
        before = np.clip(table.since + 1, 0, n)
        until = np.searchsorted(self.begin_s, self.begin_s[before] + self._copy_s(k, k + 1)[table.tensor], side="left")
        return into, np.clip(until - before, 1, np.maximum(n - step, 1))

    def _copy_s(self, source: int, target: int) -> Floats:
        """Shape [N]: seconds to copy each tensor from one tier to another; none if no link leads there."""
        problem, links, tiers = self.problem, self.problem.links, self.problem.tiers
        if max(source, target) >= problem.n_tiers or links.between(source, target) == NO_LINK:
            return np.zeros(problem.n_tensors)
        link = links.between(source, target)
        rate = min(float(links.bandwidth[link]), float(tiers.read_bandwidth[source]))
        rate = min(rate, float(tiers.write_bandwidth[target]))
        return problem.size / rate + float(links.latency_s[link] + tiers.latency_s[source])

    def _window(self, visit: Ints, into: Ints, out: Ints) -> tuple[Ints, Ints]:
        """The steps for which a tensor lies in a tier if it is only there for one visit, copies included."""
        table, n = self.table, self.n
        step = table.step[visit]
        since = np.maximum(step - into[visit], 0)
        leaves = (table.mode[visit] != Mode.READ) & ~table.last[visit]
        after = np.minimum(visit + 1, len(out) - 1)
        until = np.where(leaves, np.clip(step + 1 + out[after], step + 1, n), step + 1)
        return np.where(table.produced[visit], step, since), until
