"""Tensors that share their bytes, under one name."""

from tierplan.ir.graph import Graph


def alias_groups(graph: Graph) -> dict[str, str]:
    """The name under which each tensor is known: that of the first of its alias group.

    A value that a loop hands from turn to turn is known by what enters the loop.
    """
    first: dict[str, str] = {}
    carried = {c.body_out: c.initial for loop in graph.loops for c in loop.carries}
    carried |= {c.body_in: c.initial for loop in graph.loops for c in loop.carries}
    for tensor in graph.tensors:
        if tensor.alias:
            first.setdefault(tensor.alias, tensor.name)
    groups = {t.name: first.get(t.alias, t.name) for t in graph.tensors}

    def root(name: str) -> str:
        while name in carried and carried[name] != name:
            name = carried[name]
        return groups[name]

    return {t.name: root(t.name) for t in graph.tensors}
