"""The temporaries of a scheduled HLO module as buffers that want an offset, beside the room that its results leave.

A result's memory, and that of an argument which a result replaces, is free for temporaries while it holds nothing.
"""

from dataclasses import dataclass, field

from tierplan.frontend.hlo_inplace import may_share
from tierplan.frontend.hlo_module import Module
from tierplan.frontend.hlo_values import Group, Value, Values

Runs = list[tuple[int, int]]
"""Half-open runs of steps, in order, apart from each other."""


@dataclass(slots=True, eq=False)
class Slot:
    """Groups that lie at one address, one after the other."""

    groups: list[Group] = field(default_factory=list[Group])
    runs: Runs = field(default_factory=Runs)

    @property
    def size(self) -> int:
        """Bytes."""
        return max(group.size for group in self.groups)

    @property
    def name(self) -> str:
        """The name of the instruction that is first to write there."""
        return min((value.start, value.instruction.name) for group in self.groups for value in group.values)[1]

    @property
    def is_temporary(self) -> bool:
        """Whether none of it belongs to a result or an argument."""
        return all(group.is_temporary for group in self.groups)

    @property
    def is_room(self) -> bool:
        """Whether temporaries may use it while it holds nothing: an array, not a table of pointers."""
        return not self.is_temporary and not any(value.shape.is_tuple for g in self.groups for value in g.values)


def slots_of(values: Values) -> list[Slot]:
    """What wants an address: temporaries, results, and arguments that results replace.

    A temporary is written over an operand that nobody needs any more, where that may be and neither is part of a
    loop's state or of what a conditional gives.
    Source: XLA's HeapSimulator::RunComputation makes the same choice.
    """
    slots: dict[Group, Slot] = {}
    for group in values.groups:
        if group.constant or (group.argument and not group.replaced) or group.size == 0:
            continue
        slots[group] = Slot([group], group.lives())
    n_users = _users(values.module)
    for value in sorted(values.all(), key=lambda value: (value.start, value.end)):
        if value.group in slots and value.instruction.opcode not in ("copy", "parameter", "tuple"):
            _share(value, values, slots, n_users)
    return list(dict.fromkeys(slots.values()))


def _users(module: Module) -> dict[tuple[str, str], int]:
    counted: dict[tuple[str, str], int] = {}
    for computation in module.computations.values():
        for instruction in computation.instructions:
            for name in dict.fromkeys(instruction.operands):
                counted[computation.name, name] = counted.get((computation.name, name), 0) + 1
    return counted


def _share(
    value: Value,
    values: Values,
    slots: dict[Group, Slot],
    n_users: dict[tuple[str, str], int],
) -> None:
    """Let a value lie in the slot of one of its operands, the first that may be."""
    computation = values.made_in[id(value.instruction)]
    here = values.at[computation]
    for name in value.instruction.operands:
        for place, given in here[name].items():
            if given.instruction.name != name or given.index != place or given.group not in slots:
                continue
            mine, other = slots[value.group], slots[given.group]
            if mine is other or not _alone(value, given, mine, other):
                continue
            users = n_users[computation, name]
            if may_share(value.instruction, value.index, given.instruction, place, users, values.module):
                _merge(mine, other, slots)
                return


def _alone(value: Value, given: Value, mine: Slot, other: Slot) -> bool:
    """Whether both are temporaries of one value each, and the operand is not needed after the value is made."""
    single = len(value.group.values) == 1 == len(given.group.values)
    return single and mine.is_temporary and other.is_temporary and other.runs[-1][1] == value.start + 1


def _merge(mine: Slot, other: Slot, slots: dict[Group, Slot]) -> None:
    runs: Runs = []
    for start, stop in sorted((*mine.runs, *other.runs)):
        if runs and start <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(runs[-1][1], stop)
        else:
            runs.append((start, stop))
    other.groups.extend(mine.groups)
    other.runs = runs
    for group in mine.groups:
        slots[group] = other
