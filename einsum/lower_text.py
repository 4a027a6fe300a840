"""Cascades of model operations, written in the language itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.lower_values import NoLoweringError
from tierplan.einsum.parse import parse_cascade
from tierplan.ir.graph import Op, Tensor

EPSILON = "0.00001"
"""What a norm adds to the mean square.

Assumes: 1e-5, which most configurations say; a graph does not hold it.
"""


def cascade(name: str, ranks: Mapping[str, int], body: str) -> Cascade:
    """The cascade of a text without its ranks; those that the text does not mention are left out.

    Raises: NoLoweringError: a rank has no elements.
    """
    if 0 in ranks.values():
        raise NoLoweringError("an operand has no elements")
    declared = ", ".join(f"{rank} = {extent}" for rank, extent in ranks.items())
    return parse_cascade(f"cascade {name}\nrank {declared}\n{body}", name)


@dataclass(frozen=True, slots=True)
class Rows:
    """The leading axes of an activation: `dims` as ranks, `at` as rank variables, and their extents."""

    dims: str
    at: str
    extents: Mapping[str, int]


def rows(shape: Sequence[int]) -> Rows:
    """Leading axes of a tensor of rows: batch and token (and expert), or rows alone.

    >>> rows((2, 7)).dims, rows((9,)).at
    ('B, T', 'r')
    """
    names = {1: ("R",), 2: ("B", "T"), 3: ("B", "T", "J")}.get(len(shape))
    if names is None:
        raise NoLoweringError(f"rows of shape {tuple(shape)}")
    return Rows(", ".join(names), ", ".join(names).lower(), dict(zip(names, shape, strict=True)))


def reads(op: Op, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """The tensors that an operation reads."""
    return [tensors[access.tensor] for access in op.reads]


def writes(op: Op, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """The tensors that an operation writes."""
    return [tensors[access.tensor] for access in op.writes]


def whole(op: Op, attribute: str) -> int:
    """A whole number that an operation has as an attribute."""
    return int(cast("int", op.attributes[attribute]))
