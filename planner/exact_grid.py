"""The variables of the exact model: where each tensor lies, what serves each access, which copies are under way."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from tierplan.ir.problem import Mode, Problem
from tierplan.planner.exact_life import Clock, Life

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

Var: TypeAlias = "cp_model.IntVar"


@dataclass(slots=True)
class Grid:
    """The variables of one tensor.

    `valid[k, t]`: tier k holds a valid copy when step t runs (after the last step: t = S).
    `serve[k, t]`: tier k serves the access of step t. `fly[s, d, t]`: a copy from s to d is under
    way during step t; `begin[s, d, t]`: it is issued there.
    """

    life: Life
    valid: dict[tuple[int, int], Var] = field(default_factory=dict[tuple[int, int], "Var"])
    serve: dict[tuple[int, int], Var] = field(default_factory=dict[tuple[int, int], "Var"])
    fly: dict[tuple[int, int, int], Var] = field(default_factory=dict[tuple[int, int, int], "Var"])
    begin: dict[tuple[int, int, int], Var] = field(default_factory=dict[tuple[int, int, int], "Var"])

    def lies(self, k: int, t: int) -> list[Var]:
        """Of these at most one is 1: then bytes of tier k are reserved for the tensor at step t."""
        terms = [self.fly[s, d, t] for s, d in self.life.pairs if d == k and (s, d, t) in self.fly]
        if (k, t) in self.valid:
            terms.append(self.valid[k, t])
        if self.life.modes.get(t) is Mode.PRODUCE and (k, t) in self.serve:
            terms.append(self.serve[k, t])
        return terms

    def done(self, s: int, d: int, t: int) -> list[tuple[int, Var]]:
        """Terms of the sum that is 1 if a copy from s to d is done when step t begins."""
        before = self.life.before(t)
        if before is None or (s, d, before) not in self.fly:
            return []
        terms = [(1, self.fly[s, d, before])]
        if (s, d, t) in self.fly:
            terms += [(-1, self.fly[s, d, t]), (1, self.begin[s, d, t])]
        return terms


@dataclass(slots=True)
class Model:
    """The CP-SAT model with its variables; `seg[t]` are ticks from the beginning of step t to that of the next."""

    problem: Problem
    clock: Clock
    cp: "cp_model.CpModel"
    grids: list[Grid]
    taken: list[list[Var]]
    seg: list[Var]
    most_ticks: int
