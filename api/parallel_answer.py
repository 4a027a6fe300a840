"""A model on several devices: each stage planned for one of its devices, and what the whole takes."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tierplan.frontend.parallel import Parallel
from tierplan.ir.collectives import communicates
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, TensorKind
from tierplan.ir.outcome import Outcome
from tierplan.ir.problem import Problem
from tierplan.ir.units import show_bytes, show_seconds
from tierplan.pipeline import lower
from tierplan.pipeline import plan as make_plan
from tierplan.planner.contract import Budget
from tierplan.sim.timeline import simulate
from tierplan.terminal import console


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A kind of stage of the pipeline: `numbers` of those that are alike, counted from 1."""

    numbers: tuple[int, ...]
    graph: Graph
    problem: Problem

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of one of its devices."""
        return sum(t.size for t in self.graph.tensors if t.kind is TensorKind.WEIGHT)


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """What each kind of stage takes under its plan; `slowest` is the one that sets the pace."""

    parallel: Parallel
    stages: tuple[Stage, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def slowest(self) -> int:
        """Index of the stage without a plan, or else of the one that takes longest."""
        costs = [float("inf") if o.cost_s is None else o.cost_s for o in self.outcomes]
        return int(np.argmax(costs))

    @property
    def latency_s(self) -> float:
        """Seconds of one turn through all stages, sends included."""
        return sum(len(s.numbers) * (o.cost_s or 0.0) for s, o in zip(self.stages, self.outcomes, strict=True))

    @property
    def communication_s(self) -> float:
        """Seconds of that turn in collectives."""
        pairs = zip(self.stages, self.outcomes, strict=True)
        return sum(len(stage.numbers) * communication_s(stage.problem, outcome) for stage, outcome in pairs)


def communication_s(problem: Problem, outcome: Outcome) -> float:
    """Seconds of one turn of a stage in which its device takes part in a collective."""
    if outcome.plan is None:
        return 0.0
    timeline = simulate(problem, outcome.plan)
    talking = np.array([communicates(name) for name in problem.step_names])
    return float((timeline.end_s - timeline.begin_s)[talking].sum())


def read_stages(parallel: Parallel, program: Callable[[int], Graph], hardware: str) -> tuple[Stage, ...]:
    """The stages of a split model, those that are alike together; `program` gives the graph of each."""
    found: dict[tuple[Any, ...], list[int]] = {}
    graphs = [program(index) for index in range(parallel.pp)]
    for index, graph in enumerate(graphs):
        work = tuple((op.kind, op.matrix_ops, op.vector_ops, tuple(a.bytes for a in op.reads)) for op in graph.ops)
        found.setdefault(work, []).append(index)
    stages: list[Stage] = []
    for alike in found.values():
        graph = graphs[alike[0]]
        if parallel.pp > 1:
            graph = dataclasses.replace(graph, name=f"{graph.name}, stage {alike[0] + 1} of {parallel.pp}")
        stages.append(Stage(tuple(index + 1 for index in alike), graph, lower(graph, hardware)))
    return tuple(stages)


def plan_stages(parallel: Parallel, stages: tuple[Stage, ...], hardware: str, planner: str, budget: Budget) -> Staged:
    """Plan one device of each kind of stage; they share the budget."""
    share = dataclasses.replace(budget, seconds=budget.seconds / len(stages))
    outcomes = tuple(make_plan(stage.problem, hardware, planner=planner, budget=share) for stage in stages)
    return Staged(parallel, stages, outcomes)


def staged_row(staged: Staged) -> dict[str, Any]:
    """What `--json` tells of the devices. Seconds, bytes; null where a stage has no plan."""
    parallel, fits = staged.parallel, all(o.plan is not None for o in staged.outcomes)
    tokens = staged.stages[0].problem.tokens
    pace = staged.outcomes[staged.slowest].cost_s
    return {
        "tp": parallel.tp,
        "pp": parallel.pp,
        "ep": parallel.ep,
        "devices": parallel.devices,
        "latency_s": staged.latency_s if fits else None,
        "communication_s": staged.communication_s if fits else None,
        "tokens_per_s": tokens / pace if fits and pace else None,
        "stages": [
            {
                "numbers": list(stage.numbers),
                "weight_bytes": stage.weight_bytes,
                "time_s": outcome.cost_s,
                "communication_s": communication_s(stage.problem, outcome) if outcome.plan is not None else None,
            }
            for stage, outcome in zip(staged.stages, staged.outcomes, strict=True)
        ],
    }


def print_staged(staged: Staged) -> None:
    """How the model is split, the time of a turn through all stages, and the part of it in communication."""
    out, parallel = console(), staged.parallel
    out.print(f"devices     {parallel.devices}: {parallel}{_groups(parallel)}; the plan is that of one device")
    slowest = staged.stages[staged.slowest]
    if parallel.pp > 1:
        out.print(f"stages      the plan is that of stage {slowest.numbers[0]}, the slowest of {parallel.pp}")
    out.print(f"weights     {show_bytes(slowest.weight_bytes)} a device")
    if any(outcome.plan is None for outcome in staged.outcomes):
        return
    total, talking = staged.latency_s, staged.communication_s
    share = talking / total if total else 0.0
    out.print(
        f"latency     {show_seconds(total)} a turn through all devices, "
        f"{show_seconds(talking)} ({share:.1%}) of it communication"
    )
    pace = staged.outcomes[staged.slowest].cost_s
    if parallel.pp > 1 and pace:
        rate = staged.stages[0].problem.tokens / pace
        out.print(
            f"pipeline    {rate:.4g} tokens/s with {parallel.pp} batches in flight, at the pace of the slowest stage; "
            f"each device then keeps the caches of {parallel.pp} batches"
        )


def _groups(parallel: Parallel) -> str:
    if parallel.groups == 1:
        return ""
    return f" ({parallel.groups} groups of {parallel.tp} with sequences of their own)"


def refuse(options: dict[str, object]) -> None:
    """Refuse what does not go with several devices.

    Raises: InvalidInputError: names the options.
    """
    if given := [option for option, value in options.items() if value is not None]:
        raise InvalidInputError(f"{' and '.join(given)} cannot be combined with --tp, --pp and --ep yet; leave one out")
