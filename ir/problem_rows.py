"""A problem as JSON rows, and back."""

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Alternative, Choice, Effect, Floats, Ints, Links, Problem, Tiers

Count = Annotated[int, Field(ge=0, le=2**62)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Index = Annotated[int, Field(ge=-1, le=2**62)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class TierRow(Row):
    name: str
    capacity: Annotated[int, Field(gt=0, le=2**62)]
    usable: Count
    alignment: Annotated[int, Field(gt=0, le=2**62)]
    read_bandwidth: _Positive
    write_bandwidth: _Positive
    latency_s: Amount
    direct: bool
    read_link: _Index
    write_link: _Index
    read_curve: list[Annotated[tuple[Count, _Positive], Field(strict=False)]]
    read_j: Amount | None
    write_j: Amount | None


class LinkRow(Row):
    name: str
    source: Count
    target: Count
    bandwidth: _Positive
    latency_s: Amount
    channels: Annotated[int, Field(gt=0, le=2**31)]
    energy_j: Amount | None


class AccessRow(Row):
    tensor: Count
    mode: Annotated[int, Field(ge=0, le=2)]
    read: Count
    write: Count


class StepRow(Row):
    name: str
    compute_s: Amount
    compute_j: Amount | None
    accesses: list[AccessRow]


class TensorRow(Row):
    name: str
    kind: str
    size: Count
    home: _Index
    keep: Annotated[int, Field(ge=0, le=2)]


class EffectRow(Row):
    step: Count
    compute_s: Annotated[float, Field(allow_inf_nan=False)]
    tier_read: list[int]
    tier_write: list[int]
    link: list[int]


class AlternativeRow(Row):
    name: str
    reserved: list[Count]
    effects: list[EffectRow]


class ChoiceRow(Row):
    name: str
    alternatives: Annotated[list[AlternativeRow], Field(min_length=1)]


class ProblemRow(Row):
    name: str
    cyclic: bool
    tokens: Count
    calibrated: bool = False
    tiers: Annotated[list[TierRow], Field(min_length=1)]
    links: list[LinkRow]
    tensors: list[TensorRow]
    steps: Annotated[list[StepRow], Field(min_length=1)]
    choices: list[ChoiceRow]
    notes: list[str]


def problem_rows(problem: Problem) -> dict[str, Any]:
    """The problem as plain JSON values; figures that are not known are null."""
    tiers, links = problem.tiers, problem.links
    ends = problem.access_start.tolist()
    accesses = [
        {"tensor": x, "mode": m, "read": r, "write": w}
        for x, m, r, w in zip(
            problem.access_tensor.tolist(), problem.access_mode.tolist(),
            problem.access_read.tolist(), problem.access_write.tolist(), strict=True,
        )
    ]  # fmt: skip
    return {
        "name": problem.name,
        "cyclic": problem.cyclic,
        "tokens": problem.tokens,
        "calibrated": problem.calibrated,
        "notes": list(problem.notes),
        "tiers": [
            {
                "name": name,
                "capacity": int(tiers.capacity[k]),
                "usable": int(tiers.usable[k]),
                "alignment": int(tiers.alignment[k]),
                "read_bandwidth": float(tiers.read_bandwidth[k]),
                "write_bandwidth": float(tiers.write_bandwidth[k]),
                "latency_s": float(tiers.latency_s[k]),
                "direct": bool(tiers.direct[k]),
                "read_link": int(tiers.read_link[k]),
                "write_link": int(tiers.write_link[k]),
                "read_curve": [list(point) for point in tiers.read_curve[k]],
                "read_j": _known(tiers.read_j[k]),
                "write_j": _known(tiers.write_j[k]),
            }
            for k, name in enumerate(tiers.names)
        ],
        "links": [
            {
                "name": name,
                "source": int(links.source[j]),
                "target": int(links.target[j]),
                "bandwidth": float(links.bandwidth[j]),
                "latency_s": float(links.latency_s[j]),
                "channels": int(links.channels[j]),
                "energy_j": _known(links.energy_j[j]),
            }
            for j, name in enumerate(links.names)
        ],
        "tensors": [
            {"name": name, "kind": kind, "size": size, "home": home, "keep": keep}
            for name, kind, size, home, keep in zip(
                problem.tensor_names, problem.tensor_kind, problem.size.tolist(),
                problem.home.tolist(), problem.keep.tolist(), strict=True,
            )
        ],
        "choices": [
            {
                "name": choice.name,
                "alternatives": [
                    {"name": a.name, "reserved": list(a.reserved), "effects": [_effect_row(e) for e in a.effects]}
                    for a in choice.alternatives
                ],
            }
            for choice in problem.choices
        ],
        "steps": [
            {
                "name": name,
                "compute_s": float(problem.compute_s[t]),
                "compute_j": _known(problem.compute_j[t]),
                "accesses": accesses[ends[t] : ends[t + 1]],
            }
            for t, name in enumerate(problem.step_names)
        ],
    }  # fmt: skip


def _effect_row(effect: Effect) -> dict[str, Any]:
    return {
        "step": effect.step,
        "compute_s": effect.compute_s,
        "tier_read": list(effect.tier_read),
        "tier_write": list(effect.tier_write),
        "link": list(effect.link),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _floats(values: list[float | None] | list[float]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def problem_of(p: ProblemRow) -> Problem:
    """The problem that rows describe.

    Raises: InvalidInputError: an index names nothing, or the problem makes no sense.
    """
    n_tiers, n_links, n_tensors = len(p.tiers), len(p.links), len(p.tensors)
    for t in p.tiers:
        if max(t.read_link, t.write_link) >= n_links or t.usable > t.capacity:
            raise InvalidInputError(f"tiers: '{t.name}' names a link or more bytes than there are")
    if any(max(link.source, link.target) >= n_tiers for link in p.links):
        raise InvalidInputError("links: a link names a tier that does not exist")
    if any(t.home >= n_tiers for t in p.tensors):
        raise InvalidInputError("tensors: a home names a tier that does not exist")
    accesses = [a for step in p.steps for a in step.accesses]
    if any(a.tensor >= n_tensors for a in accesses):
        raise InvalidInputError("steps: an access names a tensor that does not exist")
    return Problem(
        name=p.name,
        tiers=Tiers(
            names=tuple(t.name for t in p.tiers),
            capacity=_ints([t.capacity for t in p.tiers]),
            usable=_ints([t.usable for t in p.tiers]),
            alignment=_ints([t.alignment for t in p.tiers]),
            read_bandwidth=_floats([t.read_bandwidth for t in p.tiers]),
            write_bandwidth=_floats([t.write_bandwidth for t in p.tiers]),
            latency_s=_floats([t.latency_s for t in p.tiers]),
            direct=np.array([t.direct for t in p.tiers], dtype=np.bool_),
            read_link=_ints([t.read_link for t in p.tiers]),
            write_link=_ints([t.write_link for t in p.tiers]),
            read_curve=tuple(tuple(t.read_curve) for t in p.tiers),
            read_j=_floats([t.read_j for t in p.tiers]),
            write_j=_floats([t.write_j for t in p.tiers]),
        ),
        links=Links(
            names=tuple(link.name for link in p.links),
            source=_ints([link.source for link in p.links]),
            target=_ints([link.target for link in p.links]),
            bandwidth=_floats([link.bandwidth for link in p.links]),
            latency_s=_floats([link.latency_s for link in p.links]),
            channels=_ints([link.channels for link in p.links]),
            energy_j=_floats([link.energy_j for link in p.links]),
        ),
        step_names=tuple(step.name for step in p.steps),
        compute_s=_floats([step.compute_s for step in p.steps]),
        compute_j=_floats([step.compute_j for step in p.steps]),
        access_start=np.cumsum([0] + [len(step.accesses) for step in p.steps]),
        access_tensor=_ints([a.tensor for a in accesses]),
        access_read=_ints([a.read for a in accesses]),
        access_write=_ints([a.write for a in accesses]),
        access_mode=_ints([a.mode for a in accesses]),
        tensor_names=tuple(t.name for t in p.tensors),
        tensor_kind=tuple(t.kind for t in p.tensors),
        size=_ints([t.size for t in p.tensors]),
        home=_ints([t.home for t in p.tensors]),
        keep=_ints([t.keep for t in p.tensors]),
        cyclic=p.cyclic,
        tokens=p.tokens,
        calibrated=p.calibrated,
        choices=tuple(
            Choice(
                c.name,
                tuple(
                    Alternative(
                        a.name,
                        tuple(a.reserved),
                        tuple(
                            Effect(e.step, e.compute_s, tuple(e.tier_read), tuple(e.tier_write), tuple(e.link))
                            for e in a.effects
                        ),
                    )
                    for a in c.alternatives
                ),
            )
            for c in p.choices
        ),
        notes=tuple(p.notes),
    )
