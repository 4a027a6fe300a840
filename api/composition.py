"""A composition of experts on a machine: where they lie, how long runs and switches take, and how requests fare."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tierplan.hardware.load import load_machine
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import NO_HOME, NO_LINK, Floats, Problem
from tierplan.ir.units import read_bytes, show_bytes
from tierplan.pipeline import lower
from tierplan.programs import Shaping, read_program
from tierplan.sim.aside import copied, leads, time_s
from tierplan.sim.experts import Composition, CompositionRun, ServiceTimes, serve_requests
from tierplan.sim.experts_tiers import ExpertTier
from tierplan.sim.experts_trace import Requests
from tierplan.sim.held import held_s
from tierplan.sim.replacement import Policy

_NO_ROUTER = "none"


@dataclass(frozen=True, slots=True)
class Part:
    """The router or an expert: weights, what it needs beside them while it runs, and how long it takes in a tier.

    `prompt_s` and `token_s` by tier: seconds of a prompt, and of each token.
    """

    name: str
    weights: int
    work: int
    prompt_s: tuple[float, ...]
    token_s: tuple[float, ...]

    @property
    def total(self) -> int:
        """Bytes in fast memory while it runs."""
        return self.weights + self.work


@dataclass(frozen=True, slots=True)
class Lengths:
    """What each request is: positions that are read, tokens that are written; and requests of a batch."""

    prompt: int
    new: int
    batch: int

    def __post_init__(self) -> None:
        for name, n in (("--prompt", self.prompt), ("--new", self.new), ("--batch", self.batch)):
            if not 1 <= n <= 10**6:
                raise InvalidInputError(f"{name} is {n}; write a whole number from 1 to 1000000")


@dataclass(frozen=True, slots=True)
class Given:
    """Times that are measured, not predicted; None where they are to be predicted."""

    router_s: float | None = None
    prompt_s: float | None = None
    token_s: float | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """Where a composition runs: experts in `tiers`, fastest first; the first one runs them.

    `reserved`: bytes of the fast tier that the router and a run's cache and activations take.
    """

    tiers: tuple[ExpertTier, ...]
    reserved: int
    times: ServiceTimes
    expert: Part
    router: Part | None
    n_experts: int
    link: str


@dataclass(frozen=True, slots=True)
class TooMany:
    """The experts do not fit: bytes that they take, and how many each tier would hold."""

    n_experts: int
    expert: int
    holds: tuple[tuple[str, int, int], ...]
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Fare:
    """How the requests fare under a policy, or when something changes."""

    name: str
    run: CompositionRun

    def latency_s(self, percentile: float) -> float:
        """That percentile of the requests' latencies."""
        return float(np.percentile(self.run.latency_s, percentile))


