"""Functions that run the operators which lowered cascades use and the language does not define.

Truth and whole-number operators work on the bits; they take and return arrays of whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from tierplan.ir.errors import MissingDependencyError

_Array = Any

# Operators that the array interfaces have under a name of their own.
_ARRAYS = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan",
    "atanh": "arctanh", "cbrt": "cbrt", "cosh": "cosh", "sinh": "sinh", "nextafter": "nextafter",
}  # fmt: skip
_WHOLE = {
    "bit_and": "bitwise_and", "bit_or": "bitwise_or", "bit_xor": "bitwise_xor", "bit_not": "bitwise_not",
    "shift_left": "left_shift", "shift_right_arithmetic": "right_shift", "population_count": "bitwise_count",
}  # fmt: skip
_POINTWISE: dict[str, Callable[[float], float]] = {"erfc": math.erfc, "lgamma": math.lgamma}
_SPECIAL = {"erf_inv": "erfinv", "digamma": "digamma", "erfc": "erfc", "lgamma": "gammaln"}


def _interface(values: tuple[_Array, ...]) -> Any:
    plain = all(isinstance(v, (np.ndarray, np.generic, int, float)) for v in values)
    return np if plain else import_module("jax.numpy")


def _array(name: str) -> Callable[..., _Array]:
    return lambda *values: getattr(_interface(values), name)(*values)


def _whole(name: str) -> Callable[..., _Array]:
    def run(*values: _Array) -> _Array:
        xp = _interface(values)
        kinds = [xp.asarray(v).dtype for v in values]
        exact = [
            xp.asarray(v) if k.kind in "iub" else xp.asarray(v).astype(int) for v, k in zip(values, kinds, strict=True)
        ]
        return getattr(xp, name)(*exact)

    return run


def _special(name: str) -> Callable[..., _Array]:
    def run(value: _Array) -> _Array:
        if _interface((value,)) is not np:
            return getattr(import_module("jax.scipy.special"), _SPECIAL[name])(value)
        if name in _POINTWISE:
            return np.vectorize(_POINTWISE[name], otypes=[np.float64])(value)
        try:
            special = import_module("scipy.special")
        except ImportError:
            raise MissingDependencyError("scipy", "scipy") from None
        return getattr(special, _SPECIAL[name])(value)

    return run


FUNCTIONS: Mapping[str, Callable[..., _Array]] = {
    **{name: _array(function) for name, function in _ARRAYS.items()},
    **{name: _whole(function) for name, function in _WHOLE.items()},
    **{name: _special(name) for name in _SPECIAL},
}
"""The function of each operator that lowered cascades use without a definition; what `execute` takes."""
