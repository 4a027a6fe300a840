"""What a method is: it plays a program within a budget, and returns the best actions that it found."""

import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Ints
from tierplan.rl.game import Game


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a method may try: whole plays, or as many decisions as those have, and seconds of processor time."""

    evaluations: int = 10_000
    cpu_s: float = float("inf")
    seed: int = 0

    def __post_init__(self) -> None:
        if self.evaluations < 1 or not self.cpu_s > 0:
            raise InvalidInputError(
                f"an effort of {self.evaluations} evaluations and {self.cpu_s} s; need some of both"
            )


@dataclass(slots=True)
class Best:
    """The best play so far, and what it took."""

    game: Game
    effort: Effort
    saved_s: float = -np.inf
    actions: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    decisions: int = 0
    began: float = field(default_factory=time.process_time)

    @property
    def evaluations(self) -> int:
        """Plays so far; those in part count by their decisions."""
        return -(-self.decisions // max(1, self.game.program.n_visits))

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self.evaluations >= self.effort.evaluations or time.process_time() - self.began >= self.effort.cpu_s

    @property
    def done(self) -> float:
        """Which share of the budget is spent, from 0 to 1."""
        return min(
            1.0,
            max(self.evaluations / self.effort.evaluations, (time.process_time() - self.began) / self.effort.cpu_s),
        )

    def play(self, actions: Ints) -> float:
        """Play all visits; seconds saved."""
        saved = self.game.replay(actions)
        self.decisions += len(actions)
        self.offer(saved)
        return saved

    def offer(self, saved_s: float, game: Game | None = None) -> None:
        """Keep a finished play if it is the best so far."""
        if saved_s > self.saved_s:
            self.saved_s, self.actions = saved_s, (game or self.game).played()


class Method(Protocol):
    """Plays until the budget is spent or it has no more to try; what it found is in `best`."""

    def __call__(self, best: Best, rng: np.random.Generator, /) -> None: ...
