"""The folder of a sweep's results: whose they are, the journal of its points, and the tables made from it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tierplan.ir.errors import InvalidInputError
from tierplan.sweep.axes import Scalar
from tierplan.sweep.points import Point
from tierplan.sweep.spec import Spec
from tierplan.tasks.contract import End, Ended
from tierplan.tasks.journal import Journal, read_journal

JOURNAL = "journal.jsonl"
SPEC = "sweep.json"
_LARGEST_HASHED = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A point, and how it ended."""

    index: int
    values: dict[str, Scalar]
    ended: Ended


def key_of(point: Point) -> str:
    """The name of a point in the journal, from which it can be read again."""
    return json.dumps({"point": point.index, **point.values}, separators=(",", ":"))


def identity(spec: Spec, hardware: dict[str, str], models: Iterable[Path]) -> dict[str, Any]:
    """What tells one sweep from another: the spec, without its limits, and the content of the files that it names."""
    written = {key: value for key, value in spec.written.items() if key != "limits"}
    contents = {name: _digest(text.encode()) for name, text in hardware.items()}
    for path in models:
        stat = path.stat()
        large = stat.st_size > _LARGEST_HASHED
        contents[str(path)] = f"{stat.st_size} {stat.st_mtime_ns}" if large else _digest(path.read_bytes())
    return {"spec": written, "contents": contents}


def open_folder(folder: Path, sweep: dict[str, Any]) -> Journal:
    """Make the folder if need be, and open its journal for this sweep.

    Raises: InvalidInputError: a folder that cannot be written to, or that holds another sweep; says what differs.
    """
    path = folder / SPEC
    try:
        folder.mkdir(parents=True, exist_ok=True)
        other = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except FileExistsError:
        raise InvalidInputError(f"'{folder}' is a file; name a folder for the results") from None
    except OSError as error:
        raise InvalidInputError(f"cannot write the folder '{folder}': {error.strerror}") from None
    except ValueError:
        raise InvalidInputError(f"'{path}' is not the file that a sweep writes; name another folder") from None
    if other not in (None, sweep):
        raise InvalidInputError(
            f"'{folder}' holds the results of another spec (other {_difference(other, sweep)}); name another folder"
        )
    journal = Journal.open(folder / JOURNAL, of=_digest(json.dumps(sweep, sort_keys=True).encode()))
    if other is None:
        from tierplan.terminal import write_whole

        try:
            write_whole(path, json.dumps(sweep, indent=2) + "\n")
        except BaseException:
            journal.close()
            raise
    return journal


def read_found(folder: Path) -> list[Found]:
    """The points of a folder in their order, while a sweep runs, after it, or after it was killed.

    Raises: InvalidInputError: there are none.
    """
    if not (folder / JOURNAL).exists():
        raise InvalidInputError(f"'{folder}' holds no results of a sweep; 'tierplan sweep SPEC -o {folder}' makes them")
    return found_in(read_journal(folder / JOURNAL)[1].values())


def objectives_of(folder: Path) -> list[str]:
    """What the sweep of a folder looks for."""
    from tierplan.sweep.spec import PointsPart

    sweep = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    points = sweep["spec"].get("points")
    return PointsPart.model_validate(points if isinstance(points, dict) else {}).objectives


def found_in(ends: Iterable[Ended]) -> list[Found]:
    """The points of a journal, in their order."""
    found: list[Found] = []
    for ended in ends:
        values = cast(dict[str, Any], json.loads(ended.key))
        found.append(Found(int(values.pop("point")), values, ended))
    return sorted(found, key=lambda each: each.index)


def planned(found: Found) -> bool:
    """Whether a point has a plan."""
    return found.ended.end is End.DONE and found.ended.value["point"]["time_s"] is not None


def _difference(other: dict[str, dict[str, Any]], sweep: dict[str, dict[str, Any]]) -> str:
    for part, what in (("spec", "'{}'"), ("contents", "content of '{}'")):
        old, new = other.get(part, {}), sweep[part]
        for key in dict.fromkeys([*new, *old]):
            if old.get(key) != new.get(key):
                return what.format(key)
    return "spec"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
