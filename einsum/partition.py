"""Transforms that split ranks and reductions; they change no result and no number of passes."""

from __future__ import annotations

from dataclasses import replace

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import (
    Access,
    Affine,
    Expression,
    Symbol,
    Term,
    accesses,
    rank_of,
    substitute,
    substitute_index,
)
from tierplan.einsum.naming import Names
from tierplan.einsum.shapes import signatures
from tierplan.einsum.statements import Declaration, Einsum, RankShape, Reduction
from tierplan.ir.errors import InvalidInputError, unknown_name


def partition(cascade: Cascade, variable: str) -> Cascade:
    """Split a rank into blocks: `m` becomes `m1` and `m0`, with M = M1 * M0.

    Inputs are re-indexed once, in init; tensors between Einsums get both ranks; outputs keep their shape.

    Raises: InvalidInputError: nothing is indexed by the variable, it is iterative, or its parts are taken.
    """
    known = {v for e in cascade for v in (*e.variables, *e.output_variables)}
    if variable not in known:
        raise InvalidInputError(str(unknown_name("rank variable", variable, known)))
    outer, inner = f"{variable}1", f"{variable}0"
    if {outer, inner} & known:
        raise InvalidInputError(f"'{variable}' cannot be split: {outer} or {inner} is a rank variable already")
    if any(i.shifted == (variable, 1) for e in cascade for i in e.output.indices):
        raise InvalidInputError(f"'{variable}' cannot be split: a tensor is iterative along it")
    whole = Affine((Term(1, (rank_of(inner),), outer), Term(of=inner)))
    names = Names.of(cascade)
    split = _splittable(cascade, variable)
    blocks = {t: names.fresh(f"B{t}") for t in dict.fromkeys(
        a.tensor for e in cascade for a in e.reads if a.tensor in cascade.inputs and _plain(a, variable)
    )}  # fmt: skip

    def access(found: Expression) -> Expression:
        if not isinstance(found, Access):
            return found
        if found.tensor in split or (found.tensor in blocks and _plain(found, variable)):
            indices = tuple(_parts(index, variable, outer, inner) for index in found.indices)
            flat = tuple(part for parts in indices for part in parts)
            return replace(found, tensor=blocks.get(found.tensor, found.tensor), indices=flat)
        return substitute(found, {variable: whole})

    def einsum(e: Einsum) -> Einsum:
        def over(reduction: Reduction) -> Reduction:
            parts = tuple(p for v in reduction.over for p in ((outer, inner) if v == variable else (v,)))
            return replace(reduction, over=parts)

        output = access(e.output)
        assert isinstance(output, Access)
        return Einsum(
            output,
            _rewritten(e.expression, access, variable, whole),
            tuple(over(r) for r in e.reductions),
            tuple(_rewritten(f, access, variable, whole) for f in e.filters),
        )

    shapes = signatures(cascade)
    views = tuple(_view(cascade, t, b, variable, shapes[t], whole) for t, b in blocks.items())
    return replace(
        cascade,
        init=(*views, *(einsum(e) for e in cascade.init)),
        einsums=tuple(einsum(e) for e in cascade.einsums),
        ranks=_ranks(cascade, variable, outer, inner),
        tensors=_declared(cascade, split, variable, outer, inner, shapes),
    )


def _rewritten(node: Expression, access: object, variable: str, whole: Affine) -> Expression:
    from tierplan.einsum.expressions import affine_expression, rewrite

    assert callable(access)

    def change(part: Expression) -> Expression:
        if isinstance(part, Symbol) and part.name == variable:
            return affine_expression(whole)
        return access(part)  # pyright: ignore[reportReturnType]

    return rewrite(node, change)


def _plain(access: Access, variable: str) -> bool:
    """Whether every index that moves with the variable is the variable itself."""
    moving = [index for index in access.indices if variable in index.variables]
    return bool(moving) and access.outside is None and all(index.variable == variable for index in moving)


def _splittable(cascade: Cascade, variable: str) -> set[str]:
    """Intermediate tensors that every Einsum indexes by the variable itself, in the same dimensions."""
    found: dict[str, set[tuple[bool, ...]]] = {}
    for e in cascade:
        for access in (e.output, *e.reads):
            plain = tuple(index.variable == variable for index in access.indices)
            odd = any(variable in i.variables and i.variable != variable for i in access.indices)
            found.setdefault(access.tensor, set()).add(() if odd or access.outside is not None else plain)
    fixed = {*cascade.inputs, *cascade.outputs}
    return {t for t, ways in found.items() if t not in fixed and len(ways) == 1 and any(next(iter(ways)))}


def _parts(index: Affine, variable: str, outer: str, inner: str) -> tuple[Affine, ...]:
    if index.variable != variable:
        return (index,)
    return Affine((Term(of=outer),)), Affine((Term(of=inner),))


