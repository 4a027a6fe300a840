"""A JAX function on this machine: predicted time beside measured time, term by term.

The program is run as one compiled function, and once more operation by operation, each compiled alone. The operations
that the prediction holds to be limited by compute are one term, those limited by a tier or a link are others; each term
has a predicted and a measured sum. Two things are measured beside them: what it takes to start a compiled function that
does nothing, which is in every measured operation; and writing the results into memory that is taken for them, as each
run does, which predictions hold to be as fast as writing memory that a program has.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tierplan.answer import COMPUTE_NAME
from tierplan.frontend.jaxpr_record import Recorded
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.problem import Problem
from tierplan.ir.timeline import COMPUTE, Timeline
from tierplan.machine_state import Usage, Watch

WHOLE = "whole function"
START = "starting a function"
RESULTS = "writing the results once"
MOST_OPERATIONS = 2000
_STARTS = 20


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of repeated runs, sorted."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The middle half of the runs, over the median."""
        low, high = np.quantile(self.seconds, [0.25, 0.75])
        return float(high - low) / self.median_s if self.median_s else 0.0


@dataclass(frozen=True, slots=True)
class Term:
    """One part of the time. `predicted_s` is None for what the machine's file does not tell, `n` counts operations."""

    name: str
    n: int
    predicted_s: float | None
    measured: Measured

    @property
    def error(self) -> float | None:
        """Predicted over the median, minus one."""
        return None if self.predicted_s is None else self.predicted_s / self.measured.median_s - 1

    @property
    def least_error(self) -> float | None:
        """Predicted over the least, minus one: what else runs on a machine makes a run slower, never faster."""
        return None if self.predicted_s is None else self.predicted_s / self.measured.seconds[0] - 1


@dataclass(frozen=True, slots=True)
class Check:
    """All terms, on which device, and how far the results of both ways to run are apart, relative to the largest."""

    device: str
    terms: tuple[Term, ...]
    apart: float
    usage: Usage
    notes: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """All of it in base units."""
        return {
            "device": self.device,
            "terms": [
                {
                    "term": term.name, "operations": term.n, "predicted_s": term.predicted_s,
                    "measured_s": term.measured.median_s, "least_s": term.measured.seconds[0],
                    "most_s": term.measured.seconds[-1], "spread": term.measured.spread, "error": term.error,
                    "least_error": term.least_error,
                    "runs": len(term.measured.seconds),
                }
                for term in self.terms
            ],
            "results_apart": self.apart,
            "load": [self.usage.load_before, self.usage.load_after],
            "others_share": self.usage.others,
            "stolen_share": self.usage.stolen,
            "notes": list(self.notes),
        }  # fmt: skip


def numbers_for(args: Sequence[Any], seed: int) -> tuple[Any, ...]:
    """Example arguments with numbers: arrays as they are, for shapes small normal ones, and zeros for whole numbers."""
    import jax
    import jax.numpy as jnp

    drawn = np.random.default_rng(seed)

    def filled(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return jnp.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.broadcast_to(jax.random.key(seed), leaf.shape)
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return jnp.zeros(leaf.shape, leaf.dtype)
        width = leaf.shape[-2] if len(leaf.shape) > 1 else 1
        return jnp.asarray(drawn.standard_normal(leaf.shape) / np.sqrt(max(width, 1)), leaf.dtype)

    return jax.tree_util.tree_map(filled, tuple(args))


def check(
    function: Callable[..., Any],
    args: Sequence[Any],
    recorded: Recorded,
    problem: Problem,
    timeline: Timeline,
    *,
    repeats: int,
    told: Callable[[str], None] = lambda _: None,
) -> Check:
    """Run a function and its operations `repeats` times each, after one run that compiles and warms up.

    Raises: InvalidInputError: the device fails or vanishes, runs out of memory; or there are too many operations.
    """
    import jax

    if len(recorded.graph.ops) > MOST_OPERATIONS:
        raise InvalidInputError(
            f"{len(recorded.graph.ops)} operations would be compiled one by one; check a part, up to {MOST_OPERATIONS}"
        )
    try:
        told("the whole function")
        watch = Watch()
        whole = jax.jit(function)
        result = jax.block_until_ready(whole(*args))
        measured = _sum([_timed(functools.partial(whole, *args), repeats)], repeats)
        empty = jax.jit(_unchanged)
        one = jax.block_until_ready(empty(jax.numpy.zeros(())))
        start = _sum([_timed(functools.partial(empty, one), _STARTS)], _STARTS)
        n_bytes, writing = _writing(result, repeats)
        runs, outputs = _one_by_one(recorded, args, repeats, told)
    except (jax.errors.JaxRuntimeError, RuntimeError) as error:
        text = " ".join(str(error).split())[:200]
        raise InvalidInputError(
            f"the device failed while the function ran ({type(error).__name__}: {text}); it may be out of memory, in "
            "use by another program, or gone: look at it, then run again"
        ) from None
    terms = _terms(problem, timeline, runs, _inside_loops(recorded))
    own_s = float((timeline.end_s - timeline.begin_s).sum())
    every = _sum(list(runs.values()), repeats)
    terms = [
        Term(WHOLE, len(recorded.graph.ops), timeline.time_s, measured),
        Term("all operations one by one", len(runs), own_s, every),
        *terms,
        Term(RESULTS, len(outputs), n_bytes / float(problem.tiers.write_bandwidth[0]), writing),
        Term(START, 1, None, start),
    ]
    return Check(str(jax.devices()[0].device_kind), tuple(terms), _apart(result, outputs), watch.usage())


def _writing(result: Any, repeats: int) -> tuple[int, Measured]:
    """Bytes of all results, and a function that only writes zeros in their place."""
    import jax

    leaves = [x for x in jax.tree_util.tree_leaves(result) if not jax.numpy.issubdtype(x.dtype, jax.dtypes.extended)]
    zeros = jax.jit(lambda: [jax.numpy.zeros(leaf.shape, leaf.dtype) for leaf in leaves])
    jax.block_until_ready(zeros())
    return sum(leaf.nbytes for leaf in leaves), _sum([_timed(zeros, repeats)], repeats)


def _unchanged(x: Any) -> Any:
    return x


def _sum(runs: Sequence[Sequence[float]], repeats: int) -> Measured:
    """Each run of all operations together."""
    total = np.sum(np.array(runs, dtype=np.float64).reshape(-1, repeats), axis=0)
    return Measured(tuple(sorted(total.tolist())))


def _timed(run: Callable[[], Any], repeats: int) -> list[float]:
    import jax

    seconds: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - began)
    return seconds


