"""ATen operators that are layers: products, convolutions, pooling, normalisations, attention, recurrent layers."""

from collections.abc import Sequence

import numpy as np

from tierplan.frontend.array_layers import affine, attention, einsum, interpolated, matmul, normalised, per_channel
from tierplan.frontend.array_loops import Activation, gru, lstm
from tierplan.frontend.array_ops import ArrayOps, axis_of
from tierplan.frontend.array_windows import average_pool, convolution, pool, transposed_convolution
from tierplan.frontend.aten_call import AtenCall, Handler
from tierplan.frontend.jaxpr_block import Source
from tierplan.frontend.onnx_elementwise import like
from tierplan.ir.errors import InvalidInputError


def _linear(call: AtenCall) -> Source:
    x, weight = call.x("input", "self"), call.x("weight")
    return affine(call.ops, call.ops.dot(x, weight, ((len(x.shape) - 1,), (1,))), None, call.maybe("bias"))


def _product(call: AtenCall) -> Source:
    return matmul(call.ops, call.x(), call.x("other", "mat2", "vec", "tensor"))


def _added_product(call: AtenCall) -> Source:
    """addmm, baddbmm, addmv: beta self + alpha a b."""
    ops = call.ops
    made: Source = matmul(ops, call.x("mat1", "batch1", "mat"), call.x("mat2", "batch2", "vec"))
    alpha, beta, shift = call.real("alpha", 1.0), call.real("beta", 1.0), call.x()
    made = made if alpha == 1.0 else ops.elementwise("mul", made, like(alpha, made))
    if beta == 0.0:
        return made
    return ops.elementwise("add", made, shift if beta == 1.0 else ops.elementwise("mul", shift, like(beta, shift)))


def _conv(call: AtenCall) -> Source:
    ops, x, w = call.ops, call.ops.array(call.x("input")), call.ops.array(call.x("weight"))
    n = len(w.shape) - 2
    lone = len(x.shape) == n + 1
    x = ops.reshape(x, (1, *x.shape)) if lone else x
    strides, dilation = call.ints("stride", [1] * n, n), call.ints("dilation", [1] * n, n)
    padding = _padding(call, w.shape[2:], dilation, n)
    turned = call.flag("transposed") or call.node.op.startswith("conv_transpose")
    groups = call.whole("groups", 1)
    if turned:
        extra = call.ints("output_padding", [0] * n, n)
        made = transposed_convolution(
            ops, x, w, strides=strides, padding=padding, extra=extra, dilation=dilation, groups=groups
        )
    else:
        made = convolution(ops, x, w, strides=strides, padding=padding, dilation=dilation, groups=groups)
    bias = call.maybe("bias")
    result = affine(ops, made, None, bias and per_channel(ops, bias, len(made.shape)))
    return ops.reshape(result, result.shape[1:]) if lone else result


