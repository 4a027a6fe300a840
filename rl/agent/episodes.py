# pyright: basic, reportCallIssue=false
"""Whole plays with search, many at once; the actions of some may be given."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tierplan.rl.agent import twin
from tierplan.rl.agent.network import observe
from tierplan.rl.agent.search import Model, Searching, TrueGame, normalised, search
from tierplan.rl.agent.twin_tables import Board

Array: TypeAlias = Any
CHUNK = 32  # visits that one compiled call plays
FREE = -1  # an action that the agent chooses itself


@dataclass(frozen=True, slots=True)
class Episodes:
    """T visits of B plays: what was seen, what search thought of it, what was played and what it saved.

    `features` [T, B, F], `legal` [T, B, 3], `policy` [T, B, 3], `values` [T, B], `actions` [T, B], `rewards` [T, B]
    normalised, `live` [T, B]: the play was not over. `saved_s` [B].
    """

    features: NDArray[np.float32]
    legal: NDArray[np.bool_]
    policy: NDArray[np.float32]
    values: NDArray[np.float32]
    actions: NDArray[np.int32]
    rewards: NDArray[np.float32]
    live: NDArray[np.bool_]
    saved_s: NDArray[np.float64]

    def returns(self, discount: float, *, tail: bool = False) -> NDArray[np.float32]:
        """Shape [T, B]: discounted sums of the rewards from each visit on; `tail`: the last visit counts its value."""
        sums = np.zeros_like(self.rewards)
        later = np.zeros(self.rewards.shape[1], dtype=np.float32)
        if tail:
            sums[-1] = later = np.where(self.live[-1], self.values[-1], np.float32(0.0))
        for i in reversed(range(len(sums) - tail)):
            later = self.rewards[i] + np.float32(discount) * later
            sums[i] = later
        return sums


def play_out(
    network: Any,
    board: Board,
    n_visits: int,
    forced: NDArray[np.int32],
    seed: int,
    how: Searching,
    *,
    shape: tuple[int, int, int],
    model: Model | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Episodes | None:
    """Play B games to their end; None if `stopped` before.

    Args:
        forced: shape [V, B], actions to play; FREE where the agent chooses by search.
        shape: window, slots and write-backs of the rules.
    """
    n_plays = forced.shape[1]
    begin, chunk = compiled(type(model or TrueGame()), replace(how, gumbel=0.0), shape)
    plays = begin(board, n_plays)
    key = jax.random.key(seed)
    rows: list[Any] = []
    padded = np.full((-(-n_visits // CHUNK) * CHUNK, n_plays), FREE, dtype=np.int32)
    padded[:n_visits] = forced
    for first in range(0, n_visits, CHUNK):
        if stopped():
            return None
        key, own = jax.random.split(key)
        plays, row = chunk(network, board, plays, own, padded[first : first + CHUNK], np.float32(how.gumbel))
        rows.append(jax.device_get(row))
    whole = [np.concatenate(column)[:n_visits] for column in zip(*rows, strict=True)]
    return Episodes(*whole, np.asarray(plays.total_s))


@lru_cache(maxsize=8)
def compiled(kind: type[Any], how: Searching, shape: tuple[int, int, int]) -> tuple[Any, Any]:
    """What begins plays, and what plays CHUNK visits of them; `shape` as in `play_out`."""
    model: Model = kind()

    def begin(board: Board, n_plays: int) -> Any:
        play = twin.begin(board, *shape)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n_plays, *x.shape)), play)

    def chunk(network: Any, board: Board, plays: Any, key: Array, forced: Array, gumbel: Array) -> tuple[Any, Any]:
        def step(plays: Any, given: tuple[Array, Array]) -> tuple[Any, Any]:
            own, wanted = given
            live = ~jax.vmap(twin.is_over, in_axes=(None, 0))(board, plays)
            action, policy, value = search(model, network, board, plays, own, how, gumbel)
            action = jnp.where(wanted >= 0, wanted, action)
            after, saved = jax.vmap(twin.act, in_axes=(None, 0, 0))(board, plays, action)
            features = jax.vmap(observe, in_axes=(None, 0))(board, plays)
            reward = normalised(board, how, saved).astype(jnp.float32)
            return after, (features, plays.legal, policy, value, action, reward, live)

        return jax.lax.scan(step, plays, (jax.random.split(key, CHUNK), forced))

    return jax.jit(begin, static_argnums=1), eqx.filter_jit(chunk)