def _one_by_one(
    recorded: Recorded, args: Sequence[Any], repeats: int, told: Callable[[str], None]
) -> tuple[dict[str, list[float]], list[Any]]:
    """Seconds of each operation by its name, and the results of the last run."""
    import jax

    from tierplan.jax_replay import kernels, last_values

    leaves = jax.tree_util.tree_leaves(tuple(args))
    known: dict[int, Any] = dict(zip(recorded.inputs, leaves, strict=True)) | dict(recorded.captured)
    runs: dict[str, list[float]] = {}
    for kernel in kernels(recorded):
        told(kernel.name)
        compiled = jax.jit(kernel.run)
        given = [known[number] for number in kernel.reads]
        made = jax.block_until_ready(compiled(*given))
        runs[kernel.name] = _timed(functools.partial(compiled, *given), repeats)
        known |= dict(zip(kernel.writes, made, strict=True))
    return runs, last_values(recorded, known)


def _inside_loops(recorded: Recorded) -> dict[str, str]:
    """The loop of each operation in one: all of a loop runs as one operation here."""
    found: dict[str, str] = {}
    for loop in reversed(recorded.graph.loops):
        for op in recorded.graph.ops[loop.start : loop.stop]:
            found[op.name] = recorded.graph.ops[loop.start].name
    return found


def _terms(problem: Problem, timeline: Timeline, runs: dict[str, list[float]], loops: dict[str, str]) -> list[Term]:
    """Operations by what the prediction says limits them."""
    own = timeline.end_s - timeline.begin_s
    predicted: dict[str, float] = defaultdict(float)
    limits: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for step, seconds, code in zip(problem.step_names, own.tolist(), timeline.limit.tolist(), strict=True):
        name = step.split("#")[0]
        name = loops.get(name, name)
        predicted[name] += seconds
        limits[name][_called(problem, code)] += seconds
    limited: dict[str, list[str]] = defaultdict(list)
    for name in runs:
        limited[max(limits[name].items(), key=lambda item: item[1], default=("nothing", 0.0))[0]].append(name)
    return [
        Term(
            f"limited by {limit}", len(names), sum(predicted[name] for name in names),
            _sum([runs[name] for name in names], len(runs[names[0]])),
        )
        for limit, names in sorted(limited.items())
    ]  # fmt: skip


def _called(problem: Problem, code: int) -> str:
    if code == COMPUTE:
        return COMPUTE_NAME
    n_tiers = problem.n_tiers
    return (
        f"tier {problem.tiers.names[code - 1]}"
        if code <= n_tiers
        else f"link {problem.links.names[code - 1 - n_tiers]}"
    )


def _apart(result: Any, outputs: list[Any]) -> float:
    import jax

    worst = 0.0
    for one, other in zip(jax.tree_util.tree_leaves(result), outputs, strict=True):
        a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
        if a.size:
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    return worst
