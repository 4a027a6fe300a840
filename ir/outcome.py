"""What a planner answers: the plan, its cost, the proved bound, and how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.plan import Plan
from tierplan.ir.tables import html_table
from tierplan.ir.units import show_bytes, show_seconds


class Status(Enum):
    """How a search ended; the value is the sentence that users read."""

    OPTIMAL = "no better plan exists"
    FEASIBLE = "a legal plan; a better one may exist"
    INFEASIBLE = "proved that no plan fits; raise the capacity or split a buffer"
    GAVE_UP = "no plan found within the budget; this proves nothing"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of a planner.

    `cost_s` is the simulated time of `plan` (of one turn when the program is cyclic) and
    `bound_s` a proved lower bound on that of every legal plan, both in seconds.
    `missing` tells, for a program that does not fit, the bytes that lack if its data had
    to lie in that tier and the faster ones. `notes` tell what went wrong on the way.
    """

    planner: str
    status: Status
    plan: Plan | None
    cost_s: float | None
    bound_s: float
    planning_s: float
    missing: Mapping[str, int] = field(default_factory=dict[str, int])
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        found = self.status in (Status.OPTIMAL, Status.FEASIBLE)
        if found != (self.plan is not None) or found != (self.cost_s is not None):
            raise InvalidInputError(f"an outcome that is {self.status.name} has a plan and a cost iff it found one")

    @property
    def gap(self) -> float | None:
        """`cost / bound - 1`: how much better any plan could be; None without a plan or a bound."""
        if self.cost_s is None or self.bound_s <= 0:
            return None
        return max(0.0, self.cost_s / self.bound_s - 1)

    def _repr_html_(self) -> str:
        """For notebooks: the answer without its plan; `tierplan.show` shows that."""
        gap = "not known" if self.gap is None else f"{self.gap:.2%}"
        rows = [("status", self.status.value), ("planner", f"{self.planner}, {show_seconds(self.planning_s)}")]
        if self.plan is not None and self.cost_s is not None:
            moved = f"{len(self.plan.residencies)} residencies, {len(self.plan.copies)} copies"
            rows += [("predicted", show_seconds(self.cost_s)), ("plan", moved)]
        rows += [("bound", f"{show_seconds(self.bound_s)}, gap {gap}")]
        rows += [(f"missing in {tier}", show_bytes(lacking)) for tier, lacking in self.missing.items() if lacking]
        return html_table([*rows, *(("note", note) for note in self.notes)])
