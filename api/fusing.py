"""Fusing is a choice of the plan: cut a graph into kernels in several ways, plan each, and keep the best."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.fusion_record import FusedRegion, FusionAlternative, FusionRecord
from tierplan.ir.graph import Graph, Op
from tierplan.ir.loops import n_executed, unrolled
from tierplan.ir.machine import Machine
from tierplan.ir.outcome import Outcome
from tierplan.ir.problem import Problem
from tierplan.ir.regions import FUSED, fused, region_name
from tierplan.pipeline import machine_of, plan
from tierplan.planner.contract import Budget
from tierplan.sim.cost import is_calibrated, uncalibrated
from tierplan.sim.fusion_forms import MOST_OPS, Fusable, fusable
from tierplan.sim.fusion_price import Prices, prices, served_by_plan, served_by_tier
from tierplan.sim.fusion_search import Kernel, cheapest, largest, unfused
from tierplan.sim.lowering import MAX_UNROLLED, lower

MODES = ("none", "auto", "max")

Seconds = Callable[[Op], float | None]


@dataclass(frozen=True, slots=True)
class Dressed:
    """A problem some of whose tensors are loaded by choice, how to plan it, and what there is to tell of it."""

    problem: Problem
    plan: Callable[[str, Budget], Outcome]
    told: object


@dataclass(frozen=True, slots=True)
class Dressing:
    """What of a program is loaded by choice: `alone` are the operations that read it, which stay kernels of their own,
    and `dress` makes the problem with the choices from the cut graph and its problem."""

    alone: Callable[[Graph], frozenset[int]]
    dress: Callable[[Graph, Problem], Dressed]


@dataclass(frozen=True, slots=True)
class Fusing:
    """What the user says about fusing; None where he says nothing.

    `scratch` bytes of the nearest tier are for regions, `launch_s` is the time to start a kernel; without them the
    machine tells. A region has at most `most_ops` operations.
    """

    mode: str
    scratch: int | None = None
    launch_s: float | None = None
    most_ops: int = MOST_OPS

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown_name("--fusion", self.mode, MODES)


@dataclass(frozen=True, slots=True)
class Cut:
    """A graph cut into kernels in one way, its problem, and what came of planning it."""

    name: str
    kernels: tuple[Kernel, ...]
    graph: Graph
    problem: Problem
    outcome: Outcome
    told: object = None

    @property
    def scratch(self) -> int:
        """The most bytes that one of its regions holds."""
        return max(kernel.form.footprint for kernel in self.kernels)


@dataclass(frozen=True, slots=True)
class Fused:
    """All cuts that were planned, and the one that was kept. `graph` is the program as it was before.

    `peak_rates`: the machine has fitted constants that were left aside, as no fused kernel was measured.
    """

    fusing: Fusing
    graph: Graph
    machine: Machine
    limit: int
    cuts: tuple[Cut, ...]
    kept: Cut
    peak_rates: bool = False

    @property
    def record(self) -> FusionRecord:
        """What a plan file says of it."""
        regions = tuple(
            FusedRegion(
                tuple(op.name for op in self.graph.ops[kernel.region.start : kernel.region.stop]),
                kernel.form.slices,
                kernel.form.n_passes,
                kernel.form.footprint,
            )
            for kernel in self.kept.kernels
            if kernel.region.n_ops > 1
        )
        alternatives = tuple(
            FusionAlternative(
                cut.name,
                len(cut.kernels),
                cut.scratch,
                cut.outcome.cost_s,
                cut.outcome.bound_s if math.isfinite(cut.outcome.bound_s) else None,
            )
            for cut in self.cuts
        )
        return FusionRecord(self.fusing.mode, self.kept.name, self.machine.launch_s, self.limit, alternatives, regions)


def fuse_and_plan(
    graph: Graph,
    hardware: str | Machine,
    fusing: Fusing,
    *,
    planner: str,
    budget: Budget,
    dressing: Dressing | None = None,
) -> Fused:
    """Plan a graph cut into kernels as `fusing` says.

    `none` makes each operation a kernel, `max` each kernel as large as it may be, beside which `none` is planned to
    compare. `auto` plans both, and a third cut, the cheapest by dynamic programming when operands come from where the
    plan without fusing has them; it keeps the one whose plan is fastest. The budget's time is shared between them. With
    a `dressing`, every cut has the same choices.

    Raises: InvalidInputError: the machine has no scratch to fuse in, more is asked for than it has, or the program
        is a list of buffers.
    """
    if all(op.kind == "buffers" for op in graph.ops):
        raise InvalidInputError("--fusion means nothing for a list of buffers; leave it out")
    machine, seconds = machine_of(hardware)
    left_aside = is_calibrated(machine)
    machine = uncalibrated(machine)  # no fused kernel was measured
    if fusing.launch_s is not None:
        machine = replace(machine, launch_s=fusing.launch_s)
    if n_executed(graph) <= MAX_UNROLLED:
        graph = unrolled(graph)
    limit = 0 if fusing.mode == "none" else _limit(machine, fusing.scratch)
    alone = frozenset[int]() if dressing is None else dressing.alone(graph)
    program = fusable(graph, machine, limit, most_ops=fusing.most_ops, seconds=seconds, alone=alone)
    share = replace(budget, seconds=budget.seconds / {"none": 1, "max": 2, "auto": 3}[fusing.mode])
    maker = _Cutter(program, machine, seconds, planner, share, dressing)
    cuts = [maker.cut("none", unfused(program))]
    if fusing.mode != "none":
        by_plan = maker.prices(cuts[0])
        wanted = [("max", largest(program, by_plan))]
        if fusing.mode == "auto":
            wanted.append(("cheapest", cheapest(program, by_plan)))
        for name, kernels in wanted:
            if all(kernels != cut.kernels for cut in cuts):
                cuts.append(maker.cut(name, kernels))
    kept = min(cuts, key=lambda cut: math.inf if cut.outcome.cost_s is None else cut.outcome.cost_s)
    if fusing.mode == "max":
        kept = cuts[-1]
    return Fused(fusing, graph, machine, limit, tuple(cuts), kept, left_aside)


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Lowers and plans a program cut into kernels."""

    program: Fusable
    machine: Machine
    seconds: Seconds | None
    planner: str
    budget: Budget
    dressing: Dressing | None

    def cut(self, name: str, kernels: tuple[Kernel, ...]) -> Cut:
        graph = fused(self.program.graph, [kernel.region for kernel in kernels])
        scratch = max(kernel.form.footprint for kernel in kernels)
        machine = with_scratch(self.machine, scratch)
        problem = lower(graph, machine, seconds=seconds_of_kernels(self.program.graph, kernels, self.seconds))
        if self.dressing is None:
            outcome = plan(problem, machine, planner=self.planner, budget=self.budget)
            return Cut(name, kernels, graph, problem, outcome)
        dressed = self.dressing.dress(graph, problem)
        return Cut(name, kernels, graph, dressed.problem, dressed.plan(self.planner, self.budget), dressed.told)

    def prices(self, base: Cut) -> Prices:
        uses = self.program.uses
        if base.outcome.plan is None:
            return prices(self.machine, served_by_tier(uses, self.machine.tier_index(self.machine.home)))
        names = [op.name for op in self.program.graph.ops]
        return prices(self.machine, served_by_plan(uses, names, base.problem, base.outcome.plan))


