"""A paper's number beside ours, and what kind of number ours is."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tierplan.ir.errors import InvalidInputError


class Kind(Enum):
    """Where our number comes from."""

    INPUT = "taken from the paper as it stands; shown so that sums are complete"
    FITTED = "follows from constants that were fitted to this very number"
    PREDICTED = "follows from the model's sizes and from constants that this number had no part in"
    NOT_REPRODUCIBLE = "does not follow from what the paper publishes; ours, if any, is what our constants give"


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One quantity. `fitted`: some constant behind ours was fitted, if to other numbers of the paper.

    The end of `quantity` is its unit (`_s`, `_bytes`, `_bytes_per_s`), or it is a ratio, a share or a count. `paper` is
    None where the paper gives only a range, which `note` repeats. `rounding` is half a unit of
    the last digit that the paper prints; `deviation` its standard deviation, if printed. `ours_range`: the least and
    the most that ours may be, as the figures behind it are rounded too; None where that was not looked at.
    """

    id: str
    quantity: str
    paper: float | None
    ours: float | None
    kind: Kind
    source: str
    fitted: bool = False
    rounding: float = 0.0
    deviation: float | None = None
    note: str = ""
    ours_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind is Kind.FITTED and not self.fitted:
            raise InvalidInputError(f"row '{self.id}' is of kind fitted, so some constant was fitted")
        if self.kind in (Kind.FITTED, Kind.PREDICTED) and (self.ours is None or not math.isfinite(self.ours)):
            raise InvalidInputError(f"row '{self.id}' is {self.kind.name.lower()} but has no number of ours")
        if self.ours_range is not None and not (
            self.ours is not None and self.ours_range[0] <= self.ours <= self.ours_range[1]
        ):
            raise InvalidInputError(f"row '{self.id}': ours is {self.ours}, outside its range {self.ours_range}")

    @property
    def rel_error(self) -> float | None:
        """Ours over the paper's, minus one; None without either, and for inputs."""
        if self.kind is Kind.INPUT or self.ours is None or not self.paper:
            return None
        return self.ours / self.paper - 1

    @property
    def as_printed(self) -> bool:
        """Whether ours, rounded as the paper rounds, is the paper's number."""
        if self.ours is None or self.paper is None:
            return False
        return abs(self.ours - self.paper) <= self.rounding * (1 + 1e-9)

    def as_json(self) -> dict[str, Any]:
        """The row as plain values."""
        return {
            "id": self.id,
            "quantity": self.quantity,
            "paper": self.paper,
            "ours": self.ours,
            "ours_range": None if self.ours_range is None else list(self.ours_range),
            "rel_error": self.rel_error,
            "fitted": self.fitted,
            "kind": self.kind.name.lower().replace("_", " "),
            "as_printed": self.as_printed,
            "deviation": self.deviation,
            "source": self.source,
            "note": self.note,
        }
