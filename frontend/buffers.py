"""Buffers as CSV: the dialect that MiniMalloc reads and writes.

One row per buffer under a header, columns in any order: `id` (or `buffer`, `buffer_id`), `lower` (or `start`, `begin`),
`upper` (first step after the last) or `end` (the last step), `size`; perhaps `alignment`, `hint`, `offset` (-1
for none), `alias` (buffers with the same name there share one address) and `gaps`: `lo-hi` where nothing is held,
`lo-hi@wlo:whi` where only these bytes are. The table ends at the first empty line.
"""

import csv
import io
import re
from pathlib import Path

import numpy as np

from tierplan.ir.buffers import LARGEST, NONE, Allocation, Buffers, Gaps
from tierplan.ir.errors import InvalidInputError, nearest

_COLUMNS = {
    "id": "id",
    "buffer": "id",
    "buffer_id": "id",
    "lower": "lower",
    "start": "lower",
    "begin": "lower",
    "upper": "upper",
    "end": "end",
    "size": "size",
    "alignment": "alignment",
    "hint": "hint",
    "gaps": "gaps",
    "offset": "offset",
    "alias": "alias",
}
_GAP = re.compile(r"(\d+)-(\d+)(?:@(\d+):(\d+))?")


def load_text(path: Path) -> str:
    """The text of a buffer table.

    Raises: InvalidInputError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: is not a UTF-8 text file") from None


def read_buffers(text: str, where: str = "buffers") -> Buffers:
    """Read a buffer table; `where` names it in errors.

    >>> read_buffers("id,start,upper,size\\nx,0,3,8\\n").size.tolist()
    [8]

    Raises: InvalidInputError: a header that lacks or repeats a column, a cell that is no integer (line and column),
        a row that is too short or too long, and all that `Buffers` refuses.
    """
    lines = _table_lines(text)
    if not lines:
        raise InvalidInputError(f"{where}: is empty; the first line must be a header like id,lower,upper,size")
    header = _header(next(csv.reader([lines[0]])), where)
    rows = list(csv.reader(lines[1:]))
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise InvalidInputError(f"{where}, line {number}: {len(row)} cells under a header of {len(header)} columns")
    cells = {name: [row[k].strip() for row in rows] for k, name in enumerate(header)}
    try:
        return _buffers(cells, header, where)
    except InvalidInputError as error:
        message = str(error)
        raise (error if message.startswith(where) else InvalidInputError(f"{where}: {message}")) from None


def _table_lines(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            break
        lines.append(line)
    return lines


def _header(names: list[str], where: str) -> list[str]:
    header: list[str] = []
    for k, raw in enumerate(names, 1):
        name = raw.strip().lower()
        if name not in _COLUMNS:
            guess = nearest(name, _COLUMNS)
            hint = f"did you mean '{guess}'?" if guess else f"known: {', '.join(sorted(_COLUMNS))}"
            raise InvalidInputError(f"{where}, line 1, column {k}: unknown column '{raw.strip()}'; {hint}")
        if _COLUMNS[name] in header:
            raise InvalidInputError(f"{where}, line 1, column {k}: a second column for '{_COLUMNS[name]}'")
        header.append(_COLUMNS[name])
    missing = [name for name in ("id", "lower", "size") if name not in header]
    if "upper" not in header and "end" not in header:
        missing.append("upper")
    if missing:
        raise InvalidInputError(f"{where}, line 1: the header lacks {', '.join(missing)}; write id,lower,upper,size")
    if "upper" in header and "end" in header:
        raise InvalidInputError(f"{where}, line 1: both 'upper' (exclusive) and 'end' (inclusive); keep one")
    return header


def _buffers(cells: dict[str, list[str]], header: list[str], where: str) -> Buffers:
    n = len(cells["id"])

    def integers(name: str, default: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        out = np.full(n, default, np.int64)
        for i, cell in enumerate(cells.get(name, [])):
            if cell or name in ("lower", "upper", "end", "size"):
                out[i] = _integer(cell, f"{where}, line {i + 2}, column {header.index(name) + 1} ({name})")
        return out

    inclusive = "end" in header
    return Buffers(
        start=integers("lower", 0),
        stop=integers("end", 0) + 1 if inclusive else integers("upper", 0),
        size=integers("size", 0),
        alignment=integers("alignment", 1),
        hint=integers("hint", NONE),
        fixed=integers("offset", NONE),
        alias=_aliases(cells.get("alias", []), n),
        gaps=_gaps(cells.get("gaps", []), inclusive, header, where),
        ids=tuple(cells["id"]),
    )


def _integer(cell: str, at: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", cell):
        raise InvalidInputError(f"{at}: '{cell}' is not an integer")
    value = int(cell)
    if abs(value) > LARGEST:
        raise InvalidInputError(f"{at}: {cell} is beyond 2**62")
    return value


def _aliases(cells: list[str], n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    groups = {name: k for k, name in enumerate(dict.fromkeys(cell for cell in cells if cell not in ("", "-1")))}
    return np.array([groups.get(cell, NONE) for cell in cells] if cells else [NONE] * n, np.int64)


def _gaps(cells: list[str], inclusive: bool, header: list[str], where: str) -> Gaps:
    table: list[tuple[int, int, int, int, int]] = []
    for i, cell in enumerate(cells):
        for text in cell.split():
            match = _GAP.fullmatch(text)
            if match is None:
                column = header.index("gaps") + 1
                raise InvalidInputError(
                    f"{where}, line {i + 2}, column {column} (gaps): '{text}' is not a gap; write 3-7 or 3-7@0:512"
                )
            at = f"{where}, line {i + 2}, column {header.index('gaps') + 1} (gaps)"
            start, stop, low, high = (_integer(part or "0", at) for part in match.groups())
            if match[3] is not None and low >= high:
                raise InvalidInputError(f"{at}: the window of '{text}' is empty; leave it out where nothing is held")
            table.append((i, start, stop + inclusive, low, high))
    columns = np.array(table, np.int64).reshape(-1, 5)
    return Gaps(*(np.ascontiguousarray(columns[:, k]) for k in range(5)))


def write_buffers(text: str, buffers: Buffers, allocation: Allocation) -> str:
    """The table `text` with the column `offset` filled in from `allocation` (or appended)."""
    lines = _table_lines(text)
    header = next(csv.reader([lines[0]]))
    names = [_COLUMNS[name.strip().lower()] for name in header]
    rows = list(csv.reader(lines[1:]))
    at = names.index("offset") if "offset" in names else len(header)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*header[:at], header[at] if at < len(header) else "offset", *header[at + 1 :]])
    for i in range(len(buffers)):
        writer.writerow([*rows[i][:at], str(int(allocation.offset[i])), *rows[i][at + 1 :]])
    return out.getvalue()