def with_scratch(machine: Machine, n_bytes: int) -> Machine:
    """The machine with at least so much scratch in its nearest tier."""
    first, *others = machine.tiers
    return replace(machine, tiers=(replace(first, scratch=max(first.scratch, n_bytes)), *others))


def seconds_of_kernels(graph: Graph, kernels: Sequence[Kernel], seconds: Seconds | None) -> Seconds:
    """How long kernels compute: regions in the way that they run, other operations as they do alone."""
    known = {
        region_name(graph.ops[kernel.region.start : kernel.region.stop]): kernel.form.compute_s for kernel in kernels
    }

    def of_op(op: Op) -> float | None:
        if op.kind == FUSED:
            return known[op.name]
        return seconds(op) if seconds is not None else None

    return of_op


def _limit(machine: Machine, scratch: int | None) -> int:
    """Bytes that regions may hold: as given, as the machine declares, or all of a nearest tier that is not home.

    Raises: InvalidInputError: there is none, or less than was asked for.
    """
    first = machine.tiers[0]
    if scratch is not None:
        if not 0 < scratch < first.capacity:
            raise InvalidInputError(
                f"--scratch is {scratch} B; need more than 0, and less than the {first.capacity} B of '{first.name}'"
            )
        return scratch
    if first.scratch:
        return first.scratch
    if first.name == machine.home:
        raise InvalidInputError(
            f"machine '{machine.name}' tells of no memory on the chip: its nearest tier '{first.name}' is home to all "
            "data and has no 'scratch'; give the bytes that a kernel may hold, like --scratch 32MiB"
        )
    return first.capacity - 1
