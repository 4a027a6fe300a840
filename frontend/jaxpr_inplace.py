"""Which updates of a part of an array happen in the array's own bytes, because nobody needs the old content.

Source: XLA's copy insertion and buffer assignment make the same choice for dynamic-update-slice and scatter.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from tierplan.frontend.jaxpr_block import (
    Count,
    Kernel,
    LoopCarry,
    Node,
    Operand,
    Repeat,
    Step,
    Value,
    operands_of,
    reads_of,
    results_of,
    whole,
)
from tierplan.frontend.jaxpr_counts import SCATTERS

UPDATES = SCATTERS | {"dynamic_update_slice"}


@dataclass(slots=True)
class Shared:
    """Values that share their bytes, by a representative of each group."""

    _parents: dict[Value, Value] = field(default_factory=dict[Value, Value])

    def root(self, value: Value) -> Value:
        """The value that stands for the group."""
        while value in self._parents:
            value = self._parents[value]
        return value

    def join(self, first: Value, second: Value) -> None:
        """Let two groups share their bytes; the first one's representative stands for both."""
        first, second = self.root(first), self.root(second)
        if first is not second:
            self._parents[second] = first

    def copy(self) -> "Shared":
        """The same groups, to try something on."""
        return Shared(dict(self._parents))

    def take(self, other: "Shared") -> None:
        """Become what was tried."""
        self._parents = other._parents

    def groups(self) -> dict[Value, set[Value]]:
        """Members of every group of two or more, by representative."""
        found: dict[Value, set[Value]] = {}
        for value in self._parents:
            root = self.root(value)
            found.setdefault(root, {root}).add(value)
        return found

    def roots(self) -> dict[Value, Value]:
        """The representative of every value that shares its bytes with another."""
        return {member: root for root, members in self.groups().items() for member in members}


def copy_of(value: Value) -> tuple[Kernel, Value]:
    """A kernel that copies a value, and the copy."""
    made = Value(value.shape, value.dtype)
    return Kernel((Step("copy", (whole(value),), (made,), {}, Count(dtype=value.dtype), {}),)), made


def updated_in_place(
    nodes: Iterable[Node], kept: Collection[Value], own: Collection[Value], shared: Shared
) -> tuple[Node, ...]:
    """The nodes with every update that can happen in place marked so, recorded in `shared`.

    `kept` values are needed after the block; `own` ones come from before it, but are its to overwrite.
    """
    nodes = list(nodes)
    last = {value: index for index, node in enumerate(nodes) for value in reads_of(node)}
    mine = set(own)
    done: list[Node] = []
    for index, node in enumerate(nodes):
        if isinstance(node, Repeat) or _may_update(node.steps[0]):
            free = {value for value in reads_of(node) & mine if last.get(value) == index and value not in kept}
            if isinstance(node, Repeat):
                copies, node = _loop(node, free, shared)
                done.extend(copies)
            else:
                node = _update(node, free, shared)
        done.append(node)
        mine |= results_of(node)
    return tuple(done)


def _may_update(step: Step) -> bool:
    return step.primitive in UPDATES or "update_bytes" in step.attributes


def _update(node: Kernel, free: set[Value], shared: Shared) -> Kernel:
    step = node.steps[0]
    if len(node.steps) != 1 or step.in_place or not _may_update(step):
        return node
    target, *others = list(operands_of((step,)))
    if step.operands[0] is not target or not target.is_whole or target.value not in free:
        return node
    if target.value in {other.value for other in others}:
        return node
    shared.join(target.value, step.results[0])
    return Kernel((replace(step, in_place=True),))


def _loop(loop: Repeat, free: set[Value], shared: Shared) -> tuple[list[Node], Repeat]:
    """The loop with updates in place; what enters an overwritten carry is copied before, where others need it."""
    body, overwritten = _body(loop, shared)
    inside = {value for node in body for value in reads_of(node)}
    initials = [carry.initial.value for carry in loop.carries]
    copies: list[Node] = []
    carries: list[LoopCarry] = []
    for carry in loop.carries:
        if carry.body_in in overwritten:
            initial = carry.initial.value
            if initial not in free or initial in inside or initials.count(initial) > 1:
                kernel, made = copy_of(initial)
                copies.append(kernel)
                carry = replace(carry, initial=Operand(made, carry.initial.shape, carry.initial.dtype))
            shared.join(carry.initial.value, carry.body_in)
        carries.append(carry)
    return copies, replace(loop, body=body, carries=tuple(carries))


def _body(loop: Repeat, shared: Shared) -> tuple[tuple[Node, ...], set[Value]]:
    """The body with its updates in place, recorded in `shared`, and the carries that they overwrite.

    A carry may be overwritten only if the next turn finds its own successor in the same bytes.
    """
    kept = loop.kept | {control.value for control in loop.controls}
    successors = {carry.body_in: carry.body_out for carry in loop.carries}
    while True:
        trial = shared.copy()
        body = updated_in_place(loop.body, kept, successors, trial)
        overwritten = {member for members in trial.groups().values() for member in members} & set(successors)
        strays = {value for value in overwritten if trial.root(value) is not trial.root(successors[value])}
        if not strays:
            shared.take(trial)
            return body, overwritten
        successors = {value: after for value, after in successors.items() if value not in strays}
