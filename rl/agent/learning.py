# pyright: basic
"""What training keeps and changes: a bounded replay of positions, and the network."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from tierplan.rl.agent.checkpoint import Arrays
from tierplan.rl.agent.episodes import Episodes
from tierplan.rl.agent.learned import LearnedNetwork, cross_entropy, huber, unrolled_losses
from tierplan.rl.agent.network import LOOK, N_FEATURES
from tierplan.rl.agent.search import masked
from tierplan.rl.agent.twin import N_ACTIONS

Array: TypeAlias = Any
_VALUE_WEIGHT = 0.5
_DECAY = 1e-4
_CLIP = 5.0


@dataclass(slots=True)
class Replay:
    """The last positions that were played: a ring of fixed size.

    With `unroll`, each with so many steps that follow it: what was played and what it earned, and for each position
    after it what is seen ahead, policy and value; `counts`: the play was not over.
    """

    capacity: int
    n: int = 0
    at: int = 0
    unroll: int = 0
    rows: Arrays = field(default_factory=dict[str, NDArray[Any]])

    def __post_init__(self) -> None:
        if not self.rows:
            self.rows = {
                "features": np.zeros((self.capacity, N_FEATURES), np.float16),
                "legal": np.zeros((self.capacity, N_ACTIONS), np.bool_),
                "policy": np.zeros((self.capacity, N_ACTIONS), np.float32),
                "value": np.zeros(self.capacity, np.float32),
            }
            if self.unroll:
                shape = (self.capacity, self.unroll)
                self.rows |= {
                    "actions": np.zeros(shape, np.int32),
                    "rewards": np.zeros(shape, np.float32),
                    "ahead": np.zeros((*shape, LOOK), np.float16),
                    "policies": np.zeros((*shape, N_ACTIONS), np.float32),
                    "values": np.zeros(shape, np.float32),
                    "counts": np.zeros(shape, np.bool_),
                }

    def add(self, episodes: Episodes, policy: NDArray[np.float32], discount: float, *, tail: bool = False) -> None:
        """Keep the positions of plays, with these policies as targets; the oldest make room.

        `tail`: the plays go on after what is given, and are worth there what search thought.
        """
        live = episodes.live
        values = episodes.returns(discount, tail=tail)
        fresh = {
            "features": episodes.features[live], "legal": episodes.legal[live], "policy": policy[live],
            "value": values[live],
        }  # fmt: skip
        if self.unroll:
            fresh |= _following(episodes, policy, values, self.unroll)
        count = min(int(live.sum()), self.capacity)
        places = (self.at + np.arange(count)) % self.capacity
        for name, rows in fresh.items():
            self.rows[name][places] = rows[-count:]
        self.at, self.n = int((self.at + count) % self.capacity), min(self.capacity, self.n + count)

    def draw(self, updates: int, batch: int, rng: np.random.Generator) -> Arrays:
        """Positions for some updates: shapes [updates, batch, ...]."""
        places = rng.integers(0, self.n, (updates, batch))
        return {name: rows[places] for name, rows in self.rows.items()}


def _following(episodes: Episodes, policy: NDArray[np.float32], values: NDArray[np.float32], unroll: int) -> Arrays:
    """What the steps after each live position were, as the replay keeps it."""
    n, live = len(values), episodes.live
    steps = np.arange(n)[:, None] + np.arange(unroll)
    after = np.minimum(steps + 1, n - 1)

    def rows(array: NDArray[Any], at: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(array[at], 2, 1)[live]

    counts = (steps[:, :, None] + 1 < n) & live[after]
    return {
        "actions": rows(episodes.actions, np.minimum(steps, n - 1)),
        "rewards": rows(episodes.rewards, np.minimum(steps, n - 1)),
        "ahead": rows(episodes.features[..., :LOOK], after),
        "policies": rows(policy, after),
        "values": rows(values, after),
        "counts": np.moveaxis(counts, 2, 1)[live],
    }


def optimiser(rate: float) -> optax.GradientTransformation:
    """AdamW with clipped gradients."""
    return optax.chain(optax.clip_by_global_norm(_CLIP), optax.adamw(rate, weight_decay=_DECAY))


def _loss(network: Any, rows: dict[str, Array]) -> tuple[Array, tuple[Array, Array]]:
    if isinstance(network, LearnedNetwork):
        policy, error, reward = unrolled_losses(network, rows)
        return policy + _VALUE_WEIGHT * error + reward, (policy, error)
    logits, value = jax.vmap(network)(rows["features"].astype(jnp.float32))
    policy = cross_entropy(masked(logits, rows["legal"]), rows["policy"]).mean()
    error = huber(value - rows["value"]).mean()
    return policy + _VALUE_WEIGHT * error, (policy, error)


@eqx.filter_jit
def learn(network: Any, state: Any, rows: Any, rate: float) -> tuple[Any, Any, Array]:
    """Take a step for each batch of rows; the network, the optimiser's state and the mean losses [2]."""
    arrays, static = eqx.partition(network, eqx.is_array)

    def step(carry: tuple[Any, Any], batch: Any) -> tuple[tuple[Any, Any], Array]:
        arrays, state = carry
        (_, told), gradient = eqx.filter_value_and_grad(_loss, has_aux=True)(eqx.combine(arrays, static), batch)
        changes, state = optimiser(rate).update(gradient, state, arrays)
        return (eqx.apply_updates(arrays, changes), state), jnp.stack(told)

    (arrays, state), told = jax.lax.scan(step, (arrays, state), rows)
    return eqx.combine(arrays, static), state, told.mean(axis=0)
