# pyright: basic, reportCallIssue=false
"""A model of the game that is learned: search never asks the rules beyond its root.

After MuZero ("Mastering Atari, Go, chess and shogi by planning with a learned model", Nature 2020): a representation
of what is seen, dynamics from one hidden state to the next with the reward in between, and a prediction of policy and
value. What comes next in a program is known, not to be predicted: the dynamics are told the features of the visits that
follow (the look-ahead window of rl/agent/network.py), as the representation is.
"""

from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import mctx

from tierplan.rl.agent import twin
from tierplan.rl.agent.network import AHEAD, LOOK, Block, Network, observe
from tierplan.rl.agent.search import Searching, masked
from tierplan.rl.agent.twin import Play
from tierplan.rl.agent.twin_tables import Board

Array: TypeAlias = Any
_GRADIENT = 0.5  # share of a gradient that a step of the dynamics passes back


class Hidden(NamedTuple):
    """What search knows of a play: a state of the model [B, width], and which visit is next [B]."""

    state: Array
    at: Array


class LearnedNetwork(eqx.Module):
    """Representation and prediction, as the network that searches the game has them, and dynamics."""

    network: Network
    change: eqx.nn.Linear
    block: Block
    norm: eqx.nn.LayerNorm
    reward: eqx.nn.Linear

    def __init__(self, width: int, n_blocks: int, key: Array) -> None:
        keys = jax.random.split(key, 4)
        self.network = Network(width, n_blocks, keys[0])
        self.change = eqx.nn.Linear(width + twin.N_ACTIONS + LOOK, width, key=keys[1], dtype=jnp.float32)
        self.block = Block(width, keys[2])
        self.norm = eqx.nn.LayerNorm(width, dtype=jnp.float32)
        self.reward = eqx.nn.Linear(width, 1, key=keys[3], dtype=jnp.float32)

    def represent(self, features: Array) -> Array:
        """The hidden state of a play that is seen."""
        return self.norm(self.network.trunk(features))

    def dynamics(self, state: Array, action: Array, ahead: Array) -> tuple[Array, Array]:
        """The hidden state after an action, and its reward; `ahead` [LOOK] are the visits from then on."""
        chosen = jax.nn.one_hot(action, twin.N_ACTIONS, dtype=jnp.float32)
        change = jax.nn.relu(self.change(jnp.concatenate([state, chosen, ahead])))
        after = self.block(state + change)
        return self.norm(after), self.reward(after)[0]

    def predict(self, state: Array) -> tuple[Array, Array]:
        """Logits and value of a hidden state."""
        return self.network.heads(state)


class LearnedGame:
    """The learned model: embeddings are hidden states."""

    def root(self, network: LearnedNetwork, board: Board, plays: Play) -> mctx.RootFnOutput:
        """Logits, values and embeddings of plays: the last time that they are seen."""
        state = jax.vmap(lambda play: network.represent(observe(board, play)))(plays)
        logits, value = jax.vmap(network.predict)(state)
        embedding: Any = Hidden(state, plays.at)
        return mctx.RootFnOutput(prior_logits=masked(logits, plays.legal), value=value, embedding=embedding)

    def step(
        self, network: LearnedNetwork, board: Board, how: Searching, action: Array, embedding: Hidden
    ) -> tuple[mctx.RecurrentFnOutput, Hidden]:
        """What the model thinks that an action leads to. What would be legal there it has to know by its policy."""
        at = jnp.minimum(embedding.at + 1, board.static.shape[0] - 1)
        visits = jnp.minimum(at[:, None] + jnp.arange(1 + AHEAD), board.static.shape[0] - 1)
        ahead = board.static[visits].reshape(len(at), LOOK).astype(jnp.float32)
        state, reward = jax.vmap(network.dynamics)(embedding.state, action, ahead)
        logits, value = jax.vmap(network.predict)(state)
        over = embedding.at + 1 >= board.scale[0]
        discount = jnp.where(over, 0.0, how.discount).astype(jnp.float32)
        value = jnp.where(over, 0.0, value)
        return mctx.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=logits, value=value), Hidden(
            state, at
        )


def unrolled_losses(network: LearnedNetwork, rows: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Mean losses of policy, value and reward over a position and the steps that follow it; rows as in the replay."""
    state = jax.vmap(network.represent)(rows["features"].astype(jnp.float32))
    logits, value = jax.vmap(network.predict)(state)
    policies = [cross_entropy(masked(logits, rows["legal"]), rows["policy"]).mean()]
    values = [huber(value - rows["value"]).mean()]
    rewards: list[Array] = []
    for k in range(rows["actions"].shape[1]):
        counts = rows["counts"][:, k]
        own = jnp.maximum(counts.sum(), 1)
        state, reward = jax.vmap(network.dynamics)(
            state, rows["actions"][:, k], rows["ahead"][:, k].astype(jnp.float32)
        )
        rewards.append(jnp.where(counts, huber(reward - rows["rewards"][:, k]), 0.0).sum() / own)
        logits, value = jax.vmap(network.predict)(state)
        policies.append(jnp.where(counts, cross_entropy(logits, rows["policies"][:, k]), 0.0).sum() / own)
        values.append(jnp.where(counts, huber(value - rows["values"][:, k]), 0.0).sum() / own)
        state = _GRADIENT * state + (1 - _GRADIENT) * jax.lax.stop_gradient(state)
    return jnp.stack(policies).mean(), jnp.stack(values).mean(), jnp.stack(rewards).mean()


def cross_entropy(logits: Array, policy: Array) -> Array:
    """Shape [B]: of policies as targets."""
    return -jnp.where(policy > 0, policy * jax.nn.log_softmax(logits), 0.0).sum(axis=-1)


def huber(error: Array) -> Array:
    """Quadratic near 0, and linear beyond 1."""
    size = jnp.abs(error)
    return jnp.where(size <= 1.0, 0.5 * error**2, size - 0.5)
