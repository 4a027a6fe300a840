"""Layers of networks as array operations: products, convolutions, pooling, look-ups, normalisations, attention."""

import math
from collections.abc import Sequence

import numpy as np

from tierplan.frontend.array_ops import ArrayOps, axis_of, broadcast_shape, number
from tierplan.frontend.jaxpr_block import Operand, Source
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Attribute

Padding = Sequence[tuple[int, int]]
_WIDEST_WINDOW = 2**16
_MOST_TAPS = 2**22


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


def convolution(
    ops: ArrayOps,
    image: Source,
    kernel: Source,
    *,
    strides: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int = 1,
    image_dilation: Sequence[int] | None = None,
    dtype: str | None = None,
) -> Operand:
    """Batch and channels first: image [N, C, ...], kernel [F, C / groups, ...]."""
    x, w = ops.array(image), ops.array(kernel)
    holes = tuple(image_dilation or (1,) * len(strides))
    if len(x.shape) != len(strides) + 2 or len(w.shape) != len(x.shape) or groups < 1:
        raise InvalidInputError(f"image {x.shape}, kernel {w.shape} and {len(strides)} strides do not convolve")
    if x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise InvalidInputError(f"image {x.shape} and kernel {w.shape} do not convolve in {groups} groups")
    _check_windows(w.shape[2:], (*strides, *dilation, *holes))
    spread = [(n - 1) * h + 1 if n else 0 for n, h in zip(x.shape[2:], holes, strict=True)]
    places = window_places(spread, w.shape[2:], strides, padding, dilation)
    if any(h > 1 and p * k > _MOST_TAPS for h, p, k in zip(holes, places, w.shape[2:], strict=True)):
        raise InvalidInputError(f"a transposed convolution to {tuple(places)} is absurd")
    axes = tuple(range(len(x.shape)))
    made = dtype or x.dtype
    return ops.apply(
        "conv_general_dilated", [x, w], (x.shape[0], w.shape[0], *places), made,
        window_strides=tuple(strides), padding=tuple(padding), lhs_dilation=holes, rhs_dilation=tuple(dilation),
        dimension_numbers=(("lhs_spec", axes), ("rhs_spec", axes), ("out_spec", axes)),
        feature_group_count=groups, batch_group_count=1, precision=None, preferred_element_type=made,
    )  # fmt: skip


