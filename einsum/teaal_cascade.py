"""The Einsums of a TeAAL file as a cascade."""

from __future__ import annotations

from collections.abc import Callable

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Access, Affine, Apply, Expression, Term, rank_of
from tierplan.einsum.naming import Names
from tierplan.einsum.statements import Declaration, Einsum, RankShape
from tierplan.einsum.teaal import Factor, IndexTerm, Product, Specification
from tierplan.ir.errors import InvalidInputError


def cascade_of(specification: Specification) -> Cascade:
    """The Einsums of a TeAAL file as a cascade; names in lower case begin with a capital.

    Raises: InvalidInputError: the file has no Einsums, or uses what a cascade cannot say.
    """
    if not specification.expressions:
        raise InvalidInputError("the file has no Einsums (section einsum, entry expressions)")
    declared = specification.declaration or {}
    written = {e.output.name for e in specification.expressions}
    names = Names({name for name in declared if name[:1].isupper()})
    renamed = {name: name if name[:1].isupper() else names.fresh(name.capitalize()) for name in declared}

    def access(factor: Factor) -> Access:
        name = renamed.setdefault(
            factor.name, factor.name if factor.name[:1].isupper() else names.fresh(factor.name.capitalize())
        )
        return Access(name, tuple(_affine(terms) for terms in factor.indices or ()))

    einsums = tuple(Einsum(access(e.output), _value(e.terms, access)) for e in specification.expressions)
    inputs = tuple(
        Declaration(renamed[name], tuple(Affine((Term(symbols=(rank_of(r),)),)) for r in ranks), True)
        for name, ranks in declared.items()
        if name not in written and any(renamed[name] == a.tensor for e in einsums for a in e.reads)
    )
    known = {name for d in inputs for name in d.shape for name in name.symbols}
    walked = {rank_of(v) for e in einsums for v in (*e.variables, *e.output_variables)}
    strides = {s for e in einsums for a in e.reads for i in a.indices for s in i.symbols}
    scalars = tuple(
        Declaration(a.tensor, (), True)
        for a in dict.fromkeys(a for e in einsums for a in e.reads if not a.indices)
        if a.tensor not in {e.name for e in einsums} and a.tensor not in {d.name for d in inputs}
    )
    free = tuple(RankShape(rank) for rank in sorted((walked | strides) - known))
    return Cascade(einsums, ranks=free, tensors=(*inputs, *scalars))


def _affine(terms: tuple[IndexTerm, ...]) -> Affine:
    found: list[Term] = []
    for term in terms:
        symbols = (term.scale.upper(),) if isinstance(term.scale, str) else ()
        scale = term.scale if isinstance(term.scale, int) else 1
        found.append(Term(scale, symbols, term.variable.lower()))
    return Affine(tuple(found))


def _value(terms: tuple[Product, ...], access: Callable[[Factor], Access]) -> Expression:
    total: Expression | None = None
    for term in terms:
        factors = [access(f) for f in term.factors]
        value: Expression = factors[0]
        for n, factor in enumerate(factors[1:], 1):
            if term.take is None:
                value = value * factor
            else:
                value = Apply("right" if n == term.take else "left", (value, factor), "intersect")
        total = value if total is None else total + value
    assert total is not None
    return total
