"""YAML for specifications: plain data only, bounded in size and depth, no aliases."""

from __future__ import annotations

from typing import Any

from tierplan.ir.errors import InvalidInputError

Node = Any  # dict, list, str, int, float, bool or None
MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 50


def read_yaml(text: str) -> Node:
    """The document in `text`.

    Raises: InvalidInputError: with line and column.
    """
    import yaml

    if len(text) > MAX_CHARACTERS:
        raise InvalidInputError(f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    try:
        _check_events(text)
        return yaml.load(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidInputError(f"{where}{error.problem or error.context or 'not YAML'}") from None
    except yaml.YAMLError as error:
        raise InvalidInputError(f"not YAML: {' '.join(str(error).split())[:200]}") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"a value cannot be read: {' '.join(str(error).split())[:200]}") from None


def _check_events(text: str) -> None:
    """Refuse aliases and deep nesting before anything is built."""
    import yaml

    depth = 0
    loader: Any = yaml.SafeLoader(text)
    while loader.check_event():
        event = loader.get_event()
        kind = type(event).__name__
        where = f"line {event.start_mark.line + 1}, column {event.start_mark.column + 1}"
        if kind == "AliasEvent":
            raise InvalidInputError(f"{where}: aliases are not read; write the value out")
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidInputError(f"{where}: nested deeper than {MAX_DEPTH} levels")
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            depth -= 1


def _loader() -> type[Any]:
    """The safe loader, with ranks named N or Y kept as text, and keys that occur twice refused."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                name = str(getattr(key, "value", key))
                if name in seen:
                    raise InvalidInputError(f"line {key.start_mark.line + 1}: '{name}' occurs twice")
                seen.add(name)
            return super().construct_mapping(node, deep=deep)

    resolvers = dict(Loader.yaml_implicit_resolvers)
    for first in "yYnNoO":
        resolvers[first] = [r for r in resolvers.get(first, []) if r[0] != "tag:yaml.org,2002:bool"]
    Loader.yaml_implicit_resolvers = resolvers
    return Loader


def write_yaml(node: Node) -> str:
    """`node` as YAML, keys in their order."""
    import yaml

    return yaml.safe_dump(node, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
