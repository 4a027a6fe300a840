"""One walk through legal plans: edit a few tensors, look at the time, keep the edit or take it back."""

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.plan import Copy, Plan
from tierplan.ir.problem import Floats, Ints, Problem
from tierplan.planner.contract import Edits
from tierplan.planner.local import _kernels as kernels
from tierplan.planner.local._kernels import Tales
from tierplan.planner.local.state import State, state_of

_MOST_TRIED = 96  # tensors that one edit may touch
_REFRESH = 500  # edits after which it is looked up anew where time is lost


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The tales as they were when the time was `seconds`."""

    seconds: float
    tales: Tales


class Walk:
    """A legal plan that is edited. `seconds` is its time; it is legal and known to the last copy at every moment."""

    def __init__(self, problem: Problem, plan: Plan, edits: Edits, seed: int) -> None:
        self.problem, self.edits = problem, edits
        self.state: State = state_of(problem, plan, edits.serves, edits.supply)
        self.rng = np.random.default_rng(seed)
        kernels.seed(seed)
        self._name_copies(plan)
        facts = self.state.facts
        self.movable = np.flatnonzero(np.diff(facts.at) > 0)
        self.groups = _alike(self.state)
        self._tried = np.full(_MOST_TRIED, -1, dtype=np.int64)
        self._drawn = 0
        self._cumulative: Floats = np.zeros(0)

    @property
    def seconds(self) -> float:
        """Seconds of one run, or one turn, of the plan as it stands."""
        return self.edits.seconds

    def snapshot(self) -> Snapshot:
        """The plan as it stands, to be made a plan later."""
        return Snapshot(self.seconds, copy.deepcopy(self.state.tales))

    def plan(self, snapshot: Snapshot) -> Plan:
        """The plan of a snapshot."""
        state = self.state
        there = State(
            state.problem, state.facts, state.supply, snapshot.tales, state.rooms, state.access, state.taken
        )  # fmt: skip
        return there.plan()

    def propose(self) -> float | None:
        """Try a random edit; seconds of the plan with it, until `keep` or `undo`. None if it cannot be made."""
        facts, tales, rng = self.state.facts, self.state.tales, self.rng
        way = rng.random()
        if way < 0.15 and self.groups:
            members = self.groups[int(rng.integers(len(self.groups)))]
            drawn = kernels.draw(int(members[0]), facts)
            for x in members.tolist():
                kernels.wish(x, *drawn, facts, tales)
        else:
            x = self._somewhere()
            others = self._near(x) if way < 0.35 else []
            members = np.array([x, *others], dtype=np.int64)
            for y in members.tolist():
                kernels.wish(y, *kernels.draw(y, facts), facts, tales)
        return self.change(members, share=float(rng.choice((0.5, 1.0, 1.0, 1.3, 2.0))))

    def change(self, members: Ints, *, share: float, push: bool = True) -> float | None:
        """Try the wishes that were written for some tensors; None if they cannot be met."""
        state = self.state
        n = len(members)
        self._tried[:n] = members
        n = kernels.attempt(self._tried, n, share, push, state.facts, state.supply, state.tales, state.rooms)
        if n == 0:
            return None
        self._n = n
        accesses: list[Ints] = []
        tiers: list[Ints] = []
        removed: list[int] = []
        self._added: list[tuple[int, int]] = []
        added: list[Copy] = []
        for x in self._tried[:n].tolist():
            self._compare(x, accesses, tiers, removed, added)
        return self.edits.change(
            np.concatenate(accesses), np.concatenate(tiers), np.array(removed, dtype=np.int64), added
        )

    def _compare(self, x: int, accesses: list[Ints], tiers: list[Ints], removed: list[int], added: list[Copy]) -> None:
        """What is different between the tales of a tensor."""
        facts, tales = self.state.facts, self.state.tales
        new = int(tales.which[x])
        old = 1 - new
        visits = slice(int(facts.at[x]), int(facts.at[x + 1]))
        access = self.state.access[visits]
        differs = (tales.serves[0, visits] != tales.serves[1, visits]) & (access >= 0)
        accesses.append(access[differs])
        tiers.append(tales.serves[new, visits][differs])
        first = int(facts.copy_at[x])
        before = {row: int(tales.copy_row[old, slot]) for slot, row in enumerate(self._rows(x, old), first)}
        for slot, row in enumerate(self._rows(x, new), first):
            name = before.pop(row, None)
            if name is None:
                added.append(Copy(x, *row))
                self._added.append((new, slot))
            else:
                tales.copy_row[new, slot] = name
        removed += before.values()

    def _rows(self, x: int, w: int) -> list[tuple[int, int, int, int]]:
        facts, tales = self.state.facts, self.state.tales
        first = int(facts.copy_at[x])
        slots = slice(first, first + int(tales.n_copies[w, x]))
        if slots.stop == slots.start:
            return []
        return list(
            zip(
                tales.copy_source[w, slots].tolist(), tales.copy_target[w, slots].tolist(),
                tales.copy_start[w, slots].tolist(), tales.copy_done[w, slots].tolist(), strict=True,
            )
        )  # fmt: skip

    def keep(self) -> None:
        """Keep the edit."""
        names = self.edits.keep().tolist()
        for (w, slot), name in zip(self._added, names, strict=True):
            self.state.tales.copy_row[w, slot] = name

    def undo(self) -> None:
        """Take the edit back."""
        state = self.state
        self.edits.undo()
        kernels.take_back(self._tried, self._n, state.facts, state.supply, state.tales, state.rooms)

    def _name_copies(self, plan: Plan) -> None:
        seen: defaultdict[int, int] = defaultdict(int)
        for moved, name in zip(plan.copies, self.edits.rows.tolist(), strict=True):
            slot = int(self.state.facts.copy_at[moved.tensor]) + seen[moved.tensor]
            self.state.tales.copy_row[0, slot] = name
            seen[moved.tensor] += 1

    def _somewhere(self) -> int:
        """A tensor of a step that waits or streams for longer than it computes, or any tensor."""
        rng = self.rng
        if self._drawn % _REFRESH == 0:
            lost = self.edits.elapsed_s[:-1] - self.problem.compute_s
            self._cumulative = np.cumsum(np.maximum(lost, 0.0))
        self._drawn += 1
        total = float(self._cumulative[-1])
        if total > 0 and rng.random() < 0.7:
            t = int(np.searchsorted(self._cumulative, rng.random() * total, side="right"))
            return self._of_step(min(t, self.problem.n_steps - 1))
        return int(self.movable[rng.integers(len(self.movable))])

    def _of_step(self, t: int) -> int:
        start = self.problem.access_start
        while start[t] == start[t + 1]:
            t = int(self.rng.integers(self.problem.n_steps))
        return int(self.problem.access_tensor[self.rng.integers(start[t], start[t + 1])])

    def _near(self, x: int) -> list[int]:
        """One to three other tensors that steps close to a use of tensor x access."""
        facts, n = self.state.facts, self.problem.n_steps
        t = int(facts.step[self.rng.integers(facts.at[x], facts.at[x + 1])])
        found: dict[int, None] = {}
        for _ in range(int(self.rng.integers(1, 4))):
            found[self._of_step(int(np.clip(t + self.rng.integers(-6, 7), 0, n - 1)))] = None
        found.pop(x, None)
        return list(found)


def _alike(state: State) -> Sequence[Ints]:
    """Groups of tensors of equal size that are used in the same way at the same distances: layers that repeat."""
    facts, problem = state.facts, state.problem
    found: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for x in range(problem.n_tensors):
        visits = slice(int(facts.at[x]), int(facts.at[x + 1]))
        if visits.stop == visits.start:
            continue
        steps, real = facts.step[visits], ~facts.is_end[visits]
        access = state.access[visits][real]
        shape = tuple((steps[real] - steps[0]).tolist())
        streamed = (problem.access_read[access] + problem.access_write[access]).tolist()
        key = (int(problem.size[x]), len(steps), shape, tuple(facts.mode[visits].tolist()), *streamed)
        found[key].append(x)
    return [np.array(members, dtype=np.int64) for members in found.values() if 2 <= len(members) <= _MOST_TRIED // 2]
