"""Python that makes a JAX function follow its plan, and the `jax.checkpoint` policy for values that it has named."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from pathlib import Path
from typing import TYPE_CHECKING

from tierplan.ir.errors import InvalidInputError
from tierplan.ir.plan_file import PlanFile
from tierplan.ir.units import show_bytes
from tierplan.runtimes.asked import read_asked
from tierplan.runtimes.emitted import Emitted, Wanted
from tierplan.runtimes.places import Device, devices_of

if TYPE_CHECKING:
    from tierplan.frontend.jaxpr_record import Recorded

NAME = "jax"


def emit(file: PlanFile, wanted: Wanted) -> Emitted:
    """Source that transforms the planned function.

    Raises: InvalidInputError: the plan is for no JAX function, or for another than the one of that name now; or it
        needs what JAX cannot do.
    """
    asked = read_asked(file.model)
    spec = wanted.model or asked.spec
    place, colon, name = spec.rpartition(":")
    if not colon or Path(spec).exists() or asked.shaping.phase == "serve":
        raise InvalidInputError(
            f"'{spec}' is no JAX function, which --emit jax needs; language models have llama.cpp, accelerate, vllm"
        )
    if file.problem.choices:
        raise InvalidInputError("JAX has nothing for the choices of this plan; plan without them")
    from tierplan.frontend.jaxpr_module import find
    from tierplan.frontend.jaxpr_shapes import read_shapes
    from tierplan.jax import offload

    found = find(spec)
    args = found.example_args() if asked.shaping.shapes is None else read_shapes(asked.shaping.shapes)
    transformed = offload(found.function, file)
    report = transformed.report(*args)
    recorded = transformed.recorded(*args)
    named = _named(recorded)
    moved = tuple(label for label, tensor in named.items() if tensor in report.moved)
    kept = tuple(label for label in named if label not in moved)
    notes = _notes(file)
    notes += [f"'{tensor}' stays on the device: {why}" for tensor, why in report.left.items()]
    values = {
        "offloaded": list(report.moved), "offloaded_bytes": report.moved_bytes,
        "names_offloaded": list(moved), "names_saved": list(kept), "arguments_on_host": _arguments(file),
    }  # fmt: skip
    text = "\n".join(
        [
            f"# {file.model} on {file.hardware}, by tierplan {file.version} ({file.planner}):",
            f"# {len(report.moved)} activations, {show_bytes(report.moved_bytes)}, leave device memory between uses",
            *(f"# approximated: {note}" for note in notes),
            *_source(place, name, wanted.path),
            *_policy(moved, kept),
        ]
    )
    return Emitted(NAME, text, tuple(notes), values, is_source=True)


def _named(recorded: "Recorded") -> dict[str, str]:
    """The tensor of each value that the function has named with `jax.ad_checkpoint.checkpoint_name`."""
    found: dict[str, str] = {}
    for flat in recorded.flats:
        if flat.equation.primitive.name == "name":
            operand = flat.operands[0]
            if isinstance(operand, int) and operand in recorded.tensor:
                found[str(flat.equation.params["name"])] = recorded.tensor[operand]
    return found


def _arguments(file: PlanFile) -> list[str]:
    """Arguments that do not lie in device memory when the function is called."""
    devices, problem = devices_of(file.problem.tiers), file.problem
    on_device = {r.tensor for r in file.plan.residencies if r.start == 0 and devices[r.tier] is Device.GPU}
    at_start = {r.tensor for r in file.plan.residencies if r.start == 0}
    kinds = ("weight", "input", "state")
    return [problem.tensor_names[t] for t in sorted(at_start - on_device) if problem.tensor_kind[t] in kinds]


def _notes(file: PlanFile) -> list[str]:
    notes = ["XLA fuses and orders operations by itself; copies are tied to the steps of the plan by barriers"]
    away = _arguments(file)
    if away:
        notes.append(
            f"{len(away)} arguments lie off the device in the plan, like '{away[0]}'; here they lie where the caller "
            "has put them"
        )
    if len(file.problem.tiers.names) > 2:
        notes.append("JAX knows device and host memory: tiers that operations reach without a link count as one")
    return notes


def _source(place: str, name: str, path: str | None) -> list[str]:
    lines = ["import jax", "import tierplan.jax"]
    top = name.split(".")[0]
    if place.endswith(".py"):
        lines += ["from tierplan.frontend.jaxpr_module import find", "", f"{top} = find({f'{place}:{top}'!r}).function"]
    else:
        lines += [f"from {place} import {top}", ""]
    comment = "" if path else "  # as 'tierplan plan ... -o plan.json' writes it"
    return [*lines, f"planned = jax.jit(tierplan.jax.offload({name}, {path or 'plan.json'!r})){comment}"]


def _policy(moved: tuple[str, ...], kept: tuple[str, ...]) -> list[str]:
    if not moved and not kept:
        return ["# no value is named with jax.ad_checkpoint.checkpoint_name, so there is no policy for jax.checkpoint"]
    return [
        "# the same for the values that are named with checkpoint_name: jax.checkpoint(forward, policy=policy)",
        "policy = jax.checkpoint_policies.save_and_offload_only_these_names(",
        f"    names_which_can_be_saved={list(kept)!r}, names_which_can_be_offloaded={list(moved)!r},",
        '    offload_src="device", offload_dst="pinned_host",',
        ")",
    ]
