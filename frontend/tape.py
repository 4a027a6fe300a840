"""The tape: tensors and operations, written down in execution order."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Access, Attribute, Graph, Op, Tensor, TensorKind

_LARGEST_TOTAL = 2**60  # bytes; planners count in 64-bit integers


class Tape:
    """A graph while it is written. `dtype` is the element type where nothing else is said."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: TensorKind = TensorKind.ACTIVATION,
        dtype: str | None = None,
    ) -> str:
        """Declare a tensor; returns its name."""
        self.tensors[name] = Tensor(name, shape, dtype or self.dtype, kind)
        return name

    def whole(self, name: str) -> Access:
        """All bytes of a tensor."""
        return Access(name, self.tensors[name].size)

    def part(self, name: str, n_elements: int | Fraction) -> Access:
        """The bytes of so many elements, and never more than the tensor has."""
        return Access(name, self.tensors[name].size_of(math.ceil(n_elements)))

    def share(self, name: str, share: float) -> Access:
        """An expected share of the bytes of a tensor."""
        return Access(name, round(share * self.tensors[name].size))

    def op(
        self,
        name: str,
        kind: str,
        reads: Sequence[str | Access],
        writes: Sequence[str | Access],
        *,
        matrix_ops: int = 0,
        vector_ops: int = 0,
        dtype: str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> None:
        """Write down an operation; a bare name stands for all bytes of the tensor."""
        self.ops.append(
            Op(
                name,
                kind,
                tuple(self._access(operand) for operand in reads),
                tuple(self._access(result) for result in writes),
                matrix_ops,
                vector_ops,
                dtype or self.dtype,
                attributes or {},
            )
        )

    def graph(self, name: str, tokens: int, notes: tuple[str, ...] = ()) -> Graph:
        """The finished graph, of a program that repeats.

        Raises: InvalidInputError: the tensors are absurdly large.
        """
        total = sum(tensor.size for tensor in self.tensors.values())
        if total > _LARGEST_TOTAL:
            raise InvalidInputError(f"'{name}' has {total:.3g} bytes of tensors; choose a smaller batch or context")
        return Graph(name, tuple(self.tensors.values()), tuple(self.ops), cyclic=True, tokens=tokens, notes=notes)

    def _access(self, operand: str | Access) -> Access:
        return self.whole(operand) if isinstance(operand, str) else operand
