"""From a graph and a machine to the problem that planners see."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tierplan.ir.aliases import alias_groups
from tierplan.ir.graph import Access, Graph, Op, Tensor, TensorKind
from tierplan.ir.loops import executions, n_executed, unrolled
from tierplan.ir.machine import Machine
from tierplan.ir.problem import NO_HOME, Keep, Mode, Problem, links_of, tiers_of
from tierplan.sim.cost import Cost, compute_j, cost, is_calibrated, sustained

MAX_UNROLLED = 20_000
LAUNCH = "launch"
"""Kind of the empty operation that stands for the start of a kernel."""
_FREE = Cost(0.0, 0.0)


def lower(
    graph: Graph,
    machine: Machine,
    *,
    seconds: Callable[[Op], float | None] | None = None,
    max_unrolled: int = MAX_UNROLLED,
) -> Problem:
    """The placement problem of `graph` on `machine`.

    Tensors of one alias group become one tensor; tensors that nothing uses are left out.
    Loops are unrolled, unless that gives more than `max_unrolled` steps. `seconds` may tell the compute time of an
    operation; where it is None, or gives None, the machine's calibration does, or its peak rates where it has none.
    Assumes: scratch tiles every operation so that each operand is streamed once; of a loop that is
    not unrolled, all turns of one operation run in one step, and all tensors lie where they lie for all turns.
    Every operation is one kernel; where starting one takes time, an empty step before it takes that time.
    Units: bytes, seconds, joules.
    """
    notes: list[str] = [*graph.notes]
    if n_executed(graph) <= max_unrolled:
        graph = unrolled(graph)
    elif graph.loops:
        notes.append(f"{len(graph.loops)} loops are not unrolled: all turns of an operation are one step")
    streamed = sorted({op.kind for op in graph.ops if op.streamed})
    if streamed:
        notes.append(f"costed by their bytes alone: {', '.join(streamed)}")
    costs = {op.name: cost(op, machine) for op in graph.ops}
    graph = _with_margins(_with_launches(graph, costs), machine)
    groups = alias_groups(graph)
    steps = _steps(graph, groups)
    used = {name for step in steps for name in step}
    names = [name for name in dict.fromkeys(groups.values()) if name in used]
    members: dict[str, list[Tensor]] = defaultdict(list)
    for tensor in graph.tensors:
        members[groups[tensor.name]].append(tensor)
    index = {name: i for i, name in enumerate(names)}
    sizes = [max(t.size for t in members[name]) for name in names]
    kinds = [_kind(members[name]) for name in names]
    written = {name for step in steps for name, use in step.items() if use.mode is not Mode.READ}
    home = _home(machine, sum(size for size, kind in zip(sizes, kinds, strict=True) if kind.exists_at_start))
    times = executions(graph)

    def of_op(op: Op) -> float:
        if op.kind == LAUNCH:
            return costs[str(op.attributes["of"])].start_s
        told = seconds(op) if seconds is not None else None
        return costs.get(op.name, _FREE).compute_s if told is None else told

    uses = [(index[name], use) for step in steps for name, use in step.items()]
    return Problem(
        name=graph.name,
        tiers=tiers_of(sustained(machine)),
        links=links_of(machine),
        step_names=tuple(op.name for op in graph.ops),
        compute_s=np.array([of_op(op) * n for op, n in zip(graph.ops, times, strict=True)]),
        compute_j=np.array([compute_j(op, machine) * n for op, n in zip(graph.ops, times, strict=True)]),
        access_start=np.cumsum([0] + [len(step) for step in steps]),
        access_tensor=np.array([tensor for tensor, _ in uses], dtype=np.int64),
        access_read=np.array([use.read for _, use in uses], dtype=np.int64),
        access_write=np.array([use.write for _, use in uses], dtype=np.int64),
        access_mode=np.array([use.mode for _, use in uses], dtype=np.int64),
        tensor_names=tuple(names),
        tensor_kind=tuple(kind.value for kind in kinds),
        size=np.array(sizes, dtype=np.int64),
        home=np.array([home if kind.exists_at_start else NO_HOME for kind in kinds], dtype=np.int64),
        keep=np.array([_keep(members[n], n in written) for n in names], dtype=np.int64),
        cyclic=graph.cyclic,
        tokens=graph.tokens,
        calibrated=is_calibrated(machine),
        notes=tuple(notes),
    )


def _with_launches(graph: Graph, costs: Mapping[str, Cost]) -> Graph:
    """Add an empty step before each operation, for the start of its kernel, where that takes time."""
    if not any(each.start_s for each in costs.values()):
        return graph
    taken = {op.name for op in graph.ops}
    ops = [new for op in graph.ops for new in (_launch(_unused(f"launch {op.name}", taken), op), op)]
    loops = tuple(replace(loop, start=2 * loop.start, stop=2 * loop.stop) for loop in graph.loops)
    return replace(graph, ops=tuple(ops), loops=loops)


def _launch(name: str, op: Op) -> Op:
    return Op(name, LAUNCH, (), (), attributes={"of": op.name})


def _with_margins(graph: Graph, machine: Machine) -> Graph:
    """Add empty steps in which tensors of a tier that is not direct can be copied in first, and back last.

    A copy needs a step that issues it: in a program that runs once, one before the first operation,
    which may read what lies there; and one after the last, which may write it.
    """
    if all(tier.direct for tier in machine.tiers):
        return graph
    taken = {op.name for op in graph.ops}
    first, last = (_unused(name, taken) for name in ("begin", "end"))
    begin = () if graph.cyclic else (Op(first, "margin", (), ()),)
    end = (Op(last, "margin", (), ()),)
    loops = tuple(replace(loop, start=loop.start + len(begin), stop=loop.stop + len(begin)) for loop in graph.loops)
    return replace(graph, ops=(*begin, *graph.ops, *end), loops=loops)


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    return name


@dataclass(slots=True)
class _Use:
    """How one step uses one tensor: bytes read and written, all executions of the step together."""

    mode: Mode = Mode.READ
    read: int = 0
    write: int = 0


def _steps(graph: Graph, groups: dict[str, str]) -> list[dict[str, _Use]]:
    by_name = {t.name: t for t in graph.tensors}
    defined = {groups[t.name] for t in graph.tensors if t.kind.exists_at_start}
    steps: list[dict[str, _Use]] = []
    for op, times in zip(graph.ops, executions(graph), strict=True):
        uses: dict[str, _Use] = defaultdict(_Use)
        for access in op.reads:
            uses[groups[access.tensor]].read += access.bytes * times
        for access in op.writes:
            use = uses[groups[access.tensor]]
            use.mode = _mode(op, access, by_name[access.tensor], groups, defined)
            use.write += access.bytes * times
        defined |= set(uses)
        steps.append(dict(uses))
    return steps


def _mode(op: Op, access: Access, tensor: Tensor, groups: dict[str, str], defined: set[str]) -> Mode:
    name = groups[access.tensor]
    reads_it = any(groups[read.tensor] == name for read in op.reads)
    if name not in defined:
        return Mode.PRODUCE
    return Mode.UPDATE if reads_it or access.bytes < tensor.size else Mode.PRODUCE


def _kind(members: list[Tensor]) -> TensorKind:
    """What a group of aliases is: a state if something that exists is replaced by an output."""
    kinds = {t.kind for t in members}
    existing = [kind for kind in TensorKind if kind in kinds and kind.exists_at_start]
    if TensorKind.STATE in kinds or (existing and TensorKind.OUTPUT in kinds):
        return TensorKind.STATE
    if existing:
        return existing[0]
    return TensorKind.OUTPUT if TensorKind.OUTPUT in kinds else TensorKind.ACTIVATION


def _keep(members: list[Tensor], written: bool) -> Keep:
    kind = _kind(members)
    if kind is TensorKind.OUTPUT:
        return Keep.SOMEWHERE
    return Keep.HOME if kind is TensorKind.STATE and written else Keep.NOTHING


def _home(machine: Machine, n_bytes: int) -> int:
    """The tier where what exists at the start lies: the machine's home, or the next slower one that holds it."""
    first = machine.tier_index(machine.home)
    for index in range(first, len(machine.tiers)):
        if machine.tiers[index].usable >= n_bytes:
            return index
    return len(machine.tiers) - 1
