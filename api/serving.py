"""`--phase serve`: a prompt is read once, then tokens are written while the key-value cache grows."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from tierplan.experts_answer import added_bound, missing, mixed, plan_experts
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph, TensorKind
from tierplan.ir.outcome import Outcome, Status
from tierplan.ir.plan import Plan
from tierplan.ir.problem import NO_HOME, Alternative, Choice, Effect, Floats, Problem
from tierplan.pipeline import lower
from tierplan.pipeline import plan as make_plan
from tierplan.planner.contract import Budget
from tierplan.planner.offsets import allocate
from tierplan.programs import Shaping, read_program
from tierplan.sim.experts_cached import CachedExperts
from tierplan.sim.grow import Grown, grow
from tierplan.sim.held import held_s
from tierplan.sim.paged import Growth, Paged, paged
from tierplan.sim.restore import Restoring, restoring
from tierplan.sim.timeline import simulate

ERROR = 0.002
_MOST_POINTS = 400
_GROUPS = 8
_NODES = 200
_LENGTHS = tuple(4**i for i in range(2, 8))
ROOM = "room for the prompt's activations"


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes of the caches in one tier when the prompt has been read, and at the end."""

    tier: str
    at_start: int
    at_end: int


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """What is served, as problems: the paged decode turn, its mean, the prompt's turn, and the experts, if any."""

    model: str
    batch: int
    pages: Paged
    problem: Problem
    prompt: Problem
    experts: CachedExperts | None
    again: Callable[[int], Problem]

    def turn(self, context: int) -> Problem:
        """The decode turn at a context, with the choices of the service."""
        of_context = dataclasses.replace(self.pages.turn(context), choices=self.problem.choices)
        return of_context if self.experts is None else self.experts.in_problem(of_context)


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What a service takes under a plan. `prefill_s`: the time to the first token; `decode`: all others."""

    service: Service
    outcome: Outcome
    prefill_s: float
    activation_tier: str
    decode: Grown
    held: tuple[Held, ...]
    restoring: tuple[Restoring, ...]

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


def read_service(
    model: str,
    shaping: Shaping,
    hardware: str,
    prompt: int,
    new: int,
    routing: str | None,
    policy: str | None,
    seed: int,
) -> Service:
    """The service that the command line asks for, as problems.

    Raises: InvalidInputError: it is no language model, or it cannot run this.
    """
    asked = Growth(prompt, new)
    batch = 1 if shaping.batch is None else shaping.batch

    def program(phase: str, context: int) -> Graph:
        return read_program(model, dataclasses.replace(shaping, phase=phase, context=context))

    first, last = (program("decode", context) for context in (prompt + 1, asked.last))
    growth = dataclasses.replace(asked, window=_window(last, asked.last))
    first_problem, last_problem = lower(first, hardware), lower(last, hardware)
    of_prompt = lower(program("prefill", prompt), hardware)
    tight = int(last_problem.size.sum()) > int(last_problem.tiers.usable[last_problem.tiers.direct][0])
    pages = paged(first_problem, last_problem, growth, _GROUPS if tight else 1)
    mean = dataclasses.replace(pages.problem, choices=_room(of_prompt, pages.problem, new - 1))
    experts = mixed(last, mean, routing, policy, seed)
    problem = mean if experts is None else experts.problem

    @cache
    def again(context: int) -> Problem:
        return lower(program("prefill", context), hardware)

    return Service(model, batch, pages, problem, of_prompt, experts, again)


def serve(service: Service, hardware: str, planner: str, budget: Budget) -> Outcome:
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
    shares, room = _shares(service, plan), _room_tier(service, plan)

    @cache
    def prefill(context: int) -> float:
        of_prompt = service.prompt if context == growth.prompt else service.again(context)
        return float(held_s(of_prompt, _prompt_shares(service, of_prompt, shares, room)).sum())

    lengths = [n for n in _LENGTHS if n <= max(4 * growth.last, _LENGTHS[-2])]
    return Served(
        service,
        outcome,
        prefill(growth.prompt),
        problem.tiers.names[room],
        decode,
        _held(service, plan),
        restoring(problem, growth.prompt, lambda c: _cache_bytes(service, c), prefill, _allowed(service, lengths)),
    )


def _allowed(service: Service, lengths: list[int]) -> tuple[int, ...]:
    """The lengths that the model can read."""
    found: list[int] = []
    for context in lengths:
        try:
            service.again(context)
        except InvalidInputError:
            break
        found.append(context)
    return tuple(found)


def _window(graph: Graph, context: int) -> int | None:
    """The rows to which the caches are limited; None if all keep the whole context.

    Raises: InvalidInputError: some layers keep fewer rows than others.
    """
    rows = {t.shape[-2] for t in graph.tensors if t.kind is TensorKind.STATE}
    if len(rows) > 1:
        raise InvalidInputError(
            f"'{graph.name}' keeps {', '.join(map(str, sorted(rows)))} rows in different layers; "
            "--phase serve grows caches of one length only"
        )
    return next((n for n in rows if n < context), None)


def _room(prompt: Problem, decode: Problem, n_turns: int) -> tuple[Choice, ...]:
    """A choice of the tier that keeps room for the activations of the prompt; none if no tier holds them."""
    height, reads, writes = _activations(prompt)
    direct = np.flatnonzero(decode.tiers.direct).tolist()
    fits = [k for k in direct if height <= decode.tiers.usable[k]]
    if not fits:
        largest = max(int(decode.tiers.usable[k]) for k in direct)
        raise InvalidInputError(
            f"the activations of the prompt take {height:,} B at once, more than any tier that operations use "
            f"({largest:,} B); write a smaller --prompt or --batch"
        )
    seconds = [reads / decode.tiers.read_bandwidth[k] + writes / decode.tiers.write_bandwidth[k] for k in fits]
    alternatives = [
        Alternative(
            decode.tiers.names[k],
            tuple(height if tier == k else 0 for tier in range(decode.n_tiers)),
            (Effect(0, float(max(0.0, slow - seconds[0]) / n_turns)),),
        )
        for k, slow in zip(fits, seconds, strict=True)
    ]
    return (Choice(ROOM, tuple(alternatives)),)


def _activations(prompt: Problem) -> tuple[int, int, int]:
    """Bytes that the activations of the prompt take at once, and that they are read and written."""
    start, stop = prompt.lifespans()
    passing = np.flatnonzero((prompt.home == NO_HOME) & (stop > start))
    align = int(prompt.tiers.alignment.max())
    found = allocate(start[passing], stop[passing], prompt.size[passing], alignment=align, max_nodes=_NODES, budget=5.0)
    of_passing = np.isin(prompt.access_tensor, passing)
    return int(found.height), int(prompt.access_read[of_passing].sum()), int(prompt.access_write[of_passing].sum())


def _room_tier(service: Service, plan: Plan) -> int:
    index = [choice.name for choice in service.problem.choices].index(ROOM)
    taken = next(t.alternative for t in plan.taken if t.choice == index)
    return service.problem.tiers.names.index(service.problem.choices[index].alternatives[taken].name)


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
            bytes_at[row] += part.bytes_of(growth.rows(context)) * shares[name]
    tiers = zip(service.problem.tiers.names, np.rint(bytes_at).astype(int).T.tolist(), strict=True)
    return tuple(Held(name, start, end) for name, (start, end) in tiers if end)


def _cache_bytes(service: Service, context: int) -> float:
    """Bytes of all caches at a context; a cache is as long as its model allows."""
    growth = service.pages.growth
    row = {part.cache: part.row for part in service.pages.parts.values()}
    return sum(row.values()) * growth.rows(context)
