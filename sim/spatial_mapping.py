"""A mapping as data: loop order, what lies where, which array an Einsum is bound to, and what runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tierplan.einsum.cascade import Cascade
from tierplan.ir.errors import InvalidInputError, unknown_name


@dataclass(frozen=True, slots=True)
class Order:
    """Loops over rank variables, outermost first: around a buffer tile, inside it, and over an array.

    A variable around and inside has a tile of its own size between the two; one around only is taken one by one
    (or as many as the array holds); one inside only is whole.
    """

    outer: tuple[str, ...]
    inner: tuple[str, ...]
    columns: str | None = None
    rows: str | None = None

    def __post_init__(self) -> None:
        for loops in (self.outer, self.inner, tuple(v for v in (self.columns, self.rows) if v)):
            for variable in loops:
                if loops.count(variable) > 1:
                    raise InvalidInputError(f"loops over '{variable}' twice in one list")

    @property
    def tiled(self) -> tuple[str, ...]:
        """Variables with a tile of their own size."""
        return tuple(v for v in self.outer if v in self.inner)

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that a loop walks."""
        ends = tuple(v for v in (self.columns, self.rows) if v)
        return tuple(dict.fromkeys((*self.outer, *self.inner, *ends)))


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor at a level; an optional one lies on chip or off chip as the choice says."""

    tensor: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """One Einsum bound to an array: loop orders by name (the first is the default), and what lies where.

    The operations of a pipelined Einsum overlap from point to point. `where` is its place in a file, for messages.
    """

    einsum: str
    array: str
    orders: Mapping[str, Order]
    dram: tuple[Held, ...] = ()
    buffer: tuple[Held, ...] = ()
    edge: tuple[Held, ...] = ()
    pipelined: bool = False
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.orders:
            raise InvalidInputError(f"Einsum {self.einsum} has no loops")

    @property
    def optional(self) -> frozenset[str]:
        """Tensors that may lie on chip or off chip."""
        return frozenset(held.tensor for held in (*self.dram, *self.buffer) if held.optional)


@dataclass(frozen=True, slots=True)
class Group:
    """Einsums that run side by side on their arrays, or the wait until an array has drained its Einsums."""

    einsums: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Phase:
    """Bound Einsums whose memory traffic overlaps their computation; groups follow one another."""

    bound: tuple[Bound, ...]
    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        names = [bound.einsum for bound in self.bound]
        grouped = [name for group in self.groups for name in group.einsums]
        for name in (*grouped, *(d for group in self.groups for d in group.drain)):
            if name not in names:
                raise unknown_name("Einsum", name, names)
        for name in names:
            if grouped.count(name) != 1:
                times = "no group" if name not in grouped else "more than one group, or twice in one"
                raise InvalidInputError(f"Einsum {name} is in {times}; it needs to be in one")

    @property
    def tiled(self) -> tuple[str, ...]:
        """Variables whose tile in the buffer is open, in order of appearance."""
        orders = (order for bound in self.bound for order in bound.orders.values())
        return tuple(dict.fromkeys(v for order in orders for v in order.tiled))


@dataclass(frozen=True, slots=True)
class Choice:
    """What a mapping leaves open: tile sizes, tensors on chip, loop orders, and a share that overflows.

    `tiles` lacks the variables whose tile is to be fitted. `spilled` is the share of every overflowing
    tensor in the buffer that is not held, so that its accesses go to DRAM.
    """

    tiles: Mapping[str, int] = field(default_factory=dict[str, int])
    on_chip: frozenset[str] = frozenset()
    orders: Mapping[str, str] = field(default_factory=dict[str, str])
    spilled: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.spilled < 1:
            raise InvalidInputError(f"a share of {self.spilled} cannot spill; need 0 <= share < 1")
        for variable, size in self.tiles.items():
            if size < 1:
                raise InvalidInputError(f"the tile of '{variable}' is {size}; need at least 1")


@dataclass(frozen=True, slots=True)
class Given:
    """A choice that was made elsewhere, for named workloads and lengths."""

    workloads: tuple[str, ...]
    lengths: tuple[int, ...]
    choice: Choice


@dataclass(frozen=True, slots=True)
class Specification:
    """A cascade with its mapping and binding, for a machine.

    `batch` are ranks that every tensor has beyond the cascade's own. `ranks` sets ranks that partition others to
    a dimension of an array. `in_place` are chains of tensors that overwrite one another. `fits_in` overrides
    the bytes that tiles must fit in. `uncounted` are actions, and `edge` registers, that the published energy lacks;
    `accumulated` are rank variables over which it adds up a tensor that the cascade keeps apart.
    """

    name: str
    description: str
    cascade: Cascade
    hardware: str
    batch: tuple[str, ...]
    ranks: Mapping[str, tuple[str, str]]
    phases: tuple[Phase, ...]
    in_place: tuple[tuple[str, ...], ...] = ()
    overflows: frozenset[str] = frozenset()
    fits_in: int | None = None
    given: tuple[Given, ...] = ()
    uncounted: frozenset[str] = frozenset()
    accumulated: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        names = [einsum.name for einsum in self.cascade.einsums]
        bound = [each.einsum for each in self]
        for name in bound:
            if name not in names:
                raise unknown_name("Einsum", name, names)
            if bound.count(name) > 1:
                raise InvalidInputError(f"Einsum {name} is bound twice; bind it once")
        for name in names:
            if name not in bound:
                raise InvalidInputError(f"Einsum {name} is bound to no array; add it to 'einsums'")

    def __iter__(self) -> Iterator[Bound]:
        """Every bound Einsum."""
        for phase in self.phases:
            yield from phase.bound

    @property
    def optional(self) -> frozenset[str]:
        """Tensors that may lie on chip or off chip."""
        return frozenset[str]().union(*(bound.optional for bound in self))

    def given_choice(self, workload: str, sizes: Mapping[str, int]) -> Choice | None:
        """The choice that was made elsewhere for this workload; None when there is none.

        Assumes: a workload's length is the shape of the longest rank that is not a batch rank.
        """
        length = max(size for rank, size in sizes.items() if rank not in self.batch)
        for given in self.given:
            if workload in given.workloads and length in given.lengths:
                return given.choice
        return None
