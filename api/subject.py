"""What `tierplan plan` is asked to plan: a program as it is, fused, or partly in flash; with experts; or a service."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tierplan.flash_plan import FlashPlan, Wishes, flash_plan, flash_row, limited, neuron_ops, sparse_plan
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph
from tierplan.ir.outcome import Outcome
from tierplan.ir.problem import Problem
from tierplan.ir.units import show_bytes
from tierplan.pipeline import lower
from tierplan.pipeline import plan as make_plan
from tierplan.planner.contract import Budget
from tierplan.programs import Shaping, describe, read_program

if TYPE_CHECKING:
    from tierplan.fusing import Dressing, Fused, Fusing
    from tierplan.ir.fusion_record import FusionRecord
    from tierplan.ir.machine import Machine
    from tierplan.sim.experts_cached import CachedExperts

SERVE = "serve"


@dataclass(frozen=True, slots=True)
class Extras:
    """What the command line says beside the size of the program.

    Routing of experts, a service's lengths, memory and sparsity of a model in flash (`wishes`), and fusing.
    """

    routing: str | None = None
    policy: str | None = None
    prompt: int | None = None
    new: int | None = None
    prompt_chunk: int | None = None
    cached: str | None = None
    seed: int = 0
    wishes: Wishes = field(default_factory=Wishes)
    fusing: "Fusing | None" = None

    def written(self) -> str:
        """The options as they were given."""
        given = {
            "--prompt": self.prompt, "--new": self.new, "--prompt-chunk": self.prompt_chunk, "--cached": self.cached,
            "--routing": self.routing, "--policy": self.policy,
        }  # fmt: skip
        return "".join(f" {option} {value}" for option, value in given.items() if value is not None)

    def check(self) -> None:
        """Refuse what does not go together.

        Raises: InvalidInputError: two options that each change what is planned in a way of their own.
        """
        by_token = {"--routing": self.routing, "--sparsity": self.wishes.sparsity}
        given = [option for option, value in by_token.items() if value is not None]
        if len(given) > 1:
            raise InvalidInputError(
                "--routing and --sparsity do not go together: experts are sparse already, and --sparsity is for models "
                "whose feed-forward part is dense; leave out the one that the model is not"
            )


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to tell beside the plan: fields for `--json`, and a way to print them."""

    rows: dict[str, Any]
    show: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Searched:
    """The outcome of planning, for the problem that was planned; `fusion`: what was fused for it."""

    problem: Problem
    outcome: Outcome
    fusion: "FusionRecord | None" = None
    told: Told = field(default_factory=lambda: Told({}, lambda: None))


@dataclass(frozen=True, slots=True)
class Subject:
    """What is planned, on which machine, its size and description, and how to plan it with a planner and a budget."""

    title: str
    machine: str
    description: str
    problem: Problem
    search: Callable[[str, Budget], Searched]


def read_subject(model: str, shaping: Shaping, hardware: str, extras: Extras) -> Subject:
    """The subject that the command line names.

    Raises: InvalidInputError: options that do not go together, or anything that cannot be read.
    """
    extras.check()
    if shaping.phase == SERVE:
        if shaping.parallel.devices > 1:
            raise InvalidInputError("--tp, --pp and --ep do not go with --phase serve yet; leave them out")
        return _service(model, shaping, hardware, extras)
    _refuse_lengths(extras)
    if shaping.parallel.devices > 1:
        return _on_devices(model, shaping, hardware, extras)
    graph = read_program(model, shaping)
    description = describe(graph, shaping, model) + extras.written()
    if extras.fusing is not None:
        return _fused(graph, model, shaping, description + extras.wishes.written(), hardware, extras)
    if extras.routing is None and (extras.wishes.sparsity is not None or extras.wishes.dram is not None):
        found = flash_plan(graph, model, shaping, hardware, extras.wishes)
        return _in_flash(graph, description + extras.wishes.written(), hardware, found, extras.wishes)
    return _program(graph, description, hardware, extras)


