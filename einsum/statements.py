"""What a cascade is made of: reductions, Einsums, declarations of tensors, ranks and operators."""

from __future__ import annotations

from dataclasses import dataclass, field

from tierplan.einsum.expressions import (
    Access,
    Affine,
    Expression,
    Position,
    accesses,
    at,
    is_rank,
    is_variable,
    variables,
)
from tierplan.einsum.operators import MAPS, REDUCE_ALIASES, REDUCES
from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduce action over rank variables.

    `into` is the output rank variable that the operators `top` and `argtop` populate: the largest values
    (or their coordinates) over the reduced rank, in descending order, the first of equals first.
    """

    operator: str
    over: tuple[str, ...]
    into: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "operator", REDUCE_ALIASES.get(self.operator, self.operator))
        if not self.over or len(set(self.over)) != len(self.over):
            raise InvalidInputError(f"reduction '{self.operator}' needs distinct rank variables to reduce over")
        known = REDUCES.get(self.operator)
        populates = known is not None and known.populates
        if populates != (self.into is not None):
            hint = f"{self.operator}[{self.over[0]}:j]" if populates else f"{self.operator}[{self.over[0]}]"
            raise InvalidInputError(f"write the reduction '{self.operator}' as {hint}")
        if known is not None and (known.coordinate or known.populates) and len(self.over) != 1:
            raise InvalidInputError(f"reduction '{self.operator}' is over one rank variable at a time")


@dataclass(frozen=True, slots=True)
class Einsum:
    """One extended Einsum: an output access, an expression per point, reductions and filters.

    Reductions are outermost first. Rank variables that the output lacks and no reduction names are summed,
    innermost; the constructor writes that reduction down. Filters drop points of the iteration space.
    """

    output: Access
    expression: Expression
    reductions: tuple[Reduction, ...] = ()
    filters: tuple[Expression, ...] = ()
    position: Position | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        where = at(self.position)
        if self.output.outside is not None:
            raise InvalidInputError(f"{where}the output {self.output.tensor} cannot have a value outside")
        kept = self.output_variables
        populated = [r.into for r in self.reductions if r.into is not None]
        named = [variable for reduction in self.reductions for variable in reduction.over]
        for variable in (*named, *populated):
            if not is_variable(variable):
                raise InvalidInputError(f"{where}'{variable}' is not a rank variable; write it in lower case")
        for variable in populated:
            if variable not in kept:
                raise InvalidInputError(f"{where}reduction populates '{variable}', which the output lacks")
        for variable in named:
            if variable in kept:
                raise InvalidInputError(f"{where}'{variable}' is reduced, yet the output keeps it")
            if variable not in self._mentioned:
                raise InvalidInputError(f"{where}'{variable}' is reduced, yet nothing is indexed by it")
        if len(set(named)) != len(named):
            raise InvalidInputError(f"{where}a rank variable is reduced twice")
        rest = tuple(v for v in self._mentioned if v not in kept and v not in named)
        if rest:
            object.__setattr__(self, "reductions", (*self.reductions, Reduction("add", rest)))

    @property
    def name(self) -> str:
        """The tensor that it writes."""
        return self.output.tensor

    @property
    def _mentioned(self) -> tuple[str, ...]:
        inner = (v for access in self.output.inner for v in variables(access))
        filters = (v for condition in self.filters for v in variables(condition))
        return tuple(dict.fromkeys((*variables(self.expression), *inner, *filters)))

    @property
    def output_variables(self) -> tuple[str, ...]:
        """Rank variables of the output's affine indices."""
        return self.output.variables

    @property
    def reduced_variables(self) -> tuple[str, ...]:
        """Rank variables that the reductions remove."""
        return tuple(variable for reduction in self.reductions for variable in reduction.over)

    @property
    def variables(self) -> tuple[str, ...]:
        """Rank variables of the iteration space: the output's, then the reduced ones."""
        populated = {r.into for r in self.reductions}
        kept = tuple(v for v in self.output_variables if v not in populated)
        return tuple(dict.fromkeys((*kept, *self.reduced_variables)))

    @property
    def reads(self) -> tuple[Access, ...]:
        """Every access that it reads: the expression's, the filters', and those inside indices."""
        parts = (self.expression, *self.filters, *self.output.inner)
        return tuple(access for part in parts for access in accesses(part))


@dataclass(frozen=True, slots=True)
class RankShape:
    """A rank whose shape is given when it is used, or is an expression of other ranks' shapes."""

    name: str
    extent: Expression | None = None
    position: Position | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not is_rank(self.name):
            raise InvalidInputError(f"{at(self.position)}'{self.name}' cannot name a rank; write it in upper case")


@dataclass(frozen=True, slots=True)
class Declaration:
    """A tensor with a shape per dimension; `empty` is the value of points that nothing writes."""

    name: str
    shape: tuple[Affine, ...]
    is_input: bool = False
    empty: float = 0
    position: Position | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for extent in self.shape:
            if not extent.constant:
                raise InvalidInputError(
                    f"{at(self.position)}{self.name} is declared with a rank variable; "
                    "declare ranks or numbers, in upper case, like Q[E, P]"
                )


@dataclass(frozen=True, slots=True)
class OperatorDefinition:
    """A user-defined operator: parameters and a body, or no body when a function is given to run it.

    With an `identity` it may also reduce; it must then be associative.
    """

    name: str
    parameters: tuple[str, ...]
    body: Expression | None = None
    identity: float | None = None
    position: Position | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        where = at(self.position)
        if not is_variable(self.name):
            raise InvalidInputError(f"{where}'{self.name}' cannot name an operator; write it in lower case")
        if self.name in MAPS or self.name in REDUCES or self.name in REDUCE_ALIASES:
            raise InvalidInputError(f"{where}operator '{self.name}' is built in; choose another name")
        if not self.parameters or len(set(self.parameters)) != len(self.parameters):
            raise InvalidInputError(f"{where}operator '{self.name}' needs distinct parameters")
        if self.identity is not None and len(self.parameters) != 2:
            raise InvalidInputError(f"{where}operator '{self.name}' with an identity takes two parameters")
        for name in variables(self.body) if self.body is not None else ():
            if name not in self.parameters:
                raise InvalidInputError(f"{where}operator '{self.name}' has no parameter '{name}'")
        if self.body is not None and any(accesses(self.body)):
            raise InvalidInputError(f"{where}operator '{self.name}' may use its parameters only, no tensor")
