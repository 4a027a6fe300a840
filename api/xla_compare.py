"""Our offsets for the temporaries of a compiled module beside those of XLA's own buffer assignment."""

from dataclasses import dataclass

from tierplan.frontend.hlo_lifespans import Slot, slots_of
from tierplan.frontend.hlo_parse import read_hlo
from tierplan.frontend.hlo_values import values_of
from tierplan.frontend.xla_compile import Compiled
from tierplan.planner.temporaries import Packed, Wanted, pack

ALIGNMENT = 64
"""Bytes. Source: XLA's CPU backend places every buffer at a multiple of this."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Bytes of temporaries that XLA takes and that we take, on the same schedule with the same aliasing."""

    compiled: Compiled
    n_instructions: int
    n_temporaries: int
    packed: Packed

    @property
    def saving(self) -> float:
        """The share of XLA's bytes that ours do without."""
        return 1 - self.packed.height / self.compiled.temporaries if self.compiled.temporaries else 0.0

    def row(self) -> dict[str, object]:
        """All of it in base units."""
        return {
            "program": self.compiled.name,
            "n_instructions": self.n_instructions,
            "n_temporaries": self.n_temporaries,
            "xla_bytes": self.compiled.temporaries,
            "our_bytes": self.packed.height,
            "lower_bound_bytes": self.packed.lower_bound,
            "n_in_results": self.packed.n_in_rooms,
            "saving": self.saving,
            "argument_bytes": self.compiled.arguments,
            "result_bytes": self.compiled.results,
            "replaced_argument_bytes": self.compiled.replaced,
        }


def compare_with_xla(compiled: Compiled, *, budget: float, seed: int = 0, max_nodes: int | None = None) -> Comparison:
    """Pack the temporaries of a compiled module as low as the budget allows.

    Raises: InvalidInputError: the module's text cannot be read, or is not one sequence of instructions.
    """
    module = read_hlo(compiled.text, compiled.name)
    slots = slots_of(values_of(module))
    temporaries = [_wanted(slot) for slot in slots if slot.is_temporary]
    rooms = [_wanted(slot) for slot in slots if slot.is_room]
    packed = pack(temporaries, rooms, alignment=ALIGNMENT, budget=budget, seed=seed, max_nodes=max_nodes)
    return Comparison(compiled, module.n_instructions, len(temporaries), packed)


def _wanted(slot: Slot) -> Wanted:
    return Wanted(slot.name, slot.size, slot.runs)
