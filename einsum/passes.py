"""How often each rank must be traversed, whatever the mapping: passes, levels, barriers.

A pass over a fiber visits all its elements; another one is needed each time an element must be visited again
after every other element was visited. Einsums in one pass may be fused along the rank, Einsums in different
passes may not.

Source: FuseMax (MICRO 2024), section 3; the level computation follows the cascade's dependences only, no
operator and no tensor name is special.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.dependence import dependence_order, is_previous, iterations
from tierplan.einsum.expressions import Access, Affine, Term, is_variable, rank_of
from tierplan.einsum.statements import Einsum
from tierplan.ir.errors import InvalidInputError, unknown_name


@dataclass(frozen=True, slots=True)
class Level:
    """The pass in which an Einsum runs; None when it does not move along the rank."""

    einsum: Einsum
    level: int | None


@dataclass(frozen=True, slots=True)
class Touched:
    """A tensor that moves along the rank, and the levels at which it is touched."""

    tensor: str
    levels: tuple[int, ...]
    along: tuple[str, ...]

    @property
    def live(self) -> bool:
        """Whether it is live across a barrier: touched at more than one level."""
        return len(self.levels) > 1

    @property
    def min_live(self) -> Affine:
        """Elements per fiber that must be kept, or else read or computed again: the fiber, or one element."""
        if not self.live:
            return Affine((Term(1),))
        return Affine((Term(1, tuple(rank_of(variable) for variable in self.along)),))


@dataclass(frozen=True, slots=True)
class Passes:
    """The passes of a cascade over one rank, given as the rank variables it was partitioned into."""

    variables: tuple[str, ...]
    levels: tuple[Level, ...]
    touched: tuple[Touched, ...]
    families: tuple[tuple[tuple[str, ...], int], ...]

    @property
    def n_passes(self) -> int:
        """Passes of the fiber family that needs most."""
        return max(n for _, n in self.families)

    @property
    def live_across(self) -> tuple[Touched, ...]:
        """Tensors live across a barrier."""
        return tuple(touched for touched in self.touched if touched.live)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of the Einsums that may fuse along the rank, level by level."""
        found: dict[int, list[str]] = {}
        for level in self.levels:
            if level.level is not None:
                found.setdefault(level.level, []).append(level.einsum.name)
        return tuple(tuple(found[level]) for level in sorted(found))

    def min_live(self, tensor: str) -> Affine:
        """Elements per fiber of `tensor` that any mapping keeps."""
        return next((t.min_live for t in self.touched if t.tensor == tensor), Affine((Term(1),)))

    @property
    def live_footprints(self) -> tuple[Affine, ...]:
        """Per barrier, elements per fiber that are live across it: a lower bound for every mapping."""
        last = max((t.levels[-1] for t in self.touched), default=1)
        bounds: list[Affine] = []
        for barrier in range(1, last):
            total = Affine(())
            for touched in self.live_across:
                if touched.levels[0] <= barrier < touched.levels[-1]:
                    total += touched.min_live
            bounds.append(total)
        return tuple(bounds)


def moves_forward(access: Access, variable: str) -> bool:
    """Whether the access advances with `variable`; a reversed one needs the whole fiber first."""
    return access.carries(variable) and all(
        index.coefficient(variable) > 0 for index in access.indices if variable in index.variables
    )


def levels_along(
    variable: str,
    einsums: Iterable[Einsum],
    ahead: dict[str, dict[str, int]],
    state: dict[str, tuple[int, bool]] | None = None,
) -> list[int | None]:
    """The level of each Einsum (in dependence order) for a traversal of one rank variable.

    A result is usable while the stream is at its element (it carries the variable), or only after the pass
    is complete. What no traversal leads to is there from the beginning. `state`: for tensors that other Einsums of
    the same traversal wrote, their level and whether they stream; the results of these are added to it.
    """
    state = {} if state is None else state
    first: dict[str, tuple[int, bool]] = {}
    levels: list[int | None] = []
    for einsum in einsums:
        carried = any(a.carries(variable) for a in (einsum.output, *einsum.reads))
        level, moved = 1, carried
        for access in einsum.reads:
            previous = is_previous(access, ahead.get(access.tensor, {}))
            before = (first if previous else state).get(access.tensor)
            if before is not None:
                moved = True
                streams = before[1] and moves_forward(access, variable)
                level = max(level, before[0] + (0 if streams else carried))
        written = (level, moves_forward(einsum.output, variable))
        fixed = any(
            d < len(einsum.output.indices) and einsum.output.indices[d].constant
            for d in ahead.get(einsum.name, {}).values()
        )
        if moved:
            (first if fixed else state)[einsum.name] = written
        levels.append(level if carried else None)
    return levels