def _view(cascade: Cascade, tensor: str, block: str, variable: str, shape: tuple[Affine, ...], whole: Affine) -> Einsum:
    """`BK[e, m1, m0] = K[e, m1*M0 + m0]`, with the variables of some access to the input."""
    use = next(a for e in cascade for a in e.reads if a.tensor == tensor and _plain(a, variable))
    indices: list[Affine] = []
    for index, extent in zip(use.indices, shape, strict=True):
        if index.variable is None and len(extent.symbols) != 1:
            raise InvalidInputError(f"{tensor} cannot be split: a dimension of it is not walked by a rank variable")
        name = index.variable or extent.symbols[0].lower()
        indices.append(Affine((Term(of=name),)))
    outer, inner = whole.variables
    parts = tuple(part for index in indices for part in _parts(index, variable, outer, inner))
    read = tuple(substitute_index(index, {variable: whole}) for index in indices)
    return Einsum(Access(block, parts), Access(tensor, read))


def _ranks(cascade: Cascade, variable: str, outer: str, inner: str) -> tuple[RankShape, ...]:
    rank, blocks, block = rank_of(variable), rank_of(outer), rank_of(inner)
    kept = tuple(r for r in cascade.ranks if r.name != rank)
    return (*kept, RankShape(rank, Symbol(blocks) * Symbol(block)), RankShape(blocks), RankShape(block))


def _declared(
    cascade: Cascade, split: set[str], variable: str, outer: str, inner: str, shapes: dict[str, tuple[Affine, ...]]
) -> tuple[Declaration, ...]:
    """Declarations with the rank split where it was; inputs that were inferred are declared as they are."""
    rank = Affine((Term(symbols=(rank_of(variable),)),))
    parts = tuple(Affine((Term(symbols=(rank_of(v),)),)) for v in (outer, inner))
    found: list[Declaration] = []
    for d in cascade.tensors:
        shape = tuple(p for x in d.shape for p in (parts if d.name in split and x == rank else (x,)))
        found.append(replace(d, shape=shape))
    if not any(d.is_input for d in cascade.tensors):
        found += [Declaration(t, shapes[t], True) for t in cascade.inputs]
    return tuple(found)


def split_reduction(cascade: Cascade, variable: str, only: str | None = None) -> Cascade:
    """Reduce over `variable` first, then over what is left: max over (m1, m0) = max over m1 of max over m0.

    Applies to every Einsum with one reduction, over `variable` and others, by an associative operator (by the
    operator `only`, if one is named).

    Raises: InvalidInputError: no Einsum reduces over the variable and another one.
    """
    names = Names.of(cascade)
    found: list[Einsum] = []
    n_split = 0
    for e in cascade.einsums:
        reduction = e.reductions[0] if len(e.reductions) == 1 else None
        if reduction is None or not _can_split(e, reduction, variable) or only not in (None, reduction.operator):
            found.append(e)
            continue
        n_split += 1
        rest = tuple(v for v in reduction.over if v != variable)
        kept = (*e.output_variables, *rest)
        order = order_of(e, kept, rest[0])
        name = names.fresh(names.local(e.name))
        partial = Access(name, tuple(Affine((Term(of=v),)) for v in order))
        found.append(Einsum(partial, e.expression, (replace(reduction, over=(variable,)),), e.filters))
        found.append(Einsum(e.output, partial, (replace(reduction, over=rest),)))
    if not n_split:
        raise InvalidInputError(
            f"no Einsum reduces over '{variable}' and another rank variable by one associative operator"
        )
    return replace(cascade, einsums=tuple(found))


def _can_split(e: Einsum, reduction: Reduction | None, variable: str) -> bool:
    if reduction is None or variable not in reduction.over or len(reduction.over) < 2 or e.filters:
        return False
    if reduction.operator not in ("add", "multiply", "max", "min", "and", "or"):
        return False
    return all(index.variable is not None for index in e.output.indices)


def order_of(e: Einsum, kept: tuple[str, ...], new: str) -> tuple[str, ...]:
    """Where a dimension `new` goes among the output's: as in an access that has all of them, else first."""
    for access in accesses(e.expression):
        if set(kept) <= set(access.variables):
            return tuple(v for v in access.variables if v in kept)
    place = next((n for n, v in enumerate(e.output_variables) if v in _beside(e, new)), 0)
    old = [v for v in e.output_variables if v in kept]
    more = [v for v in kept if v not in old]
    return tuple(old[:place] + more + old[place:])


def _beside(e: Einsum, new: str) -> set[str]:
    """Output variables that the first access with the new one has too."""
    first = next((a for a in accesses(e.expression) if new in a.variables), None)
    return set(first.variables) if first else set()
