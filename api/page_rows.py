"""What the report's page draws: a problem, a plan and its timeline as columns of numbers."""

from typing import Any

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import NO_LINK, Floats, Problem
from tierplan.ir.timeline import Timeline


def page_rows(problem: Problem, plan: Plan, timeline: Timeline) -> dict[str, Any]:
    """Lists by column, short once compressed: 20,000 tensors take some hundred kilobytes. Bytes, seconds, steps."""
    kinds = sorted(set(problem.tensor_kind))
    residencies, copies = plan.tables()
    return {
        "time_s": _short(timeline.time_s),
        "tiers": _tiers(problem, plan),
        "links": [
            {"name": name, "inward": bool(problem.links.source[j] > problem.links.target[j])}
            for j, name in enumerate(problem.links.names)
        ],
        "kinds": kinds,
        "names": list(problem.tensor_names),
        "kind": [kinds.index(kind) for kind in problem.tensor_kind],
        "size": problem.size.tolist(),
        "steps": {
            "name": list(problem.step_names),
            "begin": _floats(timeline.begin_s),
            "end": _floats(timeline.end_s),
            "wait": _floats(timeline.wait_s),
            "waited": timeline.waited_copy.tolist(),
            "limit": timeline.limit.tolist(),
        },
        "res": dict(zip(("tensor", "tier", "offset", "start", "stop"), residencies.tolist(), strict=True)),
        "copy": {
            **dict(zip(("tensor", "source", "target", "start", "done"), copies.tolist(), strict=True)),
            "link": [problem.links.between(c.source, c.target) for c in plan.copies],
            "begin": _floats(timeline.copy_begin_s),
            "end": _floats(timeline.copy_end_s),
        },
        "access": {
            "start": problem.access_start.tolist(),
            "tensor": problem.access_tensor.tolist(),
            "read": problem.access_read.tolist(),
            "write": problem.access_write.tolist(),
            "mode": problem.access_mode.tolist(),
            "tier": timeline.read_tier.tolist(),
        },
    }


def _tiers(problem: Problem, plan: Plan) -> list[dict[str, Any]]:
    """Rates are those that an operation gets, over the link where there is one."""
    tiers, links = problem.tiers, problem.links

    def through(rate: float, link: int) -> float:
        return rate if link == NO_LINK else min(rate, float(links.bandwidth[link]))

    return [
        {
            "name": name,
            "capacity": int(tiers.capacity[k]),
            "usable": int(tiers.usable[k]),
            "reserved": sum(problem.choices[t.choice].alternatives[t.alternative].reserved[k] for t in plan.taken),
            "direct": bool(tiers.direct[k]),
            "read": through(float(tiers.read_bandwidth[k]), int(tiers.read_link[k])),
            "write": through(float(tiers.write_bandwidth[k]), int(tiers.write_link[k])),
        }
        for k, name in enumerate(tiers.names)
    ]


def _floats(values: Floats) -> list[float]:
    return [_short(value) for value in np.asarray(values).tolist()]


def _short(value: float) -> float:
    """Nine digits: a picture does not show more."""
    return float(f"{value:.9g}")
