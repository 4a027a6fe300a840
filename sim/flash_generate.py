"""Synthetic activation traces with a chosen share, skew and temporal locality, and what they use on average."""

from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats
from tierplan.sim.flash_sparsity import AggregatedUse
from tierplan.sim.flash_trace import ActivationTrace


@dataclass(frozen=True, slots=True)
class Activity:
    """How neurons behave: each is a chain of its own that is active for a `rate` of the tokens.

    With a chance of `locality` a neuron stays as it was for the token before, otherwise it is drawn anew: 0 is
    no memory at all, near 1 hardly anything changes. Rates fall as `rank ** -skew` over the neurons of a layer
    (0: all are alike), in an order of its own in each layer, and have the mean `active`.
    """

    active: float
    locality: float = 0.0
    skew: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.active <= 1:
            raise InvalidInputError(f"active share is {self.active}; need 0 to 1")
        if not 0 <= self.locality <= 1:
            raise InvalidInputError(f"locality is {self.locality}; need 0 to 1")
        if not 0 <= self.skew <= 10:
            raise InvalidInputError(f"skew is {self.skew}; need 0 (all alike) to 10")


def rates(activity: Activity, n_neurons: int) -> Floats:
    """Shape [n_neurons]: how often each neuron is active, most active first; the mean is `activity.active`.

    >>> [round(float(rate), 3) for rate in rates(Activity(active=0.5, skew=1), 4)]
    [0.96, 0.48, 0.32, 0.24]
    """
    if n_neurons < 1:
        raise InvalidInputError(f"{n_neurons} neurons; need 1 or more")
    shape = np.arange(1, n_neurons + 1, dtype=np.float64) ** -activity.skew
    low, high = 0.0, 1 / shape[-1]
    for _ in range(200):  # halving: rates above 1 are cut, which lowers the mean
        middle = (low + high) / 2
        if np.minimum(1.0, middle * shape).mean() < activity.active:
            low = middle
        else:
            high = middle
    return np.minimum(1.0, high * shape) if activity.active > 0 else np.zeros(n_neurons)


def generate_trace(activity: Activity, n_tokens: int, n_layers: int, n_neurons: int, seed: int = 0) -> ActivationTrace:
    """Draw a trace; the first token is drawn from the rates, so that it looks like any other.

    >>> generate_trace(Activity(active=0.1), n_tokens=3, n_layers=2, n_neurons=100).n_tokens
    3
    """
    for what, count in (("tokens", n_tokens), ("layers", n_layers)):
        if count < 1:
            raise InvalidInputError(f"{count} {what}; need 1 or more")
    random = np.random.default_rng(seed)
    ranked = rates(activity, n_neurons).astype(np.float32)
    rate = np.stack([random.permutation(ranked) for _ in range(n_layers)])
    state = random.random(rate.shape, dtype=np.float32) < rate
    tokens = [state]
    for _ in range(n_tokens - 1):
        fresh = random.random(rate.shape, dtype=np.float32) < rate
        if activity.locality > 0:
            stays = random.random(rate.shape, dtype=np.float32) < activity.locality
            fresh = np.where(stays, state, fresh)
        state = fresh
        tokens.append(state)
    return ActivationTrace.of(np.stack(tokens))


def expected_use(activity: Activity, n_neurons: int, longest: int) -> AggregatedUse:
    """s(k) of such traces on average, for k = 1 to `longest`.

    A neuron of rate r is idle for k tokens with chance (1 - r) (1 - r (1 - locality)) ** (k - 1).

    >>> expected_use(Activity(active=0.1), 50, 2).new(1)  # no memory: what is new is idle before, active now
    0.09
    """
    if longest < 1:
        raise InvalidInputError(f"aggregated use of {longest} tokens; need 1 or more")
    rate = rates(activity, n_neurons)
    stays_idle = 1 - rate * (1 - activity.locality)
    used = [1 - ((1 - rate) * stays_idle**more).mean() for more in range(longest)]
    return AggregatedUse.of([round(float(share), 12) for share in used])
