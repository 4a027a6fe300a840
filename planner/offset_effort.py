"""What a search for offsets may spend, and what it knows so far."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from tierplan.ir.buffers import Ints
from tierplan.planner.offset_search import DEFAULT_RULES, Rules


@dataclass(slots=True)
class Effort:
    """What may be spent, and what was.

    Units: `deadline` in seconds on the clock of `time.monotonic`; `n_nodes` counts placements of all searches.
    `deadline_to_fit`, `nodes_to_fit`: when to stop looking for an allocation within the capacity while there is none.
    `interrupted`: the user pressed Ctrl-C; searches end and the best so far counts.
    """

    deadline: float
    max_nodes: int | None = None
    n_nodes: int = 0
    seed: int = 0
    n_workers: int = 1
    rules: Rules = DEFAULT_RULES
    cp_sat: bool = True
    interrupted: bool = False
    deadline_to_fit: float = float("inf")
    nodes_to_fit: int | None = None

    @property
    def late(self) -> bool:
        """Whether there is nothing left to spend on a capacity that nothing has fitted yet."""
        spent = self.nodes_to_fit is not None and self.n_nodes >= self.nodes_to_fit
        return spent or time.monotonic() >= self.deadline_to_fit

    @property
    def over(self) -> bool:
        """Whether there is nothing left to spend."""
        spent = self.max_nodes is not None and self.n_nodes >= self.max_nodes
        return spent or self.interrupted or time.monotonic() >= self.deadline

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    @contextmanager
    def interruptible(self) -> Generator[None]:
        """End the work inside quietly when the user presses Ctrl-C, and all other work too."""
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True


@dataclass(slots=True)
class Best:
    """What is known about some blocks: the lowest allocation found and the proved bound, in units.

    `found`: whether `offset` is an allocation of that `height`; before, `height` is one above what is allowed.
    `goal` is a height that is good enough, `by` names who found it, `rank` is the order that led to it.
    `spare` is the lowest allocation seen while none was low enough, `spare_height` its height.
    """

    offset: Ints
    height: int
    bound: int
    goal: int
    by: str
    found: bool
    rank: Ints | None = None
    n_found: int = 0
    spare: Ints | None = None
    spare_height: int = 0

    @property
    def done(self) -> bool:
        """Whether the goal is met, or it is proved that nothing lower exists."""
        return self.bound >= self.height or (self.found and self.height <= self.goal)

    @property
    def target(self) -> int:
        """The lowest capacity that is still worth asking for."""
        return min(self.height - 1, max(self.bound, self.goal))

    def take(self, offset: Ints, height: int, by: str, rank: Ints | None = None) -> None:
        """Keep an allocation if it is lower than the best one; before there is one, keep the lowest at hand."""
        if height < self.height:
            self.offset, self.height, self.by, self.found = offset, height, by, True
            self.rank = self.rank if rank is None else rank
            self.n_found += 1
        elif not self.found and (self.spare is None or height < self.spare_height):
            self.spare, self.spare_height = offset, height
