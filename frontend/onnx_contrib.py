"""Operators of the domain com.microsoft that exported and optimised models hold."""

import math
from collections.abc import Callable, Sequence

from tierplan.frontend.array_indexing import take
from tierplan.frontend.array_layers import affine, attention, matmul, normalised
from tierplan.frontend.array_ops import ArrayOps, axis_of
from tierplan.frontend.jaxpr_block import Source
from tierplan.frontend.onnx_call import Call, Handler
from tierplan.frontend.onnx_elementwise import gelu, like, silu
from tierplan.frontend.onnx_layers import LAYERS, heads_apart, heads_together, layer_norm
from tierplan.frontend.onnx_quantised import dequantised, dynamic, integer_matmul, quantised
from tierplan.ir.errors import InvalidInputError


def _fused_matmul(call: Call) -> Source:
    ops = call.ops
    a, b = (_turned(ops, call.x(n), bool(call.whole(name, 0))) for n, name in ((0, "transA"), (1, "transB")))
    made: Source = matmul(ops, a, b)
    alpha = call.real("alpha", 1.0)
    return ops.elementwise("mul", made, like(alpha, made)) if alpha != 1.0 else made


def _turned(ops: ArrayOps, x: Source, turn: bool) -> Source:
    rank = len(x.shape)
    return ops.transpose(x, (*range(rank - 2), rank - 1, rank - 2)) if turn and rank > 1 else x


def _skip_norm(*, centred: bool) -> Handler:
    def run(call: Call) -> Sequence[Source | None]:
        ops = call.ops
        total: Source = ops.elementwise("add", call.x(0), call.x(1))
        bias = call.maybe(4 if centred else 3)
        total = affine(ops, total, None, bias)
        made = layer_norm(call, total, call.maybe(2), call.maybe(3) if centred else None, centred=centred)
        return [made, None, None, total]

    return run


def _embed_norm(call: Call) -> Sequence[Source | None]:
    ops, ids = call.ops, call.x(0)
    tokens = ids.shape[-1]
    made: Source = take(ops, call.x(2), ids, 0)
    made = ops.elementwise("add", made, ops.along(call.x(3), 0, 0, tokens))
    if call.has(4) and call.has(1):
        made = ops.elementwise("add", made, take(ops, call.x(4), call.x(1), 0))
    normal = normalised(ops, made, [-1], call.real("epsilon", 1e-12))
    return [affine(ops, normal, call.maybe(5), call.maybe(6)), None, made]


