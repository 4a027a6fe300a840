"""Layers of networks as array operations: products, normalisations, attention, interpolation."""

import math
from collections.abc import Sequence

import numpy as np

from tierplan.frontend.array_indexing import iota, take
from tierplan.frontend.array_ops import ArrayOps, axis_of, broadcast_shape, number
from tierplan.frontend.jaxpr_block import Operand, Source
from tierplan.ir.errors import InvalidInputError


def matmul(ops: ArrayOps, a: Source, b: Source, dtype: str | None = None) -> Operand:
    """A product as numpy's: of the last two axes, the ones before spread over each other."""
    left, right = ops.array(a), ops.array(b)
    if not left.shape or not right.shape:
        raise InvalidInputError("a matrix product needs operands of one axis or more")
    if len(left.shape) == 1 or len(right.shape) == 1:
        lone = len(left.shape) == 1, len(right.shape) == 1
        left = ops.reshape(left, (1, *left.shape)) if lone[0] else left
        right = ops.reshape(right, (*right.shape, 1)) if lone[1] else right
        made = matmul(ops, left, right, dtype)
        shape = list(made.shape)
        if lone[1]:
            del shape[-1]
        if lone[0]:
            del shape[-1 if lone[1] else -2]
        return ops.reshape(made, shape)
    batch = broadcast_shape([left.shape[:-2], right.shape[:-2]])
    rank = len(batch)
    left = ops.reshape(left, (*(1,) * (rank + 2 - len(left.shape)), *left.shape))
    right = ops.reshape(right, (*(1,) * (rank + 2 - len(right.shape)), *right.shape))
    shared = [n for n in range(rank) if left.shape[n] == right.shape[n]]
    own_left = [n for n in range(rank) if n not in shared and left.shape[n] != 1]
    own_right = [n for n in range(rank) if n not in shared and right.shape[n] != 1]
    m, k, n = left.shape[-2], left.shape[-1], right.shape[-1]
    left = ops.reshape(left, [*(e for i, e in enumerate(left.shape[:-2]) if i not in own_right), m, k])
    right = ops.reshape(right, [*(e for i, e in enumerate(right.shape[:-2]) if i not in own_left), right.shape[-2], n])
    in_left = [i for i in range(rank) if i not in own_right]
    in_right = [i for i in range(rank) if i not in own_left]
    made = ops.dot(
        left,
        right,
        ((len(in_left) + 1,), (len(in_right),)),
        ([in_left.index(i) for i in shared], [in_right.index(i) for i in shared]),
        dtype,
    )
    order = [*shared, *own_left, "m", *own_right, "n"]
    return ops.transpose(made, [order.index(axis) for axis in (*range(rank), "m", "n")])


def einsum(ops: ArrayOps, formula: str, sources: Sequence[Source]) -> Operand:
    """One or two operands by an Einstein formula; a letter once per operand.

    Raises: InvalidInputError: a formula of another form.
    """
    left, arrow, right = formula.replace(" ", "").partition("->")
    terms = left.split(",")
    operands = [ops.array(source) for source in sources]
    if len(terms) != len(operands) or "." in formula or any(len(set(t)) != len(t) for t in [*terms, right]):
        raise InvalidInputError(f"the Einstein formula '{formula}' has a form that is not read")
    if any(len(t) != len(o.shape) for t, o in zip(terms, operands, strict=True)):
        raise InvalidInputError(f"the Einstein formula '{formula}' does not fit its operands")
    result = right if arrow else "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    made, letters = operands[0], terms[0]
    for term, operand in zip(terms[1:], operands[1:], strict=True):
        rest = set(result).union(*terms[terms.index(term) + 1 :])
        shared = [c for c in letters if c in term]
        kept = [c for c in shared if c in rest]
        summed = [c for c in shared if c not in rest]
        made = ops.dot(
            made,
            operand,
            ([letters.index(c) for c in summed], [term.index(c) for c in summed]),
            ([letters.index(c) for c in kept], [term.index(c) for c in kept]),
        )
        free = [c for c in letters if c not in shared] + [c for c in term if c not in shared]
        letters = "".join([*kept, *free])
    gone = [n for n, c in enumerate(letters) if c not in result]
    made = ops.reduce("reduce_sum", made, gone) if gone else made
    letters = "".join(c for c in letters if c in result)
    return ops.transpose(made, [letters.index(c) for c in result])


def softmax(ops: ArrayOps, source: Source, axes: Sequence[int]) -> Operand:
    """exp(x - max) over its sum."""
    powers = ops.elementwise("exp", _lowered(ops, source, axes))
    return ops.elementwise("div", powers, ops.reduce("reduce_sum", powers, axes, keep=True))