def analyse(cascade: Cascade, variables: tuple[str, ...]) -> Passes:
    """Passes of `cascade` over the rank that was partitioned into `variables`, the outermost first.

    Raises: InvalidInputError: a variable is unknown, or no tensor carries all of them.
    """
    known = tuple(dict.fromkeys(v for e in cascade for v in (*e.variables, *e.output_variables)))
    for variable in variables:
        if variable not in known:
            raise InvalidInputError(str(unknown_name("rank variable", variable, known)))
    views = views_of(cascade)
    order = [*(e for e in cascade.init if e.name not in views), *dependence_order(cascade)]
    numbers = levels_along(variables[0], order, iterations(cascade))
    levels = [Level(einsum, level) for einsum, level in zip(order, numbers, strict=True)]
    along: dict[str, dict[str, None]] = {}
    touched: dict[str, set[int]] = {}
    family = _Families()
    whole: list[tuple[str, int]] = []
    for level in levels:
        if level.level is None:
            continue
        moving = [a for a in (level.einsum.output, *level.einsum.reads) if a.carries(variables[0])]
        for access in moving:
            carried = [v for v in variables if access.carries(v)]
            for tensor in (access.tensor, *([views[access.tensor]] if access.tensor in views else [])):
                family.join(moving[0].tensor, tensor)
                touched.setdefault(tensor, set()).add(level.level)
                along.setdefault(tensor, {}).update((v, None) for v in carried)
            if len(carried) == len(variables):
                whole.append((access.tensor, level.level))
    found: dict[str, set[int]] = {}
    for tensor, number in whole:
        found.setdefault(family.root(tensor), set()).add(number)
    families = tuple(
        (tuple(t for t in touched if family.root(t) == root), len(numbers)) for root, numbers in found.items()
    )
    if not families:
        raise InvalidInputError(f"no tensor is indexed by all of {', '.join(variables)}")
    opened = [Level(e, min(touched[e.name], default=None)) for e in cascade.init
              if e.name in views and e.name in touched]  # fmt: skip
    records = tuple(Touched(t, tuple(sorted(found)), tuple(along[t])) for t, found in touched.items())
    return Passes(variables, (*opened, *levels), records, families)


def views_of(cascade: Cascade) -> dict[str, str]:
    """Initial tensors that only re-index an input, and that input: reading one is reading the other."""
    inputs = set(cascade.inputs)
    return {
        e.name: e.expression.tensor
        for e in cascade.init
        if isinstance(e.expression, Access) and e.expression.tensor in inputs and not e.reductions and not e.filters
    }


class _Families:
    """Union-find of tensors whose fibers are walked together."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, tensor: str) -> str:
        while (parent := self._parent.setdefault(tensor, tensor)) != tensor:
            self._parent[tensor] = self._parent[parent]
            tensor = parent
        return tensor

    def join(self, a: str, b: str) -> None:
        self._parent[self.root(a)] = self.root(b)


def rank_variables(cascade: Cascade, rank: str) -> tuple[str, ...]:
    """The rank variables that `rank` means: `m1,m0`, `M`, or a rank that equals a product, `M = M1 * M0`.

    Raises: InvalidInputError: no Einsum walks such a rank.
    """
    names = [part.strip() for part in rank.split(",")]
    if all(is_variable(name) for name in names):
        return tuple(names)
    known = tuple(dict.fromkeys(v for e in cascade for v in (*e.variables, *e.output_variables)))
    if len(names) == 1:
        logical = logical_ranks(cascade)
        if names[0] in logical:
            return logical[names[0]]
        if names[0].lower() in known and names[0] == rank_of(names[0].lower()):
            return (names[0].lower(),)
        raise InvalidInputError(str(unknown_name("rank", rank, [*map(rank_of, known), *logical])))
    raise InvalidInputError(f"'{rank}' is not a rank; write M, m, or the variables it was split into, m1,m0")


def logical_ranks(cascade: Cascade) -> dict[str, tuple[str, ...]]:
    """Ranks that the cascade declares as a product of walked ranks, with the variables that walk them."""
    from tierplan.einsum.sizes import factors

    known = {rank_of(v) for e in cascade for v in (*e.variables, *e.output_variables)}
    found: dict[str, tuple[str, ...]] = {}
    for rank in cascade.ranks:
        parts = factors(rank.extent) if rank.extent is not None else None
        names = [getattr(part, "name", "") for part in parts or ()]
        if len(names) > 1 and all(name in known for name in names) and rank.name not in known:
            found[rank.name] = tuple(name.lower() for name in names)
    return found