def _packed_attention(call: Call) -> Sequence[Source | None]:
    """Query, key and value from one product with packed weights."""
    ops, heads = call.ops, call.whole("num_heads", 1)
    product = affine(ops, matmul(ops, call.x(0), call.x(1)), None, call.maybe(2))
    width = product.shape[-1]
    sizes = list(call.ints("qkv_hidden_sizes")) or [width // 3] * 3
    q, k, v = (heads_apart(call, part, heads) for part in ops.parts(product, 2, sizes))
    made = attention(
        ops, q, k, v, scale=call.real("scale", 0.0) or None, causal=bool(call.whole("unidirectional", 0)),
        mask=_padding_mask(ops, call.maybe(3), q.shape[0]),
    )  # fmt: skip
    return [heads_together(call, made)]


def _padding_mask(ops: ArrayOps, mask: Source | None, batch: int) -> Source | None:
    if mask is None or len(mask.shape) != 2 or mask.shape[0] != batch:
        return None
    return ops.convert(ops.reshape(mask, (batch, 1, 1, mask.shape[1])), "bool")


def _multi_head_attention(call: Call) -> Sequence[Source | None]:
    ops, heads = call.ops, call.whole("num_heads", 1)
    parts: list[Source] = [call.x(0), call.x(1), call.x(2)]
    if call.has(3):
        widths = [x.shape[-1] for x in parts]
        biases = ops.parts(call.x(3), 0, widths)
        parts = [ops.elementwise("add", x, bias) for x, bias in zip(parts, biases, strict=True)]
    q, k, v = (heads_apart(call, x, heads) for x in parts)
    if call.has(6) and call.has(7):
        k, v = (ops.concatenate([call.x(n), new], 2) for n, new in ((6, k), (7, v)))
    made = attention(
        ops, q, k, v, scale=call.real("scale", 0.0) or None, mask=call.maybe(5),
        causal=bool(call.whole("unidirectional", 0)),
    )  # fmt: skip
    return [heads_together(call, made), k, v]


def _grouped_attention(call: Call) -> Sequence[Source | None]:
    """Grouped queries over a cache; the past is taken to be full."""
    ops, heads, kv_heads = call.ops, call.whole("num_heads", 1), call.whole("kv_num_heads", 1)
    if call.has(1) and call.has(2):
        q, k, v = call.x(0), call.x(1), call.x(2)
    else:
        width = call.shape()[-1] // max(1, heads + 2 * kv_heads)
        q, k, v = ops.parts(call.x(0), 2, [heads * width, kv_heads * width, kv_heads * width])
    query, key, value = heads_apart(call, q, heads), heads_apart(call, k, kv_heads), heads_apart(call, v, kv_heads)
    start = call.shape(3)[2] if call.has(3) else 0
    if call.whole("do_rotary", 0) and call.has(7) and call.has(8):
        query, key = (_rotated(ops, x, call.x(7), call.x(8), start) for x in (query, key))
    if call.has(3) and call.has(4):
        key, value = (ops.concatenate([call.x(n), new], 2) for n, new in ((3, key), (4, value)))
    made = attention(
        ops, query, key, value, scale=call.real("scale", 0.0) or None, causal=query.shape[2] > 1, offset=start
    )
    return [heads_together(call, made), key, value]


def _rotated(ops: ArrayOps, x: Source, cosines: Source, sines: Source, start: int) -> Source:
    """Pairs of elements half a head apart turned by their position, tables [positions, half a head]."""
    tokens, half = x.shape[2], cosines.shape[1]
    if x.shape[3] < 2 * half or cosines.shape[0] < start + tokens:
        raise InvalidInputError(f"a rotary table of {cosines.shape} for heads of shape {x.shape}")
    cos, sin = (ops.along(table, 0, start, start + tokens) for table in (cosines, sines))
    first, second, *rest = ops.parts(x, 3, [half, half, x.shape[3] - 2 * half])
    left = ops.elementwise("sub", ops.elementwise("mul", first, cos), ops.elementwise("mul", second, sin))
    right = ops.elementwise("add", ops.elementwise("mul", second, cos), ops.elementwise("mul", first, sin))
    return ops.concatenate([left, right, *(part for part in rest if part.shape[3])], 3)


def _rotary(call: Call) -> Source:
    ops, x = call.ops, call.x(0)
    flat = len(x.shape) == 3
    heads = call.whole("num_heads", 0) or (x.shape[2] // max(1, 2 * call.shape(2)[1]) if flat else 0)
    made = _rotated(ops, heads_apart(call, x, heads), call.x(2), call.x(3), 0)
    return heads_together(call, made) if flat else made


def _few_bits(call: Call) -> Source:
    """Weights of few bits, packed [n, blocks, bytes], each block with a scale: unpacked for the product."""
    ops, x = call.ops, call.x(0)
    n, k, bits, block = (
        call.whole(name, default) for name, default in (("N", 1), ("K", 1), ("bits", 4), ("block_size", 32))
    )
    if n < 1 or k < 1 or block < 1 or bits not in (2, 4, 8):
        raise InvalidInputError(f"{call.node}: {n} x {k} weights of {bits} bits in blocks of {block}")
    blocks = -(-k // block)
    packed, scales = ops.array(call.x(1)), ops.array(call.x(2))
    dtype = {2: "uint2", 4: "uint4", 8: "uint8"}[bits]
    if math.prod(packed.shape) * 8 != n * blocks * block * bits or math.prod(scales.shape) != n * blocks:
        raise InvalidInputError(f"{call.node}: {packed.shape} bytes do not hold {n} x {k} weights of {bits} bits")
    stored = packed.bitcast(dtype, (n, blocks, block))
    real = ops.elementwise("sub", ops.convert(stored, x.dtype), like(2 ** (bits - 1), x))
    real = ops.elementwise("mul", real, ops.reshape(scales, (n, blocks, 1)))
    weights = ops.along(ops.reshape(real, (n, blocks * block)), 1, 0, k)
    made: Source = ops.dot(x, weights, ((len(x.shape) - 1,), (1,)))
    return affine(ops, made, None, call.maybe(5))


def _through_real(function: Callable[[Call, list[Source]], Source], n_inputs: int) -> Handler:
    """An operator on real numbers between quantised inputs (x, scale, zero point each) and a quantised result."""

    def run(call: Call) -> Source:
        ops = call.ops
        reals = [dequantised(ops, call.x(3 * n), call.x(3 * n + 1), call.maybe(3 * n + 2), 0) for n in range(n_inputs)]
        made = function(call, reals)
        zero = call.maybe(3 * n_inputs + 1)
        return quantised(ops, made, call.x(3 * n_inputs), zero, call.x(0).dtype)

    return run


def _join_quantised(call: Call) -> Source:
    ops = call.ops
    places = range(2, len(call.entries) - 2, 3)
    parts = [dequantised(ops, call.x(n), call.x(n + 1), call.maybe(n + 2), 0) for n in places]
    return quantised(ops, ops.concatenate(parts, call.whole("axis", 0)), call.x(0), call.x(1), call.x(1).dtype)


def _integer_to_float(call: Call) -> Source:
    ops = call.ops
    whole = integer_matmul(call, call.x(0), call.x(1), call.maybe(4), call.maybe(5))
    scale = ops.elementwise("mul", call.x(2), call.x(3))
    return affine(ops, ops.elementwise("mul", ops.convert(whole, scale.dtype), scale), None, call.maybe(6))


def _dynamic_matmul(call: Call) -> Source:
    ops = call.ops
    scale, zero, whole = dynamic(ops, call.x(0))
    product = integer_matmul(call, whole, call.x(1), zero, call.maybe(3))
    scale = ops.elementwise("mul", scale, call.x(2))
    return affine(ops, ops.elementwise("mul", ops.convert(product, scale.dtype), scale), None, call.maybe(4))


def _fused_conv(call: Call) -> Source:
    made = LAYERS["Conv"](call)
    assert isinstance(made, Source)
    if call.has(3):
        made = call.ops.elementwise("add", made, call.x(3))
    name = call.text("activation", "")
    if name == "Relu":
        return call.ops.elementwise("max", made, like(0, made))
    if name and name not in ("Sigmoid", "Tanh"):
        raise InvalidInputError(f"{call.node}: activation '{name}' is not supported; known: Relu, Sigmoid, Tanh")
    return call.ops.elementwise({"Sigmoid": "logistic", "Tanh": "tanh"}[name], made) if name else made


def _bias_gelu(call: Call) -> Source:
    return gelu(call.ops, call.ops.elementwise("add", call.x(0), call.x(1)))


def _fast_gelu(call: Call) -> Source:
    return gelu(call.ops, affine(call.ops, call.x(0), None, call.maybe(1)), tanh=True)


def _quick_gelu(call: Call) -> Source:
    return silu(call.ops, call.x(0), call.real("alpha", 1.702))


def _pooled(call: Call, reals: list[Source]) -> Source:
    last = bool(call.whole("channels_last", 0))
    rank = len(reals[0].shape)
    return call.ops.mean(reals[0], range(1, rank - 1) if last else range(2, rank), keep=True)


def _leaky(call: Call, reals: list[Source]) -> Source:
    x = reals[0]
    positive = call.ops.elementwise("ge", x, like(0, x))
    return call.ops.select(positive, x, call.ops.elementwise("mul", x, like(call.real("alpha", 0.01), x)))


def _softmax(call: Call, reals: list[Source]) -> Source:
    from tierplan.frontend.array_layers import softmax

    return softmax(call.ops, reals[0], [axis_of(call.whole("axis", -1), len(reals[0].shape))])


CONTRIB: dict[str, Handler] = {
    "FusedMatMul": _fused_matmul, "TransposeMatMul": _fused_matmul, "FusedConv": _fused_conv,
    "Gelu": lambda call: gelu(call.ops, call.x()), "BiasGelu": _bias_gelu, "FastGelu": _fast_gelu,
    "QuickGelu": _quick_gelu, "SkipLayerNormalization": _skip_norm(centred=True),
    "SkipSimplifiedLayerNormalization": _skip_norm(centred=False), "EmbedLayerNormalization": _embed_norm,
    "SimplifiedLayerNormalization": LAYERS["RMSNormalization"], "LayerNormalization": LAYERS["LayerNormalization"],
    "RMSNormalization": LAYERS["RMSNormalization"],
    "Attention": _packed_attention, "MultiHeadAttention": _multi_head_attention,
    "GroupQueryAttention": _grouped_attention, "RotaryEmbedding": _rotary, "MatMulNBits": _few_bits,
    "MatMulIntegerToFloat": _integer_to_float, "DynamicQuantizeMatMul": _dynamic_matmul,
    "QLinearAdd": _through_real(lambda call, reals: call.ops.elementwise("add", *reals), 2),
    "QLinearMul": _through_real(lambda call, reals: call.ops.elementwise("mul", *reals), 2),
    "QLinearSigmoid": _through_real(lambda call, reals: call.ops.elementwise("logistic", *reals), 1),
    "QLinearLeakyRelu": _through_real(_leaky, 1), "QLinearGlobalAveragePool": _through_real(_pooled, 1),
    "QLinearSoftmax": _through_real(_softmax, 1), "QLinearConcat": _join_quantised,
    "BiasAdd": lambda call: call.ops.elementwise("add", call.ops.elementwise("add", call.x(0), call.x(1)), call.x(2)),
}  # fmt: skip
"""Operators of com.microsoft."""