def read_part(name: str, hardware: str, dtype: str | None, lengths: Lengths, batch: int) -> Part:
    """A model, or a size such as 14GB, as a part of the composition."""
    if name[:1].isdigit():
        return Part(name, read_bytes(name), 0, (), ())
    shaping = Shaping(dtype=dtype, batch=batch)

    def problem(phase: str, context: int) -> Problem:
        return lower(read_program(name, dataclasses.replace(shaping, phase=phase, context=context)), hardware)

    prompt = problem("prefill", lengths.prompt)
    turn = problem("decode", lengths.prompt + (lengths.new + 1) // 2)
    end = problem("decode", lengths.prompt + lengths.new)
    kind = np.array(end.tensor_kind)
    n_tiers = range(end.n_tiers)
    return Part(
        name,
        int(end.size[kind == "weight"].sum()),
        int(end.size[kind == "state"].sum()) + _passing_peak(prompt),
        tuple(_in_tier_s(prompt, k) for k in n_tiers),
        tuple(_in_tier_s(turn, k) for k in n_tiers),
    )


def place(
    hardware: str, expert: Part, router: Part | None, n_experts: int, given: Given, lengths: Lengths
) -> Site | TooMany:
    """The fastest tier that holds the router and an expert that runs, and those below it down to one that holds all.

    Assumes: slower tiers keep what faster ones have copies of, as weights are never written back; copies take the
    fewest links; a run reads its weights in the fast tier alone.
    """
    machine = load_machine(hardware)
    problem = _probe(hardware)
    reserved = (router.total if router else 0) + expert.work
    usable: list[int] = problem.tiers.usable.tolist()
    runs = [k for k in np.flatnonzero(problem.tiers.direct).tolist() if usable[k] >= reserved + expert.weights]
    holds = tuple((tier.name, usable[k], usable[k] // expert.weights) for k, tier in enumerate(machine.tiers))
    if not runs:
        needed = reserved + expert.weights
        return TooMany(
            n_experts, expert.weights, holds, f"router and a running expert take {show_bytes(needed)} together"
        )
    fast = runs[0]
    tiers = [ExpertTier(machine.tiers[fast].name, usable[fast] - reserved)]
    below = [k for k in range(fast + 1, problem.n_tiers) if leads(problem, k, fast)]
    for k in below:
        if tiers[-1].places(expert.weights) >= n_experts:
            break
        tiers.append(_below(problem, k, fast, usable[k]))
    if tiers[-1].places(expert.weights) < n_experts:
        return TooMany(
            n_experts, expert.weights, holds, f"no tier that '{tiers[0].name}' is filled from holds them all"
        )
    times = _times(fast, expert, router, given)
    link = "" if len(tiers) == 1 else _link_name(problem, below[0], fast)
    return Site(tuple(tiers), reserved, times, expert, router, n_experts, link)


def fares(
    site: Site, requests: Requests, lengths: Lengths, policies: Sequence[Policy], *, grouped: bool, prefetch: bool
) -> tuple[Fare, ...]:
    """How the requests fare under each policy."""
    return tuple(
        Fare(policy.name.lower(), _serve(site, requests, lengths, policy, grouped=grouped, prefetch=prefetch))
        for policy in policies
    )


def remedies(
    site: Site, requests: Requests, lengths: Lengths, policy: Policy, *, grouped: bool, prefetch: bool
) -> tuple[Fare, ...]:
    """How they would fare if one thing were different."""
    fast, *below = site.tiers
    twice = dataclasses.replace(site, tiers=(dataclasses.replace(fast, capacity=2 * fast.capacity), *below))
    wide = tuple(dataclasses.replace(tier, bandwidth=2 * tier.bandwidth) for tier in below)
    quick = dataclasses.replace(site, tiers=(fast, *wide))
    faster = dataclasses.replace(site, times=_scaled(site.times, 0.5))
    changes: list[tuple[str, Site, bool, bool]] = []
    if not grouped and lengths.batch > 1:
        changes.append(("requests of a batch grouped by expert (--grouped)", site, True, prefetch))
    if not prefetch and lengths.batch > 1 and fast.places(site.expert.weights) > 1 and below:
        changes.append(("the next expert copied ahead (--prefetch)", site, grouped, True))
    if below:
        changes.append((f"twice the room for experts in {fast.name}", twice, grouped, prefetch))
        changes.append(("copies twice as fast", quick, grouped, prefetch))
    changes.append(("router and runs twice as fast", faster, grouped, prefetch))
    return tuple(
        Fare(name, _serve(changed, requests, lengths, policy, grouped=g, prefetch=p)) for name, changed, g, p in changes
    )


def limits(site: Site, lengths: Lengths, run: CompositionRun) -> tuple[tuple[str, float], ...]:
    """Shares of the time: waiting for experts to be switched in, their runs, the router; largest first."""
    n = len(run.latency_s)
    seconds = {
        f"switching experts in over {site.link}" if site.link else "switching experts in": run.stall_s,
        "runs of experts": n * site.times.run_s(lengths.new),
        "the router": len(run.batch_s) * site.times.router_s,
    }
    total = sum(seconds.values()) or 1.0
    return tuple(sorted(((what, s / total) for what, s in seconds.items()), key=lambda share: -share[1]))


def _serve(
    site: Site, requests: Requests, lengths: Lengths, policy: Policy, *, grouped: bool, prefetch: bool
) -> CompositionRun:
    composition = Composition(site.expert.weights, site.tiers, site.times, policy, prefetch)
    return serve_requests(composition, requests, lengths.batch, lengths.new, grouped)


def _scaled(times: ServiceTimes, by: float) -> ServiceTimes:
    return ServiceTimes(times.router_s * by, times.prompt_s * by, times.token_s * by)


def _times(fast: int, expert: Part, router: Part | None, given: Given) -> ServiceTimes:
    """What is given, and what is predicted where nothing is."""
    if given.token_s is None and not expert.token_s:
        raise InvalidInputError(
            f"an expert of {expert.name} is a size, not a model: give its times, at least --token-time"
        )
    if given.router_s is None and router is not None and not router.prompt_s:
        raise InvalidInputError(f"a router of {router.name} is a size, not a model: give --router-time")
    router_s = given.router_s if given.router_s is not None else router.prompt_s[fast] if router else 0.0
    predicted = expert.prompt_s[fast] if expert.prompt_s else 0.0
    token_s = given.token_s if given.token_s is not None else expert.token_s[fast]
    return ServiceTimes(router_s, predicted if given.prompt_s is None else given.prompt_s, token_s)


def _probe(hardware: str) -> Problem:
    """Any problem on the machine, for its arrays of tiers and links."""
    return lower(read_program("gpt2", Shaping(phase="decode", context=1)), hardware)


def _below(problem: Problem, tier: int, fast: int, usable: int) -> ExpertTier:
    way = copied(problem, tier, fast)
    links = np.flatnonzero(way[2 * problem.n_tiers :])
    latency = float(problem.tiers.latency_s[tier] + problem.links.latency_s[links].sum())
    return ExpertTier(problem.tiers.names[tier], usable, 1 / time_s(problem, way.astype(np.float64)), latency)


def _link_name(problem: Problem, source: int, target: int) -> str:
    link = problem.links.between(source, target)
    names = problem.tiers.names
    return problem.links.names[link] if link != NO_LINK else f"{names[source]}->{names[target]}"


def _in_tier_s(problem: Problem, tier: int) -> float:
    """Seconds of a turn all of whose tensors lie in one tier."""
    shares: Floats = np.tile(np.eye(problem.n_tiers)[tier], (problem.n_tensors, 1))
    return float(held_s(problem, shares).sum()) if problem.tiers.direct[tier] else float("inf")


def _passing_peak(problem: Problem) -> int:
    """Bytes of activations at the fullest step."""
    start, stop = problem.lifespans()
    passing = (problem.home == NO_HOME) & (stop > start)
    change = np.zeros(problem.n_steps + 1, dtype=np.int64)
    np.add.at(change, start[passing], problem.size[passing])
    np.add.at(change, stop[passing], -problem.size[passing])
    return int(np.cumsum(change).max(initial=0))
