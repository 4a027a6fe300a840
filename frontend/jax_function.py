"""JAX functions as graphs: a callable with example arguments, or `module:function`.

A function is traced with abstract arguments only; it never runs on numbers. An argument is weights when its index is
among `weights`; by default the first argument is, if it is a container (a dictionary, list, dataclass; not a plain
tuple). Every other argument is an input. A donated argument and the result that takes its place are one state.
Arguments that nothing reads stay in the graph: they lie in memory all the same.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tierplan.ir.errors import InvalidInputError, MissingDependencyError
from tierplan.ir.graph import Graph

if TYPE_CHECKING:
    from tierplan.frontend.jaxpr_program import Argument, Program

_HINTS = {
    "TracerBoolConversionError": "write jnp.where or jax.lax.cond instead of a Python 'if' on an array",
    "TracerIntegerConversionError": "pass that argument as static, or index with jnp.take",
    "TracerArrayConversionError": "use jax.numpy instead of numpy inside the function",
    "ConcretizationTypeError": "make the value static, or use jax.lax control flow",
    "NonConcreteBooleanIndexError": "write jnp.where instead of indexing with a boolean array",
    "UnexpectedTracerError": "return arrays from the function instead of storing them outside",
}


@dataclass(frozen=True, slots=True)
class Roles:
    """Which arguments, by index, are weights and which are given up for results; None: by their type, by the jit."""

    weights: tuple[int, ...] | None = None
    donated: tuple[int, ...] = ()


def trace(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str,
    static: tuple[int, ...] = (),
    roles: Roles | None = None,
    trips: int = 1,
    fuse: bool = True,
    cyclic: bool = False,
    probabilities: Mapping[str, Sequence[float]] | None = None,
) -> Graph:
    """The graph of one call of `fn`.

    `args` and `kwargs` hold arrays, `jax.ShapeDtypeStruct`s or pytrees of them; those at the indices `static` are
    passed as they are. `trips` is the trip count of every `while` whose own is not written in the program; its
    operations carry the attribute `trips_assumed`. Of a `cond` the costlier branch is taken, unless `probabilities`
    tells how likely its branches are (`{"cond.0": (0.9, 0.1)}`, false first; conditionals are numbered as they stand in
    the program): then all are in the graph, with operations and bytes in expectation. With `fuse` elementwise
    chains become single operations, else each primitive is one.

    Raises: InvalidInputError: JAX cannot trace the function with these arguments, or it computes nothing.
        MissingDependencyError: JAX is not installed.
    """
    require_jax()
    from tierplan.frontend.jaxpr_program import graph_of

    chances = _chances(probabilities, name)
    if trips < 0:
        raise InvalidInputError(f"a loop cannot run {trips} times; give a trip count of 0 or more")
    program = traced(fn, args, kwargs, name=name, static=static, roles=roles)
    return graph_of(program, trips=trips, fused=fuse, cyclic=cyclic, chances=chances)


def traced(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str,
    static: tuple[int, ...] = (),
    roles: Roles | None = None,
) -> "Program":
    """One call of `fn` as JAX traces it, with names for what goes in and comes out.

    Raises: InvalidInputError: JAX cannot trace the function with these arguments.
        MissingDependencyError: JAX is not installed.
    """
    require_jax()
    import jax

    from tierplan.frontend.jaxpr_program import Program

    kwargs, roles = dict(kwargs or {}), roles or Roles()
    labels = _labels(fn, args, kwargs, name)
    arguments = [
        argument
        for index, (label, value) in enumerate(labels)
        if index not in static
        for argument in _arguments(index, label, value, roles, len(labels) if not args else len(args))
    ]
    try:
        closed, shapes = jax.make_jaxpr(fn, static_argnums=static, return_shape=True)(*args, **kwargs)
    except Exception as error:
        raise _untraceable(name, error) from error
    results = [_path("result", path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    return Program(name, closed, tuple(arguments), tuple(results))


def load(
    spec: str, shapes: str | None = None, *, trips: int = 1, fuse: bool = True, cyclic: bool | None = None
) -> Graph:
    """The graph of `module:function` or `file.py:function`.

    The arguments are those that `shapes` lists, or the module's `example_args`: a tuple, a dictionary from function
    name to tuple, or a callable that returns either. The module may also say `weights` (a tuple of argument indices,
    or a dictionary from function name to one), `cyclic` (a bool, or such a dictionary) and `probabilities` (a
    dictionary from function name to those of its conditionals, as `trace` takes them).

    Raises: InvalidInputError: no such module or function, no arguments, or the function cannot be traced.
        MissingDependencyError: JAX is not installed.
    """
    require_jax()
    from tierplan.frontend.jaxpr_module import find, flag_of, indices_of
    from tierplan.frontend.jaxpr_shapes import read_shapes

    found = find(spec)
    args = found.example_args() if shapes is None else read_shapes(shapes)
    roles = Roles(weights=indices_of(found, "weights"))
    repeats = flag_of(found, "cyclic") if cyclic is None else cyclic
    return trace(
        found.function,
        args,
        name=spec,
        roles=roles,
        trips=trips,
        fuse=fuse,
        cyclic=repeats,
        probabilities=found.declared("probabilities"),
    )


def _chances(given: Any, name: str) -> dict[str, tuple[float, ...]]:
    """Probabilities that add up to one, by the name of the conditional.

    Raises: InvalidInputError: they are anything else.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"probabilities of '{name}' are {given!r}; write like {{'cond.0': (0.9, 0.1)}}")
    chances: dict[str, tuple[float, ...]] = {}
    for key, values in given.items():
        try:
            chances[str(key)] = tuple(float(value) for value in values)
        except (TypeError, ValueError):
            raise InvalidInputError(
                f"probabilities of {key} in '{name}' are {values!r}; write like (0.9, 0.1)"
            ) from None
        if not all(value >= 0 for value in chances[str(key)]) or abs(sum(chances[str(key)]) - 1) > 1e-9:
            raise InvalidInputError(f"probabilities of {key} in '{name}' are {values!r}; they must add up to 1")
    return chances


