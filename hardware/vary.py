"""Other values for keys of a hardware file: `tiers.hbm.capacity` is 32 GiB, all else as it stands there."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from tierplan.hardware.build import Hardware, build_hardware
from tierplan.hardware.tree import KeyPath, Tree, Value
from tierplan.ir.errors import InvalidInputError, unknown_name

_NAMES = ("name", "array", "operation", "action")


def vary(tree: Tree, settings: Mapping[str, Value]) -> Hardware:
    """The machine of a hardware file with other values at some keys.

    An entry of a list is named by its name, a link by `FROM->TO`; the two directions of a duplex link are one entry.

    Raises: InvalidInputError: no such key, or a machine that cannot be.
    """
    value = copy.deepcopy(tree.value)
    for key, setting in settings.items():
        *inner, last = find_key(tree, key)
        place: Any = value
        for part in inner:
            place = place[part]
        place[last] = setting
    try:
        return build_hardware(replace(tree, value=value))
    except InvalidInputError as error:
        given = ", ".join(f"{key} = {setting}" for key, setting in settings.items())
        raise InvalidInputError(f"{error} (with {given})") from None


def find_key(tree: Tree, key: str) -> KeyPath:
    """The path of a key as people write it; its last part may be one that the file does not have yet.

    Raises: InvalidInputError: no such entry.
    """
    path: list[str | int] = []
    place: Any = tree.value
    rest = key
    while True:
        names = _names(place)
        part = next((name for name in sorted(names, key=len, reverse=True) if rest.startswith(f"{name}.")), None)
        if part is None:
            break
        path.append(names[part])
        place = place[names[part]]
        rest = rest[len(part) + 1 :]
    if isinstance(place, dict) and rest and "." not in rest:
        return (*path, rest)
    if rest in names:
        raise InvalidInputError(f"{tree.file}: '{key}' is no value; name one of its keys, like '{key}.KEY'")
    wrong = rest.partition(".")[0] if isinstance(place, dict) else rest.rpartition(".")[0] or rest
    where = f" in '{key[: len(key) - len(rest) - 1]}'" if path else ""
    raise InvalidInputError(f"{tree.file}: '{key}': {unknown_name(f'entry{where}', wrong, names)}")


def _names(place: Any) -> dict[str, str | int]:
    """What the entries below a value are called, and their keys or indices."""
    if isinstance(place, dict):
        inner = cast(dict[str, Any], place)
        return {name: name for name, value in inner.items() if isinstance(value, dict | list)}
    names: dict[str, str | int] = {}
    entries = cast(list[Any], place) if isinstance(place, list) else []
    for index, each in enumerate(entries):
        if not isinstance(each, dict):
            continue
        entry = cast(dict[str, Any], each)
        names |= {str(entry[key]): index for key in _NAMES if key in entry}
        if "from" in entry and "to" in entry:
            ends = [(entry["from"], entry["to"])]
            if entry.get("duplex") is True:
                ends.append((entry["to"], entry["from"]))
            names |= {f"{source}->{target}": index for source, target in ends if f"{source}->{target}" not in names}
    return names
