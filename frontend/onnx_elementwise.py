"""ONNX operators that work element by element, and reductions."""

import math
from collections.abc import Callable, Sequence

from tierplan.frontend.array_layers import log_softmax, softmax
from tierplan.frontend.array_ops import ArrayOps, axis_of, number
from tierplan.frontend.jaxpr_block import Literal, Source
from tierplan.frontend.onnx_call import Call, Handler
from tierplan.frontend.onnx_model import DTYPES
from tierplan.ir.errors import InvalidInputError

_UNARY = {
    "Abs": "abs", "Neg": "neg", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Sin": "sin", "Cos": "cos", "Tan": "tan",
    "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh",
    "Acosh": "acosh", "Atanh": "atanh", "Erf": "erf", "Floor": "floor", "Ceil": "ceil", "Sign": "sign",
    "Not": "not", "BitwiseNot": "not", "Tanh": "tanh", "Sigmoid": "logistic",
}  # fmt: skip
_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "And": "and", "Or": "or", "Xor": "xor", "Equal": "eq",
    "Less": "lt", "LessOrEqual": "le", "Greater": "gt", "GreaterOrEqual": "ge", "BitwiseAnd": "and",
    "BitwiseOr": "or", "BitwiseXor": "xor",
}  # fmt: skip
_REDUCED = {
    "ReduceSum": "reduce_sum",
    "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
}


def _unary(primitive: str) -> Handler:
    return lambda call: call.ops.elementwise(primitive, call.x())


def _binary(primitive: str) -> Handler:
    return lambda call: call.ops.elementwise(primitive, call.x(0), call.x(1))


def _chain(primitive: str) -> Handler:
    def run(call: Call) -> Source:
        total = call.x(0)
        for index in range(1, len(call.entries)):
            total = call.ops.elementwise(primitive, total, call.x(index))
        return total

    return run


def _of(formula: Callable[[ArrayOps, Source, Call], Source]) -> Handler:
    return lambda call: formula(call.ops, call.x(), call)


def like(value: float, source: Source) -> Literal:
    """A number in the type of a source."""
    return number(value, source.dtype)


def _reciprocal(ops: ArrayOps, x: Source, call: Call) -> Source:
    return ops.elementwise("div", like(1, x), x, dtype=x.dtype)


def _relu(ops: ArrayOps, x: Source, call: Call) -> Source:
    return ops.elementwise("max", x, like(0, x))


def _sloped(ops: ArrayOps, x: Source, slope: Source) -> Source:
    positive = ops.elementwise("ge", x, like(0, x))
    return ops.select(positive, x, ops.elementwise("mul", x, slope))


def _elu(ops: ArrayOps, x: Source, alpha: float, gamma: float = 1.0) -> Source:
    bent = ops.elementwise("mul", ops.elementwise("expm1", x), like(alpha, x))
    made = ops.select(ops.elementwise("gt", x, like(0, x)), x, bent)
    return ops.elementwise("mul", made, like(gamma, x)) if gamma != 1.0 else made


def _celu(ops: ArrayOps, x: Source, call: Call) -> Source:
    alpha = call.real("alpha", 1.0)
    bent = ops.elementwise("expm1", ops.elementwise("div", x, like(alpha, x)))
    low = ops.elementwise("min", ops.elementwise("mul", bent, like(alpha, x)), like(0, x))
    return ops.elementwise("add", ops.elementwise("max", x, like(0, x)), low)


def hard_sigmoid(ops: ArrayOps, x: Source, alpha: float = 0.2, beta: float = 0.5) -> Source:
    """max(0, min(1, alpha x + beta))."""
    line = ops.elementwise("add", ops.elementwise("mul", x, like(alpha, x)), like(beta, x))
    return clamped(ops, line, like(0, x), like(1, x))


def clamped(ops: ArrayOps, x: Source, low: Source, high: Source) -> Source:
    """The source between two numbers."""
    return ops.elementwise("clamp", low, x, high, dtype=x.dtype)


def softplus(ops: ArrayOps, x: Source) -> Source:
    """log(1 + exp(x))."""
    return ops.elementwise("log1p", ops.elementwise("exp", x))


def softsign(ops: ArrayOps, x: Source) -> Source:
    """x / (1 + |x|)."""
    return ops.elementwise("div", x, ops.elementwise("add", ops.elementwise("abs", x), like(1, x)))


def gelu(ops: ArrayOps, x: Source, *, tanh: bool = False) -> Source:
    """x times the normal distribution function of x, or its tanh form."""
    if tanh:
        cube = ops.elementwise("integer_pow", x, y=3)
        inner = ops.elementwise("add", x, ops.elementwise("mul", cube, like(0.044715, x)))
        inner = ops.elementwise("tanh", ops.elementwise("mul", inner, like(math.sqrt(2 / math.pi), x)))
    else:
        inner = ops.elementwise("erf", ops.elementwise("mul", x, like(math.sqrt(0.5), x)))
    half = ops.elementwise("mul", x, like(0.5, x))
    return ops.elementwise("mul", half, ops.elementwise("add", inner, like(1, x)))


