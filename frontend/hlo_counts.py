"""Operation counts of HLO instructions, by the rules of XLA's own cost analysis.

An elementwise instruction is one operation per element of its result, a transcendental one included; a
multiply-accumulate is two; a reduction applies its function once for every element that it takes away; movement of
data is none. A fusion or a call counts what it calls; of the branches of a conditional the largest count of each kind.

Source: XLA's HloCostAnalysis: `flops` is `matrix + vector`, `transcendentals` is `transcendental`.
Assumes: the body and the condition of a `while` count once, as they do there; a Graph says how often they run.
"""

import math
import re
from dataclasses import dataclass, field

from tierplan.frontend.hlo_check import branches_of
from tierplan.frontend.hlo_module import Computation, Instruction, Module
from tierplan.frontend.hlo_shape import HloShape
from tierplan.frontend.jaxpr_counts import valid_taps
from tierplan.ir.errors import InvalidInputError

TRANSCENDENTAL = frozenset((
    "exponential", "log", "logistic", "power", "sqrt", "cbrt", "rsqrt", "tanh", "sine", "cosine", "tan",
    "exponential-minus-one", "log-plus-one", "atan2", "erf", "acos", "acosh", "asin", "asinh", "atanh", "cosh", "sinh",
))  # fmt: skip
ELEMENTWISE = TRANSCENDENTAL | frozenset((
    "abs", "add", "and", "ceil", "clamp", "compare", "complex", "convert", "count-leading-zeros", "divide", "floor",
    "imag", "is-finite", "maximum", "minimum", "multiply", "negate", "not", "or", "popcnt", "real", "reduce-precision",
    "remainder", "round-nearest-afz", "round-nearest-even", "select", "shift-left", "shift-right-arithmetic",
    "shift-right-logical", "sign", "stochastic-convert", "subtract", "xor",
))  # fmt: skip
MOVEMENT = frozenset((
    "add-dependency", "after-all", "all-gather", "all-gather-done", "all-gather-start", "all-to-all", "bitcast",
    "bitcast-convert", "broadcast", "collective-broadcast", "collective-permute", "collective-permute-done",
    "collective-permute-start", "concatenate", "constant", "copy", "copy-done", "copy-start", "domain",
    "dynamic-reshape", "dynamic-slice", "dynamic-update-slice", "gather", "get-dimension-size", "get-tuple-element",
    "infeed", "iota", "optimization-barrier", "outfeed", "pad", "parameter", "partition-id", "recv", "recv-done",
    "replica-id", "reshape", "reverse", "rng-get-and-update-state", "send", "send-done", "set-dimension-size", "slice",
    "transpose", "tuple", "all-reduce-done", "async-done", "async-update", "ragged-all-to-all",
))  # fmt: skip
_MOST_TAPS = 10**6
_WINDOW = re.compile(r"\b(size|stride|pad|lhs_dilate|rhs_dilate)=([\d_x\-]+)")
_LABELS = re.compile(r"\bdim_labels=(\w+)_(\w+)->(\w+)")


@dataclass(frozen=True, slots=True)
class Counts:
    """Operations: of products, other arithmetic, transcendental functions. `streamed`: some are not known."""

    matrix: int = 0
    vector: int = 0
    transcendental: int = 0
    streamed: bool = False

    @property
    def flops(self) -> int:
        """What XLA calls flops."""
        return self.matrix + self.vector

    def plus(self, other: "Counts") -> "Counts":
        """Both, one after the other."""
        return Counts(
            self.matrix + other.matrix,
            self.vector + other.vector,
            self.transcendental + other.transcendental,
            self.streamed or other.streamed,
        )

    def times(self, n: int) -> "Counts":
        """The same, `n` times."""
        return Counts(self.matrix * n, self.vector * n, self.transcendental * n, self.streamed)

    def most(self, other: "Counts") -> "Counts":
        """The larger number of flops, and of transcendental operations."""
        larger = self if self.flops >= other.flops else other
        return Counts(
            larger.matrix,
            larger.vector,
            max(self.transcendental, other.transcendental),
            self.streamed or other.streamed,
        )


