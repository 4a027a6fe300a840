"""One walk through legal plans: edit a few tensors, look at the time, keep the edit or take it back."""

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Floats, Ints, Problem
from tierplan.planner.contract import Edits
from tierplan.planner.local import _kernels as kernels
from tierplan.planner.local._kernels import Changed, Guide, Tales, Where
from tierplan.planner.local.state import SHORTEST_S, State, no_guide, state_of

_MOST_TRIED = 96  # tensors that one edit may touch
_REFRESH = 500  # edits after which it is looked up anew where time is lost


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The tales as they were when the time was `seconds`."""

    seconds: float
    tales: Tales


class Walk:
    """A legal plan that is edited. `seconds` is its time; it is legal and known to the last copy at every moment.

    `guide`: wishes to draw from, beside random ones.
    """

    def __init__(self, problem: Problem, plan: Plan, edits: Edits, seed: int, guide: Guide | None = None) -> None:
        self.problem, self.edits = problem, edits
        self.state: State = state_of(problem, plan, edits.serves, edits.supply)
        self.guide = no_guide(self.state.facts) if guide is None else guide
        self.rng = np.random.default_rng(seed)
        kernels.seed(seed)
        self._name_copies(plan)
        facts = self.state.facts
        self.movable = np.flatnonzero(np.diff(facts.at) > 0)
        self.groups = _alike(self.state)
        self._where = Where(
            np.zeros(problem.n_steps), self.movable,
            np.cumsum([0] + [len(group) for group in self.groups]),
            np.concatenate([np.zeros(0, dtype=np.int64), *self.groups]),
            problem.access_start, problem.access_tensor,
        )  # fmt: skip
        self._tried = np.full(_MOST_TRIED, -1, dtype=np.int64)
        self._changed = _nothing_changed(self.state)
        self._proposals = 0

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
        if self._proposals % _REFRESH == 0:
            self.repace(self.edits.elapsed_s[:-1])
            lost_s = self.edits.elapsed_s[:-1] - self.problem.compute_s
            np.cumsum(np.maximum(lost_s, 0.0), out=self._where.lost_s)
        self._proposals += 1
        state = self.state
        self._n = kernels.propose(
            self._tried, state.access, self._where, self.guide, state.facts, state.supply, state.tales, state.rooms,
            self._changed,
        )  # fmt: skip
        return self._simulated() if self._n else None

    def follow(self, members: Ints, level: int, *, share: float) -> float | None:
        """Try what the guide wishes for some tensors at a level, pushing no others aside; None if it cannot be."""
        state = self.state
        for x in members.tolist():
            kernels.guided(x, level, state.facts, state.tales, self.guide)
        n = len(members)
        self._tried[:n] = members
        self._n = kernels.attempt(
            self._tried, n, share, False, state.facts, state.supply, state.tales, state.rooms
        )  # fmt: skip
        if not self._n:
            return None
        kernels.differences(self._tried, self._n, state.access, state.facts, state.tales, self._changed)
        return self._simulated()

    def sticking_out(self) -> Ints:
        """Tensors that lie, in some tier, above what its alternatives leave of it."""
        facts, tales = self.state.facts, self.state.tales
        out: set[int] = set()
        for x in range(self.problem.n_tensors):
            w, first = int(tales.which[x]), int(facts.stay_at[x])
            slots = slice(first, first + int(tales.n_stays[w, x]))
            above = tales.stay_offset[w, slots] + facts.size[x] > facts.usable[tales.stay_tier[w, slots]]
            if bool(above.any()):
                out.add(x)
        return np.array(sorted(out), dtype=np.int64)

    def tell_anew(self, members: Ints) -> float | None:
        """Find these tensors room as they are wished, pushing others aside; seconds then, None if it cannot be."""
        state = self.state
        if len(members) > _MOST_TRIED:
            return None
        for x in members.tolist():
            kernels.wish(x, kernels.SAME, 0, 0, 0, state.facts, state.tales)
        n = len(members)
        self._tried[:n] = members
        self._n = kernels.attempt(self._tried, n, 1.0, True, state.facts, state.supply, state.tales, state.rooms)
        if not self._n:
            return None
        kernels.differences(self._tried, self._n, state.access, state.facts, state.tales, self._changed)
        return self._simulated()

    def _simulated(self) -> float:
        """Let the simulator know what changed."""
        out = self._changed
        n_accesses, n_removed, n_added = out.n.tolist()
        return self.edits.change(
            out.access[:n_accesses].copy(), out.tier[:n_accesses].copy(), out.removed[:n_removed].copy(),
            out.added[:n_added],
        )  # fmt: skip

    def repace(self, pace_s: Floats) -> None:
        """Take steps to last so long, at least as long as they take themselves, when spare time is looked for."""
        pace_s = np.maximum(pace_s, self.edits.supply[0]) + SHORTEST_S
        kernels.repace(pace_s, self.state.facts, self.state.supply, self.state.tales)

    def keep(self) -> None:
        """Keep the edit."""
        names = self.edits.keep()
        if len(names):
            kernels.name_copies(names, len(names), self._changed, self.state.tales)

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


def _nothing_changed(state: State) -> Changed:
    """Room for what any one edit may change."""
    n_accesses, n_slots = len(state.access), state.tales.stay_tier.shape[1]

    def ints(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)

    return Changed(ints(3), ints(n_accesses), ints(n_accesses), ints(n_slots), ints(n_slots, 5), ints(n_slots))


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
