"""A linear program under construction: columns between 0 and 1, and rows over them and over spans of time."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tierplan.ir.problem import Floats, Ints

Term = tuple[int, float]  # column, coefficient


@dataclass(frozen=True, slots=True)
class Sum:
    """A linear expression: a constant and terms."""

    constant: float = 0.0
    terms: tuple[Term, ...] = ()

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(self.constant + other.constant, self.terms + other.terms)

    def times(self, factor: float) -> "Sum":
        """The expression multiplied by a number."""
        return Sum(self.constant * factor, tuple((column, c * factor) for column, c in self.terms))

    @property
    def is_zero(self) -> bool:
        """Whether it is zero whatever the columns are."""
        return not self.terms and self.constant == 0.0


NOTHING = Sum()


@dataclass(slots=True)
class Rows:
    """Rows `terms + span >= lower`, or equal to it.

    A row may count the time from the beginning of step `a` to that of step `b`, in units of
    `Lp.unit_s`: its span. A span may begin in the turn before (`a < 0`). No span: a = b = 0.
    """

    starts: list[int] = field(default_factory=lambda: [0])
    columns: list[int] = field(default_factory=list[int])
    values: list[float] = field(default_factory=list[float])
    lower: list[float] = field(default_factory=list[float])
    equal: list[bool] = field(default_factory=list[bool])
    span: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def at_least(self, lower: float, total: Sum, *, span: tuple[int, int] = (0, 0), equal: bool = False) -> None:
        """Add the row `total + time over span >= lower`."""
        self.extend(lower - total.constant, total.terms, span=span, equal=equal)

    def extend(
        self, lower: float, terms: Iterable[Term], *, span: tuple[int, int] = (0, 0), equal: bool = False
    ) -> None:
        """Add a row from terms."""
        for column, value in terms:
            self.columns.append(column)
            self.values.append(value)
        self.starts.append(len(self.columns))
        self.lower.append(lower)
        self.equal.append(equal)
        self.span.append(span)

    def __len__(self) -> int:
        return len(self.lower)


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Rows as arrays, sorted within each row and summed: R rows, nonzeros in order of row."""

    row: Ints
    column: Ints
    value: Floats
    lower: Floats
    equal: np.ndarray
    since: Ints
    until: Ints

    @property
    def n_rows(self) -> int:
        """R."""
        return len(self.lower)


def matrix(rows: Rows, n_columns: int) -> Matrix:
    """Rows as arrays; terms of one column in one row are added up."""
    row = np.repeat(np.arange(len(rows)), np.diff(np.array(rows.starts, dtype=np.int64)))
    column = np.array(rows.columns, dtype=np.int64)
    key, place = np.unique(row * max(n_columns, 1) + column, return_inverse=True)
    value = np.bincount(place, np.array(rows.values, dtype=np.float64), minlength=len(key)).astype(np.float64)
    spans = np.array(rows.span, dtype=np.int64).reshape(-1, 2)
    return Matrix(
        row=key // max(n_columns, 1),
        column=key % max(n_columns, 1),
        value=value,
        lower=np.array(rows.lower, dtype=np.float64),
        equal=np.array(rows.equal, dtype=np.bool_),
        since=spans[:, 0].copy(),
        until=spans[:, 1].copy(),
    )
