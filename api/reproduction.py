"""Published numbers beside ours: the rows, sections and reports that every reproduction is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tierplan.ir.units import show_bandwidth, show_bytes, show_joules, show_seconds

if TYPE_CHECKING:
    from tierplan.sim.reproduce_rows import PaperRow


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity, as published and as computed here.

    The end of `quantity` is its unit (`_s`, `_bytes`, `_j`), or it is a ratio. `paper` is None where nothing is
    published, and `ours` where nothing follows from what is. `fitted` says that ours was adjusted to published numbers.
    `ours_range`: what ours may be, as the published figures behind it are rounded.
    `kind`, where a reproduction tells them apart: input, fitted, predicted or not reproducible.
    """

    id: str
    model: str
    seq_len: int | None
    config: str
    quantity: str
    paper: float | None
    ours: float | None
    fitted: bool = False
    kind: str | None = None
    source: str = ""
    note: str = ""
    ours_range: tuple[float, float] | None = None

    @property
    def rel_error(self) -> float | None:
        """Ours over the published number, less one; None without either, and for inputs."""
        if not self.paper or self.ours is None or self.kind == "input":
            return None
        return self.ours / self.paper - 1

    def as_json(self) -> dict[str, Any]:
        """The row with its relative error, in base units."""
        row = asdict(self)
        fitted = row.pop("fitted")
        told = {name: row.pop(name) for name in ("kind", "source", "note", "ours_range")}
        return {**row, "rel_error": self.rel_error, "fitted": fitted, **(told if self.kind else {})}


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one title; a detailed section is shown on demand. `ours` and `theirs` head the columns of numbers."""

    title: str
    rows: tuple[Row, ...]
    detailed: bool = False
    theirs: str = "paper"
    ours: str = "ours"
    difference: str = "error"


@dataclass(frozen=True, slots=True)
class Report:
    """A paper reproduced: sections, remarks, and a function that draws its figures into a folder."""

    paper: str
    sections: tuple[Section, ...]
    remarks: tuple[str, ...]
    plot: Callable[[Path], list[Path]] | None = None

    def as_json(self) -> dict[str, Any]:
        """All rows of all sections, and the remarks."""
        rows = [row.as_json() for section in self.sections for row in section.rows]
        return {"paper": self.paper, "remarks": list(self.remarks), "rows": rows}


def row_of(row: PaperRow, model: str, config: str) -> Row:
    """A row of a paper of tiered memory, under the name of its model and configuration."""
    kind = row.kind.name.lower().replace("_", " ")
    return Row(
        row.id, model, None, config, row.quantity, row.paper, row.ours, row.fitted, kind, row.source, row.note,
        row.ours_range,
    )  # fmt: skip


def show_kind(row: Row) -> str:
    """What kind of number ours is; a star on a prediction that uses a constant fitted elsewhere."""
    starred = row.fitted and row.kind == "predicted"
    return f"{row.kind or ''}{'*' if starred else ''}"


def show_error(row: Row) -> str:
    """The relative error as people read it.

    >>> show_error(Row("x", "BERT", 1024, "flat", "latency_s", 2.0, 2.0))
    'exact'
    """
    error = row.rel_error
    if error is None:
        return ""
    if abs(error) < 1e-9:
        return "exact"
    return f"{error:+.1e}" if abs(error) < 1e-3 else f"{error:+.2%}"


def show_value(quantity: str, value: float | None) -> str:
    """A number with the unit that its quantity ends in.

    >>> show_value("dram_bytes", 1.3e12), show_value("mean speedup", 6.723), show_value("energy_j", 0.5)
    ('1.3 TB', '6.723x', '500 mJ')
    """
    if value is None:
        return ""
    name = quantity.split("[")[0]
    if name.endswith("_bytes_per_s"):
        return show_bandwidth(value)
    if name.endswith("_s"):
        return show_seconds(value)
    if name.endswith("_bytes"):
        return show_bytes(value)
    if name.endswith("_j"):
        return show_joules(value)
    if "speedup" in name:
        return f"{value:.4g}x"
    return f"{value:.2%}" if "utilization" in name or name.endswith("_share") else f"{value:.4g}"


def show_length(tokens: int | None) -> str:
    """A length in thousands or millions of 1024.

    >>> show_length(65536), show_length(2**20)
    ('64K', '1M')
    """
    if tokens is None:
        return "all"
    return f"{tokens >> 20}M" if tokens >= 1 << 20 else f"{tokens >> 10}K"
