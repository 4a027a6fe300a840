"""The cascade: an ordered set of Einsums that says what is computed, never when or where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tierplan.einsum import checks
from tierplan.einsum.expressions import Expression, accesses
from tierplan.einsum.statements import Declaration, Einsum, OperatorDefinition, RankShape


@dataclass(frozen=True, slots=True)
class Cascade:
    """An ordered set of Einsums: what is computed, free of when and where.

    `init` runs once and gives iterative tensors their value at coordinate 0; `stops` end iterative ranks.
    Without declared inputs, every tensor that is read and never written is one. `outputs` defaults to the
    tensors that nothing reads.

    Raises: InvalidInputError: a name is unknown, a tensor is written twice, a dependency is cyclic where no
        iterative rank breaks it, a rank has no shape or no use.
    """

    einsums: tuple[Einsum, ...]
    init: tuple[Einsum, ...] = ()
    stops: tuple[Expression, ...] = ()
    ranks: tuple[RankShape, ...] = ()
    tensors: tuple[Declaration, ...] = ()
    operators: tuple[OperatorDefinition, ...] = ()
    outputs: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        checks.check(self)
        if not self.outputs:
            read = {access.tensor for einsum in self for access in einsum.reads}
            unread = tuple(dict.fromkeys(e.name for e in self.einsums if e.name not in read))
            last = (self.einsums[-1].name,)
            object.__setattr__(self, "outputs", unread or last)

    def __iter__(self) -> Iterator[Einsum]:
        """Every Einsum, the initial ones first."""
        yield from self.init
        yield from self.einsums

    @property
    def inputs(self) -> tuple[str, ...]:
        """Tensors that are read and never written, in order of declaration, then of use."""
        written = {einsum.name for einsum in self}
        declared = [d.name for d in self.tensors if d.is_input]
        read = [access.tensor for einsum in self for access in einsum.reads]
        read += [access.tensor for stop in self.stops for access in accesses(stop)]
        return tuple(name for name in dict.fromkeys(declared + read) if name not in written)

    def declaration(self, tensor: str) -> Declaration | None:
        """What is declared of `tensor`."""
        return next((d for d in self.tensors if d.name == tensor), None)

    def empty(self, tensor: str) -> float:
        """The value of the points of `tensor` that nothing writes."""
        declared = self.declaration(tensor)
        return declared.empty if declared else 0
