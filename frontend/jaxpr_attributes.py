"""JAX's parameters and element types as plain values that a graph can hold."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import enum
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tierplan.frontend.jaxpr_block import Shape
from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Attribute

_DROPPED = frozenset((
    "sharding", "out_sharding", "dst_sharding", "jvp", "jvp_jaxpr_fun", "fwd", "bwd", "in_tree", "out_tree",
    "callback", "logging_record", "update_jaxpr", "update_consts", "jaxpr", "call_jaxpr", "branches",
    "np_printoptions",
))  # fmt: skip


def attributes_of(params: Mapping[str, Any]) -> dict[str, Attribute]:
    """A primitive's parameters, without those that only say where it runs or hold programs."""
    plain = {key: _plain(value) for key, value in params.items() if key not in _DROPPED}
    return {key: value for key, value in plain.items() if value is not _UNKNOWN}


class _Unknown:
    """Marks a parameter that has no plain form."""


_UNKNOWN: Any = _Unknown()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value if not isinstance(value, enum.Enum) else value.name
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, complex):
        return ("complex", value.real, value.imag)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        names: tuple[str, ...] = getattr(value, "_fields")  # noqa: B009
        return _pairs({name: getattr(value, name) for name in names})
    if isinstance(value, tuple | list):
        items = tuple(_plain(item) for item in value)
        return _UNKNOWN if _UNKNOWN in items else items
    if is_dataclass(value) and not isinstance(value, type):
        return _pairs({field.name: getattr(value, field.name) for field in fields(value)})
    try:
        return str(np.dtype(value))
    except TypeError:
        return _UNKNOWN


def _pairs(mapping: Mapping[str, Any]) -> Attribute:
    plain = {name: _plain(value) for name, value in mapping.items()}
    return tuple((name, value) for name, value in plain.items() if value is not _UNKNOWN)


def literal_of(value: Any) -> Attribute:
    """A scalar's plain value; one without such a form (a key) becomes its text."""
    plain = _plain(np.asarray(value)[()] if isinstance(value, np.ndarray) else value)
    if plain is _UNKNOWN:
        plain = _plain(np.asarray(value).item()) if np.shape(value) == () else str(value)
    return plain


def layout_of(aval: Any) -> tuple[Shape, str] | None:
    """Shape and element type in memory; None for a value that takes no memory.

    A random key is its words: `key<fry>[3]` is `uint32[3, 2]`.
    Raises: InvalidInputError: an element type that has no known width.
    """
    shape, dtype = getattr(aval, "shape", None), getattr(aval, "dtype", None)
    if shape is None or dtype is None or dtype == jax.dtypes.float0:
        return None
    if not all(isinstance(extent, int | np.integer) for extent in shape):
        raise InvalidInputError(f"shape {shape} has an extent that is not a number; trace with concrete shapes")
    extents = tuple(int(extent) for extent in shape)
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        words = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(extents, dtype))
        return tuple(words.shape), str(words.dtype)
    name = str(dtype)
    if name not in BITS and name.startswith("float8"):
        name = "float8_e4m3fn"
    if name not in BITS:
        raise InvalidInputError(f"the traced function uses element type '{name}', which has no known width here")
    return extents, name
