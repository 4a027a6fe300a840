"""Mixture of experts: each layer routes each token to k of its experts, which lie in several tiers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats
from tierplan.sim.experts_tiers import ExpertTier, Lookup, look_up
from tierplan.sim.experts_trace import Routing
from tierplan.sim.flash_pipeline import overlapped
from tierplan.sim.replacement import Policy


def expected_unique(n_experts: int, top_k: int, n_tokens: int) -> float:
    """Different experts that `n_tokens` parallel tokens need in a layer, on average: E (1 - (1 - k / E) ^ T).

    Assumes: uniform, independent routing; any skew needs fewer, so this is the most.
    Source: the expected number of occupied bins; compare Dynamic Expert Sharing, arXiv 2602.00879, 2026.

    >>> [round(expected_unique(256, 8, tokens), 1) for tokens in (1, 8, 32)]
    [8.0, 57.4, 163.3]
    """
    if not 1 <= top_k <= n_experts:
        raise InvalidInputError(f"top-{top_k} of {n_experts} experts; need 1 to {n_experts}")
    if n_tokens < 0:
        raise InvalidInputError(f"{n_tokens} tokens; need 0 or more")
    return n_experts * (1 - (1 - top_k / n_experts) ** n_tokens)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Experts of `expert` bytes in each layer; `fast` places per layer in the fastest tier.

    `below` are the slower tiers; the last one holds all experts of all layers. The layers share the capacity
    of those between evenly. `layer_s`: compute of a layer without its experts; `expert_s`: of each expert that a step
    uses. `ahead`: layers by which copies run before compute (0: the router must speak first).
    """

    expert: int
    fast: tuple[int, ...]
    below: tuple[ExpertTier, ...]
    layer_s: float = 0.0
    expert_s: float = 0.0
    policy: Policy = Policy.LRU
    ahead: int = 0

    def __post_init__(self) -> None:
        if not self.below:
            raise InvalidInputError("a mixture needs a slower tier that holds all experts")
        for what, time in (("layer_s", self.layer_s), ("expert_s", self.expert_s)):
            if not (math.isfinite(time) and time >= 0):
                raise InvalidInputError(f"{what} is {time}; need a finite time, 0 or more")


@dataclass(frozen=True, slots=True, eq=False)
class MixtureRun:
    """What decoding with a routing trace took.

    Shapes: `step_s` [steps]; `unique` [steps, layers], different experts; `copy_s` [steps, layers].
    """

    lookups: tuple[Lookup, ...]
    step_s: Floats
    unique: Floats
    copy_s: Floats
    n_tokens: int

    @property
    def hit_rate(self) -> float:
        """Share of all experts asked for that lay in the fastest tier."""
        asked = sum(len(lookup.level) for lookup in self.lookups)
        return sum(int((lookup.level == 0).sum()) for lookup in self.lookups) / asked

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second."""
        total = float(self.step_s.sum())
        return self.n_tokens / total if total else 0.0


def serve_routing(mixture: Mixture, routing: Routing, parallel: int = 1) -> MixtureRun:
    """Run a routing trace, `parallel` tokens per step, each layer with a cache of its own.

    Raises: InvalidInputError: not one cache size per layer, or the experts do not fit the last tier.
    """
    if len(mixture.fast) != routing.n_layers:
        raise InvalidInputError(f"{len(mixture.fast)} cache sizes for {routing.n_layers} layers; need one each")
    lookups: list[Lookup] = []
    for layer, places in enumerate(mixture.fast):
        tiers = (ExpertTier("fastest", places * mixture.expert), *_shared(mixture.below, routing.n_layers))
        lookups.append(look_up(routing.accesses(layer, parallel), tiers, mixture.expert, mixture.policy))
    tiers = (ExpertTier("fastest", 0), *mixture.below)
    copy_s = np.stack([lookup.copy_s(tiers, mixture.expert) for lookup in lookups], axis=1)
    unique = np.stack([np.diff(lookup.accesses.start) for lookup in lookups], axis=1).astype(np.float64)
    compute_s = mixture.layer_s + unique * mixture.expert_s
    steps = [
        overlapped([float(s) for s in copies], [float(s) for s in work], mixture.ahead).total_s
        for copies, work in zip(copy_s, compute_s, strict=True)
    ]
    return MixtureRun(tuple(lookups), np.array(steps), unique, copy_s, routing.n_tokens)


def _shared(tiers: Sequence[ExpertTier], n_layers: int) -> list[ExpertTier]:
    return [ExpertTier(t.name, t.capacity // n_layers, t.bandwidth, t.latency_s) for t in tiers]
