"""From any prices to a proved bound: the Lagrangian of the relaxation, evaluated without trust in a solver."""

import numpy as np

from tierplan.ir.problem import Floats
from tierplan.planner.flow_model import Lp
from tierplan.planner.flow_rows import Matrix

_HALF_ULP = 2.0**-53


def proved_s(lp: Lp, batches: list[Matrix], prices: list[Floats], within: tuple[Floats, Floats] | None = None) -> float:
    """Seconds that no solution of the rows can beat, whatever the prices are.

    `within`: the least and the most that each column may be, 0 and 1 at the widest.

    Each price is that of its row; a negative one of a row that is no equation counts as zero. Prices of time are
    scaled down until none of the time is paid for twice. What is left is a sum that each column
    and each step minimises on its own. The most that rounding can have added is taken off.

    Source: docs/bounds.md, "From prices to a bound".
    """
    n = lp.problem.n_steps
    gains, sizes, most_terms = 0.0, 0.0, 1
    reduced, mass = np.zeros(lp.n_columns), np.zeros(lp.n_columns)
    paid = np.zeros(n + 1)
    clean = [_clean(rows, price) for rows, price in zip(batches, prices, strict=True)]
    for rows, price in zip(batches, clean, strict=True):
        paid += _paid(rows, price, n)
    most_paid = float(np.cumsum(paid[:-1]).max())
    shrink = 1.0 / max(1.0, most_paid * (1 + 1e-12) + 1e-15 * n)
    for rows, price in zip(batches, clean, strict=True):
        scaled = price * shrink
        gains += float(np.dot(scaled, rows.lower))
        sizes += float(np.dot(np.abs(scaled), np.abs(rows.lower)))
        moved = scaled[rows.row] * rows.value
        reduced -= np.bincount(rows.column, moved, minlength=lp.n_columns)
        mass += np.bincount(rows.column, np.abs(moved), minlength=lp.n_columns)
        most_terms += rows.n_rows
    unpaid = np.maximum(0.0, 1.0 - np.cumsum(paid[:-1]) * shrink - 1e-12)
    time = float(np.dot(unpaid, lp.least_s)) / lp.unit_s
    low, high = within if within is not None else (np.zeros(lp.n_columns), np.ones(lp.n_columns))
    bound = gains + float(np.where(reduced < 0.0, reduced * high, reduced * low).sum()) + time
    doubt = _HALF_ULP * 4 * (_depth(batches, lp.n_columns) + 64) * (sizes + float(mass.sum()) + time)
    return max(0.0, bound - doubt) * lp.unit_s * (1 - 1e-12)


def _clean(rows: Matrix, price: Floats) -> Floats:
    """Prices without what is not finite or has the wrong sign."""
    price = np.where(np.isfinite(price), price, 0.0)
    return np.where(rows.equal, price, np.maximum(price, 0.0))


def _paid(rows: Matrix, price: Floats, n: int) -> Floats:
    """By how much more step t is paid for than the step before; shape [S + 1]."""
    change = np.zeros(n + 1)
    wraps = rows.since < 0
    np.add.at(change, np.where(wraps, 0, rows.since), price)
    np.add.at(change, rows.until, -price)
    np.add.at(change, (rows.since + n)[wraps], price[wraps])
    return change


def _depth(batches: list[Matrix], n_columns: int) -> float:
    """The longest chain of additions behind a number above: terms in one column, or rows."""
    per_column = np.zeros(n_columns, dtype=np.int64)
    for rows in batches:
        per_column += np.bincount(rows.column, minlength=n_columns)
    n_rows = sum(rows.n_rows for rows in batches)
    return float(per_column.max() if n_columns else 0) + 2.0 * np.sqrt(n_rows + n_columns)
