"""A legal plan as arrays that the kernels edit, and back."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.plan import Copy, Plan, Residency
from tierplan.ir.problem import NO_HOME, NO_LINK, Floats, Ints, Keep, Mode, Problem
from tierplan.ir.tiny import tiny
from tierplan.planner.local import _kernels as kernels
from tierplan.planner.local._kernels import Changed, Facts, Guide, Rooms, Supply, Tales, Where, put_in
from tierplan.planner.visits import Visit, turns, visits_of

_SPARE_SLOTS = 4
SHORTEST_S = 1e-12  # that a step is taken to last


@dataclass(frozen=True, slots=True)
class State:
    """The tales of all tensors, and the room and link time that they hold. `taken`: the plan whose choices hold."""

    problem: Problem
    facts: Facts
    supply: Supply
    tales: Tales
    rooms: Rooms
    access: Ints  # [V]: the access of each visit, -1 for the end
    taken: Plan

    def plan(self) -> Plan:
        """The plan as it stands; copies by issue, then by what is needed first."""
        n, tales = self.problem.n_steps, self.tales
        residencies: list[Residency] = []
        copies: list[Copy] = []
        for x in range(self.problem.n_tensors):
            w, first = int(tales.which[x]), int(self.facts.stay_at[x])
            for slot in range(first, first + int(tales.n_stays[w, x])):
                tier, offset = int(tales.stay_tier[w, slot]), int(tales.stay_offset[w, slot])
                start, stop = int(tales.stay_start[w, slot]), int(tales.stay_stop[w, slot])
                spans = [(start, stop)] if start >= 0 else [(start + n, n), (0, stop)]
                residencies += [Residency(x, tier, offset, a, b) for a, b in spans]
            copies += self.copies_of(x)
        copies.sort(key=lambda c: (c.start, c.done, c.tensor, c.target))
        return Plan(tuple(residencies), tuple(copies), self.taken.taken)

    def copies_of(self, x: int) -> list[Copy]:
        """The copies of one tensor."""
        tales = self.tales
        w, first = int(tales.which[x]), int(self.facts.copy_at[x])
        slots = slice(first, first + int(tales.n_copies[w, x]))
        rows = zip(
            tales.copy_source[w, slots].tolist(), tales.copy_target[w, slots].tolist(),
            tales.copy_start[w, slots].tolist(), tales.copy_done[w, slots].tolist(), strict=True,
        )  # fmt: skip
        return [Copy(x, *row) for row in rows]


def state_of(problem: Problem, plan: Plan, serves: Ints, supply: tuple[Floats, Floats, Floats]) -> State:
    """The state of a legal plan.

    Args:
        serves: shape [A], the tier that serves each access.
        supply: how long steps take, and use tiers and links: shapes [S], [S, K], [S, L].
    """
    visits = visits_of(problem)
    stays = _stays(problem, plan)
    copies: defaultdict[int, list[Copy]] = defaultdict(list)
    for copy in plan.copies:
        copies[copy.tensor].append(copy)
    flat = [visit for of_tensor in visits for visit in of_tensor]
    n_visits = np.array([len(v) for v in visits], dtype=np.int64)
    at = np.concatenate(([0], np.cumsum(n_visits)))
    n_stays = np.array([len(stays[x]) for x in range(problem.n_tensors)], dtype=np.int64)
    n_copies = np.array([len(copies[x]) for x in range(problem.n_tensors)], dtype=np.int64)
    slots = np.maximum(2 * n_visits * max(1, problem.n_tiers - 1) + _SPARE_SLOTS, np.maximum(n_stays, n_copies))
    stay_at = np.concatenate(([0], np.cumsum(slots)))
    facts = _facts(problem, visits, at, stay_at)
    booked = np.zeros((problem.n_steps, len(problem.links.names)))
    held = Supply(supply[0] + SHORTEST_S, *supply[1:], booked)
    tales = _empty_tales(problem.n_tensors, len(flat), int(stay_at[-1]))
    owner = np.repeat(np.arange(problem.n_tensors), np.diff(stay_at))
    rooms = Rooms(
        np.zeros(problem.n_tiers, dtype=np.int64), np.zeros((problem.n_tiers, int(stay_at[-1]) + 1), dtype=np.int64),
        owner,
    )  # fmt: skip
    reserved = np.zeros(problem.n_tiers, dtype=np.int64)
    for taken in plan.taken:
        reserved += np.array(problem.choices[taken.choice].alternatives[taken.alternative].reserved, dtype=np.int64)
    facts.usable[:] = np.maximum(0, facts.usable - reserved)
    access = np.array([visit.access for visit in flat], dtype=np.int64)
    state = State(problem, facts, held, tales, rooms, access, plan)
    for x in range(problem.n_tensors):
        _fill(state, x, stays[x], copies[x], visits[x], serves)
        put_in(x, 0, facts, held, tales, rooms)
    return state


def _fill(
    state: State,
    x: int,
    stays: list[tuple[int, int, int, int]],
    copies: list[Copy],
    visits: Sequence[Visit],
    serves: Ints,
) -> None:
    """Write what holds of one tensor into its first tale."""
    problem, facts, tales = state.problem, state.facts, state.tales
    first, n = int(facts.stay_at[x]), problem.n_steps
    tales.n_stays[0, x] = len(stays)
    for slot, (tier, start, stop, offset) in enumerate(stays, first):
        tales.stay_tier[0, slot], tales.stay_offset[0, slot] = tier, offset
        tales.stay_start[0, slot], tales.stay_stop[0, slot] = start, stop
    tales.n_copies[0, x] = len(copies)
    for slot, copy in enumerate(copies, first):
        tales.copy_source[0, slot], tales.copy_target[0, slot] = copy.source, copy.target
        tales.copy_start[0, slot], tales.copy_done[0, slot] = copy.start, copy.done
    whole = [tier for tier, start, stop, _ in stays if stop - start >= n]
    base = max(whole, default=max((tier for tier, *_ in stays), default=0))
    if facts.exists[x] and not facts.circular[x]:
        base = int(problem.home[x])
    tales.base[:, x] = base
    for v, visit in enumerate(visits, int(facts.at[x])):
        tier = base if visit.is_end else int(serves[visit.access])
        tales.tier[0, v] = tales.serves[0, v] = tier
        arrives = any(
            c.target == tier and (visit.since < c.done <= visit.step or visit.since < c.done - n <= visit.step)
            for c in copies
        )
        tales.kept[0, v] = not arrives


def _stays(problem: Problem, plan: Plan) -> dict[int, list[tuple[int, int, int, int]]]:
    """By tensor: tier, start, stop, offset; what lies on past the end of a turn is one stay that begins before it."""
    n = problem.n_steps
    found: defaultdict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    for r in plan.residencies:
        found[r.tensor].append((r.tier, r.start, r.stop, r.offset))
    if not problem.cyclic:
        return found
    for x, stays in found.items():
        joined: list[tuple[int, int, int, int]] = []
        ends = {(tier, offset): (tier, a, b, offset) for tier, a, b, offset in stays if b == n and a > 0}
        for tier, a, b, offset in stays:
            end = ends.pop((tier, offset), None) if a == 0 and b < n else None
            if end is not None:
                joined.append((tier, end[1] - n, b, offset))
            elif not (b == n and a > 0):
                joined.append((tier, a, b, offset))
        found[x] = joined + list(ends.values())
    return found


def _facts(problem: Problem, visits: Sequence[Sequence[Visit]], at: Ints, stay_at: Ints) -> Facts:
    tiers, links = problem.tiers, problem.links
    flat = [visit for of_tensor in visits for visit in of_tensor]
    k = problem.n_tiers
    link = np.array([[links.between(i, j) for j in range(k)] for i in range(k)], dtype=np.int64)
    rate = np.where(link == NO_LINK, 1.0, links.bandwidth[link] if len(links.names) else 1.0)
    latency = np.where(link == NO_LINK, 0.0, links.latency_s[link] if len(links.names) else 0.0)
    read_rate = np.repeat(tiers.read_bandwidth[None, :], problem.n_tensors, axis=0)
    for tier, curve in enumerate(tiers.read_curve):
        if curve:
            chunks, rates = zip(*curve, strict=True)
            read_rate[:, tier] = np.interp(problem.size, chunks, rates)
    used = np.array([len(v) > 0 for v in visits], dtype=np.bool_)
    circular = np.array([bool(v) and turns(problem, v[0]) for v in visits], dtype=np.bool_)
    writes = np.array([any(visit.mode is not Mode.READ for visit in v) for v in visits], dtype=np.bool_)
    exists = np.array([bool(v) and v[0].before is not None for v in visits], dtype=np.bool_) & used
    goes_home = (problem.keep == Keep.HOME) & (problem.home != NO_HOME) & (not problem.cyclic)
    return Facts(
        np.array([problem.n_steps, int(problem.cyclic)], dtype=np.int64),
        problem.size, problem.home, at,
        np.array([v.step for v in flat], dtype=np.int64), np.array([int(v.mode) for v in flat], dtype=np.int64),
        np.array([v.since for v in flat], dtype=np.int64), np.array([v.opens for v in flat], dtype=np.int64),
        np.array([v.is_end for v in flat], dtype=np.bool_),
        circular, writes & circular, exists, goes_home, stay_at, stay_at,
        tiers.direct, tiers.usable.copy(), tiers.alignment,
        link, _next_hops(link), rate, latency + tiers.latency_s[:, None],
        read_rate, tiers.write_bandwidth,
    )  # fmt: skip


def _next_hops(link: Ints) -> Ints:
    """Shape [K, K]: where to go first on the shortest way from one tier to another, -1 if there is no way."""
    k = len(link)
    far = np.where(link != NO_LINK, 1, k + 1)
    hop = np.where(link != NO_LINK, np.arange(k)[None, :], -1)
    for m in range(k):
        through = far[:, m][:, None] + far[m, :][None, :]
        better = through < far
        far = np.where(better, through, far)
        hop = np.where(better, hop[:, m][:, None], hop)
    return hop


def _empty_tales(n_tensors: int, n_visits: int, n_slots: int) -> Tales:
    def ints(n: int) -> Ints:
        return np.zeros((2, n), dtype=np.int64)

    t, v, s = n_tensors, n_visits, n_slots
    return Tales(
        np.zeros(t, dtype=np.int64), ints(t), ints(v), np.zeros((2, v), dtype=np.bool_), ints(v),
        ints(t), ints(s), ints(s), ints(s), ints(s), ints(t), ints(s), ints(s), ints(s), ints(s), ints(s) - 1,
    )  # fmt: skip


def no_guide(facts: Facts) -> Guide:
    """A guide that wishes nothing."""
    n_tensors, n_visits = len(facts.size), len(facts.step)
    wishes = np.zeros((0, n_visits), dtype=np.int64)
    none = np.zeros((0, n_visits), dtype=np.bool_)
    return Guide(np.zeros((0, n_tensors), dtype=np.int64), wishes, none, np.zeros(n_tensors, dtype=np.bool_))


def warm() -> None:
    """Compile the kernels of the search, if they are not yet."""
    problem, plan = tiny()
    idle = np.ones(2), np.zeros((2, 2)), np.zeros((2, 2))
    state = state_of(problem, plan, np.ones(2, dtype=np.int64), idle)
    held = state.facts, state.supply, state.tales, state.rooms
    none = no_guide(state.facts)
    one = np.zeros((1, problem.n_tensors), dtype=np.int64)
    wishes = np.zeros((1, none.tier.shape[1]), dtype=np.int64)
    guide = Guide(one, wishes, wishes > 0, none.known)
    nothing = np.zeros(0, dtype=np.int64)
    where = Where(
        np.zeros(2), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), nothing, problem.access_start,
        problem.access_tensor,
    )  # fmt: skip
    rows = np.zeros((8, 5), dtype=np.int64)
    column = rows[:, 0]
    changed = Changed(np.zeros(3, dtype=np.int64), column.copy(), column.copy(), column.copy(), rows, column.copy())
    tried = np.zeros(96, dtype=np.int64)
    kernels.seed(0)
    kernels.repace(np.ones(2), *held[:3])
    kernels.guided(0, 0, state.facts, state.tales, guide)
    n_changed = kernels.attempt(tried, 1, 1.0, False, *held)
    kernels.differences(tried, n_changed, state.access, state.facts, state.tales, changed)
    kernels.name_copies(nothing, 0, changed, state.tales)
    kernels.propose(tried, state.access, where, guide, *held, changed)
    kernels.take_back(tried, 0, *held)
