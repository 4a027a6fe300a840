"""ONNX operators on quantised numbers: integer products, and the steps from and to real numbers.

An integer product multiplies the numbers as they are stored and corrects for zero points with sums of rows and columns:
sum (a - s)(b - t) = sum ab - t sum a - s sum b + n s t.
Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
CVPR 2018, section 2.3.
"""

import math
from collections.abc import Sequence

from tierplan.frontend.array_layers import affine, matmul, per_channel
from tierplan.frontend.array_ops import ArrayOps, axis_of, number
from tierplan.frontend.array_windows import convolution
from tierplan.frontend.jaxpr_block import Source
from tierplan.frontend.onnx_call import Call, Handler
from tierplan.frontend.onnx_elementwise import clamped
from tierplan.frontend.onnx_layers import Window
from tierplan.frontend.onnx_model import DTYPES
from tierplan.ir.dtypes import BITS
from tierplan.ir.errors import InvalidInputError


def _is_zero(call: Call, index: int) -> bool:
    known = call.known(index)
    return not call.has(index) or (known is not None and not known.any())


def _spread(ops: ArrayOps, row: Source, x: Source, axis: int, block: int = 0) -> Source:
    """A scale or zero point per tensor, per slice of an axis, or per block of it, spread over x where it must be."""
    if math.prod(row.shape) == 1:
        return ops.reshape(row, ()) if row.shape else row
    if row.shape == x.shape:
        return row
    if len(row.shape) == 1:
        return per_channel(ops, row, len(x.shape), axis)
    if block < 1:
        raise InvalidInputError(f"a scale of shape {row.shape} for numbers of shape {x.shape}")
    inner = (*row.shape[: axis + 1], 1, *row.shape[axis + 1 :])
    wide = (*row.shape[: axis + 1], block, *row.shape[axis + 1 :])
    made = ops.broadcast(ops.reshape(row, inner), wide)
    made = ops.reshape(made, (*row.shape[:axis], row.shape[axis] * block, *row.shape[axis + 1 :]))
    return ops.along(made, axis, 0, x.shape[axis])


def dequantised(ops: ArrayOps, x: Source, scale: Source, zero: Source | None, axis: int, block: int = 0) -> Source:
    """(x - zero) scale."""
    axis = 0 if len(x.shape) < 2 else axis_of(axis, len(x.shape))
    if zero is not None:
        x = ops.convert(x, "int32") if BITS[x.dtype] < 32 and "int" in x.dtype else x
        x = ops.elementwise("sub", x, ops.convert(_spread(ops, zero, x, axis, block), x.dtype))
    real = ops.convert(x, scale.dtype)
    return ops.elementwise("mul", real, _spread(ops, scale, x, axis, block))


def quantised(ops: ArrayOps, x: Source, scale: Source, zero: Source | None, dtype: str, axis: int = 1) -> Source:
    """x / scale, rounded, shifted by the zero point, and cut to what the type holds."""
    axis = axis_of(axis, max(1, len(x.shape))) if len(x.shape) > 1 else 0
    made = ops.elementwise("div", x, ops.convert(_spread(ops, scale, x, axis), x.dtype))
    if "int" not in dtype:
        return ops.convert(made, dtype)
    made = ops.elementwise("round", made, rounding_method="TO_NEAREST_EVEN")
    if zero is not None:
        made = ops.elementwise("add", made, ops.convert(_spread(ops, zero, x, axis), made.dtype))
    signed, bits = not dtype.startswith("uint"), BITS[dtype]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return ops.convert(clamped(ops, made, number(low, made.dtype), number(high, made.dtype)), dtype)


def _dequantise(call: Call) -> Source:
    zero = None if _is_zero(call, 2) else call.maybe(2)
    return dequantised(
        call.ops, call.x(0), call.x(1), zero, call.whole("axis", 1) if call.shape() else 0, call.whole("block_size", 0)
    )


def _quantise(call: Call) -> Source:
    zero = call.maybe(2)
    dtype = zero.dtype if zero is not None else DTYPES.get(call.whole("output_dtype", 2), "uint8")
    x = call.x(0)
    if call.whole("block_size", 0) and len(call.shape(1)) > 1:
        axis = axis_of(call.whole("axis", 1), len(x.shape))
        block = call.whole("block_size", 0)
        x = call.ops.elementwise("div", x, _spread(call.ops, call.x(1), x, axis, block))
        offset = None if zero is None or _is_zero(call, 2) else _spread(call.ops, zero, x, axis, block)
        return quantised(call.ops, x, number(1, x.dtype), offset, dtype)
    return quantised(call.ops, x, call.x(1), None if _is_zero(call, 2) else zero, dtype, call.whole("axis", 1))


def _dynamic_quantise(call: Call) -> Sequence[Source]:
    scale, zero, made = dynamic(call.ops, call.x())
    return [made, scale, zero]


