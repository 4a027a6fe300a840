"""Specification files: a cascade, its mapping and its binding, read from YAML with every mistake told in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.library import find
from tierplan.einsum.parse import parse_cascade
from tierplan.hardware.tree import KeyPath, Tree, Value, read_tree, show_path
from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.units import read_bytes
from tierplan.sim.spatial_mapping import Bound, Choice, Given, Group, Held, Order, Phase, Specification

T = TypeVar("T")
_FILE_KEYS = {
    "schema", "name", "description", "cascade", "hardware", "batch", "ranks", "phases", "in_place", "overflows",
    "fits_in", "choices", "uncounted", "accumulated",
}  # fmt: skip
_ORDER_KEYS = {"outer", "inner", "columns", "rows"}
_EINSUM_KEYS = {"array", "loops", "orders", "dram", "buffer", "edge", "pipelined"}
_CHOICE_KEYS = {"workloads", "lengths", "tiles", "on_chip", "orders", "spilled"}
_LARGEST = 256 * 1024


class _Reader:
    """Values of a tree by key path, each checked for its kind."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def where(self, path: KeyPath) -> str:
        """The beginning of a message about `path`."""
        place = self._tree.position(path, of_key=True)
        return f"{self._tree.file}:{place.line}:{place.column}: {show_path(path)}: "

    def fail(self, path: KeyPath, message: str, *, of_key: bool = False) -> InvalidInputError:
        return self._tree.error(path, message, of_key=of_key)

    def at(self, path: KeyPath) -> Value:
        value = self._tree.value
        for part in path:
            if isinstance(value, dict) and isinstance(part, str):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int):
                value = value[part]
            else:
                return None
        return value

    def mapping(self, path: KeyPath, known: set[str] | None = None, *, needed: bool = True) -> dict[str, Value]:
        value = self.at(path)
        if value is None and not needed:
            return {}
        if not isinstance(value, dict):
            raise self.fail(path, "need a mapping: one 'key: value' per line")
        for key in value:
            if known is not None and key not in known:
                raise self.fail((*path, key), str(unknown_name("key", key, known)), of_key=True)
        return value

    def items(self, path: KeyPath) -> list[KeyPath]:
        value = self.at(path)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.fail(path, "need a list")
        return [(*path, index) for index in range(len(value))]

    def text(self, path: KeyPath, default: str | None = None) -> str:
        value = self.at(path)
        if value is None and default is not None:
            return default
        if value is None:
            raise self.fail(path[:-1], f"missing key '{path[-1]}'")
        if not isinstance(value, str):
            raise self.fail(path, "need text")
        return value

    def words(self, path: KeyPath) -> tuple[str, ...]:
        return tuple(self.text(item) for item in self.items(path))

    def whole(self, path: KeyPath) -> int:
        value = self.at(path)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.fail(path, "need a positive whole number")
        return value

    def share(self, path: KeyPath) -> float:
        value = self.at(path)
        if value is None:
            return 0.0
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
            raise self.fail(path, "need a share of at least 0 and less than 1")
        return float(value)

    def flag(self, path: KeyPath) -> bool:
        value = self.at(path)
        if value is not None and not isinstance(value, bool):
            raise self.fail(path, "need true or false")
        return bool(value)


