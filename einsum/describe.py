"""What there is to say about a cascade, as plain data: passes, levels, counts, bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.counts import Bounds, EinsumCounts, Formula, bound, count, count_einsum, formula, number
from tierplan.einsum.expressions import rank_of
from tierplan.einsum.passes import Passes, analyse, logical_ranks, rank_variables
from tierplan.einsum.printer import show_cascade, show_einsum
from tierplan.einsum.sizes import check_bounds, needed_ranks, partial
from tierplan.ir.errors import InvalidInputError


def ranks_to_tell(cascade: Cascade) -> dict[str, tuple[str, ...]]:
    """Every rank that some Einsum walks, ranks declared as products first, with the variables that walk it."""
    found = dict(logical_ranks(cascade))
    for e in cascade:
        found.update({rank_of(v): (v,) for v in (*e.variables, *e.output_variables) if rank_of(v) not in found})
    return {rank: variables for rank, variables in found.items() if _walked(cascade, variables)}


def _walked(cascade: Cascade, variables: tuple[str, ...]) -> bool:
    accesses = [a for e in cascade for a in (e.output, *e.reads)]
    return any(all(a.carries(v) for v in variables) for a in accesses)


def describe(cascade: Cascade, rank: str | None = None, sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Passes, levels, counts, live tensors and bounds of a cascade, ready for JSON.

    Without `rank`, every rank is analysed, and levels and bounds are those of the one that needs most passes.
    Formulas are text in the ranks' shapes; numbers are given where `sizes` fixes them, else None.

    Raises: InvalidInputError: the rank is unknown, or shapes disagree.
    """
    known = partial(cascade, sizes)
    if all(r in known for r in needed_ranks(cascade)):
        check_bounds(cascade, known)
    if rank is not None:
        analyses = {rank: analyse(cascade, rank_variables(cascade, rank))}
    else:
        analyses = {name: analyse(cascade, variables) for name, variables in ranks_to_tell(cascade).items()}
    if not analyses:
        raise InvalidInputError("no Einsum of this cascade is indexed by a rank variable")
    chosen = max(analyses, key=lambda name: analyses[name].n_passes)
    passes = analyses[chosen]
    counts = count(cascade)
    bounds = bound(cascade, passes)
    levels = {id(level.einsum): level.level for level in passes.levels}
    traffic = [
        ("traffic_buffered", bounds.traffic_buffered),
        ("traffic_unbuffered", bounds.traffic_unbuffered),
    ]
    return {
        "name": cascade.name,
        "text": show_cascade(cascade),
        "shapes": known,
        "rank": chosen,
        "passes": {name: found.n_passes for name, found in analyses.items()},
        "einsums": [_einsum(cascade, e, levels.get(id(e)), known, e in cascade.init) for e in cascade],
        "operations": {kind: _value(n, known) for kind, n in counts.operations.items()},
        "footprints": {tensor: _value(n, known) for tensor, n in counts.footprints.items()},
        "tensors": {t.tensor: {"levels": list(t.levels), "live": t.live} for t in passes.touched},
        "live_across": _live(passes, known),
        "groups": [list(group) for group in passes.groups],
        "bounds": {
            "live_per_fiber": [_value(n, known) for n in bounds.live],
            "compulsory_traffic": _value(counts.compulsory_traffic, known),
            **{name: _value(n, known) for name, n in traffic},
            "reads_of_inputs": _reads(bounds),
        },
    }


def _reads(bounds: Bounds) -> dict[str, int]:
    return dict(bounds.reads)


def _live(passes: Passes, known: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {"tensor": t.tensor, "levels": list(t.levels), "min_live": _value(formula(t.min_live), known)}
        for t in passes.live_across
    ]


def _einsum(cascade: Cascade, e: Any, level: int | None, known: Mapping[str, int], init: bool) -> dict[str, Any]:
    counts: EinsumCounts = count_einsum(cascade, e)
    return {
        "name": e.name,
        "einsum": show_einsum(e),
        "init": init,
        "level": level,
        "iteration_space": _value(counts.iteration_space, known),
        "counts": {kind: _value(n, known) for kind, n in counts.operations.items()},
    }


def _value(found: Formula, known: Mapping[str, int]) -> dict[str, Any]:
    return {"formula": str(found), "value": number(found, known)}
