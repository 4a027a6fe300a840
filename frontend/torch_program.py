"""Programs of torch.export as plain values, whether they come from a file or from Python."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from tierplan.frontend.jaxpr_block import Shape
from tierplan.ir.errors import InvalidInputError

Layout: TypeAlias = "tuple[Shape, str]"


@dataclass(frozen=True, slots=True)
class Ref:
    """The name of a value of the program."""

    name: str


Given: TypeAlias = "Ref | str | int | float | bool | tuple[Given, ...] | None"


@dataclass(frozen=True, slots=True)
class AtenNode:
    """One call of an operator: arguments by name in their order, results by name ('' where there is none)."""

    target: str
    arguments: Mapping[str, Given]
    results: tuple[str, ...]
    scope: str = ""

    @property
    def op(self) -> str:
        """The operator without its namespace and overload.

        >>> AtenNode("torch.ops.aten.add.Tensor", {}, ("y",)).op
        'add'
        """
        parts = self.target.split(".")
        return parts[3] if parts[:3] == ["torch", "ops", "aten"] and len(parts) > 3 else parts[-1]

    def __str__(self) -> str:
        return f"{self.target.removeprefix('torch.ops.')} '{self.results[0] if self.results else ''}'"


@dataclass(frozen=True, slots=True)
class TorchInput:
    """An input: `what` is parameter, buffer, constant or input, `target` its name in the module."""

    name: str
    what: str
    target: str


@dataclass(frozen=True, slots=True)
class TorchProgram:
    """An exported program; `mutations` pairs inputs with the values that replace them at the end."""

    name: str
    inputs: tuple[TorchInput, ...]
    nodes: tuple[AtenNode, ...]
    outputs: tuple[str, ...]
    layouts: Mapping[str, Layout]
    mutations: Mapping[str, str] = field(default_factory=dict[str, str])

    def layout(self, name: str) -> Layout:
        """Shape and type of a value.

        Raises: InvalidInputError: the program does not say it.
        """
        found = self.layouts.get(name)
        if found is None:
            raise InvalidInputError(f"the program does not say the shape of '{name}'")
        return found
