"""ATen operators that work element by element, and reductions."""

import math
from collections.abc import Callable, Sequence

from tierplan.frontend.array_layers import log_softmax, softmax
from tierplan.frontend.array_ops import ArrayOps, axis_of, number
from tierplan.frontend.aten_call import AtenCall, Handler
from tierplan.frontend.jaxpr_block import Literal, Source
from tierplan.frontend.onnx_elementwise import clamped, gelu, hard_sigmoid, like, silu, softplus
from tierplan.ir.errors import InvalidInputError

_UNARY = {
    "abs": "abs", "neg": "neg", "exp": "exp", "exp2": "exp2", "expm1": "expm1", "log": "log", "log1p": "log1p",
    "sqrt": "sqrt", "rsqrt": "rsqrt", "sin": "sin", "cos": "cos", "tan": "tan", "asin": "asin", "acos": "acos",
    "atan": "atan", "sinh": "sinh", "cosh": "cosh", "asinh": "asinh", "acosh": "acosh", "atanh": "atanh",
    "erf": "erf", "erfc": "erfc", "floor": "floor", "ceil": "ceil", "sign": "sign", "tanh": "tanh",
    "sigmoid": "logistic", "lgamma": "lgamma", "digamma": "digamma", "square": "square", "isfinite": "is_finite",
}  # fmt: skip
_BINARY = {
    "mul": "mul", "maximum": "max", "minimum": "min", "atan2": "atan2", "fmod": "rem", "bitwise_and": "and",
    "bitwise_or": "or", "bitwise_xor": "xor", "__and__": "and", "__or__": "or", "__xor__": "xor",
}  # fmt: skip
_COMPARED = {"eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}
_LOGICAL = {"logical_and": "and", "logical_or": "or", "logical_xor": "xor"}


def _real(call: AtenCall, *names: str) -> Source:
    """An operand in the type of the result."""
    return call.ops.convert(call.x(*names), call.out()[1])


def _other(call: AtenCall, name: str = "other") -> Source:
    return call.ops.convert(call.x(name), call.out()[1])


def _unary(primitive: str) -> Handler:
    if primitive == "is_finite":
        return lambda call: call.ops.elementwise(primitive, call.x())
    return lambda call: call.ops.elementwise(primitive, _real(call))


def _binary(primitive: str) -> Handler:
    return lambda call: call.ops.elementwise(primitive, _real(call), _other(call))


def _scaled(primitive: str) -> Handler:
    """Sums and differences, the second operand times alpha."""

    def run(call: AtenCall) -> Source:
        ops, x, other, alpha = call.ops, _real(call), _other(call), call.real("alpha", 1.0)
        if alpha != 1.0:
            scaled = number(alpha * float(str(other.value)), other.dtype) if isinstance(other, Literal) else None
            other = scaled or ops.elementwise("mul", other, like(alpha, other))
        if call.node.op == "rsub":
            x, other = other, x
        if primitive == "sub" and x.dtype == "bool":
            raise InvalidInputError(f"{call.node} subtracts truth values")
        return ops.elementwise("or" if x.dtype == "bool" else primitive, x, other)

    return run


def _compared(primitive: str) -> Handler:
    def run(call: AtenCall) -> Source:
        x = call.x()
        other = call.x("other", dtype=x.dtype)
        if isinstance(other, Literal) and isinstance(call.node.arguments.get("other"), float) and "int" in x.dtype:
            x = call.ops.convert(x, "float32")
            other = call.x("other", dtype="float32")
        elif other.dtype != x.dtype:
            wide = max((x.dtype, other.dtype), key=lambda dtype: ("float" in dtype, dtype))
            x, other = call.ops.convert(x, wide), call.ops.convert(other, wide)
        return call.ops.elementwise(primitive, x, other)

    return run


def _logical(primitive: str) -> Handler:
    return lambda call: call.ops.elementwise(
        primitive, call.ops.convert(call.x(), "bool"), call.ops.convert(call.x("other"), "bool")
    )


def _divided(call: AtenCall) -> Source:
    ops, mode = call.ops, call.text("rounding_mode", "floor" if call.node.op == "floor_divide" else "")
    x, other = _real(call), _other(call)
    made = ops.elementwise("div", x, other)
    return ops.elementwise("floor", made) if mode == "floor" and "float" in made.dtype else made


def _power(call: AtenCall) -> Source:
    ops, exponent = call.ops, call.node.arguments.get("exponent")
    base = _real(call)
    if isinstance(exponent, int | float) and not isinstance(exponent, bool):
        if exponent == 2:
            return ops.elementwise("square", base)
        if exponent in (0.5, -0.5):
            return ops.elementwise("sqrt" if exponent > 0 else "rsqrt", base)
        if float(exponent).is_integer() and 0 < abs(exponent) <= 64:
            return ops.elementwise("integer_pow", base, y=int(exponent))
    return ops.elementwise("pow", base, _other(call, "exponent"))


def _remainder(call: AtenCall) -> Source:
    ops, x, y = call.ops, _real(call), _other(call)
    rest = ops.elementwise("rem", x, y)
    against = ops.elementwise("lt", ops.elementwise("mul", rest, y), like(0, rest))
    return ops.select(against, ops.elementwise("add", rest, y), rest)


def _clamp(call: AtenCall) -> Source:
    x = _real(call)
    for name, primitive in (("min", "max"), ("max", "min")):
        bound = call.maybe(name)
        if bound is not None:
            x = call.ops.elementwise(primitive, x, call.ops.convert(bound, x.dtype))
    return x


def _of(formula: Callable[[ArrayOps, Source, AtenCall], Source]) -> Handler:
    return lambda call: formula(call.ops, _real(call), call)


def _relu(ops: ArrayOps, x: Source, call: AtenCall) -> Source:
    return ops.elementwise("max", x, like(0, x))


def _leaky(ops: ArrayOps, x: Source, call: AtenCall) -> Source:
    slope = call.real("negative_slope", 0.01)
    return ops.select(ops.elementwise("gt", x, like(0, x)), x, ops.elementwise("mul", x, like(slope, x)))


def _prelu(ops: ArrayOps, x: Source, call: AtenCall) -> Source:
    weight = call.x("weight")
    if len(weight.shape) == 1 and len(x.shape) > 1:
        weight = ops.reshape(weight, (*weight.shape, *(1,) * (len(x.shape) - 2)))
    return ops.select(ops.elementwise("gt", x, like(0, x)), x, ops.elementwise("mul", x, weight))


def _elu(ops: ArrayOps, x: Source, call: AtenCall) -> Source:
    bent = ops.elementwise("expm1", ops.elementwise("mul", x, like(call.real("input_scale", 1.0), x)))
    bent = ops.elementwise("mul", bent, like(call.real("alpha", 1.0), x))
    made = ops.select(ops.elementwise("gt", x, like(0, x)), x, bent)
    scale = call.real("scale", 1.0)
    return made if scale == 1.0 else ops.elementwise("mul", made, like(scale, x))


def _glu(ops: ArrayOps, x: Source, call: AtenCall) -> Source:
    axis = axis_of(call.whole("dim", -1), len(x.shape))
    half = x.shape[axis] // 2
    left, right = ops.parts(x, axis, [half, half])
    return ops.elementwise("mul", left, ops.elementwise("logistic", right))


def _log_sigmoid(ops: ArrayOps, x: Source, call: AtenCall) -> Source:
    return ops.elementwise("neg", softplus(ops, ops.elementwise("neg", x)))


def _masked(call: AtenCall) -> Source:
    x = _real(call)
    return call.ops.select(call.x("mask"), call.ops.convert(call.x("value"), x.dtype), x)


def _where(call: AtenCall) -> Source:
    return call.ops.select(call.x("condition"), _real(call, "self", "input"), _other(call))


def _softmax(function: Callable[[ArrayOps, Source, Sequence[int]], Source]) -> Handler:
    return lambda call: function(call.ops, _real(call), [axis_of(call.whole("dim", -1), max(1, len(call.shape)))])


def _lerp(call: AtenCall) -> Source:
    ops, x = call.ops, _real(call)
    step = ops.elementwise("mul", ops.elementwise("sub", call.x("end"), x), call.x("weight"))
    return ops.elementwise("add", x, step)


def _multiplied_in(primitive: str) -> Handler:
    """addcmul and addcdiv."""

    def run(call: AtenCall) -> Source:
        ops, x = call.ops, _real(call)
        part = ops.elementwise(primitive, call.x("tensor1"), call.x("tensor2"))
        value = call.real("value", 1.0)
        return ops.elementwise("add", x, part if value == 1.0 else ops.elementwise("mul", part, like(value, part)))

    return run


def _axes(call: AtenCall, x: Source, name: str = "dim") -> list[int]:
    return call.ints(name) or list(range(len(x.shape)))


def _reduced(primitive: str) -> Handler:
    def run(call: AtenCall) -> Source:
        x = _real(call)
        return call.ops.reduce(primitive, x, _axes(call, x), keep=call.flag("keepdim"))

    return run


def _mean(call: AtenCall) -> Source:
    x = _real(call)
    return call.ops.mean(x, _axes(call, x), keep=call.flag("keepdim"))


def _extreme(primitive: str) -> Handler:
    """max and min: of all, of two arrays, or along an axis with the place."""

    def run(call: AtenCall) -> Source | list[Source]:
        ops, x = call.ops, call.x()
        if call.has("other"):
            return ops.elementwise(primitive, x, call.x("other"))
        if not call.has("dim"):
            return ops.reduce(f"reduce_{primitive}", x, range(len(x.shape)))
        axis, keep = call.whole("dim", -1), call.flag("keepdim")
        return [
            ops.reduce(f"reduce_{primitive}", x, [axis], keep=keep),
            ops.arg(f"arg{primitive}", x, axis, "int64", keep=keep),
        ]

    return run


def _arg(primitive: str) -> Handler:
    def run(call: AtenCall) -> Source:
        x = call.x()
        if call.has("dim"):
            return call.ops.arg(primitive, x, call.whole("dim", -1), "int64", keep=call.flag("keepdim"))
        return call.ops.arg(primitive, call.ops.reshape(x, (math.prod(x.shape),)), 0, "int64", keep=False)

    return run


def _variance(call: AtenCall) -> Source | list[Source]:
    ops, x = call.ops, _real(call)
    axes, keep = _axes(call, x), call.flag("keepdim")
    n = math.prod(x.shape[axis_of(a, len(x.shape))] for a in axes)
    by = call.real("correction", 1.0) if not call.has("unbiased") else float(call.flag("unbiased"))
    mean = ops.mean(x, axes, keep=True)
    square = ops.elementwise("square", ops.elementwise("sub", x, mean))
    made = ops.elementwise("div", ops.reduce("reduce_sum", square, axes, keep=keep), like(max(1.0, n - by), x))
    made = ops.elementwise("sqrt", made) if call.node.op.startswith("std") else made
    return [made, ops.mean(x, axes, keep=keep)] if call.node.op.endswith("_mean") else made


def _truth(primitive: str) -> Handler:
    def run(call: AtenCall) -> Source:
        x = call.ops.convert(call.x(), "bool")
        return call.ops.reduce(primitive, x, _axes(call, x), keep=call.flag("keepdim"))

    return run


def _norm(call: AtenCall) -> Source:
    ops, x = call.ops, _real(call)
    order = call.real("ord", call.real("p", 2.0))
    axes, keep = _axes(call, x), call.flag("keepdim")
    if order == 2:
        return ops.elementwise("sqrt", ops.reduce("reduce_sum", ops.elementwise("square", x), axes, keep=keep))
    if order == 1:
        return ops.reduce("reduce_sum", ops.elementwise("abs", x), axes, keep=keep)
    if math.isinf(order):
        return ops.reduce("reduce_max" if order > 0 else "reduce_min", ops.elementwise("abs", x), axes, keep=keep)
    powers = ops.elementwise("pow", ops.elementwise("abs", x), like(order, x))
    return ops.elementwise("pow", ops.reduce("reduce_sum", powers, axes, keep=keep), like(1 / (order or 1), x))


def _log_sum_exp(call: AtenCall) -> Source:
    ops, x = call.ops, _real(call)
    axes = _axes(call, x)
    most = ops.reduce("reduce_max", x, axes, keep=True)
    total = ops.reduce("reduce_sum", ops.elementwise("exp", ops.elementwise("sub", x, most)), axes, keep=True)
    made = ops.elementwise("add", ops.elementwise("log", total), most)
    return ops.reshape(made, call.shape)


def _running(primitive: str) -> Handler:
    def run(call: AtenCall) -> Source:
        x = call.ops.array(_real(call))
        axis = axis_of(call.whole("dim", 0), len(x.shape))
        return call.ops.apply(primitive, [x], x.shape, x.dtype, axis=axis, reverse=False)

    return run


def _not(call: AtenCall) -> Source:
    x = call.x() if call.node.op == "bitwise_not" else call.ops.convert(call.x(), "bool")
    return call.ops.elementwise("not", x)


def _rounded(call: AtenCall) -> Source:
    return call.ops.elementwise("round", _real(call), rounding_method="TO_NEAREST_EVEN")


ELEMENTWISE: dict[str, Handler] = {
    **{op: _unary(primitive) for op, primitive in _UNARY.items()},
    **{op: _binary(primitive) for op, primitive in _BINARY.items()},
    **{op: _compared(primitive) for op, primitive in _COMPARED.items()},
    **{op: _logical(primitive) for op, primitive in _LOGICAL.items()},
    "add": _scaled("add"), "sub": _scaled("sub"), "rsub": _scaled("sub"), "div": _divided, "floor_divide": _divided,
    "pow": _power, "remainder": _remainder, "clamp": _clamp, "clamp_min": _clamp, "clamp_max": _clamp,
    "bitwise_not": _not, "logical_not": _not, "round": _rounded,
    "reciprocal": _of(lambda ops, x, call: ops.elementwise("div", like(1, x), x, dtype=x.dtype)),
    "relu": _of(_relu), "leaky_relu": _of(_leaky), "prelu": _of(_prelu), "elu": _of(_elu), "glu": _of(_glu),
    "celu": _of(_elu), "selu": _of(lambda ops, x, call: ops.elementwise("mul", _elu(ops, x, call), like(1.0507, x))),
    "relu6": _of(lambda ops, x, call: clamped(ops, x, like(0, x), like(6, x))),
    "hardtanh": _of(lambda ops, x, call: clamped(
        ops, x, like(call.real("min_val", -1.0), x), like(call.real("max_val", 1.0), x)
    )),
    "hardsigmoid": _of(lambda ops, x, call: hard_sigmoid(ops, x, 1 / 6)),
    "hardswish": _of(lambda ops, x, call: ops.elementwise("mul", x, hard_sigmoid(ops, x, 1 / 6))),
    "gelu": _of(lambda ops, x, call: gelu(ops, x, tanh=call.text("approximate", "none") == "tanh")),
    "silu": _of(lambda ops, x, call: silu(ops, x)), "log_sigmoid": _of(_log_sigmoid),
    "softplus": _of(lambda ops, x, call: softplus(ops, x)),
    "mish": _of(lambda ops, x, call: ops.elementwise("mul", x, ops.elementwise("tanh", softplus(ops, x)))),
    "isnan": lambda call: call.ops.elementwise("ne", call.x(), call.x()), "masked_fill": _masked, "where": _where,
    "softmax": _softmax(softmax), "_softmax": _softmax(softmax), "_safe_softmax": _softmax(softmax),
    "log_softmax": _softmax(log_softmax), "_log_softmax": _softmax(log_softmax), "lerp": _lerp,
    "addcmul": _multiplied_in("mul"), "addcdiv": _multiplied_in("div"),
}  # fmt: skip
"""Operators that work element by element, or over an axis and then element by element."""

REDUCTIONS: dict[str, Handler] = {
    "sum": _reduced("reduce_sum"), "prod": _reduced("reduce_prod"), "amax": _reduced("reduce_max"),
    "amin": _reduced("reduce_min"), "mean": _mean, "max": _extreme("max"), "min": _extreme("min"),
    "argmax": _arg("argmax"), "argmin": _arg("argmin"), "var": _variance, "std": _variance, "var_mean": _variance,
    "any": _truth("reduce_or"), "all": _truth("reduce_and"), "linalg_vector_norm": _norm, "norm": _norm,
    "logsumexp": _log_sum_exp, "cumsum": _running("cumsum"), "cumprod": _running("cumprod"),
}  # fmt: skip
"""Reductions and running sums."""
