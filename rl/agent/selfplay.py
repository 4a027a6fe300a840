# pyright: basic
"""Self-play: plays of one program side by side, in this process or by workers that read the network from a file."""

import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tierplan.ir.errors import TierplanError
from tierplan.ir.problem import Ints
from tierplan.rl.agent.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tierplan.rl.agent.episodes import Episodes
from tierplan.rl.agent.player import Player, network_of
from tierplan.tasks.contract import Job, Pool, Task
from tierplan.tasks.open import open_pool


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Plays that are one task: who plays what, the actions given (as to `Player.episodes`), and the seed."""

    player: Player
    given: Ints
    seed: int


@dataclass(slots=True)
class Stage:
    """Where parts are played: by workers, or without a pool in this process.

    `weights` is the file in which workers find the network, `written` how often it was. `cpu_s`: processor time of each
    worker so far.
    """

    weights: Path
    pool: Pool | None = None
    written: int = 0
    cpu_s: dict[int, float] = field(default_factory=dict[int, float])

    def play(self, parts: Sequence[Part], network: Checkpoint) -> list[Episodes]:
        """Play parts, all by the same network; `network` is the same as a checkpoint. What was played, in order.

        Raises: TierplanError: a worker died, or could not play.
        """
        if self.pool is None:
            return [_played(part) for part in parts]
        write_checkpoint(self.weights, network)
        self.written += 1
        tasks = [
            Task(f"{i:06d}", (replace(part, player=replace(part.player, network=None)), self.weights, self.written))
            for i, part in enumerate(parts)
        ]
        played: dict[str, Episodes] = {}
        for ended in self.pool.run(tasks):
            if not ended.ok:
                raise TierplanError(f"self-play in a worker {ended.end.value}: {ended.error}; go on with --resume")
            played[ended.key], worker, cpu_s = ended.value
            self.cpu_s[worker] = cpu_s
        return [played[key] for key in sorted(played)]


@contextmanager
def open_stage(workers: int, weights: Path) -> Generator[Stage]:
    """Where parts are played by so many workers; by 1, in this process."""
    if workers == 1:
        yield Stage(weights)
        return
    try:
        with open_pool(Job.of(work), workers=workers) as pool:
            yield Stage(weights, pool)
    finally:
        weights.unlink(missing_ok=True)


def work(payload: tuple[Part, Path, int]) -> tuple[Episodes, int, float]:
    """What a worker does: what was played, which process it was, and its processor time so far."""
    part, weights, written = payload
    player = replace(part.player, network=_network(weights, written))
    return _played(replace(part, player=player)), os.getpid(), time.process_time()


@lru_cache(maxsize=1)
def _network(weights: Path, written: int) -> Any:
    """The network in a file that was written so often."""
    return network_of(read_checkpoint(weights), str(weights))


def _played(part: Part) -> Episodes:
    found = part.player.episodes(part.given, part.seed)
    assert found is not None
    return found


def beside(parts: Sequence[Episodes]) -> Episodes:
    """Plays of one program as if they were one part."""
    columns = ([getattr(part, f.name) for part in parts] for f in fields(Episodes))
    return Episodes(*(np.concatenate(arrays, axis=min(1, arrays[0].ndim - 1)) for arrays in columns))
