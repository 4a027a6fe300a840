"""A timeline in Chrome's trace format, which Perfetto opens: steps, copies by link, bytes per tier."""

from typing import Any

import numpy as np

from tierplan.ir.plan import Plan
from tierplan.ir.problem import Ints, Problem
from tierplan.ir.timeline import Timeline

_PROCESS = 1
_COMPUTE_THREAD = 1
_MICROSECONDS = 1e6


def trace_rows(problem: Problem, plan: Plan, timeline: Timeline) -> dict[str, Any]:
    """One turn as trace events; times in microseconds, counters in bytes.

    Source: "Trace Event Format", Google, 2016.
    """
    events: list[dict[str, Any]] = [_name("process_name", 0, f"tierplan: {problem.name}")]
    events.append(_name("thread_name", _COMPUTE_THREAD, "compute"))
    for t, name in enumerate(problem.step_names):
        begin, end = float(timeline.begin_s[t]), float(timeline.end_s[t])
        wait = float(timeline.wait_s[t])
        events.append(_slice(name, _COMPUTE_THREAD, begin, end, {"step": t, "waited_us": wait * _MICROSECONDS}))
    events += _copy_events(problem, plan, timeline)
    loads = _loads(problem, plan)
    for t in range(problem.n_steps):
        for k, name in enumerate(problem.tiers.names):
            if t == 0 or loads[k, t] != loads[k, t - 1]:
                at = float(timeline.begin_s[t]) * _MICROSECONDS
                events.append(
                    {"ph": "C", "pid": _PROCESS, "name": f"tier {name}", "ts": at, "args": {"bytes": int(loads[k, t])}}
                )
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _copy_events(problem: Problem, plan: Plan, timeline: Timeline) -> list[dict[str, Any]]:
    """The copies of each link, in as many rows as it takes to keep those under way together apart."""
    events: list[dict[str, Any]] = []
    thread = _COMPUTE_THREAD
    ends = [problem.links.between(c.source, c.target) for c in plan.copies]
    for link, name in enumerate(problem.links.names):
        rows: list[float] = []  # when the last copy of each row ends
        of_link = [i for i, j in enumerate(ends) if j == link]
        for i in sorted(of_link, key=lambda i: float(timeline.copy_begin_s[i])):
            c, begin, end = plan.copies[i], float(timeline.copy_begin_s[i]), float(timeline.copy_end_s[i])
            row = next((row for row, until in enumerate(rows) if until <= begin), len(rows))
            rows[row : row + 1] = [end]
            arguments = {"bytes": int(problem.size[c.tensor]), "needed_at_step": c.done}
            events.append(_slice(problem.tensor_names[c.tensor], thread + 1 + row, begin, end, arguments))
        for row in range(max(1, len(rows))):
            title = f"link {name}" if row == 0 else f"link {name}, at once ({row + 1})"
            events.append(_name("thread_name", thread + 1 + row, title))
        thread += max(1, len(rows))
    return events


def _loads(problem: Problem, plan: Plan) -> Ints:
    loads = np.zeros((problem.n_tiers, problem.n_steps + 1), dtype=np.int64)
    for r in plan.residencies:
        loads[r.tier, r.start] += problem.size[r.tensor]
        loads[r.tier, r.stop] -= problem.size[r.tensor]
    return loads.cumsum(axis=1)


def _name(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": _PROCESS, "tid": thread, "name": what, "args": {"name": name}}


def _slice(name: str, thread: int, begin_s: float, end_s: float, arguments: dict[str, Any]) -> dict[str, Any]:
    span = {"ts": begin_s * _MICROSECONDS, "dur": (end_s - begin_s) * _MICROSECONDS}
    return {"ph": "X", "pid": _PROCESS, "tid": thread, "name": name, **span, "args": arguments}
