# pyright: basic, reportCallIssue=false, reportOperatorIssue=false, reportArgumentType=false
"""Gumbel search over a model of the game, for many plays at once.

Source: "Policy improvement by planning with Gumbel", ICLR 2022, as `mctx.gumbel_muzero_policy`.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import mctx

from tierplan.rl.agent import twin
from tierplan.rl.agent.network import Network, observe
from tierplan.rl.agent.twin import Play
from tierplan.rl.agent.twin_tables import Board

Array: TypeAlias = Any
_FORBIDDEN = -1e9
_DEAD_END = -1.0  # of a play in which drop-backup would begin; the heuristic's discounted return is about 1


@dataclass(frozen=True, slots=True)
class Searching:
    """How to search: simulations for each decision, discount of rewards, and how much noise the root gets (0: none)."""

    simulations: int = 16
    discount: float = 0.97
    gumbel: float = 1.0


class Model(Protocol):
    """What search asks of a model. B plays; `embedding` is the model's own."""

    def root(self, network: Any, board: Board, plays: Play) -> mctx.RootFnOutput:
        """Logits, values and embeddings of plays."""
        ...

    def step(
        self, network: Any, board: Board, how: Searching, action: Array, embedding: Any
    ) -> tuple[mctx.RecurrentFnOutput, Any]:
        """What an action leads to."""
        ...


class TrueGame:
    """The game itself, by its twin: embeddings are plays."""

    def judge(self, network: Any, board: Board, plays: Play) -> tuple[Array, Array]:
        """Logits, and values of plays."""
        logits, value = jax.vmap(lambda play: network(observe(board, play)))(plays)
        return masked(logits, plays.legal), value

    def root(self, network: Any, board: Board, plays: Play) -> mctx.RootFnOutput:
        """Logits, values and embeddings of plays."""
        logits, value = self.judge(network, board, plays)
        return mctx.RootFnOutput(prior_logits=logits, value=value, embedding=plays)  # pyright: ignore

    def step(
        self, network: Any, board: Board, how: Searching, action: Array, embedding: Play
    ) -> tuple[mctx.RecurrentFnOutput, Play]:
        """What an action leads to."""
        after, saved = jax.vmap(twin.act, in_axes=(None, 0, 0))(board, embedding, action)
        logits, value = self.judge(network, board, after)
        over = jax.vmap(twin.is_over, in_axes=(None, 0))(board, after)
        reward = normalised(board, how, saved) + jnp.where(after.stuck & ~embedding.stuck, _DEAD_END, 0.0)
        discount = jnp.where(over, 0.0, how.discount).astype(jnp.float32)
        output = mctx.RecurrentFnOutput(  # pyright: ignore
            reward=reward.astype(jnp.float32), discount=discount, prior_logits=logits, value=jnp.where(over, 0.0, value)
        )
        return output, after


class Tilted(eqx.Module):
    """A network, and for each visit an action (or -1) to whose logit `tilt` is added."""

    network: Network
    wish: Array
    tilt: Array


class TiltedGame(TrueGame):
    """The game itself, under a prior that leans towards given actions: search departs from them where it pays."""

    def judge(self, network: Tilted, board: Board, plays: Play) -> tuple[Array, Array]:
        """Logits, and values of plays."""
        logits, value = jax.vmap(lambda play: network.network(observe(board, play)))(plays)
        wished = jnp.arange(twin.N_ACTIONS) == network.wish[plays.at][:, None]
        return masked(logits + jnp.where(wished, network.tilt, 0.0), plays.legal), value


def normalised(board: Board, how: Searching, saved_s: Array) -> Array:
    """Seconds saved as a reward: a play that saves as the heuristic does has a discounted return of about 1."""
    return saved_s / board.scale[1] * (1.0 - how.discount)


def masked(logits: Array, legal: Array) -> Array:
    """Logits with what is not legal out of the question; all of them where nothing is."""
    allowed = legal | ~legal.any(axis=-1, keepdims=True)
    return jnp.where(allowed, logits, jnp.float32(_FORBIDDEN))


def search(
    model: Model, network: Any, board: Board, plays: Play, key: Array, how: Searching, gumbel: Array
) -> tuple[Array, Array, Array]:
    """The action, the improved policy and the value of each play; arrays of 32 bits."""

    def step(params: Any, _: Array, action: Array, embedding: Any) -> tuple[mctx.RecurrentFnOutput, Any]:
        return model.step(params, board, how, action, embedding)

    legal = plays.legal | ~plays.legal.any(axis=-1, keepdims=True)
    found = mctx.gumbel_muzero_policy(
        network, key, model.root(network, board, plays), step, how.simulations, invalid_actions=~legal,
        max_num_considered_actions=twin.N_ACTIONS, gumbel_scale=gumbel,
    )  # fmt: skip
    tree = found.search_tree
    value = tree.summary().value
    return found.action.astype(jnp.int32), found.action_weights, value
