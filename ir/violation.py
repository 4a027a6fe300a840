"""A broken rule with its evidence."""

from dataclasses import dataclass
from enum import Enum


class Rule(Enum):
    """The rules of a plan; the value is the sentence that users read."""

    OVERLAP = "two tensors share bytes of a tier at one time"
    CAPACITY = "a tensor reaches beyond the end of its tier"
    ALIGNMENT = "an offset is not a multiple of the tier's alignment"
    MISSING_OPERAND = "a step or a copy needs a tensor where no valid copy of it lies"
    UNJUSTIFIED_RESIDENCY = "a tensor lies where it was neither produced, nor copied to, nor from the beginning"
    NO_LINK = "no link leads from the source of a copy to its target"
    LATE_COPY = "a copy is not done when it is needed"
    LOST_OUTPUT = "an output lies nowhere at the end"
    LOST_STATE = "a state that must survive has no valid copy at its home at the end"
    CHOICE = "not exactly one alternative of a choice is taken"
    SCRATCH = "a tensor lies in bytes that are kept for tiling or for a choice"
    CYCLE = "the end of a turn is not the beginning of the next"
    NOT_DIRECT = "a step uses a tensor that lies only in tiers that it cannot reach directly"

    @property
    def label(self) -> str:
        """The name of the rule as it is written in reports: `missing-operand`."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: which tensors, over which steps, in which tier, and the bytes in question."""

    rule: Rule
    detail: str
    tensors: tuple[str, ...] = ()
    start: int | None = None
    stop: int | None = None
    tier: str | None = None
    bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.rule.label}: {self.detail}"