def dynamic(ops: ArrayOps, x: Source) -> tuple[Source, Source, Source]:
    """Scale and zero point of the range that x has, and x as unsigned bytes by them."""
    axes = range(len(x.shape))
    low = ops.elementwise("min", ops.reduce("reduce_min", x, axes), number(0, x.dtype))
    high = ops.elementwise("max", ops.reduce("reduce_max", x, axes), number(0, x.dtype))
    scale = ops.elementwise("div", ops.elementwise("sub", high, low), number(255, x.dtype))
    start = ops.elementwise("div", ops.elementwise("neg", low), scale)
    start = clamped(
        ops,
        ops.elementwise("round", start, rounding_method="TO_NEAREST_EVEN"),
        number(0, x.dtype),
        number(255, x.dtype),
    )
    zero = ops.convert(start, "uint8")
    return scale, zero, quantised(ops, x, scale, zero, "uint8")


def integer_matmul(call: Call, a: Source, b: Source, zero_a: Source | None, zero_b: Source | None) -> Source:
    """An integer product in 32 bits, corrected for zero points."""
    ops = call.ops
    made: Source = matmul(ops, a, b, "int32")
    wide_a, wide_b = (lambda: ops.convert(a, "int32")), (lambda: ops.convert(b, "int32"))
    if zero_b is not None:
        shift = ops.convert(_row(ops, zero_b, len(made.shape), -1), "int32")
        rows = ops.reduce("reduce_sum", wide_a(), [-1], keep=True)
        made = ops.elementwise("sub", made, ops.elementwise("mul", rows, shift))
    if zero_a is not None:
        shift = ops.convert(_row(ops, zero_a, len(made.shape), -2), "int32")
        columns = ops.reduce("reduce_sum", wide_b(), [-2 if len(b.shape) > 1 else -1], keep=len(b.shape) > 1)
        made = ops.elementwise("sub", made, ops.elementwise("mul", columns, shift))
        if zero_b is not None:
            both = ops.elementwise("mul", shift, ops.convert(_row(ops, zero_b, len(made.shape), -1), "int32"))
            made = ops.elementwise("add", made, ops.elementwise("mul", both, number(a.shape[-1], "int32")))
    return made


def _row(ops: ArrayOps, row: Source, rank: int, axis: int) -> Source:
    """A zero point or scale per tensor, or per row or column of a product."""
    if math.prod(row.shape) == 1:
        return ops.reshape(row, ()) if row.shape else row
    return per_channel(ops, row, rank, rank + axis)


def _zero(call: Call, index: int) -> Source | None:
    return None if _is_zero(call, index) else call.maybe(index)


def _matmul_integer(call: Call) -> Source:
    return integer_matmul(call, call.x(0), call.x(1), _zero(call, 2), _zero(call, 3))


def _qlinear_matmul(call: Call) -> Source:
    ops = call.ops
    whole = integer_matmul(call, call.x(0), call.x(3), _zero(call, 2), _zero(call, 5))
    rank = len(whole.shape)
    scale = ops.elementwise("mul", _row(ops, call.x(1), rank, -2), _row(ops, call.x(4), rank, -1))
    real = ops.elementwise("mul", ops.convert(whole, scale.dtype), scale)
    return quantised(ops, real, call.x(6), _zero(call, 7), call.x(7).dtype)


def _integer_conv(call: Call, x: Source, w: Source, zero_x: Source | None, zero_w: Source | None) -> Source:
    """An integer convolution in 32 bits; zero points are taken off first, as padding must stay zero."""
    ops = call.ops
    at = Window(call, x.shape[2:], w.shape[2:])
    if zero_x is not None:
        x = ops.elementwise("sub", ops.convert(x, "int32"), ops.convert(_spread(ops, zero_x, x, 1), "int32"))
    if zero_w is not None:
        w = ops.elementwise("sub", ops.convert(w, "int32"), ops.convert(_spread(ops, zero_w, w, 0), "int32"))
    return convolution(
        ops, x, w, strides=at.strides, padding=at.padding, dilation=at.dilation, groups=call.whole("group", 1),
        dtype="int32",
    )  # fmt: skip


def _conv_integer(call: Call) -> Source:
    return _integer_conv(call, call.x(0), call.x(1), _zero(call, 2), _zero(call, 3))


def _qlinear_conv(call: Call) -> Source:
    ops = call.ops
    whole = _integer_conv(call, call.x(0), call.x(3), _zero(call, 2), _zero(call, 5))
    rank = len(whole.shape)
    shift = call.maybe(8)
    whole = affine(ops, whole, None, shift and per_channel(ops, shift, rank))
    scale = ops.elementwise("mul", _spread(ops, call.x(1), whole, 1), _spread(ops, call.x(4), whole, 1))
    real = ops.elementwise("mul", ops.convert(whole, scale.dtype), scale)
    return quantised(ops, real, call.x(6), _zero(call, 7), call.x(7).dtype)


QUANTISED: dict[str, Handler] = {
    "DequantizeLinear": _dequantise, "QuantizeLinear": _quantise, "DynamicQuantizeLinear": _dynamic_quantise,
    "MatMulInteger": _matmul_integer, "QLinearMatMul": _qlinear_matmul, "ConvInteger": _conv_integer,
    "QLinearConv": _qlinear_conv,
}  # fmt: skip
"""Operators on quantised numbers."""
