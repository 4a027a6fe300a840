"""One call of an ATen operator being translated: its operands and arguments by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tierplan.frontend.array_ops import ArrayOps, number
from tierplan.frontend.jaxpr_block import Literal, Shape, Source
from tierplan.frontend.torch_program import AtenNode, Given, Layout, Ref, TorchProgram
from tierplan.ir.errors import InvalidInputError

Handler: TypeAlias = "Callable[[AtenCall], Source | Sequence[Source]]"


@dataclass(slots=True)
class AtenCall:
    """A node with what its references stand for."""

    ops: ArrayOps
    node: AtenNode
    find: Callable[[str], Source]
    program: TorchProgram

    @property
    def is_aten(self) -> bool:
        """Whether the operator is one of PyTorch's own."""
        return self.node.target.startswith("torch.ops.aten.")

    def sources(self) -> list[Source]:
        """All operands, in order."""
        refs: list[Ref] = []
        for value in self.node.arguments.values():
            refs += [part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, Ref)]
        return [self.find(ref.name) for ref in refs]

    def _value(self, name: str) -> Given:
        return self.node.arguments.get(name)

    def x(self, *names: str, dtype: str = "") -> Source:
        """An operand: the first argument, or the one of that name; numbers become literals of a type.

        Raises: InvalidInputError: there is none.
        """
        source = self.maybe(*names, dtype=dtype)
        if source is None:
            raise InvalidInputError(f"{self.node} lacks its argument '{names[0] if names else 'self'}'")
        return source

    def maybe(self, *names: str, dtype: str = "") -> Source | None:
        """An operand that may be missing."""
        if names:
            value = next((self._value(name) for name in names if self._value(name) is not None), None)
        else:
            value = next(iter(self.node.arguments.values()), None)
        if isinstance(value, Ref):
            return self.find(value.name)
        if isinstance(value, bool | int | float):
            return number(value, dtype or self.out()[1])
        return None

    def many(self, name: str = "tensors") -> list[Source]:
        """A list of operands."""
        value = self._value(name)
        if not isinstance(value, tuple):
            raise InvalidInputError(f"{self.node}: '{name}' lists no tensors")
        return [self.find(part.name) for part in value if isinstance(part, Ref)]

    def optional(self, name: str) -> list[Source | None]:
        """A list of operands, some of them missing."""
        value = self._value(name)
        if not isinstance(value, tuple):
            raise InvalidInputError(f"{self.node}: '{name}' lists no tensors")
        return [self.find(part.name) if isinstance(part, Ref) else None for part in value]

    def out(self, index: int = 0) -> Layout:
        """Shape and type of a result, as the program says."""
        return self.program.layout(self.node.results[index])

    @property
    def shape(self) -> Shape:
        """The shape of the first result."""
        return self.out()[0]

    def whole(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._symbol(self._value(name))
        if value is None:
            return default
        if not isinstance(value, int):
            raise InvalidInputError(f"{self.node}: '{name}' is no whole number")
        return value

    def real(self, name: str, default: float) -> float:
        """A number."""
        value = self._symbol(self._value(name))
        if value is None:
            return default
        if not isinstance(value, int | float):
            raise InvalidInputError(f"{self.node}: '{name}' is no number")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value."""
        value = self._value(name)
        return default if value is None else bool(value)

    def text(self, name: str, default: str) -> str:
        """A text."""
        value = self._value(name)
        return value if isinstance(value, str) else default

    def has(self, name: str) -> bool:
        """Whether an argument is given and not None."""
        return self._value(name) is not None

    def ints(self, name: str, default: Sequence[int] = (), n: int | None = None) -> list[int]:
        """Whole numbers; a single one stands for `n` of them."""
        value = self._value(name)
        if value is None:
            return list(default)
        items = [self._symbol(item) for item in (value if isinstance(value, tuple) else (value,))]
        if not all(isinstance(item, int) for item in items):
            raise InvalidInputError(f"{self.node}: '{name}' lists no whole numbers")
        found = [item for item in items if isinstance(item, int)]
        if n is not None and len(found) == 1:
            found *= n
        if n is not None and len(found) != n:
            raise InvalidInputError(f"{self.node}: '{name}' lists {len(found)} numbers; need {n}")
        return found

    def _symbol(self, value: Given) -> Given:
        if not isinstance(value, Ref):
            return value
        source = self.find(value.name)
        found = source.value if isinstance(source, Literal) else None
        return found if isinstance(found, bool | int | float) else None
