"""The nouns of an EDGE program: declared tensors, sections of extended Einsums, a stopping condition.

Source: EDGE (extended general Einsums) in the ASCII form of its authors' example programs.
"""

from __future__ import annotations

from dataclasses import dataclass

from tierplan.ir.errors import InvalidInputError

MAX_DEPTH = 60


@dataclass(frozen=True, slots=True)
class EdgeRank:
    """A declared rank; without a shape it is generative, like the iterations of an algorithm."""

    name: str
    shape: str | None = None


@dataclass(frozen=True, slots=True)
class EdgeTensor:
    """A declared tensor: its ranks, the type of its values, and the value that counts as absent."""

    name: str
    ranks: tuple[EdgeRank, ...]
    dtype: str
    empty: str


@dataclass(frozen=True, slots=True)
class EdgeIndex:
    """A coordinate, as text; a star marks a rank that a populate action fills, a condition restricts it."""

    coordinate: str
    condition: str | None = None
    starred: bool = False


@dataclass(frozen=True, slots=True)
class EdgeAccess:
    """A tensor at coordinates."""

    tensor: str
    indices: tuple[EdgeIndex, ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeLiteral:
    """A number, a truth value, a shape like |V|, or a quoted value, as text."""

    text: str


@dataclass(frozen=True, slots=True)
class EdgeCall:
    """A function of values: `abs(...)`, `not X`, or one that the program defines."""

    function: str
    operands: tuple[EdgeExpression, ...]


@dataclass(frozen=True, slots=True)
class EdgePair:
    """Two operands joined by `.` (the actions say how) or by an operator; a label ties it to its action."""

    operator: str
    left: EdgeExpression
    right: EdgeExpression
    label: str | None = None


@dataclass(frozen=True, slots=True)
class EdgeAnonymous:
    """A bracketed expression as a tensor of its own, with its indices."""

    value: EdgeExpression
    indices: tuple[EdgeIndex, ...] = ()


EdgeExpression = EdgeAccess | EdgeLiteral | EdgeCall | EdgePair | EdgeAnonymous


@dataclass(frozen=True, slots=True)
class EdgeAction:
    """What a map, reduce or populate action does: its rank, compute operator and merge (or coordinate) operator."""

    kind: str
    compute: str
    merge: str
    rank: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("map", "reduce", "populate"):
            raise InvalidInputError(f"an action is map, reduce or populate, not '{self.kind}'")


@dataclass(frozen=True, slots=True)
class EdgeCase:
    """One line of a definition by cases; the condition None is `otherwise`."""

    value: EdgeExpression
    condition: str | None


@dataclass(frozen=True, slots=True)
class EdgeEinsum:
    """An extended Einsum: an output, an expression or cases, and actions; `update` is the `<<` shorthand."""

    output: EdgeAccess
    expression: EdgeExpression | None
    actions: tuple[EdgeAction, ...] = ()
    cases: tuple[EdgeCase, ...] = ()
    update: bool = False


@dataclass(frozen=True, slots=True)
class EdgeGiven:
    """What the user of the program provides."""

    names: tuple[EdgeAccess, ...]


@dataclass(frozen=True, slots=True)
class EdgeFunction:
    """A function that the program defines on coordinates."""

    name: str
    parameters: tuple[str, ...]
    body: EdgeExpression


EdgeStatement = EdgeEinsum | EdgeGiven | EdgeFunction


@dataclass(frozen=True, slots=True)
class EdgeSection:
    """A titled run of statements: initialization, or Einsums that run once per iteration."""

    title: str
    statements: tuple[EdgeStatement, ...]


@dataclass(frozen=True, slots=True)
class EdgeProgram:
    """A program: tensors, sections in their order, and the condition that ends the iterations (as text)."""

    tensors: tuple[EdgeTensor, ...]
    sections: tuple[EdgeSection, ...]
    stop: str | None = None
