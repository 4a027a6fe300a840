"""A published number beside ours: the row that every reproduction prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity, as published and as computed here.

    `paper` is None where nothing is published. `fitted` says that ours was adjusted to published numbers.
    """

    id: str
    model: str
    seq_len: int | None
    config: str
    quantity: str
    paper: float | None
    ours: float
    fitted: bool = False

    @property
    def rel_error(self) -> float | None:
        """Ours over the published number, less one."""
        return None if not self.paper else self.ours / self.paper - 1

    def as_json(self) -> dict[str, Any]:
        """The row with its relative error, in base units."""
        row = asdict(self)
        return {**{k: v for k, v in row.items() if k != "fitted"}, "rel_error": self.rel_error, "fitted": self.fitted}


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
