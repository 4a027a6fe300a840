"""Array operations written down as the primitives of traced programs: shapes worked out, broadcasts made explicit.

Frontends of other frameworks translate their operators into these; counts, fusion and Einsums follow from the
primitives, which mean what they mean in `jax.lax`.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tierplan.frontend.jaxpr_block import (
    Count,
    Kernel,
    Literal,
    Operand,
    Shape,
    Source,
    Step,
    Value,
    whole,
)
from tierplan.frontend.jaxpr_counts import count
from tierplan.frontend.jaxpr_region import Region, copied
from tierplan.frontend.jaxpr_views import view
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Attribute, Graph
from tierplan.ir.loops import executions

MOST_ELEMENTS = 2**42
_MOST_BYTES = 2**62
_COMPARISONS = frozenset(("eq", "ne", "lt", "le", "gt", "ge", "is_finite"))


class ArrayOps:
    """Writes primitives, one after the other, into the region that is open."""

    def __init__(self) -> None:
        self.region = Region()
        self.contents: dict[Value, NDArray[np.generic]] = {}
        self.notes: Mapping[str, Attribute] = {}
        self._n_loops: dict[str, int] = {}

    @contextmanager
    def inside(self, region: Region) -> Generator[Region]:
        """Write into another region for a while."""
        before, self.region = self.region, region
        try:
            yield region
        finally:
            self.region = before

    @contextmanager
    def noted(self, **notes: Attribute) -> Generator[None]:
        """Give what is written these notes as well."""
        before, self.notes = self.notes, {**self.notes, **notes}
        try:
            yield
        finally:
            self.notes = before

    def loop_name(self, kind: str) -> str:
        """A name that no other loop has."""
        self._n_loops[kind] = self._n_loops.get(kind, -1) + 1
        return f"{kind}.{self._n_loops[kind]}"

    def value(self, shape: Sequence[int], dtype: str) -> Value:
        """A value of that shape.

        Raises: InvalidInputError: a negative extent, or more elements than any program has.
        """
        extents = tuple(int(extent) for extent in shape)
        if any(extent < 0 for extent in extents) or math.prod(extents) > MOST_ELEMENTS:
            raise InvalidInputError(f"a result of shape {extents} is absurd")
        return Value(extents, dtype)

    def constant(self, array: NDArray[np.generic], dtype: str | None = None) -> Source:
        """Numbers that the program holds itself: a literal when it is one number."""
        name = dtype or str(array.dtype)
        if array.shape == ():
            return Literal(_plain(array[()]), name)
        made = self.value(array.shape, name)
        self.contents[made] = array
        return whole(made)

    def apply(
        self, primitive: str, operands: Sequence[Source], shape: Sequence[int], dtype: str, /, **attributes: Attribute
    ) -> Operand:
        """One primitive with one result, or the view that it is."""
        return self.steps(primitive, operands, [(tuple(shape), dtype)], attributes)[0]

    def steps(
        self,
        primitive: str,
        operands: Sequence[Source],
        layouts: Sequence[tuple[Shape, str]],
        attributes: Mapping[str, Attribute],
        counted: Count | None = None,
    ) -> list[Operand]:
        """One primitive with its results."""
        seen = view(primitive, operands, layouts, attributes) if counted is None else None
        if seen is not None and all(isinstance(source, Operand) for source in seen):
            return [source for source in seen if isinstance(source, Operand)]
        made = tuple(self.value(*layout) for layout in layouts)
        counted = counted or count(primitive, operands, made, attributes)
        self.region.put(Kernel((Step(primitive, tuple(operands), made, attributes, counted, self.notes),)))
        return [whole(value) for value in made]

    def streamed(self, kind: str, operands: Sequence[Source], layouts: Sequence[tuple[Shape, str]]) -> list[Operand]:
        """An operator of which only the bytes are known."""
        dtype = layouts[0][1] if layouts else "float32"
        return self.steps(kind, operands, layouts, {}, Count(dtype=dtype, streamed=True))

    def array(self, source: Source) -> Operand:
        """The source in memory, where it is a number of the program."""
        if isinstance(source, Operand):
            return source
        return self.apply("broadcast_in_dim", [source], (), source.dtype, shape=(), broadcast_dimensions=())

    def copied(self, source: Source) -> Operand:
        """The same content in bytes of its own."""
        return copied(source, self.region, self.notes)

    def convert(self, source: Source, dtype: str) -> Source:
        """Each element in another type."""
        if source.dtype == dtype:
            return source
        if isinstance(source, Literal):
            return Literal(_cast(source.value, dtype), dtype)
        return self.apply("convert_element_type", [source], source.shape, dtype, new_dtype=dtype, weak_type=False)

    def broadcast(self, source: Source, shape: Sequence[int]) -> Operand:
        """The source spread over `shape`, axes aligned at the last one."""
        target = tuple(shape)
        if isinstance(source, Operand) and source.shape == target:
            return source
        skipped = len(target) - len(source.shape)
        kept = [axis for axis, extent in enumerate(source.shape) if extent != 1 or target[axis + skipped] == 1]
        if skipped < 0 or any(source.shape[axis] != target[axis + skipped] for axis in kept):
            raise InvalidInputError(f"shape {source.shape} does not spread over {target}")
        if isinstance(source, Operand):
            source = source.reshaped(tuple(source.shape[axis] for axis in kept))
        axes = tuple(axis + skipped for axis in kept)
        return self.apply(
            "broadcast_in_dim", [source], target, source.dtype, shape=target, broadcast_dimensions=axes, sharding=None
        )

    def elementwise(
        self, primitive: str, *sources: Source, dtype: str | None = None, **attributes: Attribute
    ) -> Operand:
        """An elementwise primitive; numbers of the program stay numbers, arrays are spread to one shape."""
        shape = broadcast_shape([source.shape for source in sources])
        spread = [s if isinstance(s, Literal) else self.broadcast(s, shape) for s in sources]
        if dtype is None:
            dtype = "bool" if primitive in _COMPARISONS else sources[-1 if primitive == "select_n" else 0].dtype
        return self.apply(primitive, spread, shape, dtype, **attributes)

    def select(self, which: Source, yes: Source, no: Source) -> Operand:
        """`yes` where `which` holds, else `no`."""
        shape = broadcast_shape([which.shape, yes.shape, no.shape])
        cases = [self.broadcast(source, shape) for source in (which, no, yes)]
        return self.apply("select_n", cases, shape, yes.dtype)

    def reshape(self, source: Source, shape: Sequence[int]) -> Operand:
        """The same elements under another shape; no bytes move."""
        operand, target = self.array(source), tuple(shape)
        if math.prod(operand.shape) != math.prod(target) or any(extent < 0 for extent in target):
            raise InvalidInputError(f"shape {operand.shape} cannot become {target}")
        return operand.reshaped(target)

    def transpose(self, source: Source, permutation: Sequence[int]) -> Operand:
        """Axis n of the result is axis `permutation[n]` of the source."""
        operand, order = self.array(source), tuple(permutation)
        if sorted(order) != list(range(len(operand.shape))):
            raise InvalidInputError(f"{order} is no order of the axes of shape {operand.shape}")
        if order == tuple(range(len(order))):
            return operand
        shape = tuple(operand.shape[axis] for axis in order)
        return self.apply("transpose", [operand], shape, operand.dtype, permutation=order)

    def reduce(self, primitive: str, source: Source, axes: Sequence[int], *, keep: bool = False) -> Operand:
        """A reduction over some axes; with `keep` they stay with one element each."""
        operand = self.array(source)
        over = tuple(sorted({axis_of(axis, len(operand.shape)) for axis in axes}))
        shape = tuple(extent for axis, extent in enumerate(operand.shape) if axis not in over)
        made = self.apply(primitive, [operand], shape, operand.dtype, axes=over) if over else operand
        if not keep:
            return made
        return self.reshape(made, [1 if axis in over else extent for axis, extent in enumerate(operand.shape)])

    def mean(self, source: Source, axes: Sequence[int], *, keep: bool = False) -> Operand:
        """The mean over some axes."""
        total = self.reduce("reduce_sum", source, axes, keep=keep)
        n = max(1, math.prod(source.shape) // max(1, math.prod(total.shape)))
        return self.elementwise("div", total, number(n, total.dtype))

    def arg(self, primitive: str, source: Source, axis: int, dtype: str, *, keep: bool) -> Operand:
        """Where along an axis the largest or smallest element lies."""
        operand = self.array(source)
        axis = axis_of(axis, len(operand.shape))
        shape = tuple(extent for a, extent in enumerate(operand.shape) if a != axis)
        made = self.apply(primitive, [operand], shape, dtype, axes=(axis,), index_dtype=dtype)
        return self.reshape(made, [*shape[:axis], 1, *shape[axis:]]) if keep else made

    def slice(
        self, source: Source, starts: Sequence[int], limits: Sequence[int], strides: Sequence[int] | None = None
    ) -> Operand:
        """A box of the source."""
        operand = self.array(source)
        steps = tuple(strides) if strides else (1,) * len(operand.shape)
        bounds = list(zip(starts, limits, steps, operand.shape, strict=True))
        if any(not 0 <= a <= b <= n or s < 1 for a, b, s, n in bounds):
            raise InvalidInputError(f"slice [{starts}, {limits}) by {steps} leaves shape {operand.shape}")
        shape = tuple(-(-(b - a) // s) for a, b, s, _ in bounds)
        if shape == operand.shape:
            return operand
        return self.apply(
            "slice", [operand], shape, operand.dtype,
            start_indices=tuple(starts), limit_indices=tuple(limits), strides=None if set(steps) <= {1} else steps,
        )  # fmt: skip

    def along(self, source: Source, axis: int, start: int, limit: int, stride: int = 1) -> Operand:
        """A slice along one axis."""
        starts, limits, strides = [0] * len(source.shape), list(source.shape), [1] * len(source.shape)
        starts[axis], limits[axis], strides[axis] = start, limit, stride
        return self.slice(source, starts, limits, strides)

    def parts(self, source: Source, axis: int, sizes: Sequence[int]) -> list[Operand]:
        """The source cut along an axis."""
        edges = [sum(sizes[:n]) for n in range(len(sizes) + 1)]
        return [self.along(source, axis, a, b) for a, b in pairwise(edges)]

    def concatenate(self, sources: Sequence[Source], axis: int) -> Operand:
        """Arrays side by side."""
        operands = [self.array(source) for source in sources]
        axis = axis_of(axis, len(operands[0].shape))
        shape = list(operands[0].shape)
        shape[axis] = sum(operand.shape[axis] for operand in operands)
        if any([*o.shape[:axis], *o.shape[axis + 1 :]] != [*shape[:axis], *shape[axis + 1 :]] for o in operands):
            raise InvalidInputError(f"shapes {[o.shape for o in operands]} do not join along axis {axis}")
        if len(operands) == 1:
            return operands[0]
        return self.apply("concatenate", operands, shape, operands[0].dtype, dimension=axis)

    def pad(self, source: Source, widths: Sequence[tuple[int, int]], fill: Source) -> Operand:
        """Room around the source, filled with one number; negative widths cut."""
        operand = self.array(source)
        shape = tuple(low + extent + high for extent, (low, high) in zip(operand.shape, widths, strict=True))
        if all(pair == (0, 0) for pair in widths):
            return operand
        config = tuple((low, high, 0) for low, high in widths)
        return self.apply("pad", [operand, fill], shape, operand.dtype, padding_config=config)

    def dot(
        self,
        left: Source,
        right: Source,
        contracted: tuple[Sequence[int], Sequence[int]],
        batch: tuple[Sequence[int], Sequence[int]] = ((), ()),
        dtype: str | None = None,
    ) -> Operand:
        """A product: batch axes first, then the free axes of the left operand, then those of the right one."""
        a, b = self.array(left), self.array(right)
        (over_a, over_b), (of_a, of_b) = (tuple(map(tuple, pair)) for pair in (contracted, batch))
        if [a.shape[i] for i in (*over_a, *of_a)] != [b.shape[i] for i in (*over_b, *of_b)]:
            raise InvalidInputError(f"shapes {a.shape} and {b.shape} do not multiply")
        shape = [a.shape[i] for i in of_a]
        shape += [extent for i, extent in enumerate(a.shape) if i not in (*over_a, *of_a)]
        shape += [extent for i, extent in enumerate(b.shape) if i not in (*over_b, *of_b)]
        made = dtype or a.dtype
        return self.apply(
            "dot_general", [a, b], shape, made, dimension_numbers=((over_a, over_b), (of_a, of_b)),
            precision=None, preferred_element_type=made, out_sharding=None,
        )  # fmt: skip

    def put(self, result: Operand, name: str, names: dict[Value, str]) -> None:
        """Remember what the program calls a value that a step made whole."""
        if result.is_whole and result.value in self.region.made:
            names.setdefault(result.value, name)


def check_total(graph: Graph) -> Graph:
    """The graph itself.

    Raises: InvalidInputError: it moves more bytes than can be counted.
    """
    moved = sum(
        times * (op.matrix_ops + op.vector_ops + sum(access.bytes for access in (*op.reads, *op.writes)))
        for op, times in zip(graph.ops, executions(graph), strict=True)
    )
    if moved + sum(tensor.size for tensor in graph.tensors) > _MOST_BYTES:
        raise InvalidInputError(f"'{graph.name}' moves more than 2^62 bytes; its shapes or trip counts are absurd")
    return graph


def number(value: float | int | bool, dtype: str) -> Literal:
    """A number of the program in a type."""
    return Literal(_cast(value, dtype), dtype)


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front.

    Raises: InvalidInputError: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise InvalidInputError(f"there is no axis {axis} among {rank}")
    return axis % rank


def broadcast_shape(shapes: Sequence[Shape]) -> Shape:
    """The shape that all of these spread over.

    >>> broadcast_shape([(3, 1), (4,), ()])
    (3, 4)

    Raises: InvalidInputError: there is none.
    """
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise InvalidInputError(f"shapes {', '.join(map(str, shapes))} do not go together") from None


def _plain(value: object) -> Attribute:
    item: Any = getattr(value, "item", lambda: value)()
    return item if isinstance(item, bool | int | float) else float(item) if hasattr(item, "__float__") else str(item)


def _cast(value: Attribute, dtype: str) -> Attribute:
    if not isinstance(value, bool | int | float):
        return value
    if dtype == "bool":
        return bool(value)
    if dtype.startswith(("float", "bfloat", "complex")):
        return float(value)
    return int(value) if math.isfinite(value) else 0
