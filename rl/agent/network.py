# pyright: basic
"""What the agent sees of a play, and the network that judges it."""

from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp

from tierplan.rl.agent import twin
from tierplan.rl.agent import twin_tables as t
from tierplan.rl.agent.twin import Play
from tierplan.rl.agent.twin_tables import Board

Array: TypeAlias = Any
AHEAD = 12  # visits after the next whose features the agent sees: what comes is known
_DISTANCES = (1, 2, 4, 8, 16, 32)  # steps ahead and back at which room and spare time are told
LOOK = t.N_STATIC * (1 + AHEAD)  # features that tell what comes: the first that are seen
N_FEATURES = LOOK + 3 + 3 + 4 + 2 + 2 * len(_DISTANCES)


def observe(board: Board, play: Play) -> Array:
    """Shape [N_FEATURES], 32-bit: the next visits, what may be played, room over time, spare time of the link."""
    ints, reals = board.ints[play.at], board.reals[play.at]
    visits = jnp.minimum(play.at + jnp.arange(1 + AHEAD), board.static.shape[0] - 1)
    window = play.past.shape[1]
    mine = play.mine[ints[t.TENSOR]]
    flags = jnp.stack([(mine & bit) > 0 for bit in (twin._DIRTY, twin._PENDING, twin._PINNED)])
    room = board.scale[2]
    found = jnp.stack([play.step - play.start, play.offsets[0], play.offsets[1]])
    found = jnp.where(jnp.array([play.start >= 0, play.legal[1], play.legal[0]]), found, 0)
    found = found / jnp.stack([jnp.float64(window), room, room])
    size = play.slot_end - play.slot_offset
    ahead = play.step + jnp.array((0, *_DISTANCES[:-1]))
    lies = (play.slot_start[None, :] <= ahead[:, None]) & (ahead[:, None] < play.slot_stop[None, :])
    filled = jnp.where(lies, size[None, :], 0).sum(axis=1) / room
    supply, _ = twin._supply(play, reals[t.CAP_IN])
    near = window - jnp.minimum(jnp.array(_DISTANCES), window)
    covered = jnp.where(jnp.arange(window)[None, :] >= near[:, None], supply[None, :], 0.0).sum(axis=1)
    covered = jnp.log1p(covered / jnp.maximum(reals[t.WANTED_IN], 1.0))
    queued = (play.queue_tensor != twin.NOWHERE).mean()
    state = jnp.stack([play.room[0] / room, play.room[2] / room])
    parts = (board.static[visits].reshape(-1), play.legal, found, flags, queued[None], state, filled, covered)
    return jnp.concatenate([part.astype(jnp.float32) for part in parts])


class Block(eqx.Module):
    """A residual block of two layers."""

    first: eqx.nn.Linear
    second: eqx.nn.Linear
    norm: eqx.nn.LayerNorm

    def __init__(self, width: int, key: Array) -> None:
        a, b = jax.random.split(key)
        self.first = eqx.nn.Linear(width, width, key=a, dtype=jnp.float32)
        self.second = eqx.nn.Linear(width, width, key=b, dtype=jnp.float32)
        self.norm = eqx.nn.LayerNorm(width, dtype=jnp.float32)

    def __call__(self, x: Array) -> Array:
        return x + self.second(jax.nn.relu(self.first(self.norm(x))))


class Network(eqx.Module):
    """Logits of the three actions, and a linear value: the discounted return over that of the heuristic."""

    enter: eqx.nn.Linear
    blocks: tuple[Block, ...]
    policy: eqx.nn.Linear
    value: eqx.nn.Linear

    def __init__(self, width: int, n_blocks: int, key: Array) -> None:
        keys = jax.random.split(key, n_blocks + 3)
        self.enter = eqx.nn.Linear(N_FEATURES, width, key=keys[0], dtype=jnp.float32)
        self.blocks = tuple(Block(width, k) for k in keys[3:])
        self.policy = eqx.nn.Linear(width, twin.N_ACTIONS, key=keys[1], dtype=jnp.float32)
        self.value = eqx.nn.Linear(width, 1, key=keys[2], dtype=jnp.float32)

    def trunk(self, features: Array) -> Array:
        """Shape [width]: what the heads judge."""
        x = jax.nn.relu(self.enter(features))
        for block in self.blocks:
            x = block(x)
        return x

    def heads(self, x: Array) -> tuple[Array, Array]:
        """Logits and value of what the trunk made."""
        return self.policy(x), self.value(x)[0]

    def __call__(self, features: Array) -> tuple[Array, Array]:
        return self.heads(self.trunk(features))
