"""TeAAL files read into nouns, with the path to whatever is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar, cast

from tierplan.einsum.teaal import (
    Binding,
    Component,
    EinsumBindings,
    Format,
    Level,
    Plan,
    SpaceTime,
    Specification,
    Split,
    Stamp,
)
from tierplan.einsum.teaal_text import NAME, read_equation, read_split
from tierplan.einsum.yamltext import Node, read_yaml
from tierplan.ir.errors import InvalidInputError, unknown_name

T = TypeVar("T")
_SECTIONS = ("einsum", "mapping", "format", "architecture", "bindings")


def _table(node: Node, where: str, value: Callable[[Node, str], T]) -> dict[str, T]:
    if node is None:
        return {}
    if not isinstance(node, dict):
        raise InvalidInputError(f"{where}: expected names with values, found {type(node).__name__}")
    rows = cast("dict[object, Node]", node)
    return {str(key): value(item, f"{where}.{key}") for key, item in rows.items()}


def _list(node: Node, where: str, value: Callable[[Node, str], T]) -> tuple[T, ...]:
    if node is None:
        return ()
    if not isinstance(node, list):
        raise InvalidInputError(f"{where}: expected a list, found {type(node).__name__}")
    items = cast("list[Node]", node)
    return tuple(value(item, f"{where}[{n}]") for n, item in enumerate(items))


def _word(node: Node, where: str) -> str:
    if not isinstance(node, (str, int)) or isinstance(node, bool):
        raise InvalidInputError(f"{where}: expected a name, found {node!r:.40}")
    return str(node)


def _words(node: Node, where: str) -> tuple[str, ...]:
    return _list(node, where, _word)


def _any(node: Node, where: str) -> Node:
    del where
    return node


def _attributes(node: Node, where: str) -> dict[str, Node]:
    return _table(node, where, _any)


def read_teaal(text: str) -> Specification:
    """A TeAAL file.

    Raises: InvalidInputError: with the line of a YAML mistake, or the path to the entry that is wrong.
    """
    root = _table(read_yaml(text), "file", _any)
    if not set(root) & set(_SECTIONS):
        found = ", ".join(list(root)[:5]) or "nothing"
        raise InvalidInputError(f"line 1: no TeAAL section ({', '.join(_SECTIONS)}); found {found}")
    einsum = _table(root.get("einsum"), "einsum", _any)
    written = "expressions" if "expressions" in einsum else "expression"
    lines = _list(einsum.get(written), f"einsum.{written}", lambda n, w: (_word(n, w), w))
    architecture = root.get("architecture")
    return Specification(
        declaration=_table(einsum.get("declaration"), "einsum.declaration", _words) if "einsum" in root else None,
        expressions=tuple(read_equation(line, where) for line, where in lines),
        mapping=_read_mapping(root["mapping"]) if "mapping" in root else None,
        format=_table(root["format"], "format", lambda n, w: _table(n, w, _read_format)) if "format" in root else None,
        architecture=_read_architecture(architecture) if "architecture" in root else None,
        bindings=_table(root["bindings"], "bindings", _read_bindings) if "bindings" in root else None,
        others={key: value for key, value in root.items() if key not in _SECTIONS} or None,
    )


def _read_mapping(node: Node) -> Plan:
    parts = _table(node, "mapping", _any)
    known = ("rank-order", "partitioning", "loop-order", "spacetime")
    others = {key: value for key, value in parts.items() if key not in known}

    def partitioning(n: Node, w: str) -> dict[tuple[str, ...], tuple[Split, ...]]:
        rows = _table(n, w, lambda m, v: _list(m, v, lambda item, at: read_split(_word(item, at), at)))
        return {_read_ranks(key, w): splits for key, splits in rows.items()}

    return Plan(
        _table(parts["rank-order"], "mapping.rank-order", _words) if "rank-order" in parts else None,
        _table(parts["partitioning"], "mapping.partitioning", partitioning) if "partitioning" in parts else None,
        _read_loop_order(parts["loop-order"]) if "loop-order" in parts else None,
        _table(parts["spacetime"], "mapping.spacetime", _read_spacetime) if "spacetime" in parts else None,
        others or None,
    )


def _read_loop_order(node: Node) -> dict[str, tuple[str, ...]]:
    """Loop orders; old files list them, each Einsum with its ranks in one string."""
    where = "mapping.loop-order"
    if not isinstance(node, list):
        return _table(node, where, _words)

    def ranks(n: Node, w: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in _word(n, w).split(","))

    rows = _list(cast("Node", node), where, lambda n, w: _table(n, w, ranks))
    return {einsum: order for row in rows for einsum, order in row.items()}


def _read_ranks(text: str, where: str) -> tuple[str, ...]:
    inner = text.strip()
    names = [part.strip() for part in inner[1:-1].split(",")] if inner[:1] == "(" and inner[-1:] == ")" else [inner]
    if not all(NAME.fullmatch(name) for name in names):
        raise InvalidInputError(f"{where}: '{text[:40]}' is no rank; write K, or (M, K0) for several")
    return tuple(names)


def _read_spacetime(node: Node, where: str) -> SpaceTime:
    parts = _table(node, where, _any)

    def stamp(n: Node, w: str) -> Stamp:
        rank, dot, by = _word(n, w).partition(".")
        if dot and by not in ("pos", "coord"):
            raise InvalidInputError(f"{w}: {unknown_name('stamp', by, ['pos', 'coord'])}")
        return Stamp(rank, by or None)

    rest = {key: value for key, value in parts.items() if key not in ("space", "time")}
    return SpaceTime(
        _list(parts.get("space"), f"{where}.space", stamp), _list(parts.get("time"), f"{where}.time", stamp), rest
    )


def _read_format(node: Node, where: str) -> Format:
    parts = _table(node, where, _any)
    if "rank-order" not in parts:
        raise InvalidInputError(f"{where}: a format needs a rank-order")
    ranks = {k: _attributes(v, f"{where}.{k}") for k, v in parts.items() if k != "rank-order"}
    return Format(_words(parts["rank-order"], f"{where}.rank-order"), ranks)


def _read_architecture(node: Node) -> dict[str, tuple[Level, ...]]:
    return _table(node, "architecture", lambda n, w: _list(n, w, _read_level))


_LEVEL = re.compile(r"\s*(\w+)\s*(?:\[\s*0\s*\.\.\s*([0-9]{1,9})\s*\])?\s*")


def _read_level(node: Node, where: str) -> Level:
    parts = _table(node, where, _any)
    match = _LEVEL.fullmatch(_word(parts.get("name"), f"{where}.name"))
    if match is None:
        raise InvalidInputError(f"{where}.name: write a name, like PE, or PE[0..127] for 128 instances")
    known = ("name", "attributes", "local", "subtree")
    for key in parts:
        if key not in known:
            raise InvalidInputError(f"{where}: {unknown_name('entry', key, known)}")
    return Level(
        match.group(1),
        int(match.group(2)) + 1 if match.group(2) else 1,
        match.group(2) is not None,
        _attributes(parts.get("attributes"), f"{where}.attributes"),
        _list(parts.get("local"), f"{where}.local", _read_component),
        _list(parts.get("subtree"), f"{where}.subtree", _read_level),
    )


def _read_component(node: Node, where: str) -> Component:
    parts = _table(node, where, _any)
    return Component(
        _word(parts.get("name"), f"{where}.name"),
        _word(parts.get("class"), f"{where}.class"),
        _attributes(parts.get("attributes"), f"{where}.attributes"),
    )


def _read_bindings(node: Node, where: str) -> EinsumBindings:
    config: str | None = None
    prefix: str | None = None
    components: list[Binding] = []
    for n, entry in enumerate(_list(node, where, _attributes)):
        if "config" in entry:
            config = _word(entry["config"], f"{where}[{n}].config")
            prefix = _word(entry["prefix"], f"{where}[{n}].prefix") if "prefix" in entry else None
            continue
        name = _word(entry.get("component"), f"{where}[{n}].component")
        components.append(Binding(name, _list(entry.get("bindings"), f"{where}[{n}].bindings", _attributes)))
    return EinsumBindings(config, prefix, tuple(components))
