"""Element types of tensors, inferred before anything runs.

A floating operand makes the whole operation floating, in its own precision; constants take the precision of
what they meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Access, Apply, Constant, Expression, Symbol
from tierplan.einsum.operators import ARITHMETIC, MAPS, REDUCES
from tierplan.einsum.statements import Einsum

DType = np.dtype[Any]
Kind = DType | float  # a Python number stands for a constant, whose precision is open


def is_float(dtype: DType) -> bool:
    """Whether a type is floating, small machine-learning types included."""
    return dtype.kind in "fc" or (dtype.kind == "V" and dtype.name.startswith(("bfloat", "float")))


def promote(kinds: list[Kind], default: DType) -> Kind:
    """The type of an operation on operands of these types."""
    fixed = [kind for kind in kinds if isinstance(kind, np.dtype)]
    loose = [kind for kind in kinds if not isinstance(kind, np.dtype)]
    if not fixed:
        return max(loose, key=lambda kind: (bool, int, float).index(type(kind)))
    floating = [kind for kind in fixed if is_float(kind)]
    if floating:
        return np.result_type(*floating)
    if any(isinstance(kind, float) for kind in loose):
        return default
    whole = np.result_type(*fixed)
    return np.dtype(np.int64) if whole == np.bool_ and any(type(k) is int for k in loose) else whole


def infer(cascade: Cascade, inputs: Mapping[str, DType]) -> dict[str, DType]:
    """The element type of every tensor, given those of the inputs."""
    floating = [dtype for dtype in inputs.values() if is_float(dtype)]
    default = np.result_type(*floating) if floating else np.dtype(np.float64)
    found: dict[str, Kind] = dict(inputs)
    for _ in range(4 + len(cascade.einsums)):
        before = dict(found)
        for einsum in cascade:
            kind = _einsum_kind(cascade, einsum, found, default)
            if kind is not None:
                known = found.get(einsum.name)
                found[einsum.name] = kind if known is None else promote([known, kind], default)
        if found == before and all(type(found[k]) is type(before[k]) for k in found):
            break
    return {name: concrete(kind, default) for name, kind in found.items()}


def concrete(kind: Kind, default: DType) -> DType:
    """A type for a constant that met nothing else."""
    if isinstance(kind, np.dtype):
        return kind
    if isinstance(kind, bool):
        return np.dtype(np.bool_)
    return np.dtype(np.int64) if isinstance(kind, int) else default


def _einsum_kind(cascade: Cascade, einsum: Einsum, known: Mapping[str, Kind], default: DType) -> Kind | None:
    kind = expression_kind(cascade, einsum.expression, known, default)
    if kind is None:
        return None
    for reduction in reversed(einsum.reductions):
        operator = REDUCES.get(reduction.operator)
        if operator is not None and operator.coordinate:
            kind = np.dtype(np.int64)
        elif operator is not None and operator.kind == "logic":
            kind = np.dtype(np.bool_)
        elif kind == np.dtype(np.bool_) and reduction.operator in ("add", "multiply"):
            kind = np.dtype(np.int64)
    if einsum.filters and isinstance(cascade.empty(einsum.name), float):
        kind = promote([kind, 0.0], default)
    return kind


def expression_kind(cascade: Cascade, node: Expression, known: Mapping[str, Kind], default: DType) -> Kind | None:
    """The type of an expression; None while a tensor in it has none yet."""
    match node:
        case Constant(value=value):
            return value
        case Symbol(name=name):
            return known.get(name, 0)
        case Access(tensor=tensor, outside=outside):
            kind = known.get(tensor)
            return kind if kind is None or outside is None else promote([kind, outside], default)
        case Apply():
            return _apply_kind(cascade, node, known, default)
        case _:
            return None


def _apply_kind(cascade: Cascade, node: Apply, known: Mapping[str, Kind], default: DType) -> Kind | None:
    found = [expression_kind(cascade, operand, known, default) for operand in node.operands]
    kinds = [kind for kind in found if kind is not None]
    own = next((o for o in cascade.operators if o.name == node.operator), None)
    if own is not None:
        if own.body is None:
            return promote([*kinds, 0.0], default) if kinds else None
        if len(kinds) < len(found):
            return None
        return expression_kind(cascade, own.body, dict(zip(own.parameters, kinds, strict=True)), default)
    operator = MAPS[node.operator]
    if operator.truth:
        return np.dtype(np.bool_)
    if node.operator == "int":
        return np.dtype(np.int64)
    if not kinds:
        return None
    if node.operator == "where":
        kinds = kinds[1:] if len(kinds) == 3 else kinds
    if node.operator in ARITHMETIC:
        kinds = [0 if kind is True or kind is False else kind for kind in kinds]
        kinds = [np.dtype(np.int64) if kind == np.dtype(np.bool_) else kind for kind in kinds]
    return promote([*kinds, 0.0], default) if operator.real else promote(kinds, default)
