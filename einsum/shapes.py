"""Shapes in rank symbols: the reach of an index, and what each dimension of each tensor is."""

from __future__ import annotations

from collections.abc import Iterator

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import (
    Access,
    Affine,
    Term,
    at,
    rank_of,
)
from tierplan.einsum.statements import Einsum
from tierplan.ir.errors import InvalidInputError

ONE = Affine((Term(1),))


def bounds_of(index: Affine) -> tuple[Affine, Affine] | None:
    """Least and largest coordinate of an index, in shapes; None when it depends on values.

    >>> low, high = bounds_of(Affine((Term(1, ("M0",), "m1"), Term(of="m0"))))
    >>> (high + ONE).symbols
    ('M0', 'M1')
    """
    low = high = Affine(())
    for term in index.terms:
        if term.of is None:
            low, high = low + Affine((term,)), high + Affine((term,))
        elif isinstance(term.of, str):
            last = Affine((Term(symbols=(rank_of(term.of),)), Term(-1)))
            reach = Affine((Term(term.coefficient, term.symbols),)) * last
            low, high = (low, high + reach) if term.coefficient > 0 else (low + reach, high)
        else:
            return None
    return low, high


def extent_of(index: Affine) -> Affine | None:
    """How long a dimension must be so that `index` stays inside it."""
    limits = bounds_of(index)
    return None if limits is None else limits[1] + ONE


def signatures(cascade: Cascade) -> dict[str, tuple[Affine, ...]]:
    """The shape of every tensor, in rank symbols.

    A declaration decides; else the Einsum that writes the tensor; else, for an input, the first access that
    is a plain rank variable in that dimension.

    Raises: InvalidInputError: a dimension has no shape because only values index it.
    """
    found = {d.name: d.shape for d in cascade.tensors if d.shape}
    for einsum in (*cascade.einsums, *cascade.init):
        if einsum.name not in found:
            found[einsum.name] = tuple(_written_extent(einsum, i) for i in einsum.output.indices)
    reads: dict[str, list[tuple[Access, bool]]] = {}
    for einsum in cascade:
        for access in einsum.reads:
            if access.tensor not in found:
                exact = access.outside is None and not einsum.filters
                reads.setdefault(access.tensor, []).append((access, exact))
    for tensor, uses in reads.items():
        found[tensor] = tuple(_read_extent(uses, d) for d in range(len(uses[0][0].indices)))
    return found


def _written_extent(einsum: Einsum, index: Affine) -> Affine:
    extent = extent_of(index)
    if extent is None:
        raise InvalidInputError(
            f"{at(einsum.position)}{einsum.name} is written at coordinates that depend on values; "
            f"declare its shape, like `tensor {einsum.name}[V, D]`"
        )
    return extent


def _read_extent(uses: list[tuple[Access, bool]], dimension: int) -> Affine:
    indices = [(access.indices[dimension], exact) for access, exact in uses]
    plain = [index for index, _ in indices if index.variable is not None]
    for index in plain or [index for index, exact in indices if exact]:
        extent = extent_of(index)
        if extent is not None:
            return extent
    first = uses[0][0]
    raise InvalidInputError(
        f"{at(first.position)}dimension {dimension} of {first.tensor} has no shape: no rank variable walks all of "
        f"it; declare it, like `input {first.tensor}[V, D]`"
    )


def reads_of(cascade: Cascade) -> Iterator[Access]:
    """Every read access, the initial Einsums' first."""
    for einsum in cascade:
        yield from einsum.reads
