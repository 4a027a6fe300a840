"""Composition of experts: a router picks one of many whole models for each request, and the model is switched in."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Floats
from tierplan.sim.experts_tiers import ExpertTier, Lookup, look_up
from tierplan.sim.experts_trace import Requests
from tierplan.sim.flash_pipeline import stage_ends
from tierplan.sim.replacement import Policy


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """Seconds of the router for a batch, of an expert's prompt, and of each token that it writes."""

    router_s: float
    prompt_s: float
    token_s: float

    def __post_init__(self) -> None:
        for field in ("router_s", "prompt_s", "token_s"):
            time = getattr(self, field)
            if not (math.isfinite(time) and time >= 0):
                raise InvalidInputError(f"{field} is {time}; need a finite time, 0 or more")

    def run_s(self, n_tokens: int) -> float:
        """Seconds that an expert takes for one request of `n_tokens` new tokens."""
        if n_tokens < 0:
            raise InvalidInputError(f"{n_tokens} new tokens; need 0 or more")
        return self.prompt_s + n_tokens * self.token_s


@dataclass(frozen=True, slots=True)
class Composition:
    """Experts of `expert` bytes each in tiers, fastest first, the last of which holds them all.

    `prefetch`: the next request's expert is copied while the present one runs, into a place kept free for it.
    """

    expert: int
    tiers: tuple[ExpertTier, ...]
    times: ServiceTimes
    policy: Policy = Policy.LRU
    prefetch: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CompositionRun:
    """What serving a trace of requests took.

    Shapes: `latency_s` [requests], from the start of the batch to the end of the request; `batch_s` [batches].
    `switch_s`: all copies together; `stall_s`: the part of them that experts waited for.
    """

    lookup: Lookup
    latency_s: Floats
    batch_s: Floats
    switch_s: float
    stall_s: float
    n_tokens: int

    @property
    def total_s(self) -> float:
        """Seconds of all batches, one after another."""
        return float(self.batch_s.sum())

    @property
    def tokens_per_s(self) -> float:
        """New tokens per second."""
        return self.n_tokens / self.total_s if self.total_s else 0.0

    @property
    def switch_share(self) -> float:
        """Share of the time in which experts wait to be switched in."""
        return self.stall_s / self.total_s if self.total_s else 0.0


def serve_requests(
    composition: Composition, requests: Requests, batch: int, n_tokens: int, grouped: bool = False
) -> CompositionRun:
    """Serve requests in batches: the router sees the whole batch, then each request runs on its expert.

    With `grouped`, the requests of a batch that go to one expert follow each other.
    Assumes: requests run one at a time; weights are not written back.
    Raises: InvalidInputError: the experts do not fit the last tier.
    Source: Prabhakar et al., SambaNova SN40L, MICRO 2024, sections V.B and VI.C (router, then switch and run).
    """
    if batch < 1:
        raise InvalidInputError(f"a batch of {batch} requests; need 1 or more")
    ordered = requests.grouped(batch) if grouped else requests
    tiers = _without_free_place(composition) if composition.prefetch else composition.tiers
    lookup = look_up(ordered.accesses(), tiers, composition.expert, composition.policy)
    copies = lookup.copy_s(tiers, composition.expert)
    run_s = composition.times.run_s(n_tokens)
    latency = np.empty(len(copies))
    batches: list[float] = []
    stall = 0.0
    for first in range(0, len(copies), batch):
        each = copies[first : first + batch]
        ends = _ends(each, run_s, composition.prefetch)
        stall += float(ends[-1]) - run_s * len(each)
        latency[first : first + batch] = composition.times.router_s + ends
        batches.append(composition.times.router_s + float(ends[-1]))
    return CompositionRun(lookup, latency, np.array(batches), float(copies.sum()), stall, n_tokens * len(copies))


def batch_s(times: ServiceTimes, switch_s: float, batch: int, n_tokens: int) -> float:
    """Seconds of a batch in which every request switches: router + batch x (switch + run).

    >>> times = ServiceTimes(router_s=0.066, prompt_s=0.024, token_s=0.002)
    >>> round(batch_s(times, switch_s=0.0135, batch=8, n_tokens=20), 4)
    0.686
    """
    if batch < 1:
        raise InvalidInputError(f"a batch of {batch} requests; need 1 or more")
    return times.router_s + batch * (switch_s + times.run_s(n_tokens))


def _without_free_place(composition: Composition) -> tuple[ExpertTier, ...]:
    fast, *below = composition.tiers
    if fast.places(composition.expert) < 2:
        raise InvalidInputError(f"prefetching needs two places in tier '{fast.name}', one to run and one to fill")
    return dataclasses.replace(fast, capacity=fast.capacity - composition.expert), *below


def _ends(copies: Floats, run_s: float, prefetch: bool) -> Floats:
    """Shape [requests of the batch]: when each ends, counted from the end of the router."""
    if not prefetch:
        return np.cumsum(copies + run_s)
    return np.array(stage_ends([float(copy) for copy in copies], [run_s] * len(copies), ahead=1))
