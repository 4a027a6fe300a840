"""The tables of a sweep as Parquet: one row per point, and beside them one per tier and per link of each point."""

# pyright: basic
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tierplan.ir.errors import InvalidInputError, MissingDependencyError
from tierplan.sweep.axes import base_number
from tierplan.sweep.folder import Found
from tierplan.sweep.point import KINDS
from tierplan.sweep.spec import NUMBERED, is_setting

TABLES = ("points", "tiers", "links")
TIMINGS = ("planning_s", "seconds")
"""Columns that depend on the machine that runs the sweep, and not on the sweep."""

_TEXT, _WHOLE, _REAL = "string", "int64", "float64"
_POINT = {
    "end": _TEXT, "error": _TEXT, "status": _TEXT, "time_s": _REAL, "tokens_per_s": _REAL, "energy_j": _REAL,
    "energy_without": _TEXT, "cost_usd": _REAL, "bound_s": _REAL, "gap": _REAL, "limited_by": _TEXT,
    "limited_share": _REAL, "missing_bytes": _WHOLE, "notes": _TEXT, "planning_s": _REAL, "seconds": _REAL,
}  # fmt: skip
_TIER = {
    "tier": _TEXT, "capacity_bytes": _WHOLE, "peak_bytes": _WHOLE, **{f"{kind}_bytes": _WHOLE for kind in KINDS},
    "read_bytes": _WHOLE, "written_bytes": _WHOLE,
}  # fmt: skip
_LINK = {"link": _TEXT, "from": _TEXT, "to": _TEXT, "bandwidth": _REAL, "bytes": _WHOLE}


def check_pyarrow() -> None:
    """Refuse to begin without pyarrow.

    Raises: MissingDependencyError: it is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise MissingDependencyError("pyarrow", "sweep") from None


def write_tables(folder: Path, found: Sequence[Found]) -> None:
    """Write the tables of the points so far; each replaces the one before as a whole.

    Raises: InvalidInputError: the folder cannot be written to.
    """
    axes = axis_types(found)
    _write(folder / "points.parquet", {"point": _WHOLE, **axes, **_POINT}, [point_row(each) for each in found])
    for name, columns in (("tiers", _TIER), ("links", _LINK)):
        rows = [{"point": f.index, **row} for f in found if f.ended.ok for row in f.ended.value[name]]
        _write(folder / f"{name}.parquet", {"point": _WHOLE, **columns}, rows)


def point_row(found: Found) -> dict[str, Any]:
    """The row of a point, settings of hardware in base units where they are quantities."""
    told = found.ended.value["point"] if found.ended.ok else {}
    values = {name: _plain(name, value) for name, value in found.values.items()}
    ended = {"end": found.ended.end.value, "error": found.ended.error or None, "seconds": found.ended.seconds}
    return {"point": found.index, **values, **told, **ended}


def axis_types(found: Sequence[Found]) -> dict[str, str]:
    """The axes of the points, and the type of each column."""
    names = list(dict.fromkeys(name for each in found for name in each.values))
    types: dict[str, str] = {}
    for name in names:
        numeric = all(base_number(each.values[name]) is not None for each in found if name in each.values)
        types[name] = _WHOLE if name in NUMBERED else _REAL if is_setting(name) and numeric else _TEXT
    return types


def _plain(name: str, value: Any) -> Any:
    number = base_number(value) if is_setting(name) else None
    return value if number is None else number


def _write(path: Path, columns: dict[str, str], rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def cell(value: Any, kind: str) -> Any:
        return str(value) if kind == _TEXT and value is not None else value

    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in columns.items()])
    arrays = [
        pa.array([cell(row.get(name), kind) for row in rows], type=schema.field(name).type)
        for name, kind in columns.items()
    ]
    draft = path.with_name(f".{path.name}.draft")
    try:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), draft)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InvalidInputError(f"cannot write '{path}': {error.strerror or error}") from None