def silu(ops: ArrayOps, x: Source, beta: float = 1.0) -> Source:
    """x times the logistic function of beta x."""
    inner = x if beta == 1.0 else ops.elementwise("mul", x, like(beta, x))
    return ops.elementwise("mul", x, ops.elementwise("logistic", inner))


def _clip(call: Call) -> Source:
    x = call.x()
    bounds: list[Source | None] = []
    for index, name in ((1, "min"), (2, "max")):
        given = call.attributes.get(name)
        bounds.append(like(float(given), x) if isinstance(given, int | float) else call.maybe(index))
    for bound, primitive in zip(bounds, ("max", "min"), strict=True):
        if bound is not None:
            x = call.ops.elementwise(primitive, x, bound)
    return x


def _pow(call: Call) -> Source:
    x, y = call.x(0), call.x(1)
    known = call.known(1)
    if known is not None and known.size == 1:
        exponent = float(known.reshape(-1)[0])
        if exponent == 2:
            return call.ops.elementwise("square", x)
        if exponent == 0.5:
            return call.ops.elementwise("sqrt", x)
        if exponent.is_integer() and 0 < abs(exponent) <= 64:
            return call.ops.elementwise("integer_pow", x, y=int(exponent))
    return call.ops.elementwise("pow", x, y if y.dtype == x.dtype else call.ops.convert(y, x.dtype))


def _mod(call: Call) -> Source:
    ops, x, y = call.ops, call.x(0), call.x(1)
    rest = ops.elementwise("rem", x, y)
    if call.whole("fmod", 0):
        return rest
    other = ops.elementwise(
        "lt", ops.elementwise("mul", ops.elementwise("sign", rest), ops.elementwise("sign", y)), like(0, x)
    )
    return ops.select(other, ops.elementwise("add", rest, y), rest)


def _mean(call: Call) -> Source:
    total = _chain("add")(call)
    assert isinstance(total, Source)
    return call.ops.elementwise("div", total, like(len(call.entries), total))


def _cast(call: Call) -> Source:
    to = call.whole("to", 1)
    if to not in DTYPES:
        raise InvalidInputError(f"{call.node} casts to type number {to}; only numbers have a place in a plan")
    return call.ops.convert(call.x(), DTYPES[to])


def _dropout(call: Call) -> Sequence[Source | None]:
    x = call.x()
    mask = call.ops.broadcast(number(True, "bool"), x.shape) if len(call.wanted) > 1 and call.wanted[1] else None
    return [x, mask]


def _bit_shift(call: Call) -> Source:
    primitive = "shift_left" if call.text("direction", "LEFT") == "LEFT" else "shift_right_logical"
    return call.ops.elementwise(primitive, call.x(0), call.x(1))


def _shrink(ops: ArrayOps, x: Source, call: Call) -> Source:
    bias, edge = like(call.real("bias", 0.0), x), call.real("lambd", 0.5)
    above, below = ops.elementwise("gt", x, like(edge, x)), ops.elementwise("lt", x, like(-edge, x))
    low = ops.select(below, ops.elementwise("add", x, bias), like(0, x))
    return ops.select(above, ops.elementwise("sub", x, bias), low)


def _rounded(ops: ArrayOps, x: Source, call: Call) -> Source:
    return ops.elementwise("round", x, rounding_method="TO_NEAREST_EVEN")


def _is_infinite(ops: ArrayOps, x: Source, call: Call) -> Source:
    if not call.whole("detect_negative", 1):
        return ops.elementwise("eq", x, like(math.inf, x))
    if not call.whole("detect_positive", 1):
        return ops.elementwise("eq", x, like(-math.inf, x))
    return ops.elementwise("eq", ops.elementwise("abs", x), like(math.inf, x))


def _softmax(function: Callable[[ArrayOps, Source, Sequence[int]], Source]) -> Handler:
    """Before opset 13 over all axes from one on, since then over one."""

    def run(call: Call) -> Source:
        x = call.x()
        rank = max(1, len(x.shape))
        axis = axis_of(call.whole("axis", -1 if call.opset >= 13 else 1), rank + (call.opset < 13))
        return function(call.ops, x, range(axis, rank) if call.opset < 13 else [axis])

    return run


def _hardmax(call: Call) -> Source:
    ops, x = call.ops, call.x()
    axis = axis_of(call.whole("axis", -1 if call.opset >= 13 else 1), len(x.shape))
    where = ops.arg("argmax", x, axis, "int32", keep=True)
    places = ops.apply("iota", [], x.shape, "int32", dtype="int32", shape=x.shape, dimension=axis, sharding=None)
    return ops.convert(ops.elementwise("eq", places, where), x.dtype)


def _over(call: Call, x: Source) -> tuple[list[int], bool]:
    """The axes of a reduction, and whether they stay."""
    axes = call.axes(1)
    if not axes:
        axes = [] if call.whole("noop_with_empty_axes", 0) else list(range(len(x.shape)))
    return axes, bool(call.whole("keepdims", 1))


