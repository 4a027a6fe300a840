"""What a plan means for its reader: what lies where, how fast it runs, and what limits it."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from tierplan.ir.collectives import communicates
from tierplan.ir.outcome import Outcome
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Ints, Problem
from tierplan.ir.timeline import COMPUTE, Timeline

COMPUTE_NAME = "compute"
NETWORK_NAME = "interconnect"
START_NAME = "starting kernels"
"""What bounds steps that use nothing: the time before an operation."""
BY_CHOICES = "choices"
"""What the alternatives that a plan takes reserve, beside the kinds of tensors."""


@dataclass(frozen=True, slots=True)
class Share:
    """The share of the predicted time that something bounds."""

    what: str
    share: float


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Bytes in a tier at the step at which most lie there, by kind of tensor, and what choices reserve."""

    name: str
    capacity_bytes: int
    peak_bytes: int
    by_kind: dict[str, int]


@dataclass(frozen=True, slots=True)
class Flow:
    """Bytes that move from one place to another in one run, or in one turn."""

    source: str
    target: str
    bytes: int


def limits(problem: Problem, timeline: Timeline) -> list[Share]:
    """What bounds the time, largest share first; the shares add up to 1."""
    seconds: dict[str, float] = defaultdict(float)
    own = timeline.end_s - timeline.begin_s
    empty = np.diff(problem.access_start) == 0
    n_tiers, links = problem.n_tiers, problem.links.names
    collective = np.array([communicates(name) for name in problem.step_names]) & ~empty
    for code in np.unique(timeline.limit).tolist():
        spent = float(own[timeline.limit == code].sum())
        if code == COMPUTE:
            starting = float(own[(timeline.limit == code) & empty].sum())
            talking = float(own[(timeline.limit == code) & collective].sum())
            seconds[START_NAME] += starting
            seconds[NETWORK_NAME] += talking
            seconds[COMPUTE_NAME] += spent - starting - talking
        elif code <= n_tiers:
            seconds[f"tier {problem.tiers.names[code - 1]}"] += spent
        else:
            seconds[f"link {links[code - 1 - n_tiers]}"] += spent
    waits = [*zip(timeline.waited_link.tolist(), timeline.wait_s.tolist(), strict=True)]
    for link, wait_s in [*waits, (timeline.tail_link, timeline.tail_wait_s)]:
        if wait_s > 0 and link >= 0:
            seconds[f"waiting for copies on {links[link]}"] += wait_s
    total = sum(seconds.values())
    shares = [Share(what, spent / total) for what, spent in seconds.items() if spent > 0] if total > 0 else []
    return sorted(shares, key=lambda share: -share.share)


def occupancy(problem: Problem, plan: Plan) -> list[Occupancy]:
    """For each tier, the most bytes that lie in it at one step."""
    kinds = sorted(set(problem.tensor_kind))
    loads: Ints = np.zeros((problem.n_tiers, len(kinds), problem.n_steps + 1), dtype=np.int64)
    for r in plan.residencies:
        row = loads[r.tier, kinds.index(problem.tensor_kind[r.tensor])]
        row[r.start] += problem.size[r.tensor]
        row[r.stop] -= problem.size[r.tensor]
    loads = loads.cumsum(axis=2)[:, :, :-1]
    rows: list[Occupancy] = []
    for k, name in enumerate(problem.tiers.names):
        fullest = int(loads[k].sum(axis=0).argmax())
        by_kind = {kind: int(loads[k, i, fullest]) for i, kind in enumerate(kinds)}
        by_kind[BY_CHOICES] = sum(problem.choices[t.choice].alternatives[t.alternative].reserved[k] for t in plan.taken)
        peak = sum(by_kind.values())
        rows.append(Occupancy(name, int(problem.tiers.capacity[k]), peak, {k: b for k, b in by_kind.items() if b}))
    return rows


def traffic(problem: Problem, plan: Plan, timeline: Timeline) -> list[Flow]:
    """Bytes that steps stream from and to each tier, and bytes that copies move between tiers."""
    names = problem.tiers.names
    flows: dict[tuple[str, str], int] = defaultdict(int)
    for k, name in enumerate(names):
        flows[name, COMPUTE_NAME] += int(timeline.tier_read[k])
        flows[COMPUTE_NAME, name] += int(timeline.tier_write[k])
    for c in plan.copies:
        flows[names[c.source], names[c.target]] += int(problem.size[c.tensor])
    return [Flow(source, target, n_bytes) for (source, target), n_bytes in flows.items() if n_bytes]


def answer_row(
    model: str, hardware: str, problem: Problem, outcome: Outcome, timeline: Timeline | None
) -> dict[str, Any]:
    """The answer of `tierplan plan --json`. Seconds, bytes, joules; null where there is no plan or no figure."""
    row: dict[str, Any] = {
        "model": model,
        "hardware": hardware,
        "planner": outcome.planner,
        "status": outcome.status.name,
        "predicted": None,
        "bound_s": outcome.bound_s,
        "gap": outcome.gap,
        "limits": [],
        "tiers": [
            {"name": name, "capacity_bytes": int(problem.tiers.capacity[k]), "peak_bytes": None}
            for k, name in enumerate(problem.tiers.names)
        ],
        "traffic": [],
        "planning_s": outcome.planning_s,
        "missing_bytes": dict(outcome.missing),
        "notes": [*problem.notes, *outcome.notes],
    }
    if outcome.plan is None or timeline is None:
        return row
    row["predicted"] = {
        "time_s": timeline.time_s,
        "tokens_per_s": tokens_per_s(problem, timeline),
        "energy_j": timeline.energy_j,
        "energy_without": list(timeline.energy_without),
        "calibrated": problem.calibrated,
    }
    row["limits"] = [{"what": share.what, "share": share.share} for share in limits(problem, timeline)]
    row["tiers"] = [
        {
            "name": tier.name,
            "capacity_bytes": tier.capacity_bytes,
            "peak_bytes": tier.peak_bytes,
            "by_kind": tier.by_kind,
        }
        for tier in occupancy(problem, outcome.plan)
    ]
    row["traffic"] = [
        {"from": flow.source, "to": flow.target, "bytes": flow.bytes}
        for flow in traffic(problem, outcome.plan, timeline)
    ]
    return row


def tokens_per_s(problem: Problem, timeline: Timeline) -> float | None:
    """Tokens per second; None for a program that knows no tokens."""
    return problem.tokens / timeline.time_s if problem.tokens and timeline.time_s > 0 else None
