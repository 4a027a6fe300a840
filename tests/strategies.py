"""How to draw machines, problems and legal plans."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tierplan.ir.machine import Link, Machine, Tier, Unit
from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import (
    NO_HOME,
    NO_LINK,
    Alternative,
    Choice,
    Effect,
    Keep,
    Mode,
    Problem,
    links_of,
    tiers_of,
)
from tierplan.ir.verify import violations
from tierplan.ir.violation import Rule

_RATES = (1e9, 2.5e9, 7e9, 3e10)


@st.composite
def machines(draw: st.DrawFn, *, max_tiers: int = 4, capacity: int = 10**9) -> Machine:
    """Up to four tiers in a row, linked both ways to their neighbours and at random beyond."""
    n = draw(st.sampled_from([*range(1, max_tiers + 1), *range(2, max_tiers + 1)]))
    pairs = [(i, j) for i in range(n) for j in range(n) if abs(i - j) == 1 or (i != j and draw(st.booleans()))]
    links = [
        Link(
            f"{i}to{j}", f"t{i}", f"t{j}", draw(st.sampled_from(_RATES)),
            latency_s=draw(st.sampled_from((0.0, 1e-6, 3e-5))), channels=draw(st.integers(1, 3)),
        )
        for i, j in pairs
    ]  # fmt: skip
    names = [link.name for link in links]
    tiers = []
    for i in range(n):
        bandwidth = draw(st.sampled_from(_RATES))
        curve = draw(st.booleans()) and i > 0
        behind = draw(st.booleans()) and bool(names) and i > 0
        tiers.append(
            Tier(
                f"t{i}", capacity, bandwidth, draw(st.sampled_from(_RATES)),
                latency_s=draw(st.sampled_from((0.0, 1e-5))),
                alignment=draw(st.sampled_from((1, 64))),
                direct=i == 0 or draw(st.integers(0, 3)) > 0,
                read_link=draw(st.sampled_from(names)) if behind else None,
                write_link=draw(st.sampled_from(names)) if behind else None,
                read_curve=((1000, bandwidth / 4), (100_000, bandwidth)) if curve else (),
            )
        )  # fmt: skip
    unit = Unit("unit", {"float32": 1e9})
    return Machine("drawn", unit, unit, tuple(tiers), tuple(links), home=f"t{draw(st.integers(0, n - 1))}")


@st.composite
def problems(
    draw: st.DrawFn,
    machine: Machine | None = None,
    *,
    max_steps: int = 8,
    max_tensors: int = 6,
    max_size: int = 400_000,
    cyclic: bool | None = None,
    with_choices: bool = True,
) -> Problem:
    """A small program: tensors that exist or are produced, read, updated and kept at random."""
    machine = machine or draw(machines())
    n_steps = draw(st.integers(1, max_steps))
    n_tensors = draw(st.integers(1, max_tensors))
    cyclic = draw(st.sampled_from((False, True, True))) if cyclic is None else cyclic
    home_tier = machine.tier_index(machine.home)
    accesses: list[list[tuple[int, int, int, int]]] = [[] for _ in range(n_steps)]
    home, keep, sizes = [], [], []
    for tensor in range(n_tensors):
        size = draw(st.integers(1, max_size))
        exists = draw(st.booleans())
        steps = sorted(draw(st.sets(st.integers(0, n_steps - 1), max_size=5)))
        if not exists and not steps:
            steps = [draw(st.integers(0, n_steps - 1))]
        written = not exists
        for i, step in enumerate(steps):
            mode = Mode.PRODUCE if i == 0 and not exists else draw(st.sampled_from((Mode.READ, Mode.READ, *Mode)))
            written = written or mode is not Mode.READ
            reads = 0 if mode is Mode.PRODUCE else draw(st.integers(0, size))
            writes = 0 if mode is Mode.READ else draw(st.integers(0, size))
            accesses[step].append((tensor, reads, writes, int(mode)))
        sizes.append(size)
        home.append(home_tier if exists else NO_HOME)
        kept = Keep.HOME if exists and written else Keep.SOMEWHERE
        keep.append(int(kept if draw(st.booleans()) and steps else Keep.NOTHING))
    rows = [row for step in accesses for row in step]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    compute = [draw(st.sampled_from((0.0, 1e-6, 1e-4, 3e-4))) for _ in range(n_steps)]
    n_tiers, n_links = len(machine.tiers), len(machine.links)
    choices = []
    if with_choices:
        choices = [draw(_choices(f"choice{i}", n_steps, n_tiers, n_links)) for i in range(draw(st.integers(0, 2)))]
    return Problem(
        name="drawn",
        tiers=tiers_of(machine),
        links=links_of(machine),
        step_names=tuple(f"op{t}" for t in range(n_steps)),
        compute_s=np.array(compute),
        compute_j=np.zeros(n_steps),
        access_start=np.cumsum([0] + [len(step) for step in accesses]),
        access_tensor=columns[0].copy(),
        access_read=columns[1].copy(),
        access_write=columns[2].copy(),
        access_mode=columns[3].copy(),
        tensor_names=tuple(f"x{i}" for i in range(n_tensors)),
        tensor_kind=("activation",) * n_tensors,
        size=np.array(sizes, dtype=np.int64),
        home=np.array(home, dtype=np.int64),
        keep=np.array(keep, dtype=np.int64),
        cyclic=cyclic,
        choices=tuple(choices),
    )


@st.composite
def _choices(draw: st.DrawFn, name: str, n_steps: int, n_tiers: int, n_links: int) -> Choice:
    alternatives = []
    for i in range(draw(st.integers(1, 3))):
        bytes_per_tier = st.tuples(*[st.integers(0, 100_000)] * n_tiers)
        effects = draw(
            st.lists(
                st.builds(
                    Effect, st.integers(0, n_steps - 1), st.sampled_from((0.0, 2e-4)), bytes_per_tier,
                    bytes_per_tier, st.tuples(*[st.integers(0, 100_000)] * n_links),
                ),
                max_size=2,
            )
        )  # fmt: skip
        alternatives.append(Alternative(f"a{i}", draw(bytes_per_tier), tuple(effects)))
    return Choice(name, tuple(alternatives))


@st.composite
def legal_plans(draw: st.DrawFn, problem: Problem) -> Plan | None:
    """A plan that breaks no rule, with detours through other tiers; None if the draw found none.

    Each tensor's story is drawn apart, and kept only if the rules of `ir/holdings.py` allow it;
    then all residencies are stacked, so that nothing overlaps.
    """
    residencies: list[Residency] = []
    copies: list[Copy] = []
    for tensor in range(problem.n_tensors):
        story = draw(_stories(problem, tensor))
        if story is None:
            return None
        residencies += story[0]
        copies += story[1]
    tops = [0] * problem.n_tiers
    placed, offset_of = [], {}
    for r in residencies:
        key = (r.tensor, r.tier, r.offset)
        if key not in offset_of:
            alignment = int(problem.tiers.alignment[r.tier])
            offset_of[key] = -(-tops[r.tier] // alignment) * alignment
            tops[r.tier] = offset_of[key] + int(problem.size[r.tensor])
        placed.append(Residency(r.tensor, r.tier, offset_of[key], r.start, r.stop))
    taken = [Taken(i, draw(st.integers(0, len(c.alternatives) - 1))) for i, c in enumerate(problem.choices)]
    order = draw(st.permutations(copies))
    return Plan(tuple(placed), tuple(order), tuple(taken))


@st.composite
def _stories(draw: st.DrawFn, problem: Problem, tensor: int) -> tuple[list[Residency], list[Copy]] | None:
    """Where one tensor lies: a base tier for its whole life, and up to three detours by copies.

    A detour is proposed where it can be legal (over a link, between two writes, round the end of a turn
    in a cyclic program), and kept if the rules allow it; so most draws have copies, and many wrap.
    """
    n = problem.n_steps
    exists = bool(problem.home[tensor] != NO_HOME)
    steps = problem.access_step[problem.access_tensor == tensor]
    first = 0 if exists else int(steps.min())
    direct = [k for k in range(problem.n_tiers) if problem.tiers.direct[k]]
    base_tier = int(problem.home[tensor])
    if not exists or problem.cyclic:
        base_tier = draw(st.sampled_from([*direct, *range(problem.n_tiers)]))
    base = [Residency(tensor, base_tier, 0, first, n)]
    best: tuple[list[Residency], list[Copy]] | None = (base, []) if _holds(problem, base, []) else None
    lies, moves = list(base), list[Copy]()
    for serial in range(1, 1 + draw(st.sampled_from((2, 1, 3, 0)))):
        source = draw(st.sampled_from([base_tier, *(r.tier for r in lies)]))
        targets = [k for k in range(problem.n_tiers) if k != base_tier and _linked(problem, source, k)]
        if not targets:
            continue
        new, move = draw(_detours(problem, tensor, source, draw(st.sampled_from(targets)), serial, first))
        again = [] if move is None else draw(_returns(problem, tensor, move, new, base_tier))
        for attempt in (*([copy] for copy in again), []):
            candidate = ([*lies, *new], [*moves, *([move] if move else []), *attempt])
            if move is not None and _holds(problem, *candidate):
                lies, moves = candidate
                best = candidate
                break
    return best


def _linked(problem: Problem, source: int, target: int) -> bool:
    return source != target and problem.links.between(source, target) != NO_LINK


def _written_at(problem: Problem, tensor: int) -> list[int]:
    of_tensor = (problem.access_tensor == tensor) & (problem.access_mode != Mode.READ)
    return problem.access_step[of_tensor].tolist()


def _quiet(problem: Problem, tensor: int, start: int) -> int:
    """How many steps from `start` on do not write the tensor; at most a turn, or to the end of a single run."""
    n, writes = problem.n_steps, _written_at(problem, tensor)
    most = n if problem.cyclic and problem.home[tensor] != NO_HOME else n - start
    return next((d for d in range(most) if (start + d) % n in writes), most)


@st.composite
def _detours(
    draw: st.DrawFn, problem: Problem, tensor: int, source: int, target: int, serial: int, first: int
) -> tuple[list[Residency], Copy | None]:
    """A copy from `source` to `target` between two writes, and the residency that it begins."""
    n = problem.n_steps
    wraps = problem.cyclic and problem.home[tensor] != NO_HOME
    room = [(t, _quiet(problem, tensor, t)) for t in range(first, n)]
    usable = [(t, most) for t, most in room if most > 0]
    around = [(t, most) for t, most in usable if wraps and t + most > n]
    if not usable:
        return [], None
    if around and draw(st.integers(0, 3)) > 0:
        start, most = draw(st.sampled_from(around))
        done = start + draw(st.integers(n - start + 1, most))
    else:
        start, most = draw(st.sampled_from(usable))
        done = start + draw(st.integers(1, most))
    furthest = max(done, start + n if wraps else n)
    stop = draw(st.sampled_from((min(max(done, start + most), furthest), done, furthest, furthest)))
    new = [Residency(tensor, target, serial, start, min(stop, n))]
    if stop > n and stop - n <= start:
        new.append(Residency(tensor, target, serial, 0, stop - n))
    return new, Copy(tensor, source, target, start, done)


@st.composite
def _returns(
    draw: st.DrawFn, problem: Problem, tensor: int, move: Copy, new: Sequence[Residency], base_tier: int
) -> list[Copy]:
    """Copies into a residency that is there already, after a write made it stale: back, or once more."""
    n = problem.n_steps
    stop = new[-1].stop + (n if len(new) > 1 else 0)
    writes = [t + turn for turn in (0, n) for t in _written_at(problem, tensor) if move.done <= t + turn < stop]
    if not writes or stop <= writes[-1] + 1:
        return []
    start = writes[-1] + 1
    done = draw(st.integers(start + 1, stop)) if stop > start else start + 1
    if start >= n:
        start, done = start - n, done - n
    pairs = ((move.target, base_tier), (move.source, move.target))
    return [Copy(tensor, *ends, start, done) for ends in pairs if _linked(problem, *ends)]


def _holds(problem: Problem, residencies: Sequence[Residency], copies: Sequence[Copy]) -> bool:
    """Whether the story of one tensor breaks no rule but those of space, which stacking will keep."""
    name = problem.tensor_names[residencies[0].tensor]
    space = (Rule.ALIGNMENT, Rule.CAPACITY, Rule.SCRATCH)
    taken = tuple(Taken(i, 0) for i in range(len(problem.choices)))
    broken = violations(problem, Plan(tuple(residencies), tuple(copies), taken))
    return not any(v.tensors == (name,) and v.rule not in space for v in broken)