def log_softmax(ops: ArrayOps, source: Source, axes: Sequence[int]) -> Operand:
    """The logarithm of the softmax."""
    shifted = _lowered(ops, source, axes)
    total = ops.reduce("reduce_sum", ops.elementwise("exp", shifted), axes, keep=True)
    return ops.elementwise("sub", shifted, ops.elementwise("log", total))


def _lowered(ops: ArrayOps, source: Source, axes: Sequence[int]) -> Operand:
    return ops.elementwise("sub", source, ops.reduce("reduce_max", source, axes, keep=True))


def normalised(ops: ArrayOps, source: Source, axes: Sequence[int], epsilon: float, *, centred: bool = True) -> Operand:
    """Each group of elements with mean 0 (if centred) and mean square 1."""
    x = ops.elementwise("sub", source, ops.mean(source, axes, keep=True)) if centred else ops.array(source)
    square = ops.mean(ops.elementwise("square", x), axes, keep=True)
    scale = ops.elementwise("rsqrt", ops.elementwise("add", square, number(epsilon, x.dtype)))
    return ops.elementwise("mul", x, scale)


def affine(ops: ArrayOps, source: Source, scale: Source | None, shift: Source | None) -> Source:
    """Scaled and shifted, where there is a scale and a shift."""
    if scale is not None:
        source = ops.elementwise("mul", source, scale)
    return ops.elementwise("add", source, shift) if shift is not None else source


def per_channel(ops: ArrayOps, source: Source, rank: int, axis: int = 1) -> Source:
    """A row of one number per channel, shaped to spread over an array of that rank."""
    if not source.shape:
        return source
    return ops.reshape(source, [math.prod(source.shape) if n == axis else 1 for n in range(rank)])


def attention(
    ops: ArrayOps,
    q: Source,
    k: Source,
    v: Source,
    *,
    scale: float | None = None,
    mask: Source | None = None,
    causal: bool = False,
    offset: int = 0,
    softcap: float = 0.0,
) -> Operand:
    """softmax(q k^T scale + mask) v over [batch, heads, tokens, width]; fewer key heads are shared by queries.

    A mask of truth values keeps, one of numbers is added. Causal: query i sees keys up to i + `offset`.
    """
    query, key, value = (ops.array(source) for source in (q, k, v))
    scale = 1 / math.sqrt(max(1, query.shape[-1])) if scale is None else scale
    if len(query.shape) == 4 and query.shape[1] != key.shape[1]:
        key, value = (_repeated(ops, x, query.shape[1]) for x in (key, value))
    turned = ops.transpose(key, (*range(len(key.shape) - 2), len(key.shape) - 1, len(key.shape) - 2))
    scores: Source = ops.elementwise("mul", matmul(ops, query, turned), number(scale, query.dtype))
    if softcap:
        bent = ops.elementwise("tanh", ops.elementwise("div", scores, number(softcap, scores.dtype)))
        scores = ops.elementwise("mul", bent, number(softcap, scores.dtype))
    if causal:
        rows, columns = scores.shape[-2:]
        here: Source = iota(ops, (rows, columns), 0, "int32")
        here = ops.elementwise("add", here, number(offset, "int32")) if offset else here
        seen = ops.elementwise("ge", here, iota(ops, (rows, columns), 1, "int32"))
        scores = ops.select(ops.broadcast(seen, scores.shape), scores, number(-3e38, scores.dtype))
    if mask is not None and mask.dtype == "bool":
        scores = ops.select(mask, scores, number(-3e38, scores.dtype))
    elif mask is not None:
        scores = ops.elementwise("add", scores, ops.convert(mask, scores.dtype))
    return matmul(ops, softmax(ops, scores, [-1]), value)


def _repeated(ops: ArrayOps, x: Operand, heads: int) -> Operand:
    batch, own, tokens, width = x.shape
    if not own or heads % own:
        raise InvalidInputError(f"{heads} query heads cannot share {own} key heads evenly")
    spread = ops.broadcast(ops.reshape(x, (batch, own, 1, tokens, width)), (batch, own, heads // own, tokens, width))
    return ops.reshape(spread, (batch, heads, tokens, width))


def interpolated(ops: ArrayOps, source: Source, axis: int, taps: Sequence[tuple[np.ndarray, np.ndarray]]) -> Operand:
    """Along one axis the weighted sum of the elements at given places: `taps` are (places, weights)."""
    x = ops.array(source)
    axis = axis_of(axis, len(x.shape))
    total: Source | None = None
    for places, weights in taps:
        found = take(ops, x, ops.constant(places.astype(np.int32)), axis)
        if len(taps) > 1:
            row = per_channel(ops, ops.constant(weights.astype(np.float32), x.dtype), len(x.shape), axis)
            found = ops.elementwise("mul", found, row)
        total = found if total is None else ops.elementwise("add", total, found)
    assert total is not None
    return ops.array(total)
