"""`--phase serve`: a prompt is read once, then tokens are written while the key-value cache grows."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from tierplan.experts_answer import added_bound, missing, mixed, plan_experts
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, TensorKind
from tierplan.ir.machine import Machine
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import NO_HOME, Choice, Floats, Problem
from tierplan.pipeline import lower
from tierplan.pipeline import plan as make_plan
from tierplan.planner.contract import Budget
from tierplan.programs import Shaping, read_program
from tierplan.serving_prompt import ROOM, Cached, Fetched, Reading, Turns, fetch_s, readings, room
from tierplan.sim.experts_cached import CachedExperts
from tierplan.sim.grow import Grown, grow
from tierplan.sim.paged import Growth, Paged, paged
from tierplan.sim.restore import Restoring, restoring
from tierplan.sim.timeline import simulate

ERROR = 0.002
_MOST_POINTS = 400
_GROUPS = 8
_LENGTHS = tuple(4**i for i in range(2, 8))


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes of the caches in one tier when the prompt has been read, and at the end."""

    tier: str
    at_start: int
    at_end: int


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """What is served: the paged decode turn and its mean as problems, the prompt's turns, and the experts, if any.

    `ways`: how the prompt may come into the caches, the alternatives of the choice of its room.
    """

    model: str
    batch: int
    pages: Paged
    problem: Problem
    turns: Turns
    cached: Cached | None
    ways: tuple[Reading, ...]
    experts: CachedExperts | None

    def turn(self, context: int) -> Problem:
        """The decode turn at a context, with the choices of the service; the prompt's time is not in it."""
        choices = tuple(_timeless(c) if c.name == ROOM else c for c in self.problem.choices)
        of_context = dataclasses.replace(self.pages.turn(context), choices=choices)
        if self.experts is None:
            return of_context
        return dataclasses.replace(self.experts.in_problem(of_context), choices=choices)

    def way(self, plan: Plan) -> Reading:
        """How the prompt comes into the caches under a plan."""
        index = [choice.name for choice in self.problem.choices].index(ROOM)
        return self.ways[next(t.alternative for t in plan.taken if t.choice == index)]


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What a service takes under a plan. `prefill_s`: the time to the first token; `decode`: all others.

    `prefixes`: with a cached prefix, the ways to fetch some of it; the fastest that fits the room is taken.
    """

    service: Service
    outcome: Outcome
    prefill_s: float
    activation_tier: str
    decode: Grown
    held: tuple[Held, ...]
    restoring: tuple[Restoring, ...]
    prefixes: tuple[Fetched, ...] = ()

    @property
    def fetched(self) -> Fetched | None:
        """What is fetched of a cached prefix."""
        return _best(self.prefixes)

    @property
    def total_s(self) -> float:
        """From the prompt to the last token."""
        return self.prefill_s + self.decode.total_s

    @property
    def n_tokens(self) -> int:
        """New tokens of all sequences."""
        return self.service.batch * self.service.pages.growth.new

    @property
    def token_s(self) -> float:
        """Seconds of a turn after the first token, on average."""
        return self.decode.total_s / (self.service.pages.growth.new - 1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the prompt is to be read: the most positions of a turn, and what of it is cached, as `--cached` says."""

    chunk: int | None = None
    cached: str | None = None


@dataclass(frozen=True, slots=True)
class Routed:
    """How tokens are routed to experts, if the command line says so."""

    routing: str | None = None
    policy: str | None = None
    seed: int = 0


def read_service(
    model: str,
    shaping: Shaping,
    hardware: str | Machine,
    asked: Growth,
    reading: Wanted,
    routed: Routed,
) -> Service:
    """The service that the command line asks for, as problems.

    Raises: InvalidInputError: it is no language model, or it cannot run this.
    """
    batch = 1 if shaping.batch is None else shaping.batch

    def program(phase: str, context: int, chunk: int | None = None) -> Graph:
        return read_program(model, dataclasses.replace(shaping, phase=phase, context=context, chunk=chunk))

    turns = Turns(
        lambda context, n: program("prefill", context, n), lambda graph: lower(graph, hardware), reading.chunk
    )
    first, last = (program("decode", context) for context in (asked.prompt + 1, asked.last))
    first_problem, last_problem = lower(first, hardware), lower(last, hardware)
    tight = int(last_problem.size.sum()) > int(last_problem.tiers.usable[last_problem.tiers.direct][0])
    pages = paged(first_problem, last_problem, asked, _cache_rows(last), _GROUPS if tight else 1)
    cached = None if reading.cached is None else Cached.of(reading.cached)
    ways = readings(turns, pages, cached)
    mean = dataclasses.replace(pages.problem, choices=(room(turns, pages, cached, ways),))
    experts = mixed(last, mean, routed.routing, routed.policy, routed.seed)
    problem = mean if experts is None else experts.problem
    return Service(model, batch, pages, problem, turns, cached, ways, experts)


def serve(service: Service, hardware: str | Machine, planner: str, budget: Budget) -> Outcome:
    """Plan where all lies while the service runs, for its mean turn and with room for its end."""
    if service.experts is not None:
        return plan_experts(service.experts, hardware, planner, budget)
    if lacking := missing(service.problem):
        return Outcome(planner, Status.INFEASIBLE, None, None, 0.0, 0.0, lacking)
    outcome = make_plan(service.problem, hardware, planner=planner, budget=budget)
    return dataclasses.replace(outcome, bound_s=max(outcome.bound_s, added_bound(service.problem)))


