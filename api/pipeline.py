"""The way from a program to a verified plan: lower, plan, verify, simulate."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tierplan.hardware.load import load_hardware
from tierplan.ir.errors import InvalidInputError, InvalidPlanError
from tierplan.ir.graph import Graph, Op
from tierplan.ir.machine import Machine
from tierplan.ir.outcome import Outcome
from tierplan.ir.plan import Plan
from tierplan.ir.problem import Problem
from tierplan.ir.timeline import Timeline
from tierplan.ir.verify import violations
from tierplan.ir.violation import Violation
from tierplan.planner.contract import Budget
from tierplan.planner.registry import DEFAULT, find_planner
from tierplan.sim.incremental.session import Simulated
from tierplan.sim.lowering import lower as lower_graph
from tierplan.sim.timeline import simulate as run

if TYPE_CHECKING:
    from tierplan.hardware.build import Hardware
    from tierplan.page import Page

Program = Graph | Problem | Callable[..., Any] | Any


def lower(program: Program, hardware: "str | Machine | Hardware", *, args: Sequence[Any] = ()) -> Problem:
    """The placement problem of a program on a machine.

    Args:
        program: a graph, a problem (returned as it is), a JAX function, traced with `args`, an ExportedProgram of
            torch.export, or a torch module, exported with `args`.
        hardware: the name of a built-in machine, the path of a hardware file, a machine, or what a hardware file
            describes.
        args: example arguments of a function or module: arrays, `jax.ShapeDtypeStruct`s, or tensors on any device,
            `meta` included; no data is read.

    Raises: InvalidInputError: no such machine, or a function that cannot be traced.
    """
    if isinstance(program, Problem):
        return program
    machine, seconds = machine_of(hardware)
    if isinstance(program, Graph):
        return lower_graph(program, machine, seconds=seconds)
    from tierplan.frontend.torch_export import export, exported_graph, is_exported, is_module

    if is_exported(program) or is_module(program):
        name = type(program).__name__
        exported = program if is_exported(program) else export(program, args, name)
        return lower_graph(exported_graph(exported, name), machine, seconds=seconds)
    from tierplan.frontend.jax_function import trace

    name = getattr(program, "__name__", type(program).__name__)
    return lower_graph(trace(program, tuple(args), name=name), machine, seconds=seconds)


def machine_of(hardware: "str | Machine | Hardware") -> tuple[Machine, Callable[[Op], float | None] | None]:
    """The machine, and how its arrays of processing elements time an operation, if it has any."""
    if isinstance(hardware, Machine):
        return hardware, None
    found = load_hardware(hardware) if isinstance(hardware, str) else hardware
    if found.spatial is None:
        return found.machine, None
    from tierplan.sim.spatial_machine import spatial_machine
    from tierplan.sim.spatial_ops import op_seconds

    return found.machine, op_seconds(spatial_machine(found.machine.name, found.spatial))


def plan(
    program: Program,
    hardware: str | Machine,
    *,
    args: Sequence[Any] = (),
    planner: str = DEFAULT,
    budget: float | Budget = 10.0,
    start: Plan | None = None,
) -> Outcome:
    """Plan where every tensor of a program lies, and when it is moved.

    The plan that comes back has passed the verifier. A program that does not fit is an outcome,
    not an error: `Status.INFEASIBLE`, with the bytes that lack per tier.

    Args:
        program, hardware, args: as for `lower`.
        planner: its name.
        budget: seconds of wall clock, or a `Budget`.
        start: a plan to improve on.

    Raises:
        InvalidInputError: unknown planner or machine, a bad budget, a start that is not legal.
        InvalidPlanError: the planner broke a rule: a bug in it.
    """
    search = find_planner(planner)
    limit = budget if isinstance(budget, Budget) else Budget(seconds=budget)
    problem = lower(program, hardware, args=args)
    if start is not None and (broken := verify(problem, start)):
        raise InvalidInputError(f"the start plan is not legal: {broken[0]}")
    outcome = search(problem, limit, start=start, cost=Simulated(problem))
    if outcome.plan is not None and (broken := verify(problem, outcome.plan)):
        raise InvalidPlanError(f"planner '{planner}' broke {len(broken)} rules; the first: {broken[0]}")
    return outcome


def verify(problem: Problem, plan: Plan) -> list[Violation]:
    """Every rule that a plan breaks; empty for a legal plan."""
    return list(violations(problem, plan))


def simulate(problem: Problem, plan: Plan) -> Timeline:
    """Predict when each step and copy of a plan runs, in seconds.

    Raises: InvalidInputError: the plan breaks a rule.
    """
    broken = verify(problem, plan)
    if broken:
        raise InvalidInputError(f"the plan breaks {len(broken)} rules; the first: {broken[0]}")
    return run(problem, plan)


def show(problem: Problem, outcome: Outcome, *, what_if_s: float = 0.0) -> "Page":
    """A page that shows a plan: notebooks display it, and `html` is its text, to be written to a file.

    Args:
        problem, outcome: as `lower` and `plan` return them.
        what_if_s: seconds to spend on what would help most; 0 leaves it out.

    Raises: InvalidInputError: an outcome without a plan, or with a plan for another problem.
    """
    from tierplan.page import Planned, page
    from tierplan.what_if import what_helps

    if outcome.plan is None:
        raise InvalidInputError(f"there is no plan to report on: {outcome.status.value}")
    timeline = simulate(problem, outcome.plan)
    helps = what_helps(problem, outcome.plan, timeline.time_s, what_if_s, lambda _done: None) if what_if_s > 0 else None
    return page(
        problem, outcome.plan, timeline, Planned(problem.name, outcome.planner, outcome.status, outcome.bound_s, helps)
    )
