"""One node of an ONNX graph being translated: its inputs, known numbers and attributes, with errors that name it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np

from tierplan.frontend.array_ops import ArrayOps
from tierplan.frontend.jaxpr_block import Literal, Operand, Shape, Source
from tierplan.frontend.onnx_model import Array, Node
from tierplan.ir.errors import InvalidInputError


class UnknownNumbersError(InvalidInputError):
    """A node's result has a shape that numbers decide which only a run of the model would tell."""


@dataclass(slots=True)
class Entry:
    """A value of the model: where it lies, its numbers where they are known, or both."""

    source: Source | None = None
    known: Array | None = None
    dtype: str = ""

    @property
    def shape(self) -> Shape:
        """Its shape."""
        if self.source is not None:
            return self.source.shape
        assert self.known is not None
        return tuple(self.known.shape)

    @property
    def numbers(self) -> Array | None:
        """Its numbers, where they are known and real."""
        known = self.known
        if known is None and isinstance(self.source, Literal):
            known = np.asarray(self.source.value)
        return None if known is None or known.dtype.kind == "c" else known

    def operand(self, ops: ArrayOps) -> Source:
        """The value as an operand; its numbers are written down where they have no place yet."""
        if self.source is None:
            assert self.known is not None
            self.source = ops.constant(self.known, self.dtype or None)
        return self.source


Result: TypeAlias = "Source | Array | None"
Handler: TypeAlias = "Callable[[Call], Result | Sequence[Result]]"


@dataclass(slots=True)
class Call:
    """A node with the entries that it reads; `wanted` says which outputs have a name."""

    ops: ArrayOps
    node: Node
    entries: list[Entry | None]
    opset: int
    wanted: tuple[bool, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.entries) and self.entries[index] is not None

    def entry(self, index: int) -> Entry:
        """An input.

        Raises: InvalidInputError: it is missing.
        """
        entry = self.entries[index] if index < len(self.entries) else None
        if entry is None:
            raise InvalidInputError(f"{self.node} lacks its input {index + 1}")
        return entry

    def x(self, index: int = 0) -> Source:
        """An input as an operand."""
        return self.entry(index).operand(self.ops)

    def maybe(self, index: int) -> Source | None:
        """An optional input as an operand."""
        return self.x(index) if self.has(index) else None

    def shape(self, index: int = 0) -> Shape:
        """The shape of an input."""
        return self.entry(index).shape

    def known(self, index: int) -> Array | None:
        """The numbers of an input, where they are known."""
        entry = self.entries[index] if index < len(self.entries) else None
        return None if entry is None else entry.numbers

    def numbers(self, index: int, what: str) -> list[int]:
        """An input whose numbers decide about shapes.

        Raises: UnknownNumbersError: they are not known before the model runs.
        """
        known = self.known(index)
        if known is None:
            raise UnknownNumbersError(f"{self.node}: {what} come from an input that is known only when the model runs")
        if known.dtype.kind not in "biuf" or not np.isfinite(known).all():
            raise InvalidInputError(f"{self.node}: {what} are no whole numbers")
        return [int(number) for number in known.reshape(-1)]

    def axes(self, index: int) -> list[int] | None:
        """Axes, which are an attribute in old models and an input in new ones; None where there are none."""
        if "axes" in self.attributes:
            return list(self.ints("axes"))
        return self.numbers(index, "axes") if self.has(index) else None

    def whole(self, name: str, default: int) -> int:
        """A whole-number attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise InvalidInputError(f"{self.node}: attribute '{name}' is no whole number")
        return value

    def real(self, name: str, default: float) -> float:
        """A number attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise InvalidInputError(f"{self.node}: attribute '{name}' is no number")
        return float(value)

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise InvalidInputError(f"{self.node}: attribute '{name}' is no text")
        return value

    def ints(self, name: str, default: Sequence[int] = (), n: int | None = None) -> tuple[int, ...]:
        """An attribute that lists whole numbers, `n` of them."""
        given = self.attributes.get(name)
        value: Any = tuple(default) if given is None else given
        if not isinstance(value, tuple) or not all(isinstance(item, int) for item in cast("tuple[Any, ...]", value)):
            raise InvalidInputError(f"{self.node}: attribute '{name}' lists no whole numbers")
        numbers = cast("tuple[int, ...]", value)
        if n is not None and len(numbers) != n:
            raise InvalidInputError(f"{self.node}: attribute '{name}' lists {len(numbers)} numbers; need {n}")
        return numbers

    def texts(self, name: str) -> tuple[str, ...]:
        """An attribute that lists texts."""
        value: Any = self.attributes.get(name, ())
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in cast("tuple[Any, ...]", value)):
            raise InvalidInputError(f"{self.node}: attribute '{name}' lists no texts")
        return cast("tuple[str, ...]", value)


def operand_of(call: Call, index: int) -> Operand:
    """An input as an operand in memory."""
    return call.ops.array(call.x(index))
