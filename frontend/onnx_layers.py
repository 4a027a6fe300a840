"""ONNX operators that are layers: products, convolutions, pooling, normalisations, attention, resizing."""

import math
from collections.abc import Sequence

import numpy as np

from tierplan.frontend.array_layers import affine, attention, einsum, interpolated, matmul, normalised, per_channel
from tierplan.frontend.array_ops import MOST_ELEMENTS, axis_of
from tierplan.frontend.array_windows import average_pool, convolution, pool, transposed_convolution
from tierplan.frontend.jaxpr_block import Source
from tierplan.frontend.onnx_call import Call, Handler, Result
from tierplan.frontend.onnx_elementwise import like
from tierplan.frontend.onnx_model import Array
from tierplan.ir.errors import InvalidInputError


def _gemm(call: Call) -> Source:
    ops, a, b = call.ops, call.x(0), call.x(1)
    axes = (0 if call.whole("transA", 0) else 1,), (1 if call.whole("transB", 0) else 0,)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise InvalidInputError(f"{call.node} multiplies shapes {a.shape} and {b.shape}; need matrices")
    made: Source = ops.dot(a, b, axes)
    alpha, beta = call.real("alpha", 1.0), call.real("beta", 1.0)
    if alpha != 1.0:
        made = ops.elementwise("mul", made, like(alpha, made))
    shift = call.maybe(2)
    if shift is not None and beta != 1.0:
        shift = ops.elementwise("mul", shift, like(beta, made))
    return affine(ops, made, None, shift)


