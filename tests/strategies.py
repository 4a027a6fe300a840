"""How to draw machines, problems and legal plans."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from tierplan.ir.machine import Link, Machine, Tier, Unit
from tierplan.ir.plan import Copy, Plan, Residency, Taken
from tierplan.ir.problem import (
    NO_HOME,
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
    n = draw(st.integers(1, max_tiers))
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
    cyclic = draw(st.booleans()) if cyclic is None else cyclic
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
    choices = draw(st.lists(_choices(n_steps, n_tiers, n_links), max_size=2)) if with_choices else []
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
def _choices(draw: st.DrawFn, n_steps: int, n_tiers: int, n_links: int) -> Choice:
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
    return Choice("choice", tuple(alternatives))


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
    """Where one tensor lies: a base tier for its whole life, and up to three detours by copies."""
    n, tiers = problem.n_steps, list(range(problem.n_tiers))
    exists = problem.home[tensor] != NO_HOME
    steps = problem.access_step[problem.access_tensor == tensor]
    first = 0 if exists else int(steps.min())
    base_tier = int(problem.home[tensor]) if exists and not problem.cyclic else draw(st.sampled_from(tiers))
    base = [Residency(tensor, base_tier, 0, first, n)]
    best: tuple[list[Residency], list[Copy]] | None = (base, []) if _holds(problem, base, []) else None
    others = [k for k in tiers if k != base_tier]
    lies, moves = list(base), list[Copy]()
    for serial in range(draw(st.integers(0, 3)) if others else 0):
        tier = draw(st.sampled_from(others))
        start = draw(st.integers(0, n - 1))
        length = draw(st.integers(1, n))
        done = start + length if problem.cyclic else min(n, start + length)
        stop = draw(st.integers(done, done + n)) if problem.cyclic else draw(st.integers(done, n))
        new = [Residency(tensor, tier, serial + 1, start, min(stop, n))]
        if stop > n:
            new.append(Residency(tensor, tier, serial + 1, 0, min(stop - n, n)))
        back = []
        if draw(st.booleans()):
            again = draw(st.integers(0, n - 1))
            back = [Copy(tensor, tier, base_tier, again, again + draw(st.integers(1, n)))]
        for attempt in (back, []):
            candidate = ([*lies, *new], [*moves, Copy(tensor, base_tier, tier, start, done), *attempt])
            if _holds(problem, *candidate):
                lies, moves = candidate
                best = candidate
                break
    return best


def _holds(problem: Problem, residencies: Sequence[Residency], copies: Sequence[Copy]) -> bool:
    """Whether the story of one tensor breaks no rule but those of space, which stacking will keep."""
    name = problem.tensor_names[residencies[0].tensor]
    space = (Rule.ALIGNMENT, Rule.CAPACITY, Rule.SCRATCH)
    taken = tuple(Taken(i, 0) for i in range(len(problem.choices)))
    broken = violations(problem, Plan(tuple(residencies), tuple(copies), taken))
    return not any(v.tensors == (name,) and v.rule not in space for v in broken)
