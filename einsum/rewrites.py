"""Named transforms on cascades; each result is compared with what it came from by running both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial as bind
from typing import Any

import numpy as np

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.division import defer_division, hoist_factor
from tierplan.einsum.execute import execute
from tierplan.einsum.localmax import local_max
from tierplan.einsum.online import online
from tierplan.einsum.partition import partition, split_reduction
from tierplan.einsum.passes import analyse, logical_ranks
from tierplan.einsum.shapes import signatures
from tierplan.einsum.sizes import evaluate, needed_ranks, resolve
from tierplan.ir.errors import InvalidInputError, unknown_name


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A transform by name. `argument` says which rank variable it takes after a colon; "" if it takes none."""

    summary: str
    apply: Callable[[Cascade, str], Cascade]
    argument: str = ""


def _plain(transform: Callable[[Cascade], Cascade], cascade: Cascade, _: str) -> Cascade:
    return transform(cascade)


REWRITES: Mapping[str, Rewrite] = {
    "defer-division": Rewrite("divide the sum, not each summand", bind(_plain, defer_division)),
    "hoist-factor": Rewrite("take a factor that does not move out of a sum", bind(_plain, hoist_factor)),
    "partition": Rewrite("split a rank into blocks", partition, "a rank to split, like m"),
    "split-reduction": Rewrite("reduce over one rank first", split_reduction, "the rank to reduce first, like m0"),
    "local-max": Rewrite("maxima per block, corrected later", local_max, "a rank to split, like m"),
    "online": Rewrite("running values instead of reductions", online, "the rank to run along, like m1"),
}


def rewrite(cascade: Cascade, spec: str) -> Cascade:
    """Apply the transform that `spec` names, `name` or `name:variable`, and compare the results.

    Raises: InvalidInputError: the name is unknown, the transform does not apply, or a result would change.
    """
    name, _, argument = spec.partition(":")
    if name not in REWRITES:
        raise InvalidInputError(str(unknown_name("rewrite", name, REWRITES)))
    known = REWRITES[name]
    if argument and not known.argument:
        raise InvalidInputError(f"rewrite '{name}' takes no rank; write it without ':{argument}'")
    if known.argument and not argument:
        argument = default_argument(cascade, name)
    after = known.apply(cascade, argument.lower())
    label = f"{name}.{argument.lower()}" if argument else name
    after = replace(after, name=f"{cascade.name}+{label}" if cascade.name else "")
    check_same(cascade, after)
    return after


def default_argument(cascade: Cascade, name: str) -> str:
    """The rank variable that a rewrite is about when none is given: of the rank with most passes."""
    logical = logical_ranks(cascade)
    if logical and name in ("online", "split-reduction"):
        variables = next(iter(logical.values()))
        return variables[0] if name == "online" else variables[-1]
    known = dict.fromkeys(v for e in cascade.einsums for v in e.reduced_variables)
    if not known:
        raise InvalidInputError(f"rewrite '{name}' needs a rank that is reduced; this cascade reduces none")
    return max(known, key=lambda v: analyse(cascade, (v,)).n_passes)


def check_same(before: Cascade, after: Cascade, seeds: int = 2, tolerance: float = 1e-9) -> None:
    """Run two cascades on the same random inputs of small random shapes.

    Raises: InvalidInputError: an output differs by more than the tolerance, or they cannot be run.
    """
    for operator in before.operators:
        if operator.body is None:
            raise InvalidInputError(f"a rewrite cannot be checked: operator '{operator.name}' has no definition")
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        sizes = random_sizes(after, rng)
        inputs = random_inputs(before, sizes, rng)
        mine = {rank: size for rank, size in sizes.items() if rank in needed_ranks(before)}
        want = execute(before, inputs, mine)
        got = execute(after, inputs, sizes, outputs=before.outputs)
        for name, array in want.items():
            if not np.allclose(array, got[name], rtol=tolerance, atol=tolerance, equal_nan=True):
                worst = np.nanmax(np.abs(np.asarray(array, dtype=float) - got[name]))
                raise InvalidInputError(f"the rewrite would change {name}: it differs by {worst:.2g} on random inputs")


def random_sizes(cascade: Cascade, rng: np.random.Generator) -> dict[str, int]:
    """Small shapes for every rank, that agree with the cascade's equations between ranks."""
    chosen: dict[str, int] = {}
    fixed = {rank.name for rank in cascade.ranks if rank.extent is not None}
    for rank in needed_ranks(cascade):
        if rank not in fixed:
            chosen[rank] = int(rng.integers(2, 5))
    for _ in range(2 + len(chosen)):
        try:
            return resolve(cascade, chosen)
        except InvalidInputError:
            # An equation fixes one of the ranks that were chosen: drop the last one, and let it follow.
            if not chosen:
                raise
            chosen.popitem()
    return resolve(cascade, chosen)


def random_inputs(cascade: Cascade, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, Any]:
    """Normally distributed arrays for the inputs; small whole numbers for those that are used as indices."""
    shapes = signatures(cascade)
    used_as_index = {inner.tensor for e in cascade for a in (e.output, *e.reads) for inner in a.inner}
    inputs: dict[str, Any] = {}
    for name in cascade.inputs:
        shape = tuple(evaluate(extent, sizes) for extent in shapes[name])
        inputs[name] = rng.integers(0, 2, shape) if name in used_as_index else rng.normal(size=shape)
    return inputs