@dataclass(slots=True)
class Counter:
    """Counts of the instructions of one module; those of its computations are made once."""

    module: Module
    _totals: dict[str, Counts] = field(default_factory=dict[str, Counts])

    def total(self) -> Counts:
        """The whole program, loops once, as XLA counts it."""
        return self.of_computation(self.module.entry.name)

    def of_computation(self, name: str) -> Counts:
        """All instructions of a computation, what they call included."""
        if name not in self._totals:
            for callee in self.module.order:  # callees before callers: no recursion, however deep they nest
                computation = self.module.computations[callee]
                total = Counts()
                for instruction in computation.instructions:
                    total = total.plus(self.of(instruction, computation))
                self._totals[callee] = total
        return self._totals[name]

    def of(self, instruction: Instruction, computation: Computation) -> Counts:
        """One execution of one instruction.

        Raises: InvalidInputError: an attribute that the count needs is missing or does not fit the shapes.
        """
        opcode, shape = instruction.opcode, instruction.shape
        if opcode in ELEMENTWISE:
            n = shape.n_elements
            return Counts(transcendental=n) if opcode in TRANSCENDENTAL else Counts(vector=n)
        if opcode in MOVEMENT:
            return Counts()
        operands = [operand.shape for operand in computation.operands(instruction)]
        try:
            return self._counted(instruction, operands)
        except (IndexError, KeyError, ZeroDivisionError, ValueError) as error:
            raise InvalidInputError(
                f"line {instruction.line}: the attributes of {opcode} '{instruction.name}' do not fit its shapes "
                f"({type(error).__name__}: {error})"
            ) from None

    def _counted(self, instruction: Instruction, operands: list[HloShape]) -> Counts:
        opcode, shape, called = instruction.opcode, instruction.shape, instruction.called
        first = (shape.elements[0] if shape.elements else HloShape("bool")) if shape.is_tuple else shape
        if opcode == "dot":
            width = math.prod(operands[0].extents[axis] for axis in instruction.numbers("lhs_contracting_dims"))
            return Counts(matrix=2 * shape.n_elements * width)
        if opcode == "convolution":
            return Counts(matrix=_convolution(instruction, operands))
        if opcode in ("fusion", "call", "async-start"):
            return self.of_computation(next(iter(called.values()))[0])
        if opcode == "while":
            return self.of_computation(called["body"][0]).plus(self.of_computation(called["condition"][0]))
        if opcode == "conditional":
            return _largest([self.of_computation(branch) for branch in branches_of(instruction)])
        if opcode == "map":
            return self.of_computation(called["to_apply"][0]).times(shape.n_elements)
        if opcode == "reduce":
            n = max(0, operands[0].n_elements - first.n_elements)
            return self.of_computation(called["to_apply"][0]).times(n)
        if opcode == "reduce-window":
            return self.of_computation(called["to_apply"][0]).times(_windows(instruction, first))
        if opcode == "select-and-scatter":
            n, taps = operands[1].n_elements, math.prod(_window(instruction).get("size", [1]))
            chosen = self.of_computation(called["select"][0]).times(n * max(0, taps - 1))
            return chosen.plus(self.of_computation(called["scatter"][0]).times(n))
        if opcode == "scatter":
            return self.of_computation(called["to_apply"][0]).times(operands[len(operands) // 2 + 1].n_elements)
        if opcode in ("all-reduce", "all-reduce-start", "reduce-scatter"):
            return Counts(vector=sum(leaf.n_elements for _, leaf in shape.leaves()) if opcode[0] == "a" else 0)
        return _library(opcode, instruction, operands, shape)


def _largest(branches: list[Counts]) -> Counts:
    most = Counts()
    for branch in branches:
        most = most.most(branch)
    return most


def _library(opcode: str, instruction: Instruction, operands: list[HloShape], shape: HloShape) -> Counts:
    """Whole algorithms; one that is not known is marked as streamed."""
    if opcode == "sort":
        n = operands[0].n_elements
        return Counts(vector=n * max(0, n - 1).bit_length())
    if opcode == "fft":
        logs = math.prod(max(0, length.bit_length() - 1) for length in instruction.numbers("fft_length"))
        return Counts(vector=8 * logs * operands[0].n_elements)
    if opcode == "triangular-solve":
        return Counts(vector=2 * operands[0].extents[-1] * operands[1].n_elements)
    if opcode == "cholesky":
        return Counts(vector=operands[0].extents[-1] * operands[0].n_elements // 3)
    if opcode in ("rng", "rng-bit-generator"):
        return Counts(transcendental=sum(leaf.n_elements for _, leaf in shape.leaves()))
    return Counts(streamed=True)


def _window(instruction: Instruction) -> dict[str, list[int]]:
    """Size, strides, low paddings and dilations along each axis of a window."""
    start = instruction.attributes.find("window={")
    text = instruction.attributes[start : instruction.attributes.find("}", start)] if start >= 0 else ""
    found: dict[str, list[int]] = {}
    for key, value in _WINDOW.findall(text):
        parts = value.split("x")
        if key == "pad":
            found["low"] = [int(part.split("_")[0]) for part in parts]
            found["high"] = [int(part.split("_")[1]) for part in parts]
        else:
            found[key] = [int(part) for part in parts]
    return found


def _windows(instruction: Instruction, result: HloShape) -> int:
    """How often a windowed reduction applies its function.

    A window that reaches over a whole axis from everywhere is a reduction that is broadcast again.
    """
    window = _window(instruction)
    size = window.get("size", [1])
    n, taps = result.n_elements, math.prod(size)
    low, high = window.get("low", [0] * len(size)), window.get("high", [0] * len(size))
    wide = [axis for axis, extent in enumerate(size) if extent != 1]
    padded = [axis for axis in range(len(size)) if low[axis] or high[axis]]
    if len(wide) == 1 == len(padded) and not instruction.shape.is_tuple:
        axis = wide[0]
        around = low[axis] == high[axis] != 0 and size[axis] == 2 * low[axis] + 1
        if around and low[axis] == result.extents[axis] - 1:
            extent = result.extents[axis]
            return n // extent + extent - 1
    return max(0, taps - 1) * n


def _convolution(instruction: Instruction, operands: list[HloShape]) -> int:
    """Products with padding and with the holes of a dilated image are not counted, as in XLA."""
    labels = _LABELS.search(instruction.attributes)
    if labels is None:
        raise ValueError("no dim_labels")
    image_axes, kernel_axes, out_axes = labels.groups()
    image, kernel, out = operands[0].extents, operands[1].extents, instruction.shape.extents
    window = _window(instruction)
    n_axes = len(window.get("size", ()))
    ones = [1] * n_axes
    taps = 1
    for axis in range(n_axes):
        digit = str(axis)
        k, o = kernel[kernel_axes.index(digit)], out[out_axes.index(digit)]
        step = window.get("lhs_dilate", ones)[axis]
        if k > _MOST_TAPS or (step != 1 and k * o > _MOST_TAPS * 10):
            raise ValueError(f"a kernel of {k} taps")
        taps *= valid_taps(
            image[image_axes.index(digit)],
            k,
            o,
            window.get("stride", ones)[axis],
            window.get("low", [0] * n_axes)[axis],
            step,
            window.get("rhs_dilate", ones)[axis],
        )
    features = image[image_axes.index("f")] // instruction.number("feature_group_count", 1)
    batch = image[image_axes.index("b")] // instruction.number("batch_group_count", 1)
    return 2 * features * out[out_axes.index("f")] * batch * taps
