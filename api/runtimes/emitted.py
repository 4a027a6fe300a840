"""What is emitted for a runtime, and the runtimes by name."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.ir.plan_file import PlanFile
from tierplan.programs import Shaping

_WHERE = {
    "llama.cpp": "tierplan.runtimes.llama_cpp",
    "accelerate": "tierplan.runtimes.accelerate",
    "vllm": "tierplan.runtimes.vllm",
    "jax": "tierplan.runtimes.jax_source",
}


@dataclass(frozen=True, slots=True)
class Emitted:
    """Text for a runtime: a line of flags, or Python source.

    `approximated` says what of the plan the runtime does otherwise. Source has it in comments; a line of flags
    has not, so that it can be pasted or piped as it is. `values` are the same for machines.
    """

    runtime: str
    text: str
    approximated: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_source: bool = False

    def row(self) -> dict[str, Any]:
        """All of it, for `--json`."""
        return {
            "runtime": self.runtime,
            "text": self.text,
            "approximated": list(self.approximated),
            "values": dict(self.values),
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user says beside the plan: the model's file, if it is not where it was, how many GPUs there are.

    `path` is the plan's own file.
    """

    model: str | None = None
    gpus: int = 1
    path: str | None = None


class _Runtime(Protocol):
    def emit(self, file: PlanFile, wanted: Wanted) -> Emitted: ...


def runtime_names() -> tuple[str, ...]:
    """All runtimes, as users write them."""
    return tuple(_WHERE)


def check_runtime(name: str) -> None:
    """Refuse a name that is none.

    Raises: InvalidInputError: says the nearest one.
    """
    if name not in _WHERE:
        raise unknown_name("runtime", name, _WHERE)


def check_emits(runtime: str, model: str, shaping: Shaping) -> None:
    """Refuse, before anything is planned, a program that a runtime does not run.

    Raises: InvalidInputError: no such runtime, or not for this kind of program.
    """
    check_runtime(runtime)
    if shaping.parallel.devices > 1:
        raise InvalidInputError(
            "a plan with --tp, --pp or --ep is one device's share, which no runtime is told; plan the whole model with "
            "--emit vllm, then 'tierplan emit PLAN --for vllm --gpus N' divides it"
        )
    from tierplan.runtimes.asked import Asked, check_asked

    if runtime != "jax":
        check_asked(Asked(model, shaping, {}), runtime)
    elif ":" not in model or Path(model).exists():
        raise InvalidInputError(
            f"'{model}' is no JAX function, which --emit jax needs: module:function or file.py:function"
        )


def emit(file: PlanFile, runtime: str, wanted: Wanted | None = None) -> Emitted:
    """What tells a runtime to do as a plan says.

    Raises: InvalidInputError: no such runtime; the model is not that of the plan; or the runtime cannot express it.
    """
    check_runtime(runtime)
    wanted = wanted or Wanted()
    if wanted.gpus < 1:
        raise InvalidInputError(f"--gpus is {wanted.gpus}; need 1 or more")
    if wanted.gpus > 1 and runtime != "vllm":
        raise InvalidInputError(
            f"the plan does not say which of {wanted.gpus} GPUs holds a tensor, and {runtime} wants to know; "
            "leave --gpus out"
        )
    module: _Runtime = importlib.import_module(_WHERE[runtime])  # pyright: ignore[reportAssignmentType]
    return module.emit(file, wanted)


def print_emitted(emitted: Emitted) -> None:
    """The text on standard output; beside a line of flags, what is approximated on standard error."""
    import sys

    sys.stdout.write(emitted.text + "\n")
    sys.stdout.flush()
    if not emitted.is_source:
        for note in emitted.approximated:
            sys.stderr.write(f"# approximated: {note}\n")