def names() -> tuple[str, ...]:
    """Names of the specifications that come with the package."""
    found = (entry.name for entry in files("tierplan.sim").joinpath("specifications").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


def load_specification(name_or_path: str) -> Specification:
    """The specification of that built-in name, or the one in the file of that name.

    >>> load_specification("fusemax").hardware
    'fusemax-cloud'

    Raises: InvalidInputError: it is neither, or the file is not a specification.
    """
    if name_or_path in names():
        file = f"{name_or_path}.yaml"
        text = files("tierplan.sim").joinpath("specifications", file).read_text(encoding="utf-8")
        return read_specification(text, file)
    path = Path(name_or_path)
    if not path.is_file():
        raise InvalidInputError(f"{unknown_name('specification', name_or_path, names())}; or give a file")
    if path.stat().st_size > _LARGEST:
        raise InvalidInputError(f"{path}: larger than {_LARGEST // 1024} KiB; is this a specification?")
    try:
        return read_specification(path.read_text(encoding="utf-8"), name_or_path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read: {error}") from None


def read_specification(text: str, file: str) -> Specification:
    """The specification in `text`; `file` is its name in messages.

    Raises: InvalidInputError: one line with file, line, column and key path.
    """
    if not text.strip():
        raise InvalidInputError(f"{file}: the file is empty; see docs/fusemax.md for what a specification needs")
    read = _Reader(read_tree(text, file))
    read.mapping((), _FILE_KEYS)
    if read.at(("schema",)) != 1:
        raise read.fail(("schema",), "write 'schema: 1', the version of the format that this tierplan reads")
    cascade = _cascade(read)
    phases = tuple(_phase(read, path, cascade) for path in read.items(("phases",)))
    if not phases:
        raise read.fail((), "missing key 'phases'")
    fits_in = read.at(("fits_in",))
    _check_names(read, cascade, phases)
    try:
        return Specification(
            name=read.text(("name",)),
            description=" ".join(read.text(("description",), "").split()),
            cascade=cascade,
            hardware=read.text(("hardware",)),
            batch=read.words(("batch",)),
            ranks={rank: _side(read, ("ranks", rank)) for rank in read.mapping(("ranks",), needed=False)},
            phases=phases,
            in_place=tuple(read.words(path) for path in read.items(("in_place",))),
            overflows=frozenset(read.words(("overflows",))),
            fits_in=None if fits_in is None else _size(read, ("fits_in",)),
            given=tuple(_given(read, path) for path in read.items(("choices",))),
            uncounted=frozenset(read.words(("uncounted",))),
            accumulated={t: read.words(("accumulated", t)) for t in read.mapping(("accumulated",), needed=False)},
            where=f"{file}: ",
        )
    except InvalidInputError as error:
        raise error if str(error).startswith(file) else InvalidInputError(f"{read.where(('phases',))}{error}") from None


def _check_names(read: _Reader, cascade: Cascade, phases: tuple[Phase, ...]) -> None:
    """Refuse names of tensors, rank variables, Einsums and orders that the file's own phases do not have."""
    tensors = {name for einsum in cascade for name in (einsum.name, *(access.tensor for access in einsum.reads))}
    bound = {each.einsum: each for phase in phases for each in phase.bound}
    optional = frozenset[str]().union(*(each.optional for each in bound.values()))
    tiled = {variable for phase in phases for variable in phase.tiled}

    def check(path: KeyPath, what: str, name: str, known: Iterable[str], *, of_key: bool = False) -> None:
        if name not in set(known):
            raise read.fail(path, str(unknown_name(what, name, known)), of_key=of_key)

    for path in (*read.items(("overflows",)), *(p for chain in read.items(("in_place",)) for p in read.items(chain))):
        check(path, "tensor", read.text(path), tensors)
    for name in read.mapping(("accumulated",), needed=False):
        check(("accumulated", name), "tensor", name, tensors, of_key=True)
    for row in read.items(("choices",)):
        for path in read.items((*row, "on_chip")):
            check(path, "optional tensor", read.text(path), optional)
        for variable in read.mapping((*row, "tiles"), needed=False):
            check((*row, "tiles", variable), "tiled rank variable", variable, tiled, of_key=True)
        for name in read.mapping((*row, "orders"), needed=False):
            path = (*row, "orders", name)
            check(path, "Einsum", name, bound, of_key=True)
            check(path, "order", read.text(path), bound[name].orders)


def _cascade(read: _Reader) -> Cascade:
    source = read.text(("cascade",))
    try:
        return parse_cascade(source, "") if "\n" in source else find(source)
    except InvalidInputError as error:
        raise read.fail(("cascade",), str(error)) from None


def _side(read: _Reader, path: KeyPath) -> tuple[str, str]:
    array, _, side = read.text(path).partition(" ")
    if side not in ("rows", "columns"):
        raise read.fail(path, "need an array and its side, like '2d rows' or '1d columns'")
    return array, side


def _size(read: _Reader, path: KeyPath) -> int:
    try:
        return read_bytes(read.text(path))
    except InvalidInputError as error:
        raise read.fail(path, str(error)) from None


def _phase(read: _Reader, path: KeyPath, cascade: Cascade) -> Phase:
    read.mapping(path, {"loops", "einsums", "groups"})
    known = {einsum.name for einsum in cascade.einsums}
    entries = read.mapping((*path, "einsums"))
    for name in entries:
        if name not in known:
            raise read.fail((*path, "einsums", name), str(unknown_name("Einsum", name, known)), of_key=True)
    bound = tuple(_bound(read, (*path, "einsums", name), (*path, "loops"), name) for name in entries)
    listed = read.items((*path, "groups"))
    groups = tuple(_group(read, each, list(entries)) for each in listed) or (Group(tuple(entries)),)
    try:
        return Phase(bound, groups)
    except InvalidInputError as error:
        raise read.fail((*path, "groups"), str(error)) from None


def _group(read: _Reader, path: KeyPath, known: list[str]) -> Group:
    drains = isinstance(read.at(path), dict)
    if drains:
        read.mapping(path, {"drain"})
        path = (*path, "drain")
    found = read.words(path)
    for place, name in enumerate(found):
        if name not in known:
            raise read.fail((*path, place), str(unknown_name("Einsum", name, known)))
        if name in found[:place]:
            raise read.fail((*path, place), f"{name} is named twice in one group")
    return Group(drain=found) if drains else Group(found)


def _bound(read: _Reader, path: KeyPath, common: KeyPath, name: str) -> Bound:
    entry = read.mapping(path, _EINSUM_KEYS)
    if "array" not in entry:
        raise read.fail(path, f"Einsum {name} is bound to no array; write 'array: 2d', for example", of_key=True)
    if "orders" in entry:
        orders = {each: _order(read, (*path, "orders", each)) for each in read.mapping((*path, "orders"))}
    else:
        orders = {"default": _order(read, (*path, "loops") if "loops" in entry else common)}
    places = {level: _held(read, (*path, level)) for level in ("dram", "buffer", "edge")}
    return Bound(
        einsum=name,
        array=read.text((*path, "array")),
        orders=orders,
        dram=places["dram"],
        buffer=places["buffer"],
        edge=places["edge"],
        pipelined=read.flag((*path, "pipelined")),
        where=read.where(path),
    )


def _held(read: _Reader, path: KeyPath) -> tuple[Held, ...]:
    """Tensors at a level; one in parentheses lies there only if the choice says so."""
    return tuple(Held(word.strip("()"), word.startswith("(") and word.endswith(")")) for word in read.words(path))


def _order(read: _Reader, path: KeyPath) -> Order:
    entry = read.mapping(path, _ORDER_KEYS)
    ends = {side: read.text((*path, side)) if side in entry else None for side in ("columns", "rows")}
    try:
        return Order(read.words((*path, "outer")), read.words((*path, "inner")), ends["columns"], ends["rows"])
    except InvalidInputError as error:
        raise read.fail(path, str(error)) from None


def _given(read: _Reader, path: KeyPath) -> Given:
    read.mapping(path, _CHOICE_KEYS)
    tiles: Mapping[str, Value] = read.mapping((*path, "tiles"), needed=False)
    orders = read.mapping((*path, "orders"), needed=False)
    choice = Choice(
        {variable: read.whole((*path, "tiles", variable)) for variable in tiles},
        frozenset(read.words((*path, "on_chip"))),
        {name: read.text((*path, "orders", name)) for name in orders},
        read.share((*path, "spilled")),
    )
    lengths = tuple(read.whole(item) for item in read.items((*path, "lengths")))
    return Given(read.words((*path, "workloads")), lengths, choice)
