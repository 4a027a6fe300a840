"""Plans in JAX: `tierplan.jax.offload(fn, plan)` keeps activations where a plan keeps them.

    graded = jax.jit(tierplan.jax.offload(loss_and_grad, "plan.json"))

The plan is that of the function itself: to take activations off the device between the forward and the backward pass,
plan the function that has both (`jax.value_and_grad(loss)`), and transform that.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Machine
from tierplan.ir.plan import Plan
from tierplan.ir.plan_file import PlanFile
from tierplan.ir.problem import Problem
from tierplan.jax_moves import Gap, gaps

if TYPE_CHECKING:
    from tierplan.frontend.jaxpr_record import Recorded
    from tierplan.jax_replay import Schedule

__all__ = ["Offloaded", "Report", "limited", "offload"]

HOST = "pinned_host"


@dataclass(frozen=True, slots=True)
class Report:
    """What is done for a plan, by tensor: copied to the host and back, computed again, or left where it is, and why."""

    moved: tuple[str, ...]
    recomputed: tuple[str, ...]
    left: dict[str, str]
    moved_bytes: int


class Offloaded:
    """A function that returns what the original does, and keeps activations where the plan keeps them.

    Derivatives are those of the original function, which moves nothing: plan and transform the one that takes them.
    """

    def __init__(self, fn: Callable[..., Any], problem: Problem, gaps_found: tuple[Gap, ...], name: str) -> None:
        self._fn = fn
        self._problem = problem
        self._gaps = gaps_found
        self._name = name
        self._recorded: dict[Any, tuple[Recorded, Any]] = {}
        self.__name__ = name
        self.__wrapped__ = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        import jax

        recorded, tree = self._record(args, kwargs)
        schedule = self._schedule(recorded)

        @jax.custom_jvp
        def run(*leaves: Any) -> Any:
            from tierplan.jax_replay import replay

            return jax.tree_util.tree_unflatten(tree, replay(recorded, schedule, leaves))

        structure = jax.tree_util.tree_structure((args, kwargs))

        @run.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            def original(*leaves: Any) -> Any:
                own, named = jax.tree_util.tree_unflatten(structure, leaves)
                return self._fn(*own, **named)

            return jax.jvp(original, primals, tangents)

        return run(*jax.tree_util.tree_leaves((args, kwargs)))

    def report(self, *args: Any, **kwargs: Any) -> Report:
        """What is done with these arguments; shapes are enough.

        Raises: InvalidInputError: the function is not the planned one with these arguments.
        """
        recorded, _ = self._record(args, kwargs)
        schedule = self._schedule(recorded)
        done = {gap.tensor for gap in schedule.gaps}
        left: dict[str, str] = {}
        for gap in self._gaps:
            if gap.tensor not in done:
                left[gap.tensor] = "it lies inside a loop or a function that runs as a whole"
            elif not schedule.host and not gap.again:
                left[gap.tensor] = f"this backend has no memory '{HOST}'"
        moved = {gap.tensor: gap.size for gap in schedule.gaps if not gap.again and gap.tensor not in left}
        again = tuple(dict.fromkeys(gap.tensor for gap in schedule.gaps if gap.again))
        return Report(tuple(moved), again, left, sum(moved.values()))

    def recorded(self, *args: Any, **kwargs: Any) -> "Recorded":
        """The function's equations with the tensors that they make; shapes are enough."""
        return self._record(args, kwargs)[0]

    def _record(self, args: Sequence[Any], kwargs: dict[str, Any]) -> "tuple[Recorded, Any]":
        import jax

        from tierplan.frontend.jax_function import traced
        from tierplan.frontend.jaxpr_record import record
        from tierplan.jax_replay import check_pure

        shapes = jax.tree_util.tree_map(_shape, (tuple(args), kwargs))
        leaves, structure = jax.tree_util.tree_flatten(shapes)
        key = (structure, tuple((leaf.shape, str(leaf.dtype), leaf.weak_type) for leaf in leaves))
        if key not in self._recorded:
            recorded = record(traced(self._fn, shapes[0], shapes[1], name=self._name))
            check_pure(recorded, self._name)
            _check_same(recorded, self._problem, self._name)
            tree = jax.tree_util.tree_structure(jax.eval_shape(self._fn, *shapes[0], **shapes[1]))
            self._recorded[key] = recorded, tree
        return self._recorded[key]

    def _schedule(self, recorded: "Recorded") -> "Schedule":
        from tierplan.jax_replay import Schedule

        host = has_host_memory()
        step = {name: t for t, name in reversed(list(enumerate(self._problem.step_names)))}
        of_op = {op.name: step[name] for op in recorded.graph.ops for name in _steps_of(op.name, step)}
        made = {recorded.tensor[n] for n in recorded.maker if n in recorded.tensor}
        if not host and any(not gap.again for gap in self._gaps):
            warnings.warn(
                f"this JAX backend has no memory '{HOST}': activations stay on the device, and the peak is not what is "
                "planned",
                stacklevel=3,
            )
        return Schedule(of_op, tuple(gap for gap in self._gaps if gap.tensor in made), host)