class Window:
    """The attributes that convolutions and pools share, with automatic padding worked out."""

    def __init__(self, call: Call, image: Sequence[int], window: Sequence[int]) -> None:
        n = len(window)
        self.strides = call.ints("strides", [1] * n, n)
        self.dilation = call.ints("dilations", [1] * n, n)
        pads = call.ints("pads", [0] * (2 * n), 2 * n)
        self.padding = list(zip(pads[:n], pads[n:], strict=True))
        self.auto = call.text("auto_pad", "NOTSET")
        if any(k < 1 for k in (*window, *self.strides, *self.dilation)) or len(image) != n:
            raise InvalidInputError(f"{call.node}: a window of {tuple(window)} by {self.strides} over {tuple(image)}")
        if self.auto == "VALID":
            self.padding = [(0, 0)] * n
        elif self.auto in ("SAME_UPPER", "SAME_LOWER"):
            self.padding = [
                self._same(e, k, s, d) for e, k, s, d in zip(image, window, self.strides, self.dilation, strict=True)
            ]
        if any(low < 0 or high < 0 or low + high > 2**20 for low, high in self.padding):
            raise InvalidInputError(f"{call.node}: padding of {self.padding} is absurd")

    def _same(self, extent: int, k: int, stride: int, dilation: int) -> tuple[int, int]:
        total = max(0, (-(-extent // stride) - 1) * stride + (k - 1) * dilation + 1 - extent)
        low = total // 2 if self.auto == "SAME_UPPER" else total - total // 2
        return low, total - low

    def rounded_up(self, image: Sequence[int], window: Sequence[int]) -> list[tuple[int, int]]:
        """The padding with room for windows that begin inside but leave at the end."""
        padding: list[tuple[int, int]] = []
        for n, k, s, d, (low, high) in zip(image, window, self.strides, self.dilation, self.padding, strict=True):
            reach = (k - 1) * d + 1
            places = -(-(n + low + high - reach) // s) + 1
            if (places - 1) * s >= n + low:
                places -= 1
            padding.append((low, max(high, (places - 1) * s + reach - n - low)))
        return padding


def _conv(call: Call) -> Source:
    x, w = call.x(0), call.x(1)
    at = Window(call, x.shape[2:], w.shape[2:])
    made = convolution(
        call.ops, x, w, strides=at.strides, padding=at.padding, dilation=at.dilation, groups=call.whole("group", 1)
    )
    shift = call.maybe(2)
    return affine(call.ops, made, None, shift and per_channel(call.ops, shift, len(made.shape)))


def _conv_transpose(call: Call) -> Source:
    x, w = call.x(0), call.x(1)
    n = len(w.shape) - 2
    at = Window(call, x.shape[2:], w.shape[2:])
    extra = list(call.ints("output_padding", [0] * n, n))
    padding = at.padding
    if "output_shape" in call.attributes or at.auto.startswith("SAME"):
        asked = call.ints("output_shape", [e * s for e, s in zip(x.shape[2:], at.strides, strict=True)])[-n:]
        padding = list[tuple[int, int]]()
        for e, k, s, d, o, more in zip(x.shape[2:], w.shape[2:], at.strides, at.dilation, asked, extra, strict=True):
            total = (e - 1) * s + more + (k - 1) * d + 1 - o
            low = int(total / 2) if at.auto != "SAME_LOWER" else total - int(total / 2)
            padding.append((low, total - low))
    made = transposed_convolution(
        call.ops, x, w, strides=at.strides, padding=padding, extra=extra, dilation=at.dilation,
        groups=call.whole("group", 1),
    )  # fmt: skip
    shift = call.maybe(2)
    return affine(call.ops, made, None, shift and per_channel(call.ops, shift, len(made.shape)))


def _max_pool(call: Call) -> Sequence[Source | None]:
    x, window = call.x(), call.ints("kernel_shape")
    at = Window(call, x.shape[2:], window)
    padding = at.rounded_up(x.shape[2:], window) if call.whole("ceil_mode", 0) else at.padding
    made = pool(
        call.ops, "reduce_window_max", x, window=window, strides=at.strides, padding=padding, dilation=at.dilation
    )
    if len(call.wanted) < 2 or not call.wanted[1]:
        return [made]
    return [made, call.ops.streamed("MaxPool.Indices", [x], [(made.shape, "int64")])[0]]


def _average_pool(call: Call) -> Source:
    x, window = call.x(), call.ints("kernel_shape")
    at = Window(call, x.shape[2:], window)
    padding = at.rounded_up(x.shape[2:], window) if call.whole("ceil_mode", 0) else at.padding
    return average_pool(
        call.ops, x, window=window, strides=at.strides, padding=padding, dilation=at.dilation,
        counted=at.padding if call.whole("count_include_pad", 0) else [(0, 0)] * len(window),
    )  # fmt: skip


def _global_max(call: Call) -> Source:
    return call.ops.reduce("reduce_max", call.x(), range(2, len(call.shape())), keep=True)


def _batch_norm(call: Call) -> Sequence[Source]:
    ops, x = call.ops, call.x()
    rank = len(x.shape)
    scale, shift, mean, variance = (per_channel(ops, call.x(n), rank) for n in range(1, 5))
    if call.whole("training_mode", 0):
        axes = [n for n in range(rank) if n != 1]
        mean = ops.mean(x, axes, keep=True)
        variance = ops.mean(ops.elementwise("square", ops.elementwise("sub", x, mean)), axes, keep=True)
    root = ops.elementwise("rsqrt", ops.elementwise("add", variance, like(call.real("epsilon", 1e-5), variance)))
    made = ops.elementwise("mul", ops.elementwise("sub", x, mean), ops.elementwise("mul", root, scale))
    results: list[Source] = [ops.elementwise("add", made, shift)]
    if call.whole("training_mode", 0) and len(call.wanted) > 1:
        old, keep = call.real("momentum", 0.9), [(3, mean), (4, variance)]
        for n, new in keep:
            row = ops.reshape(new, (x.shape[1],))
            kept = ops.elementwise("mul", call.x(n), like(old, row))
            results.append(ops.elementwise("add", kept, ops.elementwise("mul", row, like(1 - old, row))))
    return results


def _instance_norm(call: Call) -> Source:
    ops, x = call.ops, call.x()
    rank = len(x.shape)
    made = normalised(ops, x, range(2, rank), call.real("epsilon", 1e-5))
    return affine(ops, made, per_channel(ops, call.x(1), rank), per_channel(ops, call.x(2), rank))


def layer_norm(call: Call, x: Source, scale: Source | None, shift: Source | None, *, centred: bool = True) -> Source:
    """Normalised over the axes from the attribute `axis` on."""
    axis = axis_of(call.whole("axis", -1), len(x.shape))
    made = normalised(call.ops, x, range(axis, len(x.shape)), call.real("epsilon", 1e-5), centred=centred)
    return affine(call.ops, made, scale, shift)


def _layer_norm(call: Call) -> Sequence[Source | None]:
    ops, x = call.ops, call.x()
    made = layer_norm(call, x, call.maybe(1), call.maybe(2))
    if len(call.wanted) < 2:
        return [made]
    axes = range(axis_of(call.whole("axis", -1), len(x.shape)), len(x.shape))
    mean = ops.mean(x, axes, keep=True)
    square = ops.mean(ops.elementwise("square", ops.elementwise("sub", x, mean)), axes, keep=True)
    return [made, mean, ops.elementwise("rsqrt", ops.elementwise("add", square, like(call.real("epsilon", 1e-5), x)))]


def _group_norm(call: Call) -> Source:
    ops, x, groups = call.ops, call.x(), call.whole("num_groups", 1)
    if len(x.shape) < 2 or groups < 1 or x.shape[1] % groups:
        raise InvalidInputError(f"{call.node}: {groups} groups of shape {x.shape}")
    wide = ops.reshape(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    made = ops.reshape(normalised(ops, wide, range(2, len(wide.shape)), call.real("epsilon", 1e-5)), x.shape)
    rows = [call.x(n) for n in (1, 2)]
    if rows[0].shape == (groups,) and groups != x.shape[1]:
        spread = (groups, x.shape[1] // groups)
        rows = [ops.reshape(ops.broadcast(ops.reshape(r, (groups, 1)), spread), (x.shape[1],)) for r in rows]
    return affine(ops, made, *(per_channel(ops, row, len(x.shape)) for row in rows))


def _lrn(call: Call) -> Source:
    ops, x, size = call.ops, call.ops.array(call.x()), call.whole("size", 1)
    if not 1 <= size <= 2**16:
        raise InvalidInputError(f"{call.node}: a window of {size} channels")
    square = ops.elementwise("square", x)
    rank = len(x.shape)
    total = ops.apply(
        "reduce_window_sum", [square], x.shape, x.dtype,
        window_dimensions=(1, size, *(1,) * (rank - 2)), window_strides=(1,) * rank,
        padding=((0, 0), ((size - 1) // 2, size // 2), *((0, 0),) * (rank - 2)),
        base_dilation=(1,) * rank, window_dilation=(1,) * rank,
    )  # fmt: skip
    scaled = ops.elementwise("mul", total, like(call.real("alpha", 1e-4) / size, x))
    root = ops.elementwise(
        "pow", ops.elementwise("add", scaled, like(call.real("bias", 1.0), x)), like(call.real("beta", 0.75), x)
    )
    return ops.elementwise("div", x, root)


def _mean_variance(call: Call) -> Source:
    return normalised(call.ops, call.x(), call.ints("axes", (0, 2, 3)), 1e-9)


def _lp_norm(call: Call) -> Source:
    ops, x, axis = call.ops, call.x(), call.whole("axis", -1)
    if call.whole("p", 2) == 1:
        total = ops.reduce("reduce_sum", ops.elementwise("abs", x), [axis], keep=True)
    else:
        total = ops.elementwise("sqrt", ops.reduce("reduce_sum", ops.elementwise("square", x), [axis], keep=True))
    return ops.elementwise("div", x, total)


def heads_apart(call: Call, x: Source, heads: int) -> Source:
    """[batch, tokens, heads * width] as [batch, heads, tokens, width]."""
    if len(x.shape) == 4:
        return x
    if len(x.shape) != 3 or heads < 1 or x.shape[2] % heads:
        raise InvalidInputError(f"{call.node}: {heads} heads in shape {x.shape}")
    batch, tokens, width = x.shape
    return call.ops.transpose(call.ops.reshape(x, (batch, tokens, heads, width // heads)), (0, 2, 1, 3))


def heads_together(call: Call, x: Source) -> Source:
    """The reverse of `heads_apart`."""
    batch, heads, tokens, width = x.shape
    return call.ops.reshape(call.ops.transpose(x, (0, 2, 1, 3)), (batch, tokens, heads * width))


def _attention(call: Call) -> Sequence[Source | None]:
    flat = len(call.shape()) == 3
    q = heads_apart(call, call.x(0), call.whole("q_num_heads", 1))
    k, v = (heads_apart(call, call.x(n), call.whole("kv_num_heads", 1)) for n in (1, 2))
    if call.has(4) and call.has(5):
        k, v = (call.ops.concatenate([call.x(n), new], 2) for n, new in ((4, k), (5, v)))
    made = attention(
        call.ops, q, k, v, scale=call.real("scale", 1 / math.sqrt(max(1, q.shape[-1]))), mask=call.maybe(3),
        causal=bool(call.whole("is_causal", 0)), offset=call.shape(4)[2] if call.has(4) else 0,
        softcap=call.real("softcap", 0.0),
    )  # fmt: skip
    if len(call.wanted) > 3:
        raise InvalidInputError(f"{call.node}: the product of queries and keys as a result is not supported")
    return [heads_together(call, made) if flat else made, k, v]


def _resize(call: Call) -> Result:
    x = call.x()
    old = call.node.op == "Upsample" or call.opset < 11
    scales, sizes = _scales(call, old)
    axes = [axis_of(a, len(x.shape)) for a in call.ints("axes", range(len(x.shape)))]
    mode = call.text("mode", "nearest")
    made: Source = x
    for n, axis in enumerate(axes):
        extent = x.shape[axis]
        if sizes is not None:
            size = sizes[n] if n < len(sizes) else -1
            scale = size / extent if extent else 1.0
        else:
            scale = scales[n] if n < len(scales) else 1.0
            size = math.floor(extent * scale) if math.isfinite(extent * scale) else -1
        if not 0 <= size <= 2**20 or not 0 < extent <= MOST_ELEMENTS:
            raise InvalidInputError(f"{call.node}: from {extent} to {size} elements along axis {axis}")
        if size != extent or scale != 1.0:
            made = interpolated(call.ops, made, axis, _taps(call, extent, size, scale, mode, old))
    return made


def _scales(call: Call, old: bool) -> tuple[list[float], list[int] | None]:
    if "scales" in call.attributes:
        return [float(scale) for scale in call.attributes["scales"]], None
    index = 1 if old else 2
    if not old and call.has(3) and math.prod(call.shape(3)):
        return [], call.numbers(3, "the new sizes")
    call.numbers(index, "the scales") if call.known(index) is None else None
    return [float(scale) for scale in np.asarray(call.known(index)).reshape(-1)], None


def _taps(call: Call, extent: int, size: int, scale: float, mode: str, old: bool) -> list[tuple[Array, Array]]:
    """Per tap the places that are read along one axis, and their weights."""
    out = np.arange(size, dtype=np.float64)
    how = call.text("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    if how == "align_corners":
        at = out * (extent - 1) / max(1, size - 1)
    elif how == "asymmetric":
        at = out / scale
    elif how == "pytorch_half_pixel" and size == 1:
        at = np.zeros(1)
    else:
        at = (out + 0.5) / scale - 0.5
    if mode == "nearest":
        rounding = call.text("nearest_mode", "floor" if old else "round_prefer_floor")
        nearest = {
            "floor": np.floor(at), "ceil": np.ceil(at), "round_prefer_ceil": np.floor(at + 0.5),
        }.get(rounding, np.ceil(at - 0.5))  # fmt: skip
        return [(np.clip(nearest, 0, extent - 1), np.ones(size))]
    base = np.floor(at)
    rest = at - base
    if mode == "cubic":
        weights = _cubic(rest, call.real("cubic_coeff_a", -0.75))
        return [(np.clip(base + n - 1, 0, extent - 1), w) for n, w in enumerate(weights)]
    low = np.clip(base, 0, extent - 1)
    return [(low, 1 - rest), (np.clip(base + 1, 0, extent - 1), rest)]


def _cubic(rest: Array, a: float) -> list[Array]:
    """Source: Keys, Cubic convolution interpolation for digital image processing, 1981, equation 4."""
    near = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (rest, 1 - rest)]
    far = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in (1 + rest, 2 - rest)]
    return [far[0], near[0], near[1], far[1]]


LAYERS: dict[str, Handler] = {
    "MatMul": lambda call: matmul(call.ops, call.x(0), call.x(1)), "Gemm": _gemm,
    "Einsum": lambda call: einsum(call.ops, call.text("equation", ""), [call.x(n) for n in range(len(call.entries))]),
    "Conv": _conv, "ConvTranspose": _conv_transpose, "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": lambda call: call.ops.mean(call.x(), range(2, len(call.shape())), keep=True),
    "GlobalMaxPool": _global_max, "BatchNormalization": _batch_norm, "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm, "GroupNormalization": _group_norm, "LRN": _lrn,
    "RMSNormalization": lambda call: layer_norm(call, call.x(), call.maybe(1), None, centred=False),
    "MeanVarianceNormalization": _mean_variance, "LpNormalization": _lp_norm, "Attention": _attention,
    "Resize": _resize, "Upsample": _resize,
}  # fmt: skip
"""Layers of networks."""
