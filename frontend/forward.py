"""A forward pass while it is written: what every part of it needs."""

from dataclasses import dataclass

from tierplan.frontend import operators
from tierplan.frontend.architecture import Architecture
from tierplan.frontend.parallel import ALONE, Shard
from tierplan.frontend.parts import Linear
from tierplan.frontend.tape import Tape
from tierplan.frontend.weights import Weights
from tierplan.frontend.workload import Workload


@dataclass(frozen=True, slots=True)
class Forward:
    """A model, its weights, what is asked of it, and the tape; of several devices, those of the one with this shard."""

    arch: Architecture
    weights: Weights
    work: Workload
    tape: Tape
    shard: Shard = ALONE
    vocab: int = 0

    def shape(self, width: int) -> tuple[int, int, int]:
        """Shape of an activation of that width."""
        return (self.work.batch, self.work.new_tokens, width)

    def linear(self, linear: Linear, x: str, *, layer: int | None = None) -> str:
        """Multiply every token by a matrix."""
        result = self.tape.tensor(f"{linear.name}.output", self.shape(linear.outputs))
        operators.linear(self.tape, linear, x, [result], self.work.rows, layer=layer)
        return result
