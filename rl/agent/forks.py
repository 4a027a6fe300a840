# pyright: basic, reportCallIssue=false
"""Search again at many points of one play: each fork decides some visits anew, the rest stays as it was."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tierplan.ir.problem import Ints
from tierplan.rl.agent import twin
from tierplan.rl.agent.episodes import CHUNK, FREE, Episodes, compiled
from tierplan.rl.agent.network import Network, observe
from tierplan.rl.agent.search import Searching, Tilted, TiltedGame, normalised
from tierplan.rl.agent.twin import Play
from tierplan.rl.agent.twin_tables import Board
from tierplan.rl.program import Rules

Array: TypeAlias = Any


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A play visit by visit, as arrays of numpy.

    `plays`: the play before each visit. `features` [V, F], `legal` [V, 3], `rewards` [V] normalised, `live` [V]: the
    twin did not get stuck before. `logits` [V, 3] and `values` [V]: what the network thinks.
    """

    plays: Play
    features: NDArray[np.float32]
    legal: NDArray[np.bool_]
    rewards: NDArray[np.float32]
    live: NDArray[np.bool_]
    logits: NDArray[np.float32]
    values: NDArray[np.float32]


def trace(network: Network, board: Board, actions: Ints, how: Searching, rules: Rules) -> Trace:
    """Follow a play by the twin."""
    padded = np.zeros(-(-len(actions) // CHUNK) * CHUNK, dtype=np.int32)
    padded[: len(actions)] = actions
    begin, along = _tracer(how.discount, (rules.window, rules.slots, rules.pending))
    play, rows = begin(board), []
    for first in range(0, len(padded), CHUNK):
        play, told = along(network, board, play, padded[first : first + CHUNK])
        rows.append(jax.device_get(told))
    return Trace(*jax.tree.map(lambda *parts: np.concatenate(parts)[: len(actions)], *rows))


def search_forks(
    network: Network, board: Board, found: Trace, at: Ints, wish: Ints, tilt: float, seed: int, how: Searching,
    rules: Rules,
) -> Episodes:  # fmt: skip
    """Play CHUNK visits from each of the visits `at` on, by search whose prior leans towards the actions `wish`."""
    shape = (rules.window, rules.slots, rules.pending)
    _, chunk = compiled(TiltedGame, replace(how, gumbel=0.0), shape)
    wishes = np.full(board.ints.shape[0], FREE, dtype=np.int32)
    wishes[: len(wish)] = wish
    plays = jax.tree.map(lambda rows: rows[at], found.plays)
    forced = np.full((CHUNK, len(at)), FREE, dtype=np.int32)
    tilted = Tilted(network, jnp.asarray(wishes), jnp.float32(tilt))
    after, rows = chunk(tilted, board, plays, jax.random.key(seed), forced, np.float32(how.gumbel))
    return Episodes(*jax.device_get(rows), np.asarray(after.total_s))


@lru_cache(maxsize=8)
def _tracer(discount: float, shape: tuple[int, int, int]) -> Any:
    how = Searching(discount=discount)

    def along(network: Network, board: Board, play: Play, actions: Array) -> Any:
        def step(play: Play, action: Array) -> Any:
            after, saved = twin.act(board, play, action)
            reward = normalised(board, how, saved).astype(jnp.float32)
            live = ~twin.is_over(board, play)
            return after, (play, observe(board, play), play.legal, reward, live)

        play, (plays, features, legal, rewards, live) = jax.lax.scan(step, play, actions)
        return play, (plays, features, legal, rewards, live, *jax.vmap(network)(features))

    return jax.jit(lambda board: twin.begin(board, *shape)), eqx.filter_jit(along)