def offload(
    fn: Callable[..., Any],
    plan: str | Path | PlanFile | Plan,
    *,
    problem: Problem | None = None,
    recompute: bool = False,
) -> Offloaded:
    """The same function, whose activations leave device memory and return as a plan has it.

    Device memory is what operations reach without a link; all other tiers are JAX's `pinned_host`. An activation that
    the plan keeps out of device memory between two uses is copied to the host and back, at the steps of the plan: a
    fetch cannot begin before the step before it is over, and a step whose room was given up waits for the copy out.
    Weights and other arguments stay where the caller put them.

    Args:
        fn: the planned function, to be called with arrays of the planned shapes; under `jax.jit` as a rule.
        plan: a plan file, its path, or a plan with its `problem`.
        recompute: whether what is computed again faster than it is copied out and back is computed again.

    Raises:
        InvalidInputError: no plan; an activation on a disk; and when it is called: a function that is not the planned
            one, which names the first difference.
        MissingDependencyError: JAX is not installed.
    """
    from tierplan.frontend.jax_function import require_jax

    require_jax()
    if isinstance(plan, Plan):
        if problem is None:
            raise InvalidInputError("a plan alone has no names: give its problem too, or a plan file")
        chosen = plan
    else:
        if not isinstance(plan, str | Path | PlanFile):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInputError(
                f"'plan' is a {type(plan).__name__}; give a plan file, its path, or the plan of an outcome that has one"
            )
        file = plan if isinstance(plan, PlanFile) else _read(str(plan))
        if file.fusion is not None:
            raise InvalidInputError("the plan is for fused kernels, and XLA fuses by itself; plan without --fusion")
        problem, chosen = file.problem, file.plan
    name = getattr(fn, "__name__", type(fn).__name__)
    return Offloaded(fn, problem, gaps(problem, chosen, recompute=recompute), name)


def limited(hardware: str | Machine, device_memory: int | str) -> Machine:
    """A machine with so much device memory: bytes, or text like '4 GB'. Plan for it to stay below a limit.

    Raises: InvalidInputError: no such machine, or less than its scratch.
    """
    from tierplan.hardware.load import load_machine
    from tierplan.ir.units import read_bytes

    machine = load_machine(hardware) if isinstance(hardware, str) else hardware
    n_bytes = read_bytes(device_memory) if isinstance(device_memory, str) else device_memory
    on_device = [i for i, tier in enumerate(machine.tiers) if tier.direct and tier.read_link is None]
    last = on_device[-1]
    rest = sum(machine.tiers[i].capacity for i in on_device[:-1])
    tiers = list(machine.tiers)
    tiers[last] = replace(tiers[last], capacity=n_bytes - rest)
    return replace(machine, tiers=tuple(tiers))


def has_host_memory() -> bool:
    """Whether JAX's default device reaches pinned host memory from within a function."""
    import jax

    return any(memory.kind == HOST for memory in jax.devices()[0].addressable_memories())


def _read(path: str) -> PlanFile:
    from tierplan.plans import read_plan

    return read_plan(path)


def _shape(value: Any) -> Any:
    import jax

    if isinstance(value, jax.ShapeDtypeStruct):
        return value
    found: Any = jax.typeof(value)
    return jax.ShapeDtypeStruct(found.shape, found.dtype, weak_type=getattr(found, "weak_type", False))


def _steps_of(op: str, steps: dict[str, int]) -> list[str]:
    """The step of an operation; of one in a loop that was unrolled, that of the first turn."""
    return [name for name in (op, f"{op}#0") if name in steps][:1]


def _check_same(recorded: "Recorded", problem: Problem, name: str) -> None:
    """Refuse a function whose operations and tensors are not those of the plan.

    Raises: InvalidInputError: names the first operation or tensor that differs.
    """
    from tierplan.ir.loops import n_executed, unrolled
    from tierplan.sim.lowering import MAX_UNROLLED

    graph = recorded.graph
    if n_executed(graph) <= MAX_UNROLLED:
        graph = unrolled(graph)
    ours = [op.name for op in graph.ops]
    known = set(ours)
    theirs = [step for step in problem.step_names if step in known or not step.startswith(("begin", "end", "launch "))]
    for n, (mine, planned) in enumerate(zip(ours, theirs, strict=False)):
        if mine != planned:
            raise _another(problem, name, f"operation {n} is '{mine}', and '{planned}' in the plan")
    if len(ours) != len(theirs):
        raise _another(problem, name, f"it has {len(ours)} operations, and the plan {len(theirs)}")
    sizes = {tensor.name: tensor.size for tensor in graph.tensors}
    for tensor, size in zip(problem.tensor_names, problem.size.tolist(), strict=True):
        if tensor not in sizes:
            raise _another(problem, name, f"it has no '{tensor}'")
        if sizes[tensor] != size:
            raise _another(problem, name, f"'{tensor}' has {sizes[tensor]} bytes, and {size} in the plan")


def _another(problem: Problem, name: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"the plan for '{problem.name}' is not for '{name}' with these arguments: {why}; plan this function with "
        "arguments of these shapes"
    )
