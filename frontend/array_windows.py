"""Windows over images as array operations: convolutions and pooling."""

import math
from collections.abc import Sequence

import numpy as np

from tierplan.frontend.array_ops import ArrayOps, number
from tierplan.frontend.jaxpr_block import Operand, Source
from tierplan.ir.errors import InvalidInputError

Padding = Sequence[tuple[int, int]]
_WIDEST_WINDOW = 2**16
_MOST_TAPS = 2**22


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
