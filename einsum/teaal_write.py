"""TeAAL specifications written back as YAML."""

from __future__ import annotations

from typing import Any

from tierplan.einsum.teaal import EinsumBindings, Level, Plan, Specification, Stamp
from tierplan.einsum.teaal_text import write_equation, write_split
from tierplan.einsum.yamltext import write_yaml


def write_teaal(specification: Specification) -> str:
    """A TeAAL file as YAML; reading it again gives an equal specification."""
    root: dict[str, Any] = {}
    s = specification
    if s.declaration is not None:
        root["einsum"] = {
            "declaration": {tensor: list(ranks) for tensor, ranks in s.declaration.items()},
            "expressions": [write_equation(e) for e in s.expressions],
        }
    if s.mapping is not None:
        root["mapping"] = _mapping_node(s.mapping)
    if s.format is not None:
        root["format"] = {
            tensor: {
                name: {"rank-order": list(f.rank_order), **{r: dict(a) for r, a in f.ranks.items()}}
                for name, f in formats.items()
            }
            for tensor, formats in s.format.items()
        }
    if s.architecture is not None:
        root["architecture"] = {name: [_level_node(x) for x in tree] for name, tree in s.architecture.items()}
    if s.bindings is not None:
        root["bindings"] = {einsum: _bindings_node(b) for einsum, b in s.bindings.items()}
    return write_yaml({**root, **(s.others or {})})


def _mapping_node(mapping: Plan) -> dict[str, Any]:
    node: dict[str, Any] = {}
    if mapping.rank_order is not None:
        node["rank-order"] = {tensor: list(ranks) for tensor, ranks in mapping.rank_order.items()}
    if mapping.partitioning is not None:
        node["partitioning"] = {
            einsum: {
                ranks[0] if len(ranks) == 1 else f"({', '.join(ranks)})": [write_split(x) for x in splits]
                for ranks, splits in parts.items()
            }
            for einsum, parts in mapping.partitioning.items()
        }
    if mapping.loop_order is not None:
        node["loop-order"] = {einsum: list(ranks) for einsum, ranks in mapping.loop_order.items()}
    if mapping.spacetime is not None:
        node["spacetime"] = {
            einsum: {"space": [_stamp(x) for x in t.space], "time": [_stamp(x) for x in t.time], **t.options}
            for einsum, t in mapping.spacetime.items()
        }
    return {**node, **(mapping.others or {})}


def _stamp(stamp: Stamp) -> str:
    return stamp.rank if stamp.by is None else f"{stamp.rank}.{stamp.by}"


def _level_node(level: Level) -> dict[str, Any]:
    node: dict[str, Any] = {"name": f"{level.name}[0..{level.n_instances - 1}]" if level.indexed else level.name}
    if level.attributes:
        node["attributes"] = dict(level.attributes)
    if level.local:
        node["local"] = [
            {"name": c.name, "class": c.class_, **({"attributes": dict(c.attributes)} if c.attributes else {})}
            for c in level.local
        ]
    if level.subtree:
        node["subtree"] = [_level_node(x) for x in level.subtree]
    return node


def _bindings_node(bindings: EinsumBindings) -> list[dict[str, Any]]:
    node: list[dict[str, Any]] = []
    if bindings.config is not None:
        prefix = {} if bindings.prefix is None else {"prefix": bindings.prefix}
        node.append({"config": bindings.config, **prefix})
    return node + [{"component": b.component, "bindings": [dict(u) for u in b.uses]} for b in bindings.components]