def require_jax() -> None:
    """Raises: MissingDependencyError: JAX is not installed."""
    try:
        importlib.import_module("jax")
    except ImportError:
        raise MissingDependencyError("jax", "jax") from None


def _labels(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    """Each argument under its parameter's name.

    Raises: InvalidInputError: the function does not take such arguments.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return [*((f"argument.{i}", value) for i, value in enumerate(args)), *sorted(kwargs.items())]
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidInputError(
            f"'{name}' takes {signature}, but {len(args)} example arguments are given: {error}"
        ) from None
    parameters = list(signature.parameters.values())
    labels: list[tuple[str, Any]] = []
    for index, value in enumerate(args):
        parameter = parameters[min(index, len(parameters) - 1)]
        many = parameter.kind is inspect.Parameter.VAR_POSITIONAL
        labels.append((f"{parameter.name}.{index - len(parameters) + 1}" if many else parameter.name, value))
    return [*labels, *sorted(kwargs.items())]


def _path(label: str, path: Any) -> str:
    import jax

    return ".".join((label, *(jax.tree_util.keystr((key,), simple=True) for key in path)))


def _arguments(index: int, label: str, value: Any, roles: Roles, n_positional: int) -> "list[Argument]":
    """The leaves of one argument, in the order in which JAX flattens them."""
    import jax

    from tierplan.frontend.jaxpr_program import Argument

    leaves = jax.tree_util.tree_leaves_with_path(value)
    positional = index < n_positional
    if roles.weights is None:
        container = not (len(leaves) == 1 and not leaves[0][0]) and type(value) is not tuple
        weight = index == 0 and container
    else:
        weight = positional and index in roles.weights
    donated = positional and index in roles.donated
    return [Argument(_path(label, path), weight, donated) for path, _ in leaves]


def _untraceable(name: str, error: Exception) -> InvalidInputError:
    """JAX's own message on one line, and what to write instead."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    hint = next((_HINTS[kind] for kind in kinds if kind in _HINTS), None)
    text = " ".join(str(error).split("\n\n")[0].split())
    if len(text) > 240:
        text = text[:237] + "..."
    return InvalidInputError(
        f"cannot trace '{name}': {type(error).__name__}: {text}; "
        + (hint or "check the shapes and types of the example arguments against what the function expects")
    )
