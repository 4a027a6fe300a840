"""Execution of any cascade, on numpy or on JAX, iterative ranks included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from tierplan.einsum.arrays import Array, Frame, evaluate_expression
from tierplan.einsum.cascade import Cascade
from tierplan.einsum.dependence import iterations
from tierplan.einsum.dtypes import DType, infer
from tierplan.einsum.expressions import Access, rank_of
from tierplan.einsum.schedule import Loop, Step, schedule
from tierplan.einsum.shapes import signatures
from tierplan.einsum.sizes import evaluate, resolve
from tierplan.einsum.statements import Einsum
from tierplan.einsum.store import blank, execute_einsum
from tierplan.ir.errors import InvalidInputError, MissingDependencyError, unknown_name

Functions = Mapping[str, Callable[..., Array]]


@dataclass(frozen=True, slots=True)
class Program:
    """A cascade made ready for shapes: steps in order, and how each tensor is stored."""

    cascade: Cascade
    sizes: Mapping[str, int]
    steps: tuple[Step, ...]
    lengths: Mapping[str, tuple[int, ...]]
    windows: Mapping[str, Mapping[int, int]]
    outputs: tuple[str, ...]


def prepare(cascade: Cascade, sizes: Mapping[str, int], outputs: Iterable[str] | None = None) -> Program:
    """Schedule a cascade for known shapes.

    Raises: InvalidInputError: an output is unknown.
    """
    wanted = tuple(outputs) if outputs is not None else cascade.outputs
    written = [einsum.name for einsum in cascade]
    for name in wanted:
        if name not in written:
            raise InvalidInputError(str(unknown_name("output", name, dict.fromkeys(written))))
    steps = schedule(cascade)
    lengths = {t: tuple(evaluate(x, sizes) for x in shape) for t, shape in signatures(cascade).items()}
    windows = _windows(cascade, steps, wanted, lengths, sizes)
    return Program(cascade, sizes, steps, lengths, windows, wanted)


def _windows(
    cascade: Cascade,
    steps: tuple[Step, ...],
    wanted: tuple[str, ...],
    lengths: Mapping[str, tuple[int, ...]],
    sizes: Mapping[str, int],
) -> dict[str, dict[int, int]]:
    """Dimensions of which a loop needs one coordinate at a time, or two (the previous and the next)."""
    windows: dict[str, dict[int, int]] = {}
    for loop in _loops(steps):
        inside = {einsum.name: einsum for einsum in loop.einsums}
        for name, einsum in inside.items():
            if name in wanted:
                continue
            for d, index in enumerate(einsum.output.indices):
                shifted = index.shifted
                if shifted is None or shifted[0] != loop.variable:
                    continue
                window = _window(cascade, loop, name, d, shifted[1], inside, sizes)
                if window and window < lengths[name][d]:
                    windows.setdefault(name, {})[d] = window
    return windows


def _window(
    cascade: Cascade, loop: Loop, name: str, d: int, shift: int, inside: Mapping[str, Einsum], sizes: Mapping[str, int]
) -> int:
    if shift == 0 and any(einsum.name == name for einsum in cascade.init):
        return 0
    trips = sizes[rank_of(loop.variable)]
    stops = (a for stop in cascade.stops for a in _stop_reads(stop) if a.tensor == name)
    readers = [(e.name in inside, a) for e in cascade.einsums for a in e.reads if a.tensor == name]
    readers += [(True, access) for access in stops]
    for within, access in readers:
        index = access.indices[d]
        shifted = index.shifted
        near = shifted is not None and shifted[0] == loop.variable
        if within and shifted and near and shifted[1] in ((shift,) if shift == 0 else (0, 1)):
            continue
        if shift == 1 and not within and index.constant and evaluate(index, sizes) == trips:
            continue
        return 0
    return 2 if shift == 1 else 1 if shift == 0 else 0


def _stop_reads(stop: Any) -> list[Access]:
    from tierplan.einsum.expressions import accesses

    return list(accesses(stop))


def _loops(steps: Iterable[Step]) -> Iterable[Loop]:
    for step in steps:
        if isinstance(step, Loop):
            yield step
            yield from _loops(step.steps)


def run_program(
    program: Program, inputs: Mapping[str, Array], xp: Any, functions: Functions, types: Mapping[str, DType]
) -> dict[str, Array]:
    """Run every step on the arrays of `xp` (numpy, or jax.numpy inside a trace or outside)."""
    cascade = program.cascade
    declared = {d.name: d.empty for d in cascade.tensors}
    frame = Frame(
        xp=xp,
        sizes=program.sizes,
        arrays=dict(inputs),
        operators={o.name: o for o in cascade.operators},
        functions=functions,
        empty={name: declared.get(name, 0) for name in program.lengths},
        windows=program.windows,
        lengths=program.lengths,
    )
    iterative = iterations(cascade)
    for einsum in cascade.init:
        if einsum.name in iterative and einsum.name not in frame.arrays:
            _allocate(einsum.name, frame, types)
        execute_einsum(einsum, frame, types[einsum.name])
    _run_steps(program.steps, frame, types, None)
    return {name: frame.arrays[name] for name in program.outputs}


def _allocate(name: str, frame: Frame, types: Mapping[str, DType]) -> None:
    windows = frame.windows.get(name, {})
    lengths = tuple(windows.get(d, n) for d, n in enumerate(frame.lengths[name]))
    frame.arrays[name] = blank(name, lengths, types[name], frame)


def _run_steps(steps: Iterable[Step], frame: Frame, types: Mapping[str, DType], keep: Array | None) -> None:
    for step in steps:
        if isinstance(step, Loop):
            _run_loop(step, frame, types, keep)
        else:
            execute_einsum(step, frame, types[step.name], keep)


def _run_loop(loop: Loop, frame: Frame, types: Mapping[str, DType], keep: Array | None) -> None:
    written = list(dict.fromkeys(einsum.name for einsum in loop.einsums))
    for name in written:
        if name not in frame.arrays:
            _allocate(name, frame, types)
    trips = frame.sizes[rank_of(loop.variable)]
    if frame.xp is np:
        done = False
        for i in range(trips):
            frame.bound[loop.variable] = i
            _run_steps(loop.steps, frame, types, np.asarray(done) if done else keep)
            done = done or _stopped(loop, frame)
        del frame.bound[loop.variable]
        return
    lax: Any = import_module("jax.lax")

    def body(i: Array, state: tuple[Any, Array]) -> tuple[Any, Array]:
        arrays, done = state
        inner = replace(frame, arrays={**frame.arrays, **arrays}, bound={**frame.bound, loop.variable: i})
        held = (done if keep is None else done | keep) if loop.stop is not None else keep
        _run_steps(loop.steps, inner, types, held)
        if loop.stop is not None:
            done = done | _stopped(loop, inner)
        return {name: inner.arrays[name] for name in written}, done

    start = ({name: frame.arrays[name] for name in written}, frame.xp.asarray(False))
    arrays, _ = lax.fori_loop(0, trips, body, start)
    frame.arrays.update(arrays)


def _stopped(loop: Loop, frame: Frame) -> Array:
    """Whether the stopping condition holds at every point that it spans."""
    if loop.stop is None:
        return False
    found = frame.xp.all(frame.xp.asarray(evaluate_expression(loop.stop, frame).array))
    return bool(found) if frame.xp is np else found


def execute(
    cascade: Cascade,
    inputs: Mapping[str, Array],
    sizes: Mapping[str, int] | None = None,
    *,
    backend: str = "numpy",
    outputs: Iterable[str] | None = None,
    operators: Functions | None = None,
) -> dict[str, Array]:
    """Run a cascade on named arrays; returns the named outputs.

    `sizes` gives the ranks that no input fixes, `operators` the functions of operators defined without a body.
    With `backend="jax"` the whole cascade is one jitted computation; 64-bit inputs keep their precision.

    Raises: InvalidInputError: an input is missing or unknown, shapes disagree, an index leaves its tensor.
        MissingDependencyError: the backend is not installed.
    """
    for name in cascade.inputs:
        if name not in inputs:
            raise InvalidInputError(f"no array was given for input {name}; needed: {', '.join(cascade.inputs)}")
    known = resolve(cascade, sizes, {name: tuple(np.shape(array)) for name, array in inputs.items()})
    program = prepare(cascade, known, outputs)
    functions = operators or {}
    if backend == "numpy":
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        types = infer(cascade, {name: array.dtype for name, array in arrays.items()})
        try:
            with np.errstate(all="ignore"):
                return run_program(program, arrays, np, functions, types)
        except MemoryError as error:
            raise InvalidInputError(f"the cascade does not fit into memory at these shapes: {error}") from None
    if backend != "jax":
        raise InvalidInputError(str(unknown_name("backend", backend, ["numpy", "jax"])))
    return _execute_jax(program, inputs, functions)


def _execute_jax(program: Program, inputs: Mapping[str, Array], functions: Functions) -> dict[str, Array]:
    try:
        jax: Any = import_module("jax")
    except ImportError:
        raise MissingDependencyError("jax", "jax") from None
    wide = any(np.asarray(a).dtype.itemsize == 8 for a in inputs.values() if not isinstance(a, jax.Array))
    with jax.enable_x64(wide or bool(jax.config.jax_enable_x64)):
        return jax.jit(partial(trace, program, functions=functions))(dict(inputs))


def trace(program: Program, inputs: Mapping[str, Array], functions: Functions | None = None) -> dict[str, Array]:
    """Run a prepared cascade with jax.numpy, under a trace or not: what `jax.jit` takes."""
    jnp: Any = import_module("jax.numpy")
    dtypes: Any = import_module("jax.dtypes")
    arrays = {name: jnp.asarray(array) for name, array in inputs.items()}
    types = infer(program.cascade, {name: np.dtype(array.dtype) for name, array in arrays.items()})
    types = {name: np.dtype(dtypes.canonicalize_dtype(dtype)) for name, dtype in types.items()}
    return run_program(program, arrays, jnp, functions or {}, types)
