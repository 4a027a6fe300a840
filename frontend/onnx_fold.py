"""ONNX operators on numbers that are known: the arithmetic by which models compute shapes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tierplan.frontend.onnx_call import Call
from tierplan.frontend.onnx_model import DTYPES, Array
from tierplan.ir.errors import InvalidInputError

MOST = 4096
"""Elements that a result of known numbers may have."""


def folded(call: Call) -> Array | None:
    """The result of a node of which all inputs are known, where it is small; None where it is not computed here."""
    fold = _FOLDS.get(call.node.op) if not call.node.domain else None
    if fold is None or len(call.wanted) != 1:
        return None
    operands = [None if entry is None else call.known(n) for n, entry in enumerate(call.entries)]
    missing = any(operand is None and entry is not None for operand, entry in zip(operands, call.entries, strict=True))
    if missing or not operands or any(operand is not None and operand.dtype.kind not in "biuf" for operand in operands):
        return None
    try:
        with np.errstate(all="ignore"):
            made = fold(call, operands)
    except (AttributeError, ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise InvalidInputError(f"{call.node}: {error}") from None
    return None if made is None or made.size > MOST else np.asarray(made)


def _numpy(function: Callable[..., Any]) -> Callable[[Call, Sequence[Any]], Any]:
    def run(call: Call, operands: Sequence[Any]) -> Any:
        shape = np.broadcast_shapes(*(operand.shape for operand in operands))
        return function(*operands) if math.prod(shape) <= MOST else None

    return run


def _divide(left: Array, right: Array) -> Array:
    if left.dtype.kind in "iu":
        quotient = np.abs(left) // np.where(right == 0, 1, np.abs(right))
        return (np.sign(left) * np.sign(right) * quotient).astype(left.dtype)
    return left / right


def _cast(call: Call, operands: Sequence[Array]) -> Array | None:
    name = DTYPES.get(call.whole("to", 1), "")
    if name not in ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "bool"):
        return None
    return operands[0].astype(name)


def _gather(call: Call, operands: Sequence[Array]) -> Array | None:
    x, indices = operands
    axis = call.whole("axis", 0)
    if x.size // max(1, x.shape[axis]) * indices.size > MOST:
        return None
    return np.take(x, indices.astype(np.int64), axis=axis)


def _slice(call: Call, operands: Sequence[Any]) -> Array:
    x = operands[0]
    if len(operands) == 1:
        starts, ends = call.ints("starts"), call.ints("ends")
        axes, steps = call.ints("axes", range(len(starts))), [1] * len(starts)
    else:
        starts, ends = operands[1].tolist(), operands[2].tolist()
        has_axes, has_steps = len(operands) > 3 and operands[3] is not None, len(operands) > 4
        given: Any = operands[3] if has_axes else np.arange(len(starts))
        axes = given.tolist()
        steps = operands[4].tolist() if has_steps and operands[4] is not None else [1] * len(starts)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        extent = x.shape[axis]
        stop = end + extent if end < 0 else end
        index[axis] = slice(start, None if step < 0 and stop < 0 else stop, step)
    return x[tuple(index)]


def _axes(call: Call, operands: Sequence[Any]) -> tuple[int, ...] | None:
    if "axes" in call.attributes:
        return call.ints("axes")
    return tuple(operands[1].tolist()) if len(operands) > 1 and operands[1] is not None else None


def _unsqueeze(call: Call, operands: Sequence[Any]) -> Array:
    return np.expand_dims(operands[0], _axes(call, operands) or ())


def _squeeze(call: Call, operands: Sequence[Any]) -> Array:
    return np.squeeze(operands[0], _axes(call, operands))


def _reduce(function: Callable[..., Any]) -> Callable[[Call, Sequence[Any]], Any]:
    def run(call: Call, operands: Sequence[Any]) -> Any:
        axes = _axes(call, operands)
        if not axes and call.whole("noop_with_empty_axes", 0):
            return operands[0]
        return function(operands[0], axis=axes or None, keepdims=bool(call.whole("keepdims", 1)))

    return run


def _range(call: Call, operands: Sequence[Any]) -> Array | None:
    start, limit, step = (operand.reshape(()).item() for operand in operands)
    if not step or not 0 <= (limit - start) / step <= MOST:
        return None
    return np.arange(start, limit, step, dtype=operands[0].dtype)


def _constant_of_shape(call: Call, operands: Sequence[Any]) -> Any:
    shape = operands[0].reshape(-1).tolist()
    stored = call.attributes.get("value")
    if stored is None or math.prod(shape) > MOST or any(extent < 0 for extent in shape):
        return None
    known: Any = getattr(stored, "known", None)
    if known is None or known.dtype.kind not in "iub":
        return None
    return np.full(shape, known.reshape(-1)[0], known.dtype)


def _reshape(call: Call, operands: Sequence[Any]) -> Array:
    x = operands[0]
    shape = [x.shape[n] if e == 0 and not call.whole("allowzero", 0) else e for n, e in enumerate(operands[1].tolist())]
    return x.reshape(shape)


def _expand(call: Call, operands: Sequence[Any]) -> Array | None:
    shape = np.broadcast_shapes(operands[0].shape, tuple(operands[1].tolist()))
    return np.broadcast_to(operands[0], shape) if math.prod(shape) <= MOST else None


def _tile(call: Call, operands: Sequence[Any]) -> Array | None:
    times = operands[1].tolist()
    return np.tile(operands[0], times) if operands[0].size * math.prod(times) <= MOST else None


def _same(call: Call, operands: Sequence[Any]) -> Any:
    return operands[0]


_FOLDS: dict[str, Callable[[Call, Sequence[Any]], Any]] = {
    "Add": _numpy(np.add), "Sub": _numpy(np.subtract), "Mul": _numpy(np.multiply), "Div": _numpy(_divide),
    "Max": _numpy(lambda *xs: np.max(np.broadcast_arrays(*xs), axis=0)),
    "Min": _numpy(lambda *xs: np.min(np.broadcast_arrays(*xs), axis=0)),
    "Equal": _numpy(np.equal), "Less": _numpy(np.less), "Greater": _numpy(np.greater),
    "LessOrEqual": _numpy(np.less_equal), "GreaterOrEqual": _numpy(np.greater_equal),
    "And": _numpy(np.logical_and), "Or": _numpy(np.logical_or), "Not": _numpy(np.logical_not),
    "Where": _numpy(np.where), "Neg": _numpy(np.negative), "Abs": _numpy(np.abs), "Floor": _numpy(np.floor),
    "Ceil": _numpy(np.ceil), "Sqrt": _numpy(np.sqrt), "Identity": _same, "Mod": _numpy(np.mod),
    "Cast": _cast, "Gather": _gather, "Slice": _slice, "Unsqueeze": _unsqueeze, "Squeeze": _squeeze,
    "Concat": lambda call, xs: np.concatenate(xs, call.whole("axis", 0)), "Range": _range, "Reshape": _reshape,
    "ReduceProd": _reduce(np.prod), "ReduceSum": _reduce(np.sum), "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min), "ConstantOfShape": _constant_of_shape, "Expand": _expand, "Tile": _tile,
    "Transpose": lambda call, xs: xs[0].transpose(call.ints("perm", tuple(reversed(range(xs[0].ndim))))),
}  # fmt: skip