def _program(graph: Graph, description: str, hardware: str, extras: Extras) -> Subject:
    """A program as it is, or one with experts under a routing."""
    from tierplan.experts_answer import mixed

    machine, name = limited(hardware, extras.wishes.dram), _named(hardware, extras.wishes)
    problem = lower(graph, machine)
    experts = mixed(graph, problem, extras.routing, extras.policy, extras.seed)
    if experts is None:

        def search(planner: str, budget: Budget) -> Searched:
            return Searched(problem, make_plan(problem, machine, planner=planner, budget=budget))

        return Subject(graph.name, name, description, problem, search)
    from tierplan.experts_answer import plan_experts

    def with_experts(planner: str, budget: Budget) -> Searched:
        outcome = plan_experts(experts, machine, planner, budget)
        return Searched(experts.problem, outcome, told=_tell_experts(experts, str(extras.routing), outcome))

    return Subject(graph.name, name, description, experts.problem, with_experts)


def _named(hardware: str, wishes: Wishes) -> str:
    """The machine as it is called in answers and plan files."""
    return hardware if wishes.dram is None else f"{hardware} with --dram {show_bytes(wishes.dram)}"


def _fused(graph: Graph, model: str, shaping: Shaping, description: str, hardware: str, extras: Extras) -> Subject:
    """A program whose operations are fused into kernels, those aside that read what is loaded by choice."""
    assert extras.fusing is not None
    fusing, machine = extras.fusing, limited(hardware, extras.wishes.dram)
    dressing = _dressing(model, shaping, machine, extras)

    def told(found: "Fused") -> Told:
        beside = found.kept.told if isinstance(found.kept.told, _Beside) else None
        more = Told({}, lambda: None) if beside is None else beside.tell(found.kept.outcome)

        def show() -> None:
            more.show()
            print_fusion(found)

        return Told({"fusion": fusion_answer(found)} | more.rows, show)

    from tierplan.fusing import fuse_and_plan
    from tierplan.fusion_answer import fusion_answer, print_fusion

    def search(planner: str, budget: Budget) -> Searched:
        found = fuse_and_plan(graph, machine, fusing, planner=planner, budget=budget, dressing=dressing)
        return Searched(found.kept.problem, found.kept.outcome, found.record, told(found))

    problem = lower(graph, machine)
    if dressing is not None:
        problem = dressing.dress(graph, problem).problem
    return Subject(graph.name, _named(hardware, extras.wishes), description, problem, search)


@dataclass(frozen=True, slots=True)
class _Beside:
    """How to tell of the choices of a cut, once it has a plan."""

    tell: Callable[[Outcome], Told]


def _dressing(model: str, shaping: Shaping, machine: "str | Machine", extras: Extras) -> "Dressing | None":
    """The choices that every cut of a program has: of its experts, or of its neurons; None for others."""
    from tierplan.experts_answer import mixed, plan_experts
    from tierplan.fusing import Dressed, Dressing
    from tierplan.sim.experts_layers import expert_ops

    if extras.routing is None and extras.wishes.sparsity is None:
        return None

    def with_neurons(_graph: Graph, problem: Problem) -> Dressed:
        found = sparse_plan(problem, model, shaping, machine, extras.wishes)

        def planned(planner: str, budget: Budget) -> Outcome:
            return make_plan(found.problem, machine, planner=planner, budget=budget)

        return Dressed(found.problem, planned, _Beside(lambda outcome: _tell_flash(found, outcome)))

    def with_experts(graph: Graph, problem: Problem) -> Dressed:
        experts = mixed(graph, problem, extras.routing, extras.policy, extras.seed)
        assert experts is not None

        def planned(planner: str, budget: Budget) -> Outcome:
            return plan_experts(experts, machine, planner, budget)

        tell = _Beside(lambda outcome: _tell_experts(experts, str(extras.routing), outcome))
        return Dressed(experts.problem, planned, tell)

    if extras.routing is None:
        return Dressing(lambda graph: neuron_ops(graph, model), with_neurons)
    return Dressing(expert_ops, with_experts)


def _tell_flash(found: FlashPlan, outcome: Outcome) -> Told:
    from tierplan.flash_report import print_flash

    return Told({"flash": flash_row(found, outcome)}, lambda: print_flash(found, outcome))


def _tell_experts(experts: "CachedExperts", routing: str, outcome: Outcome) -> Told:
    from tierplan.experts_answer import answer_experts, experts_row
    from tierplan.experts_report import print_experts, print_least

    if outcome.plan is None:
        return Told({}, lambda: print_least(experts.problem))
    answer = answer_experts(experts, routing, outcome.plan)
    return Told({"experts": experts_row(answer)}, lambda: print_experts(answer))


