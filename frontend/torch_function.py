"""PyTorch programs by `module:name` or `file.py:name`: a module, or a function that makes what is planned."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import inspect
import sys
from typing import Any, cast

from tierplan.frontend.jaxpr_module import Found, find
from tierplan.frontend.torch_export import export, exported_graph, is_exported, is_module
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph


def load_torch(spec: str) -> Graph | None:
    """The graph of a PyTorch program; None where `spec` names something else, like a JAX function.

    What is named may be a torch module, with `example_args` beside it; or a function without arguments that returns
    an ExportedProgram, or a pair of a module and its example arguments.
    Raises: InvalidInputError: no such name, or torch cannot export the module.
    """
    found = find(spec)
    if "torch" not in sys.modules:
        return None
    made: Any = found.function
    if is_module(made):
        return exported_graph(export(made, found.example_args(), spec), spec)
    if isinstance(made, type) or _takes_arguments(made) or ("example_args" in vars(found.module) and _has_args(found)):
        return None
    try:
        made = made()
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise InvalidInputError(f"'{spec}' failed: {type(error).__name__}: {text}") from error
    if is_exported(made):
        return exported_graph(made, spec)
    if isinstance(made, tuple) and len(cast("tuple[Any, ...]", made)) == 2 and is_module(made[0]):
        args = made[1] if isinstance(made[1], tuple) else (made[1],)
        return exported_graph(export(made[0], args, spec), spec)
    raise InvalidInputError(
        f"'{spec}' returns a {type(made).__name__}; return an ExportedProgram, or a module and its example arguments"
    )


def _takes_arguments(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(parameter.default is inspect.Parameter.empty for parameter in parameters)


def _has_args(found: Found) -> bool:
    declared: Any = found.module.__dict__["example_args"]
    return not isinstance(declared, dict) or found.name in declared
