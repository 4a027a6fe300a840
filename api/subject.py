"""What `tierplan plan` is asked to plan: a program, one with experts under a routing, or a service."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.outcome import Outcome
from tierplan.ir.problem import Problem
from tierplan.pipeline import lower
from tierplan.pipeline import plan as make_plan
from tierplan.planner.contract import Budget
from tierplan.programs import Shaping, describe, read_program

SERVE = "serve"


@dataclass(frozen=True, slots=True)
class Extras:
    """What the command line says beside the size of the program: routing of experts, and a service's lengths."""

    routing: str | None = None
    policy: str | None = None
    prompt: int | None = None
    new: int | None = None
    seed: int = 0

    def written(self) -> str:
        """The options as they were given."""
        given = {"--prompt": self.prompt, "--new": self.new, "--routing": self.routing, "--policy": self.policy}
        return "".join(f" {option} {value}" for option, value in given.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to tell beside the plan: fields for `--json`, and a way to print them."""

    rows: dict[str, Any]
    show: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """A problem to plan, its title and description, and how to plan it and what to tell of the outcome."""

    title: str
    description: str
    problem: Problem
    search: Callable[[str, str, Budget], Outcome]
    tell: Callable[[Outcome], Told]


def read_subject(model: str, shaping: Shaping, hardware: str, extras: Extras) -> Subject:
    """The subject that the command line names.

    Raises: InvalidInputError: options that do not go together, or anything that cannot be read.
    """
    if shaping.phase == SERVE:
        return _service(model, shaping, hardware, extras)
    _refuse_lengths(extras)
    from tierplan.experts_answer import mixed

    graph = read_program(model, shaping)
    problem = lower(graph, hardware)
    experts = mixed(graph, problem, extras.routing, extras.policy, extras.seed)
    description = describe(graph, shaping, model) + extras.written()
    if experts is None:

        def search(on: str, planner: str, budget: Budget) -> Outcome:
            return make_plan(problem, on, planner=planner, budget=budget)

        return Subject(graph.name, description, problem, search, lambda _: Told({}, lambda: None))
    from tierplan.experts_answer import answer_experts, experts_row, plan_experts
    from tierplan.experts_report import print_experts, print_least

    def tell(outcome: Outcome) -> Told:
        if outcome.plan is None:
            return Told({}, lambda: print_least(experts.problem))
        answer = answer_experts(experts, str(extras.routing), outcome.plan)
        return Told({"experts": experts_row(answer)}, lambda: print_experts(answer))

    return Subject(
        graph.name, description, experts.problem, lambda on, planner, b: plan_experts(experts, on, planner, b), tell
    )


def _service(model: str, shaping: Shaping, hardware: str, extras: Extras) -> Subject:
    from tierplan.experts_answer import answer_experts, experts_row
    from tierplan.experts_report import print_experts, print_least
    from tierplan.serving import answer_service, read_service, serve
    from tierplan.serving_report import print_served, served_row

    if extras.prompt is None or extras.new is None:
        raise InvalidInputError(
            "--phase serve needs --prompt N and --new N: positions that are read, and tokens to write"
        )
    if shaping.context is not None:
        raise InvalidInputError("--context means nothing for --phase serve; write --prompt and --new")
    service = read_service(
        model, shaping, hardware, extras.prompt, extras.new, extras.routing, extras.policy, extras.seed
    )

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

    description = f"{model} --phase serve" + (f" --batch {shaping.batch}" if shaping.batch else "")
    description += (f" --dtype {shaping.dtype}" if shaping.dtype else "") + extras.written()
    return Subject(
        f"{service.pages.last.name.rsplit(' ', 1)[0]} serve", description, service.problem,
        lambda on, planner, budget: serve(service, on, planner, budget), tell,
    )  # fmt: skip


def _refuse_lengths(extras: Extras) -> None:
    given = [option for option, n in (("--prompt", extras.prompt), ("--new", extras.new)) if n is not None]
    if given:
        raise InvalidInputError(f"{', '.join(given)} means nothing without --phase serve")
