"""Operation counts per primitive, from shapes and attributes alone.

One elementwise primitive is one operation per element of its result, transcendental ones included; movement of
data is none; a multiply-accumulate is two. Selects, comparisons and conversions are elementwise operations, as
they are in XLA's own count.

Source: the conventions of XLA's HloCostAnalysis, whose `flops` and `transcendentals` together are this total.
Assumes: no algebraic simplification; what the program writes is what runs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

from tierplan.frontend.jaxpr_block import Count, Shape, Source, Value
from tierplan.ir.dtypes import BITS
from tierplan.ir.graph import Attribute

Attributes: TypeAlias = "Mapping[str, Attribute]"
_Counter: TypeAlias = "Callable[[Sequence[Source], Sequence[Value], Attributes], int]"

ELEMENTWISE = frozenset((
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e",
    "bessel_i1e", "cbrt", "ceil", "clamp", "clz", "complex", "conj", "convert_element_type", "cos", "cosh", "digamma",
    "div", "eq", "eq_to", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "igamma", "igammac",
    "imag", "integer_pow", "is_finite", "le", "le_to", "lgamma", "log", "log1p", "logistic", "lt", "lt_to", "max",
    "min", "mul", "ne", "neg", "nextafter", "not", "or", "polygamma", "population_count", "pow", "random_gamma",
    "real", "reduce_precision", "regularized_incomplete_beta", "rem", "round", "rsqrt", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh",
    "xor", "zeta",
))  # fmt: skip
"""One result element from one element of each operand."""

GENERATORS = frozenset(("broadcast_in_dim", "iota"))
"""Results that are cheaper to make again than to read."""

MOVEMENT = frozenset((
    "broadcast_in_dim", "concatenate", "copy", "copy_p", "dynamic_slice", "dynamic_update_slice", "empty",
    "empty2", "gather", "iota", "pad", "reshape", "rev", "scatter", "slice", "split", "stack", "tile", "transpose",
    "unstack",
    "platform_index", "random_seed", "random_fold_in",
))  # fmt: skip
"""No arithmetic: only bytes. (Seeding and folding a key are a few scalar operations.)"""

REDUCTIONS = frozenset((
    "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor", "argmax",
    "argmin",
))  # fmt: skip

SCATTERS = frozenset(
    ("scatter", "scatter-add", "scatter_add", "scatter-sub", "scatter_sub", "scatter_mul", "scatter_min", "scatter_max")
)

_THREEFRY_OPS_PER_WORD = 56
"""Twenty rounds of add, xor and a rotation of three operations, and twelve key additions, yield two words.

Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 4.1.
"""


def count(primitive: str, operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> Count:
    """Operations of one primitive; one that is not known is marked as streamed.

    The type that the operations run in is that of the operands of a product or a comparison, else of the result.
    """
    dtype = results[0].dtype if results else "float32"
    if primitive in _MATRIX:
        widest = max((source.dtype for source in operands[:2]), key=lambda dtype: BITS[dtype])
        return Count(matrix=_MATRIX[primitive](operands, results, attributes), dtype=widest)
    if dtype == "bool" and operands:
        dtype = operands[-1].dtype
    if primitive in ELEMENTWISE and primitive != "integer_pow":
        return Count(vector=math.prod(results[0].shape), dtype=dtype)
    if primitive in MOVEMENT:
        return Count(dtype=dtype)
    if primitive in _VECTOR:
        return Count(vector=_VECTOR[primitive](operands, results, attributes), dtype=dtype)
    return Count(dtype=dtype, streamed=True)


def is_counted(primitive: str) -> bool:
    """Whether the operations of a primitive are known; of any other only the bytes are."""
    return primitive in ELEMENTWISE or primitive in MOVEMENT or primitive in _MATRIX or primitive in _VECTOR


def _elements(shape: Shape) -> int:
    return math.prod(shape)


def _dot(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    contracting = cast("tuple[tuple[Shape, Shape], tuple[Shape, Shape]]", attributes["dimension_numbers"])[0]
    return 2 * _elements(results[0].shape) * math.prod(operands[0].shape[axis] for axis in contracting[0])


def _convolution(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    """Products with padding and with the holes of a dilated input are not counted.

    Source: XLA's HloCostAnalysis::HandleConvolution, which counts valid positions the same way.
    """
    specs = dict(cast("tuple[tuple[str, Shape], ...]", attributes["dimension_numbers"]))
    image, kernel, out = operands[0].shape, operands[1].shape, results[0].shape
    strides = cast("Shape", attributes["window_strides"])
    padding = cast("tuple[tuple[int, int], ...]", attributes["padding"])
    image_dilation, kernel_dilation = (
        cast("Shape", attributes["lhs_dilation"]),
        cast("Shape", attributes["rhs_dilation"]),
    )
    taps = 1
    for axis in range(len(strides)):
        taps *= valid_taps(
            image[specs["lhs_spec"][2 + axis]],
            kernel[specs["rhs_spec"][2 + axis]],
            out[specs["out_spec"][2 + axis]],
            strides[axis],
            padding[axis][0],
            image_dilation[axis],
            kernel_dilation[axis],
        )
    batch, features = out[specs["out_spec"][0]], out[specs["out_spec"][1]]
    return 2 * batch * features * kernel[specs["rhs_spec"][1]] * taps


def valid_taps(image: int, kernel: int, out: int, stride: int, low: int, image_step: int, kernel_step: int) -> int:
    """Pairs of output and kernel positions along one axis that meet an element of the image.

    >>> valid_taps(4, 3, 4, 1, 1, 1, 1)  # "same" padding: the two corners lose a tap each
    10
    """
    n_valid = 0
    for tap in range(kernel):
        shift = tap * kernel_step - low
        if image_step == 1:
            first = max(0, -(shift // stride))
            last = min(out - 1, (image - 1 - shift) // stride)
            n_valid += max(0, last - first + 1)
            continue
        places = (position * stride + shift for position in range(out))
        n_valid += sum(1 for place in places if place % image_step == 0 and 0 <= place // image_step < image)
    return n_valid


def _reduction(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    return max(0, _elements(operands[0].shape) - _elements(results[0].shape))  # an empty axis takes none


def _power(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    exponent = cast("int", attributes["y"])
    size = abs(exponent)
    squarings = max(size.bit_length() - 1, 0) + max(size.bit_count() - 1, 0)
    return _elements(results[0].shape) * (squarings + (exponent < 0))


def _cumulative(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    axis = cast("int", attributes["axis"])
    extent = max(1, operands[0].shape[axis])
    return _elements(operands[0].shape) // extent * (extent - 1)


def _window(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    return _elements(results[0].shape) * (math.prod(cast("Shape", attributes["window_dimensions"])) - 1)


def _window_backward(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    window = math.prod(cast("Shape", attributes["window_dimensions"]))
    return _elements(operands[0].shape) * window


def _scatter(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    return _elements(operands[2].shape)


def _sort(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    shape = operands[0].shape
    extent = shape[cast("int", attributes.get("dimension", -1))] if shape else 1
    return _elements(shape) * math.ceil(math.log2(max(extent, 1)))


def _top_k(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    kept = results[0].shape[-1] if results[0].shape else 1
    return _elements(operands[0].shape) * max(1, math.ceil(math.log2(max(kept, 1))))


def _random_bits(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    return -(-results[0].size // 4) * _THREEFRY_OPS_PER_WORD


def _cholesky(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    """Source: Golub and Van Loan, Matrix Computations, section 4.2: n^3 / 3."""
    return _elements(operands[0].shape) * operands[0].shape[-1] // 3


def _triangular_solve(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    """Source: Golub and Van Loan, Matrix Computations, section 3.1: n^2 per right-hand side."""
    return _elements(results[0].shape) * operands[0].shape[-1]


def _fft(operands: Sequence[Source], results: Sequence[Value], attributes: Attributes) -> int:
    """Source: the usual 5 N log2 N of a complex transform of N points, half of it for a real one."""
    lengths = cast("Shape", attributes["fft_lengths"])
    points = max(_elements(operands[0].shape), _elements(results[0].shape))
    real = "complex" not in operands[0].dtype or "complex" not in results[0].dtype
    return math.ceil(5 * points * math.log2(max(2, math.prod(lengths))) / (2 if real else 1))


_MATRIX: dict[str, _Counter] = {"dot_general": _dot, "conv_general_dilated": _convolution}

_VECTOR: dict[str, _Counter] = {
    "integer_pow": _power,
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), _cumulative),
    **dict.fromkeys(("reduce_window_sum", "reduce_window_max", "reduce_window_min"), _window),
    "select_and_scatter_add": _window_backward,
    "select_and_gather_add": _window,
    **dict.fromkeys(SCATTERS - {"scatter"}, _scatter),
    "sort": _sort,
    "top_k": _top_k,
    "random_bits": _random_bits,
    "threefry2x32": lambda operands, results, attributes: 2 * _elements(results[0].shape) * _THREEFRY_OPS_PER_WORD,
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
    "fft": _fft,
}
