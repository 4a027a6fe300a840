"""Write kernels and loops down as the operations, tensors and loops of a graph.

Every operation says in its attributes how to run it. `operands` names each operand of the primitive:
`("read", k, *views)` is the k-th access of `reads` seen through views (see `Operand`), `("local", i, j, *views)` the
j-th result of the i-th instruction of the same kernel, `("literal", value)` a scalar. `stores` says for each write
which result it keeps, `(i, j, *views)`; a `turn` view there is the slice of a stacked result that this turn writes.
A kernel of several primitives has kind `fusion`, their names in `primitives`, and in `body` one
`(primitive, operands, parameters)` per instruction; one of a single primitive has its parameters as attributes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from tierplan.frontend.jaxpr_block import (
    Kernel,
    Literal,
    Node,
    Operand,
    Repeat,
    Source,
    Stack,
    Step,
    Value,
    operands_of,
)
from tierplan.ir.graph import Access, Attribute, Carry, Loop, Op, Tensor, TensorKind

_PARTIAL = frozenset(("slice", "dynamic_slice", "gather"))
_KINDS = {"copy_p": "copy"}


@dataclass(slots=True)
class Names:
    """One name for each value, none given twice."""

    _given: dict[Value, str] = field(default_factory=dict[Value, str])
    _taken: Counter[str] = field(default_factory=Counter[str])

    def of(self, value: Value) -> str | None:
        """The name of a value that has one."""
        return self._given.get(value)

    def fresh(self, name: str) -> str:
        """The name itself, or numbered when it is taken."""
        while name in self._taken:
            self._taken[name] += 1
            name = f"{name}_{self._taken[name]}"
        self._taken[name] = 1
        return name

    def give(self, value: Value, name: str) -> str:
        """Name a value, once."""
        if value not in self._given:
            self._given[value] = self.fresh(name)
        return self._given[value]


@dataclass(slots=True)
class Draft:
    """A graph in the making: what is already written, what its values are to the program.

    `roots` gives each value that shares its bytes with others the one that stands for all of them.
    """

    names: Names
    kinds: Mapping[Value, TensorKind]
    roots: Mapping[Value, Value]
    needed: set[Value] = field(default_factory=set[Value])
    ops: list[Op] = field(default_factory=list[Op])
    loops: list[Loop] = field(default_factory=list[Loop])
    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    n_kinds: Counter[str] = field(default_factory=Counter[str])

    def tensor(self, value: Value, name: str) -> str:
        """The tensor of a value, made when first asked for."""
        name = self.names.give(value, name)
        if name not in self.tensors:
            alias = self.names.give(self.roots[value], name) if value in self.roots else ""
            kind = self.kinds.get(value, TensorKind.ACTIVATION)
            self.tensors[name] = Tensor(name, value.shape, value.dtype, kind, alias)
        return name


def emit(nodes: Sequence[Node], draft: Draft) -> None:
    """Add the nodes to the draft, in their order; of nested loops the outer one comes first."""
    draft.needed = set(draft.kinds) | _needed(nodes)
    _nodes(nodes, (), None, draft)
    draft.loops.reverse()
    draft.loops.sort(key=lambda loop: (loop.start, -loop.stop))


def _needed(nodes: Sequence[Node]) -> set[Value]:
    """Values that must lie in memory because another kernel or a loop takes them from there."""
    needed: set[Value] = set()
    for node in nodes:
        if isinstance(node, Repeat):
            needed |= _needed(node.body)
            needed |= {value for c in node.carries for value in (c.initial.value, c.body_in, c.body_out)}
        else:
            inside = {result for step in node.steps for result in step.results}
            needed |= {operand.value for operand in operands_of(node.steps)} - inside
    return needed


def _nodes(nodes: Sequence[Node], stacks: Sequence[Stack], loop: Repeat | None, draft: Draft) -> None:
    for node in nodes:
        if isinstance(node, Repeat):
            _loop(node, draft)
        else:
            _kernel(node, stacks, loop, draft)


def _loop(loop: Repeat, draft: Draft) -> None:
    for number, carry in enumerate(loop.carries):
        draft.tensor(carry.body_in, f"{loop.name}.carry.{number}")
    for number, stack in enumerate(loop.stacks):
        draft.tensor(stack.stacked, f"{loop.name}.stack.{number}")
    start = len(draft.ops)
    _nodes(loop.body, loop.stacks, loop, draft)
    carries = tuple(
        Carry(*(draft.tensor(value, loop.name) for value in (c.initial.value, c.body_in, c.body_out)))
        for c in loop.carries
    )
    draft.loops.append(Loop(loop.name, start, len(draft.ops), loop.trips, carries))


def _kernel(kernel: Kernel, stacks: Sequence[Stack], loop: Repeat | None, draft: Draft) -> None:
    steps = kernel.steps
    kind = _KINDS.get(steps[0].primitive, steps[0].primitive) if len(steps) == 1 else "fusion"
    name = _name(kind, steps, draft)
    reads = _reads(steps, draft)
    body = _body(steps, [access.tensor for access in reads], draft)
    writes, stores = _writes(steps, name, stacks, loop, draft)
    attributes: dict[str, Attribute] = {**_common(steps), "stores": stores}
    if len(steps) == 1:
        attributes |= {**steps[0].attributes, "operands": body[0][1]}
        if steps[0].in_place:
            attributes["in_place"] = True
    else:
        attributes |= {"primitives": tuple(step.primitive for step in steps), "body": cast("Attribute", body)}
    draft.ops.append(
        Op(
            name,
            kind,
            reads,
            writes,
            sum(step.count.matrix for step in steps),
            sum(step.count.vector for step in steps),
            _dtype(steps),
            attributes,
            any(step.count.streamed for step in steps),
        )
    )


def _name(kind: str, steps: Sequence[Step], draft: Draft) -> str:
    """The name that the program gives to a step, or its kind with a number."""
    own = steps[0].notes.get("instruction") if len(steps) == 1 else None
    label = kind if own is None else str(own)
    n = draft.n_kinds[label]
    draft.n_kinds[label] += 1
    if own is None:
        return f"{label}.{n}"
    return label if n == 0 else f"{label}~{n}"


def _dtype(steps: Sequence[Step]) -> str:
    """The type that most operations run in."""
    busy: Counter[str] = Counter()
    for step in steps:
        busy[step.count.dtype] += step.count.matrix + step.count.vector
    return busy.most_common(1)[0][0]


def _common(steps: Sequence[Step]) -> dict[str, Attribute]:
    """Notes that hold for all steps; of scopes, their common beginning."""
    first = steps[0].notes
    notes = {k: v for k, v in first.items() if all(k in s.notes and s.notes[k] == v for s in steps)}
    scopes = [str(step.notes.get("scope", "")).split("/") for step in steps]
    shared: list[str] = []
    for parts in zip(*scopes, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return {**notes, "scope": "/".join(shared)} if any(shared) else notes


def _reads(steps: Sequence[Step], draft: Draft) -> tuple[Access, ...]:
    inside = {result for step in steps for result in step.results}
    full: dict[str, int] = {}
    parts: dict[str, int] = {}
    most: dict[str, int] = {}
    for step in steps:
        for position, source in enumerate(step.operands):
            if isinstance(source, Literal) or source.value in inside:
                continue
            name = draft.tensor(source.value, "constant")
            partial = _partial_bytes(step, position)
            most[name] = max(most.get(name, 0), source.size)
            full[name] = max(full.get(name, 0), source.size if partial is None else 0)
            parts[name] = parts.get(name, 0) + (partial or 0)
    return tuple(Access(name, min(most[name], full[name] + parts[name])) for name in full)


def _partial_bytes(step: Step, position: int) -> int | None:
    """Bytes of an operand that a primitive streams when that is not all of it."""
    told = step.attributes.get("read_bytes")
    if isinstance(told, tuple):
        return cast("int | None", told[position])
    if position:
        return None
    if step.primitive in _PARTIAL:
        return step.results[0].size
    if step.in_place:
        return 0 if step.primitive in ("scatter", "dynamic_update_slice") else _update_bytes(step)
    return None


def _update_bytes(step: Step) -> int:
    told = step.attributes.get("update_bytes")
    if isinstance(told, int):
        return told
    update = step.operands[1 if step.primitive == "dynamic_update_slice" else 2]
    return update.size if isinstance(update, Operand) else Value((), update.dtype).size


_Body = tuple[tuple[str, tuple[Attribute, ...], tuple[Attribute, ...]], ...]


def _body(steps: Sequence[Step], reads: Sequence[str], draft: Draft) -> _Body:
    local = {result: (i, j) for i, step in enumerate(steps) for j, result in enumerate(step.results)}

    def encoded(source: Source) -> Attribute:
        if isinstance(source, Literal):
            return ("literal", source.value)
        if source.value in local:
            return ("local", *local[source.value], *source.views)
        return ("read", reads.index(draft.tensor(source.value, "constant")), *source.views)

    return tuple(
        (step.primitive, tuple(map(encoded, step.operands)), tuple((k, v) for k, v in step.attributes.items()))
        for step in steps
    )


def _writes(
    steps: Sequence[Step], name: str, stacks: Sequence[Stack], loop: Repeat | None, draft: Draft
) -> tuple[tuple[Access, ...], Attribute]:
    kept = [(i, j, v) for i, step in enumerate(steps) for j, v in enumerate(step.results) if v in draft.needed]
    writes: list[Access] = []
    stores: list[Attribute] = []
    for i, j, value in kept:
        bytes_written = _update_bytes(steps[i]) if steps[i].in_place else value.size
        writes.append(Access(draft.tensor(value, name if len(kept) == 1 else f"{name}.{len(writes)}"), bytes_written))
        stores.append((i, j))
    for i, step in enumerate(steps):
        for j, value in enumerate(step.results):
            for stack in stacks:
                if stack.element.value is value and loop is not None:
                    writes.append(Access(draft.tensor(stack.stacked, loop.name), value.size))
                    stores.append((i, j, ("turn", loop.name, loop.reverse)))
    return tuple(writes), tuple(stores)