def _reduction(primitive: str, before: str = "", after: str = "") -> Handler:
    def run(call: Call) -> Source:
        ops, x = call.ops, call.x()
        axes, keep = _over(call, x)
        source = ops.elementwise(before, x) if before else x
        made = ops.reduce(primitive, source, axes, keep=keep)
        return ops.elementwise(after, made) if after else made

    return run


def _reduce_mean(call: Call) -> Source:
    axes, keep = _over(call, call.x())
    return call.ops.mean(call.x(), axes, keep=keep)


def _log_sum_exp(call: Call) -> Source:
    ops, x = call.ops, call.x()
    axes, keep = _over(call, x)
    most = ops.reduce("reduce_max", x, axes, keep=True)
    total = ops.reduce("reduce_sum", ops.elementwise("exp", ops.elementwise("sub", x, most)), axes, keep=True)
    made = ops.elementwise("add", ops.elementwise("log", total), most)
    return made if keep else ops.reduce("reduce_sum", made, axes)


def _arg(primitive: str) -> Handler:
    return lambda call: call.ops.arg(
        primitive, call.x(), call.whole("axis", 0), "int64", keep=bool(call.whole("keepdims", 1))
    )


def _cumulative(call: Call) -> Source:
    ops, x = call.ops, call.x()
    axis = axis_of(call.numbers(1, "axes")[0], len(x.shape))
    reverse = bool(call.whole("reverse", 0))
    if call.whole("exclusive", 0) and x.shape[axis]:
        widths = [(0, 0)] * len(x.shape)
        widths[axis] = (-1, 1) if reverse else (1, -1)
        x = ops.pad(x, widths, like(0, x))
    return ops.apply("cumsum", [ops.array(x)], x.shape, x.dtype, axis=axis, reverse=reverse)


ELEMENTWISE: dict[str, Handler] = {
    **{op: _unary(primitive) for op, primitive in _UNARY.items()},
    **{op: _binary(primitive) for op, primitive in _BINARY.items()},
    "Max": _chain("max"), "Min": _chain("min"), "Sum": _chain("add"), "Mean": _mean, "Pow": _pow, "Mod": _mod,
    "Reciprocal": _of(_reciprocal), "Relu": _of(_relu), "Round": _of(_rounded), "Shrink": _of(_shrink),
    "LeakyRelu": _of(lambda ops, x, call: _sloped(ops, x, like(call.real("alpha", 0.01), x))),
    "PRelu": _of(lambda ops, x, call: _sloped(ops, x, call.x(1))),
    "Elu": _of(lambda ops, x, call: _elu(ops, x, call.real("alpha", 1.0))),
    "Selu": _of(lambda ops, x, call: _elu(ops, x, call.real("alpha", 1.67326), call.real("gamma", 1.0507))),
    "Celu": _of(_celu),
    "HardSigmoid": _of(lambda ops, x, call: hard_sigmoid(ops, x, call.real("alpha", 0.2), call.real("beta", 0.5))),
    "HardSwish": _of(lambda ops, x, call: ops.elementwise("mul", x, hard_sigmoid(ops, x, 1 / 6))),
    "Softplus": _of(lambda ops, x, call: softplus(ops, x)),
    "Softsign": _of(lambda ops, x, call: softsign(ops, x)),
    "Mish": _of(lambda ops, x, call: ops.elementwise("mul", x, ops.elementwise("tanh", softplus(ops, x)))),
    "Gelu": _of(lambda ops, x, call: gelu(ops, x, tanh=call.text("approximate", "none") == "tanh")),
    "Swish": _of(lambda ops, x, call: silu(ops, x, call.real("alpha", 1.0))),
    "ThresholdedRelu": _of(lambda ops, x, call: ops.select(
        ops.elementwise("gt", x, like(call.real("alpha", 1.0), x)), x, like(0, x)
    )),
    "IsNaN": _of(lambda ops, x, call: ops.elementwise("ne", x, x)), "IsInf": _of(_is_infinite),
    "Clip": _clip, "Cast": _cast, "CastLike": lambda call: call.ops.convert(call.x(0), call.x(1).dtype),
    "Identity": lambda call: call.x(), "Dropout": _dropout, "BitShift": _bit_shift,
    "Where": lambda call: call.ops.select(call.x(0), call.x(1), call.x(2)),
    "Softmax": _softmax(softmax), "LogSoftmax": _softmax(log_softmax), "Hardmax": _hardmax,
}  # fmt: skip
"""Operators that work element by element, or over an axis and then element by element."""

REDUCTIONS: dict[str, Handler] = {
    **{op: _reduction(primitive) for op, primitive in _REDUCED.items()},
    "ReduceMean": _reduce_mean, "ReduceLogSumExp": _log_sum_exp,
    "ReduceSumSquare": _reduction("reduce_sum", "square"), "ReduceL1": _reduction("reduce_sum", "abs"),
    "ReduceL2": _reduction("reduce_sum", "square", "sqrt"), "ReduceLogSum": _reduction("reduce_sum", "", "log"),
    "ArgMax": _arg("argmax"), "ArgMin": _arg("argmin"), "CumSum": _cumulative,
}  # fmt: skip
"""Reductions and running sums."""