def _padding(call: AtenCall, window: Sequence[int], dilation: Sequence[int], n: int) -> list[tuple[int, int]]:
    given = call.node.arguments.get("padding")
    if given == "valid":
        return [(0, 0)] * n
    if given == "same":
        totals = [(k - 1) * d for k, d in zip(window, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in call.ints("padding", [0] * n, n)]


def _pooled(call: AtenCall) -> Source | list[Source]:
    ops, x = call.ops, call.ops.array(call.x())
    n = int(next(digit for digit in call.node.op if digit.isdigit()))
    lone = len(x.shape) == n + 1
    x = ops.reshape(x, (1, *x.shape)) if lone else x
    window = call.ints("kernel_size", n=n)
    strides = call.ints("stride", n=n) if call.ints("stride") else window
    padding = _padding(call, window, [1] * n, n)
    dilation = call.ints("dilation", [1] * n, n)
    exact = list(padding)
    for axis, (e, k, s, d) in enumerate(zip(x.shape[2:], window, strides, dilation, strict=True)):
        low, high = padding[axis]
        missing = (call.shape[-n + axis] - 1) * s + (k - 1) * d + 1 - (e + low + high)
        padding[axis] = (low, high + max(0, missing))  # rounding up lets the last window leave the image
    if call.node.op.startswith("max"):
        made = pool(ops, "reduce_window_max", x, window=window, strides=strides, padding=padding, dilation=dilation)
    else:
        made = average_pool(
            ops, x, window=window, strides=strides, padding=padding, dilation=dilation,
            counted=exact if call.flag("count_include_pad", True) else [(0, 0)] * n,
        )  # fmt: skip
    result = ops.reshape(made, made.shape[1:]) if lone else made
    if len(call.node.results) < 2:
        return result
    return [result, ops.streamed("max_pool.indices", [x], [call.out(1)])[0]]


def _adaptive(call: AtenCall) -> Source:
    ops, x = call.ops, call.ops.array(call.x())
    n = int(next(digit for digit in call.node.op if digit.isdigit()))
    sizes = call.shape[-n:]
    if set(sizes) == {1}:
        return ops.mean(x, range(len(x.shape) - n, len(x.shape)), keep=True)
    if any(not size or extent % size for size, extent in zip(sizes, x.shape[-n:], strict=True)):
        return ops.streamed(call.node.op, [x], [call.out()])[0]
    window = [extent // size for size, extent in zip(sizes, x.shape[-n:], strict=True)]
    wide = x if len(x.shape) == n + 2 else ops.reshape(x, (1, *x.shape))
    made = average_pool(
        ops, wide, window=window, strides=window, padding=[(0, 0)] * n, dilation=[1] * n, counted=[(0, 0)] * n
    )
    return ops.reshape(made, call.shape)


def _batch_norm(call: AtenCall) -> Source | list[Source]:
    ops, x = call.ops, call.x()
    rank = len(x.shape)
    mean, variance = call.maybe("running_mean"), call.maybe("running_var")
    training = call.flag("training") or call.flag("train") or mean is None or variance is None
    made: Source
    if training:
        made = normalised(ops, x, [n for n in range(rank) if n != 1], call.real("eps", 1e-5))
    else:
        assert mean is not None
        assert variance is not None
        root = ops.elementwise("rsqrt", ops.elementwise("add", variance, like(call.real("eps", 1e-5), variance)))
        made = ops.elementwise("sub", x, per_channel(ops, mean, rank))
        made = ops.elementwise("mul", made, per_channel(ops, root, rank))
    scale, shift = (
        None if row is None else per_channel(ops, row, rank) for row in (call.maybe("weight"), call.maybe("bias"))
    )
    result = affine(ops, made, scale, shift)
    if len(call.node.results) == 1:
        return result
    rest = call.node.results[1:]
    sides = [ops.streamed("batch_norm.statistics", [x], [call.program.layout(name)])[0] for name in rest]
    return [result, *sides]


def _layer_norm(call: AtenCall) -> Source | list[Source]:
    ops, x = call.ops, call.x()
    axes = range(len(x.shape) - len(call.ints("normalized_shape")), len(x.shape))
    made = normalised(ops, x, axes, call.real("eps", 1e-5), centred=call.node.op != "rms_norm")
    result = affine(ops, made, call.maybe("weight"), call.maybe("bias"))
    if len(call.node.results) == 1:
        return result
    mean = ops.mean(x, axes, keep=True)
    square = ops.mean(ops.elementwise("square", ops.elementwise("sub", x, mean)), axes, keep=True)
    root = ops.elementwise("rsqrt", ops.elementwise("add", square, like(call.real("eps", 1e-5), x)))
    return [result, mean, root]


def _group_norm(call: AtenCall) -> Source | list[Source]:
    ops, x, groups = call.ops, call.x(), call.whole("num_groups", call.whole("group", 1))
    if groups < 1 or x.shape[1] % groups:
        raise InvalidInputError(f"{call.node}: {groups} groups of shape {x.shape}")
    wide = ops.reshape(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    made = ops.reshape(normalised(ops, wide, range(2, len(wide.shape)), call.real("eps", 1e-5)), x.shape)
    rows = (call.maybe("weight"), call.maybe("bias"))
    result = affine(ops, made, *(row and per_channel(ops, row, len(x.shape)) for row in rows))
    rest = call.node.results[1:]
    sides = [ops.streamed("group_norm.statistics", [x], [call.program.layout(name)])[0] for name in rest]
    return [result, *sides]


def _instance_norm(call: AtenCall) -> Source:
    ops, x = call.ops, call.x()
    made = normalised(ops, x, range(2, len(x.shape)), call.real("eps", 1e-5))
    rows = (call.maybe("weight"), call.maybe("bias"))
    return affine(ops, made, *(row and per_channel(ops, row, len(x.shape)) for row in rows))


def _attention(call: AtenCall) -> Source | list[Source]:
    scale = call.real("scale", 0.0) or None
    made = attention(
        call.ops, call.x("query"), call.x("key"), call.x("value"), scale=scale, mask=call.maybe("attn_mask"),
        causal=call.flag("is_causal"),
    )  # fmt: skip
    rest = call.node.results[1:]
    if not rest:
        return made
    sides = [call.ops.streamed("attention.sums", [call.x("query")], [call.program.layout(name)])[0] for name in rest]
    return [made, *sides]


def _einsum(call: AtenCall) -> Source:
    return einsum(call.ops, call.text("equation", ""), call.many())


def _resized(call: AtenCall) -> Source:
    """Nearest neighbours, and linear between them, along each axis behind batch and channels."""
    ops, x = call.ops, call.ops.array(call.x())
    corners = call.flag("align_corners")
    for axis in range(2, len(x.shape)):
        extent, size = x.shape[axis], call.shape[axis]
        if size > 2**20 or not size or not extent:
            raise InvalidInputError(f"{call.node}: from {extent} to {size} elements")
        if extent == size:
            continue
        out = np.arange(size)
        if "nearest" in call.node.op:
            taps = [(np.minimum(out * extent // size, extent - 1), np.ones(size))]
        else:
            at = out * (extent - 1) / max(1, size - 1) if corners else np.maximum((out + 0.5) * extent / size - 0.5, 0)
            low = np.minimum(np.floor(at), extent - 1)
            taps = [(low, 1 - (at - low)), (np.minimum(low + 1, extent - 1), at - low)]
        x = interpolated(ops, x, axis, taps)
    return x


def _logistic(ops: ArrayOps, x: Source) -> Source:
    return ops.elementwise("logistic", x)


def _tanh(ops: ArrayOps, x: Source) -> Source:
    return ops.elementwise("tanh", x)


_FUNCTIONS: list[Activation] = [_logistic, _tanh, _tanh]


def _recurrent(call: AtenCall) -> list[Source]:
    """LSTM and GRU of any number of layers and directions; dropout between layers is left out."""
    ops, parameters = call.ops, call.many("params")
    n_layers, both = call.whole("num_layers", 1), call.flag("bidirectional")
    biased = call.flag("has_biases", True)
    is_lstm = call.node.op == "lstm"
    states = call.many("hx") if is_lstm else [call.x("hx")]
    batch_first = call.flag("batch_first")
    x = ops.transpose(call.x(), (1, 0, 2)) if batch_first else ops.array(call.x())
    n_directions, per = 1 + both, 4 if biased else 2
    if n_layers < 1 or len(parameters) != n_layers * n_directions * per or len(x.shape) != 3:
        raise InvalidInputError(f"{call.node}: {len(parameters)} parameters for {n_layers} layers")
    lasts: list[list[Source]] = []
    for layer in range(n_layers):
        outs: list[Source] = []
        for direction in range(n_directions):
            cell = layer * n_directions + direction
            w, r, *biases = parameters[per * cell : per * (cell + 1)]
            entering = [ops.reshape(ops.along(s, 0, cell, cell + 1), s.shape[1:]) for s in states]
            if is_lstm:
                stacks, after = lstm(
                    ops, x, (w, r), biases, (entering[0], entering[1]), gates="ifco", functions=_FUNCTIONS,
                    reverse=bool(direction),
                )  # fmt: skip
            else:
                pair = (biases[0], biases[1]) if biases else (None, None)
                stacks, after = gru(
                    ops, x, (w, r), pair, entering[0], gates="rzh", functions=_FUNCTIONS[:2],
                    linear_before_reset=True, reverse=bool(direction),
                )  # fmt: skip
            outs.append(stacks[0])
            lasts.append(after)
        x = ops.concatenate(outs, 2)
    finals = [
        ops.concatenate([ops.reshape(after[n], (1, *after[n].shape)) for after in lasts], 0) for n in range(len(states))
    ]
    return [ops.transpose(x, (1, 0, 2)) if batch_first else x, *finals]


def _cosine(call: AtenCall) -> Source:
    ops, a, b = call.ops, call.x("x1"), call.x("x2")
    axis = axis_of(call.whole("dim", 1), len(a.shape))
    dot = ops.reduce("reduce_sum", ops.elementwise("mul", a, b), [axis])
    norms = [ops.reduce("reduce_sum", ops.elementwise("square", x), [axis]) for x in (a, b)]
    return ops.elementwise("mul", dot, ops.elementwise("rsqrt", ops.elementwise("mul", *norms)))


def _squared_error(call: AtenCall) -> Source:
    ops = call.ops
    made = ops.elementwise("square", ops.elementwise("sub", call.x(), call.x("target")))
    how = call.whole("reduction", 1)
    axes = range(len(made.shape))
    return made if how == 0 else ops.mean(made, axes) if how == 1 else ops.reduce("reduce_sum", made, axes)


def _pixel_shuffle(call: AtenCall) -> Source:
    ops, x, r = call.ops, call.x(), call.whole("upscale_factor", 1)
    *batch, c, h, w = x.shape
    n = len(batch)
    wide = ops.reshape(x, (*batch, c // (r * r), r, r, h, w))
    turned = ops.transpose(wide, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return ops.reshape(turned, (*batch, c // (r * r), h * r, w * r))


LAYERS: dict[str, Handler] = {
    "linear": _linear, "matmul": _product, "mm": _product, "bmm": _product, "mv": _product, "dot": _product,
    "addmm": _added_product, "baddbmm": _added_product, "addmv": _added_product, "einsum": _einsum,
    **dict.fromkeys((
        "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    ), _conv),
    **dict.fromkeys((
        "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    ), _pooled),
    **dict.fromkeys((
        "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
    ), _adaptive),
    **dict.fromkeys((
        "batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    ), _batch_norm),
    **dict.fromkeys(("layer_norm", "native_layer_norm", "rms_norm"), _layer_norm),
    **dict.fromkeys((
        "scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
    ), _attention),
    **dict.fromkeys((
        "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d",
    ), _resized),
    "group_norm": _group_norm, "native_group_norm": _group_norm,
    "instance_norm": _instance_norm, "lstm": _recurrent, "gru": _recurrent,
    "cosine_similarity": _cosine, "mse_loss": _squared_error, "pixel_shuffle": _pixel_shuffle,
}  # fmt: skip
"""Layers of networks."""
