"""Fuse elementwise chains into kernels, as every compiler does; what only one kernel uses is never written.

A kernel may hold elementwise primitives, broadcasts, slices and transpositions over one domain, and end in reductions
over it. Nothing that needs a finished reduction joins the kernel that computes it: that would be a second pass.
Transpositions around a matrix product become part of how it addresses its operands and its result.
The kernels do the same arithmetic and never move more bytes.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import cast

from tierplan.frontend.jaxpr_block import (
    Kernel,
    Node,
    Operand,
    Repeat,
    Shape,
    Source,
    Step,
    Value,
    operands_of,
    reads_of,
    results_of,
)
from tierplan.frontend.jaxpr_counts import ELEMENTWISE, GENERATORS, REDUCTIONS
from tierplan.ir.graph import Attribute

FUSABLE = ELEMENTWISE | GENERATORS | REDUCTIONS | {"copy", "copy_p", "slice", "transpose"}


def fuse(nodes: Iterable[Node], kept: Collection[Value]) -> tuple[Node, ...]:
    """The same block in fewer, larger kernels; `kept` values are needed after it."""
    nodes = [replace(node, body=fuse(node.body, node.kept)) if isinstance(node, Repeat) else node for node in nodes]
    nodes = _used(_without_transposed_products(nodes, kept), kept)
    return _merged(_used(_with_own_generators(nodes, kept), kept), kept)


def _used(nodes: list[Node], kept: Collection[Value]) -> list[Node]:
    """The nodes without transpositions, broadcasts and iotas that nobody reads any more."""
    read = {value for node in nodes for value in reads_of(node)}.union(kept)
    spare = GENERATORS | {"transpose"}
    return [
        node
        for node in nodes
        if isinstance(node, Repeat) or node.steps[0].primitive not in spare or read & results_of(node)
    ]


def _only(node: Node, primitive: str) -> Step | None:
    """The step of a kernel that is one step of that primitive."""
    if isinstance(node, Kernel) and len(node.steps) == 1 and node.steps[0].primitive == primitive:
        return node.steps[0]
    return None


def _users(nodes: Iterable[Node]) -> dict[Value, list[int]]:
    users: dict[Value, list[int]] = {}
    for index, node in enumerate(nodes):
        for value in reads_of(node):
            users.setdefault(value, []).append(index)
    return users


def _without_transposed_products(nodes: list[Node], kept: Collection[Value]) -> list[Node]:
    """Let matrix products read transposed operands and write transposed results by themselves."""
    made: dict[Value, int] = {}
    users = _users(nodes)
    nodes = list(nodes)
    dropped: set[int] = set()
    for index, node in enumerate(nodes):
        step = _only(node, "dot_general")
        if step is not None:
            operands = tuple(_seen_through(operand, nodes, made) for operand in step.operands)
            nodes[index] = Kernel((replace(step, operands=operands),))
            made[step.results[0]] = index
        turned = _only(node, "transpose")
        if turned is None or not isinstance(turned.operands[0], Operand):
            continue
        made[turned.results[0]] = index
        source = turned.operands[0].value
        product = _only(nodes[made[source]], "dot_general") if source in made else None
        alone = users[source] == [index] and source not in kept and not turned.operands[0].views
        if product is None or not alone or "result_permutation" in product.attributes:
            continue
        permutation = turned.attributes["permutation"]
        attributes = {**product.attributes, "result_permutation": permutation}
        nodes[made[source]] = Kernel((replace(product, results=turned.results, attributes=attributes),))
        made[turned.results[0]] = made[source]
        dropped.add(index)
    return [node for index, node in enumerate(nodes) if index not in dropped]


def _seen_through(operand: Source, nodes: list[Node], made: dict[Value, int]) -> Source:
    if not isinstance(operand, Operand) or operand.views or operand.value not in made:
        return operand
    turned = _only(nodes[made[operand.value]], "transpose")
    if turned is None or turned.results[0] is not operand.value or not isinstance(turned.operands[0], Operand):
        return operand
    return turned.operands[0].transposed(cast("Shape", turned.attributes["permutation"]))


def _with_own_generators(nodes: list[Node], kept: Collection[Value]) -> list[Node]:
    """Give each reader of a broadcast or an iota its own, to make again instead of reading it."""
    users = _users(nodes)
    makers = {
        step.results[0]: step
        for node in nodes
        if isinstance(node, Kernel)
        for step in node.steps
        if step.primitive in GENERATORS and len(users.get(step.results[0], ())) + (step.results[0] in kept) > 1
    }
    given: list[Node] = []
    for node in nodes:
        if not isinstance(node, Kernel) or node.steps[0].primitive not in ELEMENTWISE | REDUCTIONS:
            given.append(node)
            continue
        own: dict[Value, Value] = {}
        for value in dict.fromkeys(operand.value for operand in operands_of(node.steps)):
            if value in makers:
                own[value] = Value(value.shape, value.dtype)
                given.append(Kernel((replace(makers[value], results=(own[value],)),)))
        given.append(Kernel(tuple(_renamed(step, own) for step in node.steps)))
    return given


def _renamed(step: Step, own: dict[Value, Value]) -> Step:
    operands = tuple(
        replace(source, value=own.get(source.value, source.value)) if isinstance(source, Operand) else source
        for source in step.operands
    )
    return replace(step, operands=operands) if own else step


@dataclass(slots=True, eq=False)
class _Group:
    """Nodes that will be one kernel, at the place of the last of them."""

    members: list[int]
    steps: dict[int, tuple[Step, ...]]
    domain: int
    reads: set[Value]
    results: set[Value]
    reduced: set[Value]
    fusable: bool
    chance: Attribute = None

    @property
    def place(self) -> int:
        return self.members[-1]


def _domain(step: Step) -> int:
    shape = step.operands[0].shape if step.primitive in REDUCTIONS else step.results[0].shape
    return math.prod(shape)


def _group(index: int, node: Node) -> _Group:
    if not isinstance(node, Kernel) or any(step.primitive not in FUSABLE for step in node.steps):
        return _Group([index], {}, 0, set(), set(), set(), False)
    results = {result for step in node.steps for result in step.results}
    reduced = {result for step in node.steps for result in step.results if step.primitive in REDUCTIONS}
    domain = max(_domain(step) for step in node.steps)
    chance = node.steps[0].notes.get("probability")
    return _Group([index], {index: node.steps}, domain, reads_of(node), results, reduced, True, chance)


def _merged(nodes: list[Node], kept: Collection[Value]) -> tuple[Node, ...]:
    """Merge each kernel with its producers, nearest first, as long as one may."""
    users = _users(nodes)
    groups = [_group(index, node) for index, node in enumerate(nodes)]
    owner = dict(enumerate(groups))
    maker = {result: index for index, group in enumerate(groups) for result in group.results}
    for group in groups:
        if not group.fusable:
            continue
        while True:
            producers = {owner[maker[value]].place: owner[maker[value]] for value in group.reads if value in maker}
            for place in sorted(producers, reverse=True):
                if _may_merge(producers[place], group, users, owner, kept):
                    _merge(producers[place], group, owner)
                    break
            else:
                break
    final = {group.place: group for group in owner.values()}
    return tuple(_node(final[place], nodes) for place in sorted(final))


def _may_merge(
    producer: _Group,
    consumer: _Group,
    users: dict[Value, list[int]],
    owner: dict[int, _Group],
    kept: Collection[Value],
) -> bool:
    shared = producer.results & consumer.reads
    if not producer.fusable or shared & producer.reduced or producer.chance != consumer.chance:
        return False
    others = {index for value in producer.results for index in users.get(value, ())}
    outside = {id(owner[i]): owner[i] for i in others if owner[i] is not producer and owner[i] is not consumer}
    if any(group.place < consumer.place for group in outside.values()):
        return False
    if producer.domain == consumer.domain:
        return True
    return producer.domain < consumer.domain and not outside and not producer.results & set(kept)


def _merge(producer: _Group, consumer: _Group, owner: dict[int, _Group]) -> None:
    consumer.members = sorted((*producer.members, *consumer.members))
    consumer.steps |= producer.steps
    consumer.domain = max(producer.domain, consumer.domain)
    consumer.results |= producer.results
    consumer.reads = (consumer.reads | producer.reads) - consumer.results
    consumer.reduced |= producer.reduced
    for index in producer.members:
        owner[index] = consumer


def _node(group: _Group, nodes: list[Node]) -> Node:
    if not group.fusable:
        return nodes[group.place]
    return Kernel(tuple(step for index in group.members for step in group.steps[index]))
