"""YAML text as plain values that remember where they stood, and nothing else: no tags, no code, no bombs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import yaml

from tierplan.ir.errors import InvalidInputError, one_line

KeyPath: TypeAlias = tuple[str | int, ...]
Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"

_DEEPEST = 16
_MOST_VALUES = 10_000
_LONGEST_TEXT = 4_000
_TAG = "tag:yaml.org,2002:"
_TYPED = {_TAG + name for name in ("null", "bool", "int", "float")}
_PLAIN = {_TAG + name for name in ("str", "timestamp", "value")}


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; lines and columns count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Tree:
    """The values of a file, and for each key path the positions of its key and of its value."""

    file: str
    value: Value
    keys: Mapping[KeyPath, Position]
    values: Mapping[KeyPath, Position]

    def position(self, path: KeyPath, *, of_key: bool = False) -> Position:
        """Where `path` stands; for a path that the file lacks, where its nearest ancestor does."""
        for places in (self.keys, self.values) if of_key else (self.values,):
            if path in places:
                return places[path]
        return self.position(path[:-1]) if path else Position(1, 1)

    def error(self, path: KeyPath, message: str, *, of_key: bool = False) -> InvalidInputError:
        """An error that names file, line, column and key path."""
        where = f"{show_path(path)}: " if path else ""
        return _error(self.file, self.position(path, of_key=of_key), where + message)


def show_path(path: KeyPath) -> str:
    """A key path as people write it.

    >>> show_path(("tiers", 1, "read_link"))
    'tiers[1].read_link'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read_tree(text: str, file: str, *, see: str = "see docs/hardware.md for what a machine needs") -> Tree:
    """Parse one YAML document; an error for an empty one ends in `see`.

    Assumes: mappings have text keys; aliases are followed up to a bounded number of values.
    Raises: InvalidInputError: syntax error, empty file, duplicate key, tag, merge key, or a file
        that nests or repeats itself too much.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise InvalidInputError(f"{file}: the file is empty; {see}")
        walk = _Walk(loader, file)
        value = walk.read(root, ())
    except _TooDeepError as error:
        raise _error(file, _position(error.mark), f"nested more than {_DEEPEST} levels deep") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "not readable"
        if problem.startswith("but ") and error.context:
            problem = f"{error.context}, {problem}"
        raise _error(file, _position(mark) if mark else Position(1, 1), f"YAML syntax: {problem}") from None
    except yaml.reader.ReaderError as error:
        raise _error(file, _position_of_index(text, error.position), "not text: a control character") from None
    return Tree(file, value, walk.keys, walk.values)


class _TooDeepError(Exception):
    def __init__(self, mark: yaml.Mark) -> None:
        super().__init__()
        self.mark = mark


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with a bound on nesting, which it would otherwise meet as a full stack."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:
            event: yaml.Event = cast(Any, self).peek_event()
            raise _TooDeepError(event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Walk:
    """One walk over a node graph: collects positions, counts values."""

    def __init__(self, loader: _Loader, file: str) -> None:
        self._loader: Any = loader
        self._file = file
        self._n_values = 0
        self._open: set[int] = set()
        self.keys: dict[KeyPath, Position] = {}
        self.values: dict[KeyPath, Position] = {}

    def _fail(self, node: yaml.Node, path: KeyPath, message: str) -> InvalidInputError:
        where = f"{show_path(path)}: " if path else ""
        return _error(self._file, _position(node.start_mark), where + message)

    def read(self, node: yaml.Node, path: KeyPath) -> Value:
        """The plain value of a node."""
        self._n_values += 1
        if self._n_values > _MOST_VALUES or len(path) > _DEEPEST:
            raise self._fail(
                node, path, f"aliases repeat too much: over {_MOST_VALUES} values, or {_DEEPEST} levels deep"
            )
        if id(node) in self._open:
            raise self._fail(node, path, "an alias stands inside what it names")
        self.values[path] = _position(node.start_mark)
        self._open.add(id(node))
        value = self._plain(node, path)
        self._open.remove(id(node))
        return value

    def _plain(self, node: yaml.Node, path: KeyPath) -> Value:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.read(child, (*path, index)) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise self._refused_tag(node, path)

    def _refused_tag(self, node: yaml.Node, path: KeyPath) -> InvalidInputError:
        return self._fail(node, path, f"the tag '{node.tag.replace(_TAG, '!!')}' is not allowed; write a plain value")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> Value:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key in result:
                first = self.keys[(*path, key)]
                raise self._fail(key_node, (*path, key), f"key written twice; the first is on line {first.line}")
            self.keys[(*path, key)] = _position(key_node.start_mark)
            result[key] = self.read(value_node, (*path, key))
        return result

    def _key(self, node: yaml.Node, path: KeyPath) -> str:
        if node.tag == _TAG + "merge":
            raise self._fail(node, path, "merge keys (<<) are not supported; write the keys out")
        if not isinstance(node, yaml.ScalarNode) or len(node.value) > 80 or not node.value.isprintable():
            raise self._fail(node, path, "a key must be a short word")
        return node.value

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Value:
        if len(node.value) > _LONGEST_TEXT:
            raise self._fail(node, path, f"text of more than {_LONGEST_TEXT} characters")
        if node.tag in _PLAIN:
            return node.value
        if node.tag not in _TYPED:
            raise self._refused_tag(node, path)
        try:
            return self._loader.construct_object(node)
        except (ValueError, ArithmeticError, KeyError, IndexError):
            raise self._fail(node, path, f"{node.value!r} is not readable; put it in quotes") from None


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _position_of_index(text: str, index: int) -> Position:
    before = text[:index]
    return Position(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)


def _error(file: str, position: Position, message: str) -> InvalidInputError:
    return InvalidInputError(one_line(f"{file}:{position.line}:{position.column}: {' '.join(message.split())}"))
