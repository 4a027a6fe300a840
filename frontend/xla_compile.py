"""Compile a JAX function with XLA for the CPU, to see the module that runs and the memory that XLA gives it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tierplan.ir.errors import InvalidInputError, MissingDependencyError


@dataclass(frozen=True, slots=True)
class Compiled:
    """The scheduled module's text, and what XLA's buffer assignment takes. Units: bytes."""

    name: str
    text: str
    temporaries: int
    arguments: int
    results: int
    replaced: int


def compile_spec(spec: str, shapes: str | None) -> Compiled:
    """Compile `module:function` with the arguments that `shapes` lists, or those that its module gives.

    Raises: InvalidInputError: no such function, no arguments, or XLA refuses it.
        MissingDependencyError: JAX is not installed.
    """
    try:
        importlib.import_module("jax")
    except ImportError:
        raise MissingDependencyError("jax", "jax") from None
    from tierplan.frontend.jaxpr_module import find
    from tierplan.frontend.jaxpr_shapes import read_shapes

    found = find(spec)
    return compile_function(found.function, found.example_args() if shapes is None else read_shapes(shapes), spec)


def compile_function(fn: Callable[..., Any], args: Sequence[Any], name: str) -> Compiled:
    """Compile a function for the CPU; one that is jitted already keeps its donated arguments.

    Raises: InvalidInputError: XLA refuses it.
    """
    import jax

    jitted: Any = fn if hasattr(fn, "lower") else jax.jit(fn)
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            compiled = jitted.lower(*args).compile()
    except Exception as error:
        text = " ".join(str(error).split("\n\n")[0].split())[:240]
        raise InvalidInputError(f"cannot compile '{name}': {type(error).__name__}: {text}") from error
    taken = compiled.memory_analysis()
    return Compiled(
        name,
        str(compiled.as_text()),
        int(taken.temp_size_in_bytes),
        int(taken.argument_size_in_bytes),
        int(taken.output_size_in_bytes),
        int(taken.alias_size_in_bytes),
    )
