"""Traces against the schema of the format that Perfetto reads: exactly its keys, times that nest, names for threads.

Source: "Trace Event Format", Google, 2016: complete events (X), counters (C) and metadata (M), in the JSON object form.
"""

import itertools
import json
from collections import defaultdict
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from report_plans import chain

from tierplan.sim.timeline import simulate
from tierplan.trace import trace_rows

_Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    pid: int
    name: str


class _Slice(_Event):
    ph: Literal["X"]
    tid: int
    ts: _Time
    dur: _Time
    args: dict[str, int | float]


class _Counter(_Event):
    ph: Literal["C"]
    ts: _Time
    args: dict[str, int]


class _Metadata(_Event):
    ph: Literal["M"]
    tid: int
    name: Literal["process_name", "thread_name"]  # pyright: ignore[reportIncompatibleVariableOverride]
    args: dict[Literal["name"], str]


class _Trace(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    traceEvents: list[Annotated[_Slice | _Counter | _Metadata, Field(discriminator="ph")]]
    displayTimeUnit: Literal["ms", "ns"]


def test_a_trace_keeps_the_schema() -> None:
    problem, plan = chain(20)
    line = simulate(problem, plan)
    trace = _Trace.model_validate_json(json.dumps(trace_rows(problem, plan, line), allow_nan=False))
    named = {event.tid for event in trace.traceEvents if isinstance(event, _Metadata)}
    slices = defaultdict[int, list[_Slice]](list)
    for event in trace.traceEvents:
        if isinstance(event, _Slice):
            slices[event.tid].append(event)
    assert set(slices) <= named
    assert sum(len(row) for row in slices.values()) == problem.n_steps + len(plan.copies)
    for row in slices.values():  # on one thread, slices may not overlap without nesting: here they follow each other
        row.sort(key=lambda event: event.ts)
        assert all(a.ts + a.dur <= b.ts + 1e-6 for a, b in itertools.pairwise(row))
    counters = [event for event in trace.traceEvents if isinstance(event, _Counter)]
    assert {event.name for event in counters} == {f"tier {name}" for name in problem.tiers.names}
