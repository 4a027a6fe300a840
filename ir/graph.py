"""The graph: operations in execution order over tensors, loops with their trip counts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TypeAlias

from tierplan.ir.dtypes import BITS, size_bytes
from tierplan.ir.errors import InvalidInputError, unknown_name

Attribute: TypeAlias = "str | int | float | bool | tuple[Attribute, ...] | None"

_NO_ATTRIBUTES: Mapping[str, Attribute] = MappingProxyType({})


class TensorKind(Enum):
    """What a tensor is to the program. Weights, inputs, states and constants exist before it runs."""

    WEIGHT = "weight"
    INPUT = "input"
    OUTPUT = "output"
    ACTIVATION = "activation"
    STATE = "state"
    CONSTANT = "constant"

    @property
    def exists_at_start(self) -> bool:
        """Whether the tensor lies in memory before the first step."""
        return self not in (TensorKind.OUTPUT, TensorKind.ACTIVATION)


@dataclass(frozen=True, slots=True)
class Stored:
    """How the bytes of a tensor lie where they are not one element after another: a quantised weight of a file.

    `format` names the encoding, like `q4_k`; `bytes` counts all of it, scales and zero points included.
    """

    format: str
    bytes: int

    def __post_init__(self) -> None:
        if self.bytes < 0:
            raise InvalidInputError(f"a tensor stored as {self.format} takes {self.bytes} bytes; need 0 or more")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A dense array.

    Tensors with the same non-empty `alias` share their bytes: a donated argument and the
    result that replaces it, an array and its update in place. `dtype` is the element type that
    operations compute with; a tensor that is `stored` otherwise takes the bytes that this says.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: TensorKind
    alias: str = ""
    stored: Stored | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("a tensor needs a name")
        if self.dtype not in BITS:
            raise unknown_name(f"dtype of tensor '{self.name}'", self.dtype, BITS)
        if any(extent < 0 for extent in self.shape):
            raise InvalidInputError(f"tensor '{self.name}' has a negative extent in its shape {self.shape}")

    @property
    def n_elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes."""
        return size_bytes(self.n_elements, self.dtype) if self.stored is None else self.stored.bytes

    def size_of(self, n_elements: int) -> int:
        """Bytes of so many of its elements, rounded up to whole bytes, and never more than the tensor has."""
        if self.stored is None:
            return min(size_bytes(n_elements, self.dtype), self.size)
        return min(-(-n_elements * self.stored.bytes // max(self.n_elements, 1)), self.stored.bytes)


@dataclass(frozen=True, slots=True)
class Access:
    """The bytes of a tensor that one execution of an operation streams: all of it, or a part."""

    tensor: str
    bytes: int

    def __post_init__(self) -> None:
        if self.bytes < 0:
            raise InvalidInputError(f"access to '{self.tensor}' streams {self.bytes} bytes; need 0 or more")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    `reads` are in operand order, `writes` in result order. A tensor that is written without
    having existed is produced; one that existed is updated, unless the operation overwrites
    all of it without reading it. `matrix_ops` and `vector_ops` count arithmetic operations
    (a multiply-accumulate is two) by the unit that runs them, in `dtype`.
    `streamed` marks an operation whose cost is only the bytes that it moves, because its
    arithmetic is not known.
    """

    name: str
    kind: str
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    matrix_ops: int = 0
    vector_ops: int = 0
    dtype: str = "float32"
    attributes: Mapping[str, Attribute] = field(default_factory=lambda: _NO_ATTRIBUTES)
    streamed: bool = False

    def __post_init__(self) -> None:
        if self.matrix_ops < 0 or self.vector_ops < 0:
            raise InvalidInputError(f"op '{self.name}' has a negative operation count")
        if self.dtype not in BITS:
            raise unknown_name(f"dtype of op '{self.name}'", self.dtype, BITS)


@dataclass(frozen=True, slots=True)
class Carry:
    """A value that a loop hands from turn to turn: `initial` enters, `body_in` is read, `body_out` is next."""

    initial: str
    body_in: str
    body_out: str


@dataclass(frozen=True, slots=True)
class Loop:
    """Operations `[start, stop)` of the graph, run `trips` times; the operations are those of one turn.

    After the loop a carried value is known by its `body_out`. Of two loops over the same
    operations the one that the graph lists first is around the other.
    """

    name: str
    start: int
    stop: int
    trips: int
    carries: tuple[Carry, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop or self.trips < 0:
            raise InvalidInputError(f"loop '{self.name}' over [{self.start}, {self.stop}) x {self.trips} is not one")


@dataclass(frozen=True, slots=True)
class Graph:
    """A program.

    `cyclic` programs repeat: their end is their beginning (decode tokens, training steps).
    `tokens` is the number of tokens that one run yields or reads, 0 where that has no meaning.
    `notes` are what a reader of its plan should know about where it came from.
    """

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    loops: tuple[Loop, ...] = ()
    cyclic: bool = False
    tokens: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.ops:
            raise InvalidInputError(f"graph '{self.name}' has no operation")
        by_name = {tensor.name: tensor for tensor in self.tensors}
        if len(by_name) != len(self.tensors):
            raise InvalidInputError(f"graph '{self.name}' has two tensors of one name")
        if len({op.name for op in self.ops}) != len(self.ops):
            raise InvalidInputError(f"graph '{self.name}' has two operations of one name")
        if any(loop.stop > len(self.ops) for loop in self.loops):
            raise InvalidInputError(f"graph '{self.name}' has a loop beyond its last operation")
        _check_order(self, by_name)

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise unknown_name("tensor", name, (tensor.name for tensor in self.tensors))

    @property
    def n_parameters(self) -> int:
        """Number of elements of all weights; weights that share their bytes count once."""
        weights = [t for t in self.tensors if t.kind is TensorKind.WEIGHT]
        return sum({t.alias or t.name: t.n_elements for t in weights}.values())


def _check_order(graph: Graph, by_name: Mapping[str, Tensor]) -> None:
    carried = {c.body_in for loop in graph.loops for c in loop.carries}
    written = {t.name for t in graph.tensors if t.kind.exists_at_start} | carried
    aliased = {by_name[name].alias for name in written if by_name[name].alias}
    for op in graph.ops:
        for access in (*op.reads, *op.writes):
            if access.tensor not in by_name:
                raise unknown_name(f"tensor in op '{op.name}'", access.tensor, by_name)
        for access in op.reads:
            if access.tensor not in written and by_name[access.tensor].alias not in aliased:
                raise InvalidInputError(f"op '{op.name}' reads '{access.tensor}' before it is written")
        written.update(access.tensor for access in op.writes)
