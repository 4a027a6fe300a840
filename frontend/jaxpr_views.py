"""Primitives that move no bytes: the result is its operand, seen another way."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

from tierplan.frontend.jaxpr_block import Literal, Shape, Source
from tierplan.ir.dtypes import BITS
from tierplan.ir.graph import Attribute

_SAME = frozenset((
    "stop_gradient", "optimization_barrier", "device_put", "sharding_constraint", "mesh_cast", "reshard",
    "layout_constraint", "pvary", "random_wrap", "random_unwrap", "name",
))  # fmt: skip
_RESHAPES = frozenset(("reshape", "squeeze", "expand_dims"))


def view(
    primitive: str,
    operands: Sequence[Source],
    layouts: Sequence[tuple[Shape, str] | None],
    attributes: Mapping[str, Attribute],
) -> list[Source | None] | None:
    """The results of a primitive that is a pure view of its operands; None when it is not one."""
    if primitive in _SAME and len(operands) == len(layouts):
        return list(operands)
    if len(operands) != 1 or len(layouts) != 1 or layouts[0] is None:
        return None
    operand, (shape, dtype) = operands[0], layouts[0]
    if isinstance(operand, Literal):
        return _literal(primitive, operand, shape, dtype)
    if primitive in _RESHAPES and not (primitive == "reshape" and attributes.get("dimensions")):
        return [operand.reshaped(shape)]
    if primitive == "convert_element_type" and operand.dtype == dtype:
        return [operand]
    if primitive == "broadcast_in_dim" and math.prod(shape) == math.prod(operand.shape):
        return [operand.reshaped(shape)]
    if primitive == "transpose" and _keeps_order(operand.shape, cast("Shape", attributes["permutation"])):
        return [operand.reshaped(shape)]
    if primitive == "bitcast_convert_type" and _bits(operand.shape, operand.dtype) == _bits(shape, dtype):
        return [operand.bitcast(dtype, shape)]
    return None


def _literal(primitive: str, operand: Literal, shape: Shape, dtype: str) -> list[Source | None] | None:
    same = primitive in ("convert_element_type", "broadcast_in_dim", "reshape", "copy", "copy_p")
    return [operand] if same and shape == () and operand.dtype == dtype else None


def _keeps_order(shape: Shape, permutation: Shape) -> bool:
    moved = [axis for axis in permutation if shape[axis] != 1]
    return moved == sorted(moved)


def _bits(shape: Shape, dtype: str) -> int:
    return math.prod(shape) * BITS[dtype]