def transposed_convolution(
    ops: ArrayOps,
    image: Source,
    kernel: Source,
    *,
    strides: Sequence[int],
    padding: Padding,
    extra: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Operand:
    """The gradient of a convolution with respect to its image; kernel [C, F / groups, ...].

    `padding` is what the forward convolution would pad, `extra` rows stand at the end of the result.
    """
    x, w = ops.array(image), ops.array(kernel)
    c, f, *taps = w.shape
    if groups < 1 or c % groups or x.shape[1:2] != (c,):
        raise InvalidInputError(f"image {x.shape} and kernel {w.shape} do not convolve in {groups} groups")
    _check_windows(taps, (*strides, *dilation))
    w = ops.reshape(w, (groups, c // groups, f, *taps))
    w = ops.reshape(ops.transpose(w, (0, 2, 1, *range(3, len(taps) + 3))), (groups * f, c // groups, *taps))
    axes = tuple(range(2, len(taps) + 2))
    w = ops.apply("rev", [w], w.shape, w.dtype, dimensions=axes)
    reach = [(k - 1) * d for k, d in zip(taps, dilation, strict=True)]
    around = [(r - low, r - high + e) for r, (low, high), e in zip(reach, padding, extra, strict=True)]
    return convolution(
        ops, x, w, strides=(1,) * len(taps), padding=around, dilation=dilation, groups=groups, image_dilation=strides
    )


def _check_windows(window: Sequence[int], steps: Sequence[int]) -> None:
    if any(not 1 <= k <= _WIDEST_WINDOW for k in window) or any(not 1 <= s <= _WIDEST_WINDOW for s in steps):
        raise InvalidInputError(f"a window of {tuple(window)} by steps of {tuple(steps)} is absurd")


def window_places(
    image: Sequence[int], window: Sequence[int], strides: Sequence[int], padding: Padding, dilation: Sequence[int]
) -> list[int]:
    """How many places a window takes along each axis.

    >>> window_places([224], [7], [2], [(3, 3)], [1])
    [112]
    """
    return [
        max(0, (n + low + high - (k - 1) * d - 1) // s + 1)
        for n, k, s, (low, high), d in zip(image, window, strides, padding, dilation, strict=True)
    ]


def pool(
    ops: ArrayOps,
    primitive: str,
    image: Source,
    *,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Operand:
    """A reduction over windows of the axes behind batch and channels."""
    x = ops.array(image)
    if len(x.shape) != len(window) + 2:
        raise InvalidInputError(f"a window of {len(window)} axes does not fit an image of shape {x.shape}")
    _check_windows(window, (*strides, *dilation))
    places = window_places(x.shape[2:], window, strides, padding, dilation)
    return ops.apply(
        primitive, [x], (*x.shape[:2], *places), x.dtype,
        window_dimensions=(1, 1, *window), window_strides=(1, 1, *strides),
        padding=((0, 0), (0, 0), *padding), base_dilation=(1,) * len(x.shape), window_dilation=(1, 1, *dilation),
    )  # fmt: skip


def average_pool(
    ops: ArrayOps,
    image: Source,
    *,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    counted: Padding,
) -> Operand:
    """The mean over windows, of which only what lies in the image and its `counted` padding counts."""
    total = pool(ops, "reduce_window_sum", image, window=window, strides=strides, padding=padding, dilation=dilation)
    n_tests = sum(k * p for k, p in zip(window, total.shape[2:], strict=True))
    if list(counted) == list(padding) or max(n_tests, math.prod(total.shape[2:])) > _MOST_TAPS:
        return ops.elementwise("div", total, number(math.prod(window), total.dtype))
    sizes = image.shape[2:]
    counts = np.ones((), np.float32)
    for n, k, s, (low, _), d, p, (before, after) in zip(
        sizes, window, strides, padding, dilation, total.shape[2:], counted, strict=True
    ):
        inside = [
            max(1, sum(-before <= place * s - low + tap * d < n + after for tap in range(k))) for place in range(p)
        ]
        counts = np.multiply.outer(counts, np.array(inside, np.float32))
    return ops.elementwise("div", total, ops.constant(counts, total.dtype))


def take(ops: ArrayOps, table: Source, indices: Source, axis: int, *, wrap: bool = True) -> Operand:
    """Slices of `table` along an axis, one per index; negative indices count from the end with `wrap`."""
    x = ops.array(table)
    axis = axis_of(axis, len(x.shape))
    at = _wrapped(ops, indices, x.shape[axis]) if wrap else indices
    rank = len(indices.shape)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    offsets = tuple(n for n in range(len(shape)) if not axis <= n < axis + rank)
    numbers = _gather_numbers(offsets, (axis,), (axis,))
    sizes = tuple(1 if n == axis else extent for n, extent in enumerate(x.shape))
    return gather(ops, x, ops.reshape(at, (*indices.shape, 1)), shape, sizes, numbers)


def gather(
    ops: ArrayOps,
    operand: Operand,
    indices: Operand,
    shape: Sequence[int],
    sizes: Sequence[int],
    numbers: tuple[tuple[str, tuple[int, ...]], ...],
) -> Operand:
    """Blocks of an array, as `jax.lax.gather` finds them; indices are inside."""
    return ops.apply(
        "gather", [operand, indices], shape, operand.dtype, dimension_numbers=numbers, slice_sizes=tuple(sizes),
        indices_are_sorted=False, unique_indices=False, mode="CLIP", fill_value=None,
    )  # fmt: skip


def take_along(ops: ArrayOps, table: Source, indices: Source, axis: int) -> Operand:
    """`result[i, j, k] = table[i, indices[i, j, k], k]` for axis 1, and so on."""
    x, at = ops.array(table), ops.array(indices)
    axis = axis_of(axis, len(x.shape))
    limits = [e if n == axis else at.shape[n] for n, e in enumerate(x.shape)]
    x = ops.slice(x, [0] * len(limits), limits)
    others = tuple(n for n in range(len(x.shape)) if n != axis)
    column = ops.reshape(_wrapped(ops, at, x.shape[axis]), (*at.shape, 1))
    numbers = _gather_numbers((), (axis,), (axis,), others)
    return gather(ops, x, column, at.shape, (1,) * len(x.shape), numbers)


def _gather_numbers(
    offsets: tuple[int, ...], collapsed: tuple[int, ...], starts: tuple[int, ...], batching: tuple[int, ...] = ()
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return (
        ("offset_dims", offsets), ("collapsed_slice_dims", collapsed), ("start_index_map", starts),
        ("operand_batching_dims", batching), ("start_indices_batching_dims", batching),
    )  # fmt: skip


def gather_blocks(ops: ArrayOps, table: Source, indices: Source, batch: int) -> Operand:
    """ONNX's GatherND: the last axis of the indices holds coordinates; `batch` leading axes belong together."""
    x, at = ops.array(table), ops.array(indices)
    depth = at.shape[-1]
    if x.shape[:batch] != at.shape[:batch] or batch + depth > len(x.shape):
        raise InvalidInputError(f"indices {at.shape} do not address an array of shape {x.shape}")
    starts = tuple(range(batch, batch + depth))
    shape = (*at.shape[:-1], *x.shape[batch + depth :])
    offsets = tuple(range(len(at.shape) - 1, len(shape)))
    sizes = tuple(1 if n < batch + depth else e for n, e in enumerate(x.shape))
    return gather(ops, x, at, shape, sizes, _gather_numbers(offsets, starts, starts, tuple(range(batch))))


def scatter(ops: ArrayOps, primitive: str, table: Source, indices: Source, updates: Source, depth: int) -> Operand:
    """Blocks of `updates` put where the last axis of the indices says, `depth` coordinates each."""
    x, at, new = ops.array(table), ops.array(indices), ops.array(updates)
    starts = tuple(range(depth))
    windows = tuple(range(len(at.shape) - 1, len(new.shape)))
    if new.shape != (*at.shape[:-1], *x.shape[depth:]):
        raise InvalidInputError(f"updates {new.shape} at indices {at.shape} do not fit an array of shape {x.shape}")
    numbers = (
        ("update_window_dims", windows), ("inserted_window_dims", starts), ("scatter_dims_to_operand_dims", starts),
        ("operand_batching_dims", ()), ("scatter_indices_batching_dims", ()),
    )  # fmt: skip
    return ops.apply(
        primitive, [x, at, new], x.shape, x.dtype, dimension_numbers=numbers, indices_are_sorted=False,
        unique_indices=False, mode="CLIP",
    )  # fmt: skip


def scatter_along(ops: ArrayOps, primitive: str, table: Source, indices: Source, updates: Source, axis: int) -> Operand:
    """`table[i, indices[i, j, k], k] = updates[i, j, k]` for axis 1, and so on."""
    x, at = ops.array(table), ops.array(indices)
    axis = axis_of(axis, len(x.shape))
    wrapped = _wrapped(ops, at, x.shape[axis])
    columns: list[Source] = []
    for n in range(len(x.shape)):
        if n == axis:
            columns.append(ops.reshape(wrapped, (*at.shape, 1)))
        else:
            columns.append(ops.reshape(iota(ops, at.shape, n, at.dtype), (*at.shape, 1)))
    return scatter(ops, primitive, x, ops.concatenate(columns, -1), updates, len(x.shape))


def iota(ops: ArrayOps, shape: Sequence[int], axis: int, dtype: str) -> Operand:
    """Each element holds its place along an axis."""
    return ops.apply("iota", [], shape, dtype, dtype=dtype, shape=tuple(shape), dimension=axis, sharding=None)


def _wrapped(ops: ArrayOps, indices: Source, extent: int) -> Source:
    known = ops.contents.get(indices.value) if isinstance(indices, Operand) else None
    if known is not None and bool(np.greater_equal(known, 0).all()):
        return indices
    if not isinstance(indices, Operand):
        value = indices.value
        return number(value + extent if isinstance(value, int) and value < 0 else int(float(str(value))), indices.dtype)
    negative = ops.elementwise("lt", indices, number(0, indices.dtype))
    return ops.select(negative, ops.elementwise("add", indices, number(extent, indices.dtype)), indices)


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


def top_k(ops: ArrayOps, source: Source, k: int, axis: int, index_dtype: str) -> list[Operand]:
    """The largest k along an axis, and where they lie."""
    x = ops.array(source)
    axis = axis_of(axis, len(x.shape))
    if not 0 <= k <= x.shape[axis]:
        raise InvalidInputError(f"cannot take the largest {k} of {x.shape[axis]}")
    last = len(x.shape) - 1
    order = [n for n in range(len(x.shape)) if n != axis] + [axis]
    turned = ops.transpose(x, order)
    shape = (*turned.shape[:-1], k)
    attributes: dict[str, Attribute] = {"k": k, "operand": None, "axis": last}
    made = ops.steps("top_k", [turned], [(shape, x.dtype), (shape, "int32")], attributes)
    back = [order.index(n) for n in range(len(x.shape))]
    values, places = (ops.transpose(part, back) for part in made)
    return [values, ops.array(ops.convert(places, index_dtype))]


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