def answer_service(service: Service, outcome: Outcome) -> Served:
    """What the service takes under the plan that was found."""
    plan = outcome.plan
    assert plan is not None
    growth, problem = service.pages.growth, service.problem

    def seconds(context: int) -> float:
        return simulate(service.turn(context), plan).time_s

    decode = grow(seconds, growth.prompt + 1, growth.last, error=ERROR, most_points=_MOST_POINTS)
    shares, way = _shares(service, plan), service.way(plan)

    def of_prompt(turn: Problem) -> Floats:
        return _prompt_shares(service, turn, shares, way.tier)

    @cache
    def prefill(context: int) -> float:
        return service.turns.seconds(0, context, of_prompt)

    lengths = [n for n in _LENGTHS if n <= max(4 * growth.last, _LENGTHS[-2])]
    prefixes = tuple(_prefixes(service, way, of_prompt, shares))
    fetched = _best(prefixes)
    return Served(
        service,
        outcome,
        prefill(growth.prompt) if fetched is None else fetched.total_s,
        problem.tiers.names[way.tier],
        decode,
        _held(service, plan),
        restoring(problem, growth.prompt, lambda c: _cache_bytes(service, c), prefill, _allowed(service, lengths)),
        prefixes,
    )


def _prefixes(
    service: Service, taken: Reading, of_prompt: Callable[[Problem], Floats], shares: dict[str, Floats]
) -> Iterator[Fetched]:
    """The ways to fetch some of a cached prefix, with activations in the tier that the plan keeps room in."""
    if service.cached is None:
        return
    prompt = service.pages.growth.prompt
    for way in service.ways:
        if way.tier == taken.tier:
            fetch = fetch_s(service.pages, service.cached, way.fetched, lambda name: shares[name])
            read = service.turns.seconds(way.fetched, prompt, of_prompt)
            yield Fetched(way.fetched, fetch, read, way.height, way.height <= taken.height)


def _best(prefixes: Sequence[Fetched]) -> Fetched | None:
    return min((prefix for prefix in prefixes if prefix.fits), key=lambda prefix: prefix.total_s, default=None)


def _timeless(choice: Choice) -> Choice:
    return Choice(choice.name, tuple(dataclasses.replace(a, effects=()) for a in choice.alternatives))


def _allowed(service: Service, lengths: list[int]) -> tuple[int, ...]:
    """The lengths that the model can read."""
    found: list[int] = []
    for context in lengths:
        try:
            service.turns.largest(0, context)
        except InvalidInputError:
            break
        found.append(context)
    return tuple(found)


def _cache_rows(graph: Graph) -> dict[str, int]:
    """Rows of each cache, by its name."""
    return {t.name: t.shape[-2] for t in graph.tensors if t.kind is TensorKind.STATE}


def _shares(service: Service, plan: Plan) -> dict[str, Floats]:
    """By tensor of the decode turn, the share of its bytes in each tier: the slowest in which it lies at any time."""
    problem = service.problem
    slowest: dict[str, int] = {}
    for r in plan.residencies:
        if problem.home[r.tensor] != NO_HOME:
            name = problem.tensor_names[r.tensor]
            slowest[name] = max(slowest.get(name, 0), r.tier)
    shares = {name: np.eye(problem.n_tiers)[tier] for name, tier in slowest.items()}
    if service.experts is not None:
        for layer, option in zip(service.experts.layers, service.experts.taken(plan), strict=True):
            held = np.maximum.accumulate(np.array(option.places, dtype=np.float64))
            held[np.flatnonzero(option.places)[-1] :] = layer.n_experts  # the home has all that lies nowhere else
            shares |= dict.fromkeys(layer.tensors, np.diff(held, prepend=0.0) / layer.n_experts)
    return shares


def _prompt_shares(service: Service, prompt: Problem, shares: dict[str, Floats], room: int) -> Floats:
    """Shape [N, K]: where the tensors of the prompt's turn lie: as while decoding, and activations in their room."""
    of_caches: dict[str, list[tuple[int, Floats]]] = {}
    for name, part in service.pages.parts.items():
        of_caches.setdefault(part.cache, []).append((part.end - part.begin, shares[name]))
    found = np.tile(np.eye(prompt.n_tiers)[room], (prompt.n_tensors, 1))
    for x, name in enumerate(prompt.tensor_names):
        if name in shares:
            found[x] = shares[name]
        elif name in of_caches:
            groups = of_caches[name]
            found[x] = np.sum([n * share for n, share in groups], axis=0) / sum(n for n, _ in groups)
    return found


def _held(service: Service, plan: Plan) -> tuple[Held, ...]:
    """Bytes of the caches in each tier, when the prompt has been read and at the last turn."""
    growth, shares = service.pages.growth, _shares(service, plan)
    bytes_at = np.zeros((2, service.problem.n_tiers))
    for name, part in service.pages.parts.items():
        for row, context in enumerate((growth.prompt, growth.last)):
            bytes_at[row] += part.bytes_at(context) * shares[name]
    tiers = zip(service.problem.tiers.names, np.rint(bytes_at).astype(int).T.tolist(), strict=True)
    return tuple(Held(name, start, end) for name, (start, end) in tiers if end)


def _cache_bytes(service: Service, context: int) -> float:
    """Bytes of all caches at a context; a cache is as long as its model allows."""
    of_prompt = service.turns.turn(context, min(context, service.turns.chunk or context))
    caches = np.array([kind == "state" for kind in of_prompt.tensor_kind])
    return float(of_prompt.size[caches].sum())
