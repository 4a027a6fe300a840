"""Loops unrolled: a graph whose operations run once each."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tierplan.ir.graph import Access, Graph, Loop, Op, Tensor, TensorKind


def n_executed(graph: Graph) -> int:
    """How many operations run, loops counted with their trips."""
    return sum(executions(graph))


def executions(graph: Graph) -> list[int]:
    """How often each operation runs: the product of the trips of the loops around it."""
    times = [1] * len(graph.ops)
    for loop in graph.loops:
        for index in range(loop.start, loop.stop):
            times[index] *= loop.trips
    return times


def unrolled(graph: Graph) -> Graph:
    """The same program without loops.

    What one turn of a loop computes for itself is named `name#turn`; a tensor that is also used
    outside the loop (a stacked result, of which every turn writes a part) stays one tensor.
    """
    if not graph.loops:
        return graph
    unroller = _Unroller(graph)
    ops = unroller.emit(0, len(graph.ops), list(graph.loops), {})
    renamed = {name: unroller.final.get(name, name) for name in (t.name for t in graph.tensors)}
    originals = {t.name: t for t in graph.tensors}
    used = {access.tensor for op in ops for access in (*op.reads, *op.writes)}
    kept = [t for t in graph.tensors if t.name in used or (renamed[t.name] == t.name and t.kind.exists_at_start)]
    copies = [replace(originals[c.original], name=c.name, alias=c.alias) for c in unroller.copies if c.name in used]
    outputs = {renamed[t.name] for t in graph.tensors if t.kind is TensorKind.OUTPUT}
    tensors = tuple(_as_output(tensor, tensor.name in outputs) for tensor in (*kept, *copies))
    return replace(graph, tensors=tensors, ops=tuple(ops), loops=())


def _as_output(tensor: Tensor, is_output: bool) -> Tensor:
    """Of what a loop makes anew in every turn, only what the last turn leaves is the output."""
    if tensor.kind.exists_at_start:
        return tensor
    return replace(tensor, kind=TensorKind.OUTPUT if is_output else TensorKind.ACTIVATION)


@dataclass(frozen=True, slots=True)
class _TurnsOwn:
    """What one turn of a loop makes anew of a tensor: its name, that of the tensor, and its alias group."""

    name: str
    original: str
    alias: str


class _Unroller:
    """Emits the operations of a range, turn by turn, under the names that hold at that point."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.copies: list[_TurnsOwn] = []
        self.final: dict[str, str] = {}  # what a carried value is called after its loop
        self.used_at = _uses(graph)
        self.alias = {t.name: t.alias for t in graph.tensors}
        self.exists = {t.name for t in graph.tensors if t.kind.exists_at_start}
        self.path: list[tuple[Loop, int]] = []  # the loops around what is emitted, with their turns
        self.groups: dict[str, set[str]] = defaultdict(set)
        for tensor in graph.tensors:
            self.groups[tensor.alias].add(tensor.name)

    def emit(self, start: int, stop: int, loops: list[Loop], names: dict[str, str], suffix: str = "") -> list[Op]:
        """Operations `[start, stop)` with `loops` inside; `names` maps original to present names."""
        ops: list[Op] = []
        outer = _outermost(loops)
        index = start
        while index < stop:
            loop = next((loop for loop in outer if loop.start == index and loop.stop > loop.start), None)
            if loop is None:
                ops.append(_with_names(self.graph.ops[index], names, suffix))
                index += 1
                continue
            inner = [other for other in loops if other is not loop and _inside(other, loop)]
            ops += self._turns(loop, inner, names, suffix)
            index = loop.stop
        return ops

    def _turns(self, loop: Loop, inner: list[Loop], names: dict[str, str], suffix: str) -> list[Op]:
        ops: list[Op] = []
        carried = {c.body_in: names.get(c.initial, c.initial) for c in loop.carries}
        own = self._own(loop)
        for turn in range(loop.trips):
            here = dict(names)
            here.update(carried)
            self.path.append((loop, turn))
            for name in own:
                here[name] = f"{name}{suffix}#{turn}"
                self.copies.append(_TurnsOwn(here[name], name, self._alias(name)))
            ops += self.emit(loop.start, loop.stop, inner, here, f"{suffix}#{turn}")
            self.path.pop()
            carried = {c.body_in: here.get(c.body_out, c.body_out) for c in loop.carries}
        left = {c.body_out: carried[c.body_in] for c in loop.carries}
        names.update(left)
        self.final.update(left)
        return ops

    def _alias(self, name: str) -> str:
        """The alias group of a tensor in this turn: one for all turns of the loops that update it in place."""
        alias = self.alias[name]
        return alias and alias + "".join(f"#{turn}" for loop, turn in self.path if not self._is_in_place(loop, alias))

    def _is_in_place(self, loop: Loop, alias: str) -> bool:
        """Whether the bytes of an alias group are the same in every turn of a loop."""
        group = self.groups[alias]
        if group & self.exists or any({c.body_in, c.body_out} <= group for c in loop.carries):
            return True
        inside = group - {c.body_out for c in loop.carries}
        return any(not loop.start <= at < loop.stop for name in inside for at in self.used_at[name])

    def _own(self, loop: Loop) -> list[str]:
        """Tensors that each turn writes for itself."""
        outs = {c.body_out for c in loop.carries}
        written = {a.tensor for op in self.graph.ops[loop.start : loop.stop] for a in op.writes}
        outputs = {t.name for t in self.graph.tensors if t.kind.value == "output"}

        def is_own(name: str) -> bool:
            if name in outs:
                return True
            outside = any(not loop.start <= at < loop.stop for at in self.used_at[name])
            shared = self.alias[name] and self.groups[self.alias[name]] & self.exists
            return not outside and name not in outputs and name not in self.exists and not shared

        return sorted(name for name in written if is_own(name))


def _uses(graph: Graph) -> Mapping[str, set[int]]:
    uses: dict[str, set[int]] = {t.name: set() for t in graph.tensors}
    for index, op in enumerate(graph.ops):
        for access in (*op.reads, *op.writes):
            uses[access.tensor].add(index)
    for loop in graph.loops:
        for carry in loop.carries:
            uses[carry.initial].add(loop.start - 1)
    return uses


def _inside(loop: Loop, around: Loop) -> bool:
    return around.start <= loop.start and loop.stop <= around.stop


def _outermost(loops: list[Loop]) -> list[Loop]:
    return [
        loop
        for i, loop in enumerate(loops)
        if not any(_inside(loop, o) and (not _inside(o, loop) or j < i) for j, o in enumerate(loops) if o is not loop)
    ]


def _with_names(op: Op, names: Mapping[str, str], suffix: str) -> Op:
    def renamed(accesses: tuple[Access, ...]) -> tuple[Access, ...]:
        return tuple(Access(names.get(a.tensor, a.tensor), a.bytes) for a in accesses)

    return replace(op, name=op.name + suffix, reads=renamed(op.reads), writes=renamed(op.writes))