def _on_devices(model: str, shaping: Shaping, hardware: str, extras: Extras) -> Subject:
    """A language model split over several devices: the plan is that of one device of the slowest stage."""
    from tierplan.parallel_answer import plan_stages, print_staged, read_stages, refuse, staged_row

    dram, sparsity = extras.wishes.dram, extras.wishes.sparsity
    refuse({"--fusion": extras.fusing, "--routing": extras.routing, "--dram": dram, "--sparsity": sparsity})
    parallel = shaping.parallel
    stages = read_stages(parallel, lambda stage: read_program(model, shaping, stage), hardware)

    def search(planner: str, budget: Budget) -> Searched:
        staged = plan_stages(parallel, stages, hardware, planner, budget)
        told = Told({"parallel": staged_row(staged)}, lambda: print_staged(staged))
        problem = staged.stages[staged.slowest].problem
        return Searched(problem, staged.outcomes[staged.slowest], told=told)

    graph = stages[0].graph
    description = describe(graph, shaping, model) + extras.written()
    title = f"{graph.name.split(',')[0]} on {parallel.devices} devices"
    return Subject(title, hardware, description, stages[0].problem, search)


def _in_flash(graph: Graph, description: str, hardware: str, found: FlashPlan, wishes: Wishes) -> Subject:
    """A program within a limit of memory, whose neurons may be loaded from flash."""
    machine = _named(hardware, wishes)

    def search(planner: str, budget: Budget) -> Searched:
        outcome = make_plan(found.problem, found.machine, planner=planner, budget=budget)
        if found.choice is None:
            return Searched(found.problem, outcome)
        return Searched(found.problem, outcome, told=_tell_flash(found, outcome))

    return Subject(graph.name, machine, description, found.problem, search)


def _service(model: str, shaping: Shaping, hardware: str, extras: Extras) -> Subject:
    from tierplan.experts_answer import answer_experts, experts_row
    from tierplan.experts_report import print_experts, print_least
    from tierplan.serving import Routed, Wanted, answer_service, read_service, serve
    from tierplan.serving_report import print_served, served_row
    from tierplan.sim.paged import Growth

    if extras.prompt is None or extras.new is None:
        raise InvalidInputError(
            "--phase serve needs --prompt N and --new N: positions that are read, and tokens to write"
        )
    for option, value in (("--fusion", extras.fusing), ("--sparsity", extras.wishes.sparsity)):
        if value is not None:
            raise InvalidInputError(
                f"{option} does not go with --phase serve: it is for turns of one kind and length, and a service reads "
                "a prompt and then writes with a growing cache; plan the turn alone, with --phase decode --context N"
            )
    if shaping.context is not None:
        raise InvalidInputError("--context means nothing for --phase serve; write --prompt and --new")
    reading, routed = Wanted(extras.prompt_chunk, extras.cached), Routed(extras.routing, extras.policy, extras.seed)
    machine = limited(hardware, extras.wishes.dram)
    service = read_service(model, shaping, machine, Growth(extras.prompt, extras.new), reading, routed)

    def tell(outcome: Outcome) -> Told:
        if outcome.plan is None:
            return Told({}, lambda: print_least(service.problem))
        served = answer_service(service, outcome)
        if service.experts is None:
            return Told({"serve": served_row(served)}, lambda: print_served(served))
        answer = answer_experts(service.experts, str(extras.routing), outcome.plan)

        def show() -> None:
            print_served(served)
            print_experts(answer)

        return Told({"serve": served_row(served), "experts": experts_row(answer)}, show)

    def search(planner: str, budget: Budget) -> Searched:
        outcome = serve(service, machine, planner, budget)
        return Searched(service.problem, outcome, told=tell(outcome))

    description = f"{model} --phase serve" + (f" --batch {shaping.batch}" if shaping.batch else "")
    description += (f" --dtype {shaping.dtype}" if shaping.dtype else "") + extras.written()
    title = f"{service.pages.last.name.rsplit(' ', 1)[0]} serve"
    return Subject(title, _named(hardware, extras.wishes), description, service.problem, search)


def _refuse_lengths(extras: Extras) -> None:
    lengths = {
        "--prompt": extras.prompt, "--new": extras.new, "--prompt-chunk": extras.prompt_chunk,
        "--cached": extras.cached,
    }  # fmt: skip
    given = [option for option, value in lengths.items() if value is not None]
    if given:
        raise InvalidInputError(f"{', '.join(given)} means nothing without --phase serve")
