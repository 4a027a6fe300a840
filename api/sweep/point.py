"""One point of a sweep, as a worker runs it: read, lower, plan, simulate; rows of plain values come back."""

import re
from functools import lru_cache
from typing import Any

from tierplan.answer import limits, occupancy, tokens_per_s, traffic
from tierplan.experts_answer import mixed, plan_experts
from tierplan.hardware.build import Hardware
from tierplan.hardware.tree import Tree, read_tree
from tierplan.hardware.vary import vary
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.tiny import tiny
from tierplan.ir.units import read_seconds
from tierplan.pipeline import lower
from tierplan.pipeline import plan as make_plan
from tierplan.planner.contract import Budget
from tierplan.planner.registry import find_planner
from tierplan.programs import Shaping, read_program
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.timeline import simulate
from tierplan.sweep.axes import Scalar
from tierplan.sweep.spec import is_setting, split_keys

KINDS = ("weight", "state", "activation", "input", "output", "constant", "choices")
_EVALUATIONS = re.compile(r"\s*([0-9]+)\s+evaluations?\s*")
_LONGEST_S = 1e6
_FEW_GRAPHS, _FEW_PROBLEMS = 8, 4
Settings = tuple[tuple[str, Scalar], ...]


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """The rows of one point: `point`, one row; `tiers` and `links`, one for each.

    Args:
        payload: `values` of the point, `text` of its hardware file, and `threads`.

    Raises: InvalidInputError: the values do not go together.
    """
    values: dict[str, Scalar] = payload["values"]
    file, text = str(values["hardware"]), str(payload["text"])
    settings = settings_of(values)
    shaping = shaping_of(values)
    machine = _machine(file, text, settings).machine
    problem = _problem(str(values["model"]), shaping, file, text, settings)
    budget = read_budget(str(values["budget"]), int(values["seed"]), int(payload["threads"]))
    planner, seed = str(values["planner"]), int(values["seed"])
    routing = values.get("routing")
    experts = mixed(_graph(str(values["model"]), shaping), problem, _text(routing), None, seed)
    if experts is None:
        outcome = make_plan(problem, machine, planner=planner, budget=budget)
    else:
        problem = experts.problem
        outcome = plan_experts(experts, machine, planner, budget)
    row: dict[str, Any] = {
        "status": outcome.status.name,
        "time_s": outcome.cost_s,
        "bound_s": outcome.bound_s,
        "gap": outcome.gap,
        "cost_usd": machine.price,
        "planning_s": outcome.planning_s,
        "missing_bytes": max(outcome.missing.values(), default=0) if outcome.plan is None else None,
        "notes": "; ".join((*problem.notes, *outcome.notes)) or None,
    }
    if outcome.plan is None:
        return {"point": row, "tiers": [], "links": []}
    told = _told(problem, outcome.plan)
    return told | {"point": row | told["point"]}


def prepare() -> None:
    """Import and compile, once in a worker and before its clock runs, what every point needs."""
    problem, plan = tiny()
    Simulated(problem).warm()
    simulate(problem, plan)
    find_planner("greedy")(problem, Budget(), cost=Simulated(problem))


def prepare_search() -> None:
    """The same, and the loops of the planners that search."""
    from tierplan.planner.local.state import warm

    prepare()
    warm()


def read_budget(text: str, seed: int = 0, threads: int = 1) -> Budget:
    """A budget as the spec writes it: `10 s`, or `200 evaluations`, whose results can be repeated.

    Raises: InvalidInputError: neither.
    """
    match = _EVALUATIONS.fullmatch(text)
    if match:
        return Budget(seconds=_LONGEST_S, workers=threads, seed=seed, evaluations=int(match.group(1)))
    try:
        return Budget(seconds=read_seconds(text), workers=threads, seed=seed)
    except InvalidInputError as error:
        raise InvalidInputError(f"a budget is a time like '10 s', or '200 evaluations': {error}") from None


def settings_of(values: dict[str, Scalar]) -> Settings:
    """The keys of the hardware file that a point sets."""
    return tuple((key, value) for name, value in values.items() if is_setting(name) for key in split_keys(name))


def shaping_of(values: dict[str, Scalar]) -> Shaping:
    """The size of the program of a point."""
    batch, context = values.get("batch"), values.get("context")
    return Shaping(
        _text(values.get("phase")),
        None if batch is None else int(batch),
        None if context is None else int(context),
        _text(values.get("dtype")),
    )


def _told(problem: Problem, plan: Plan) -> dict[str, Any]:
    """What a plan tells of a point, of its tiers, and of its links."""
    timeline = simulate(problem, plan)
    shares = limits(problem, timeline)
    point = {
        "tokens_per_s": tokens_per_s(problem, timeline),
        "energy_j": timeline.energy_j,
        "energy_without": ", ".join(timeline.energy_without) or None,
        "limited_by": shares[0].what if shares else None,
        "limited_share": shares[0].share if shares else None,
    }
    flows = traffic(problem, plan, timeline)
    tiers = [
        {
            "tier": tier.name,
            "capacity_bytes": tier.capacity_bytes,
            "peak_bytes": tier.peak_bytes,
            **{f"{kind}_bytes": tier.by_kind.get(kind, 0) for kind in KINDS},
            "read_bytes": sum(flow.bytes for flow in flows if flow.source == tier.name),
            "written_bytes": sum(flow.bytes for flow in flows if flow.target == tier.name),
        }
        for tier in occupancy(problem, plan)
    ]
    links = [
        {
            "link": name,
            "from": problem.tiers.names[int(problem.links.source[n])],
            "to": problem.tiers.names[int(problem.links.target[n])],
            "bandwidth": float(problem.links.bandwidth[n]),
            "bytes": int(timeline.link_bytes[n]),
        }
        for n, name in enumerate(problem.links.names)
    ]
    return {"point": point, "tiers": tiers, "links": links}


def _text(value: Scalar | None) -> str | None:
    return None if value is None else str(value)


@lru_cache(maxsize=_FEW_GRAPHS)
def _graph(model: str, shaping: Shaping) -> Graph:
    return read_program(model, shaping)


@lru_cache(maxsize=_FEW_PROBLEMS)
def _problem(model: str, shaping: Shaping, file: str, text: str, settings: Settings) -> Problem:
    return lower(_graph(model, shaping), _machine(file, text, settings))


@lru_cache(maxsize=_FEW_PROBLEMS)
def _machine(file: str, text: str, settings: Settings) -> Hardware:
    return vary(_tree(file, text), dict(settings))


@lru_cache(maxsize=_FEW_GRAPHS)
def _tree(file: str, text: str) -> Tree:
    return read_tree(text, file)
