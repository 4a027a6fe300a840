"""Routing of turns with many tokens: which experts each turn uses, drawn without drawing the tokens one by one."""

from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Bools, Floats, Ints
from tierplan.sim.experts_trace import Demand, popularity
from tierplan.sim.replacement import Accesses

_HALVINGS = 200


@dataclass(frozen=True, slots=True, eq=False)
class TurnRouting:
    """The experts that turns of `parallel` tokens use. Shape: `used` [turns, layers, experts]."""

    used: Bools
    parallel: int
    top_k: int

    def __post_init__(self) -> None:
        if self.used.ndim != 3 or 0 in self.used.shape:
            raise InvalidInputError(f"routing of turns of shape {self.used.shape}; need [turns, layers, experts]")

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return self.used.shape[0] * self.parallel

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return self.used.shape[1]

    @property
    def n_experts(self) -> int:
        """Experts of a layer."""
        return self.used.shape[2]

    def accesses(self, layer: int, parallel: int) -> Accesses:
        """The experts of a layer that each turn needs.

        Raises: InvalidInputError: turns of another number of tokens than were drawn.
        """
        if parallel != self.parallel:
            raise InvalidInputError(f"the routing has turns of {self.parallel} tokens, not of {parallel}")
        _, experts = np.nonzero(self.used[:, layer, :])
        start: Ints = np.concatenate(([0], np.cumsum(self.used[:, layer, :].sum(axis=1, dtype=np.int64))))
        return Accesses(self.n_experts, start, experts.astype(np.int64))


def inclusion(popular: Floats, top_k: int) -> Floats:
    """Shape [experts]: the chance that a token takes each expert, when it draws `top_k` different ones by popularity.

    Assumes: several experts of many; 8 of 64 with a skew of 1 are within 5 % of what is drawn. One or all are exact.
    Source: Rosen, Asymptotic theory for order sampling, J. Statistical Planning and Inference, 1997: experts arrive at
    exponential times, and those are taken that come before the time at which `top_k` are expected.

    >>> inclusion(np.full(4, 0.25), 2).round(6).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    if not 1 <= top_k <= len(popular):
        raise InvalidInputError(f"top-{top_k} of {len(popular)} experts; need 1 to {len(popular)}")
    if top_k in (1, len(popular)):
        return popular if top_k == 1 else np.ones(len(popular))
    low, high = 0.0, 1.0
    while (1 - np.exp(-popular * high)).sum() < top_k:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - np.exp(-popular * middle)).sum() < top_k else (low, middle)
    return 1 - np.exp(-popular * high)


def generate_turns(
    demand: Demand, n_turns: int, parallel: int, n_layers: int, n_experts: int, top_k: int, seed: int = 0
) -> TurnRouting:
    """Draw which experts turns of `parallel` tokens use; each layer has a popularity of its own.

    Assumes: tokens are independent, but for those that repeat the one before (`stay`), which add nothing; the experts
    of a turn are independent, which the fixed number per token changes the less the more tokens there are.
    """
    if n_turns < 1 or parallel < 1 or n_layers < 1:
        raise InvalidInputError(f"{n_turns} turns of {parallel} tokens, {n_layers} layers; need 1 or more of each")
    random = np.random.default_rng(seed)
    taken = inclusion(popularity(demand.skew, n_experts), top_k)
    fresh: Ints = np.maximum(1, random.binomial(parallel, 1 - demand.stay, size=(n_turns, n_layers, 1)))
    of_layer = np.stack([random.permutation(taken) for _ in range(n_layers)])
    used = random.random((n_turns, n_layers, n_experts)) < 1 - (1 - of_layer) ** fresh
    return TurnRouting(used, parallel, top_k)
