"""Map operators on arrays, the same for numpy and for JAX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tierplan.einsum.dtypes import is_float
from tierplan.einsum.operators import ARITHMETIC, MAPS

Array = Any  # a numpy or a JAX array

# The array function of each map operator, by its name in numpy's interface.
_CALLS: Mapping[str, str] = {
    "or": "logical_or", "and": "logical_and", "not": "logical_not", "add": "add", "subtract": "subtract",
    "multiply": "multiply", "divide": "true_divide", "floor_divide": "floor_divide", "remainder": "remainder",
    "negate": "negative", "power": "power", "max": "maximum", "min": "minimum", "where": "where",
    "less": "less", "less_equal": "less_equal", "equal": "equal", "not_equal": "not_equal",
    "greater_equal": "greater_equal", "greater": "greater", "abs": "abs", "sign": "sign", "floor": "floor",
    "ceil": "ceil", "round": "round", "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p",
    "sqrt": "sqrt", "sin": "sin", "cos": "cos", "tan": "tan", "tanh": "tanh", "arctan2": "arctan2",
}  # fmt: skip


def compute(name: str, values: list[Array], xp: Any) -> Array:
    """A built-in map operator on arrays that broadcast against one another."""
    if name in ARITHMETIC:
        values = [_count(value) for value in values]
    if not MAPS[name].truth and name not in ("where", "int"):
        values = _one_type(values, xp, MAPS[name].real)
    elif name == "where":
        values = [values[0], *_one_type(values[1:], xp, False)]
    return _call(name, values, xp)


def _call(name: str, values: list[Array], xp: Any) -> Array:
    if name in _CALLS:
        return getattr(xp, _CALLS[name])(*values)
    if name in ("left", "right"):
        return xp.broadcast_arrays(*values)[0 if name == "left" else 1]
    (x,) = values
    if name == "rsqrt":
        return 1 / xp.sqrt(x)
    if name == "sigmoid":
        return 0.5 * (xp.tanh(0.5 * x) + 1)
    if name == "erf":
        return _error_function(xp, x)
    if name == "int":
        return xp.asarray(x).astype(int)
    assert name == "float", name
    return x


def _count(value: Array) -> Array:
    """A truth value as the number 0 or 1; anything else as it is."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return value.astype(int) if kind == "b" else value


def _one_type(values: list[Array], xp: Any, real: bool) -> list[Array]:
    """Whole numbers beside floating ones take the floating type, so that precision is kept, not raised."""
    kinds = [v.dtype for v in values if hasattr(v, "dtype")]
    floating = [kind for kind in kinds if is_float(kind)]
    if not floating or len(floating) == len(values):
        if real and not floating:
            return [v * 1.0 if hasattr(v, "dtype") else float(v) for v in values]
        return values
    target = xp.result_type(*floating)
    return [v.astype(target) if hasattr(v, "dtype") and not is_float(v.dtype) else v for v in values]


def filler(value: float, array: Array, xp: Any) -> Array:
    """`value` in the type of `array`; infinities become the extremes of a whole-number type."""
    dtype = xp.asarray(array).dtype
    if dtype.kind in "iu" and math.isinf(value):
        limits = np.iinfo(dtype)
        value = limits.max if value > 0 else limits.min
    return xp.asarray(value > 0 if dtype.kind == "b" else value, dtype=dtype)


_erf: Callable[[Array], Array] = np.vectorize(math.erf, otypes=[np.float64])


def _error_function(xp: Any, x: Array) -> Array:
    if xp is np:
        return np.asarray(_erf(x)).astype(np.asarray(x).dtype)
    from jax.scipy.special import erf

    return erf(x)
