"""The kinds of weights: tables, matrices, stacks of matrices and norms, each with the names and shapes that it has."""

from collections.abc import Iterator
from dataclasses import dataclass

Shapes = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Table:
    """An embedding table of shape [rows, width]."""

    name: str
    rows: int
    width: int
    leading: tuple[int, ...] = ()

    def shapes(self) -> Shapes:
        """Name and shape of its one weight."""
        yield self.name, (*self.leading, self.rows, self.width)


@dataclass(frozen=True, slots=True)
class Vector:
    """A weight with one number for each of something."""

    name: str
    width: int

    def shapes(self) -> Shapes:
        """Its name and shape."""
        yield self.name, (self.width,)


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix of shape [outputs, inputs], or [inputs, outputs] where `transposed`, and a bias or none.

    `weight` names the matrix: the token table, where the head is tied to it. A matrix of another `shape` has the
    same number of elements: that of a convolution, or one matrix per head.
    """

    name: str
    inputs: int
    outputs: int
    bias: bool
    transposed: bool = False
    shared: str = ""
    shape: tuple[int, ...] = ()

    @property
    def weight(self) -> str:
        """Name of the matrix."""
        return self.shared or f"{self.name}.weight"

    @property
    def bias_name(self) -> str | None:
        """Name of the bias, if it has one."""
        return f"{self.name}.bias" if self.bias else None

    def shapes(self) -> Shapes:
        """Names and shapes of the weights of its own."""
        if not self.shared:
            plain = (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)
            yield self.weight, self.shape or plain
        if self.bias:
            yield f"{self.name}.bias", (self.outputs,)


@dataclass(frozen=True, slots=True)
class Stack:
    """One matrix for each of `n` experts, in one tensor: [n, outputs, inputs], or [n, inputs, outputs]."""

    name: str
    n: int
    inputs: int
    outputs: int
    transposed: bool = False

    def shapes(self) -> Shapes:
        """Name and shape of its one weight."""
        yield self.name, (self.n, *((self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)))


@dataclass(frozen=True, slots=True)
class Norm:
    """An RMS norm (a scale) or a layer norm (a scale and a shift; neither where not `affine`)."""

    name: str
    width: int
    rms: bool
    affine: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its weights."""
        if not self.affine:
            return ()
        return (f"{self.name}.weight",) if self.rms else (f"{self.name}.weight", f"{self.name}.bias")

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        for name in self.parameters:
            yield name, (self.width,)


@dataclass(frozen=True, slots=True)
class FeedForward:
    """Two matrices around an activation function, or three where a gate multiplies it."""

    up: Linear
    down: Linear
    gate: Linear | None = None

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        for linear in (self.gate, self.up, self.down):
            if linear is not None:
                yield from linear.shapes()


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """The matrices of a latent attention: queries through `q_a` or not, keys and values out of what is cached.

    `kv_b` is one matrix for keys and values, or one for each, which are [heads, ...] tensors.
    """

    q_a: Linear | None
    q_a_norm: Norm | None
    q: Linear
    kv_a: Linear
    kv_norm: Norm
    kv_b: tuple[Linear, ...]

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        for part in (self.q_a, self.q_a_norm, self.q, self.kv_a, self.kv_norm, *self.kv_b):
            if part is not None:
                yield from part.shapes()
