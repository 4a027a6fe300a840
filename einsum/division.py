"""Division deferral: divide the sum, not each summand."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Access, Affine, Apply, Expression, substitute
from tierplan.einsum.naming import Names
from tierplan.einsum.statements import Einsum
from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Product:
    """A product of factors over a product of divisors."""

    factors: tuple[Expression, ...]
    divisors: tuple[Expression, ...]


def product_of(node: Expression) -> Product:
    """Factors and divisors of an expression; a sum, or anything else, is one factor."""
    if isinstance(node, Apply) and node.merge is None and node.operator in ("multiply", "divide"):
        left, right = (product_of(operand) for operand in node.operands)
        if node.operator == "multiply":
            return Product(left.factors + right.factors, left.divisors + right.divisors)
        return Product(left.factors + right.divisors, left.divisors + right.factors)
    return Product((node,), ())


def multiplied(factors: tuple[Expression, ...]) -> Expression:
    """The product of factors."""
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


def plain_sum(einsum: Einsum) -> bool:
    """Whether the Einsum is one unfiltered sum."""
    return len(einsum.reductions) == 1 and einsum.reductions[0].operator == "add" and not einsum.filters


def inlined(access: Access, definition: Einsum) -> Expression | None:
    """The expression of `definition` at the indices of `access`; None when its indices are not plain."""
    if definition.reductions or definition.filters or access.outside is not None:
        return None
    values: dict[str, Affine] = {}
    for index, at in zip(definition.output.indices, access.indices, strict=True):
        if index.variable is None:
            return None
        values[index.variable] = at
    return substitute(definition.expression, values)


def defer_division(cascade: Cascade) -> Cascade:
    """Sum first, divide afterwards: sum_m (S[m] / D) * V[m] = (sum_m S[m] * V[m]) / D.

    A quotient that only sums of products read is taken into them, and every divisor that does not move with a
    summed rank is taken out of the sum. F*P divisions replace M*P in attention, and one pass over M goes.

    Raises: InvalidInputError: no sum divides by something that stays the same while it sums.
    """
    definitions = {e.name: e for e in cascade.einsums}
    names = Names.of(cascade)
    found: list[Einsum] = []
    deferred: set[str] = set()
    for e in cascade.einsums:
        taken = _taken_out(e, definitions, names) if plain_sum(e) else None
        if taken is None:
            found.append(e)
            continue
        einsums, quotients = taken
        found.extend(einsums)
        deferred |= quotients
    if len(found) == len(cascade.einsums):
        raise InvalidInputError("no sum divides by something that stays the same while it sums")
    read = {a.tensor for e in found for a in e.reads} | {a.tensor for e in cascade.init for a in e.reads}
    kept = [e for e in found if e.name not in deferred or e.name in read or e.name in cascade.outputs]
    return replace(cascade, einsums=tuple(kept))


def _taken_out(
    e: Einsum, definitions: dict[str, Einsum], names: Names
) -> tuple[tuple[Einsum, Einsum], set[str]] | None:
    """The sum without its divisor, and the division of it; None when there is no such divisor."""
    factors: list[Expression] = []
    divisors: list[Expression] = []
    quotients: set[str] = set()
    product = product_of(e.expression)
    divisors.extend(product.divisors)
    for factor in product.factors:
        inner = _quotient(factor, definitions, set(e.reduced_variables))
        if inner is None:
            factors.append(factor)
        else:
            assert isinstance(factor, Access)
            quotients.add(factor.tensor)
            factors.extend(inner.factors)
            divisors.extend(inner.divisors)
    outside = [d for d in divisors if _fixed(d, set(e.reduced_variables))]
    inside = [d for d in divisors if d not in outside]
    if not outside or not factors:
        return None
    name = names.fresh("".join(f.tensor for f in factors if isinstance(f, Access)) or f"N{e.name}")
    summand = multiplied(tuple(factors))
    if inside:
        summand = summand / multiplied(tuple(inside))
    numerator = Einsum(replace(e.output, tensor=name), summand, e.reductions)
    quotient = Einsum(e.output, replace(e.output, tensor=name) / multiplied(tuple(outside)))
    return (numerator, quotient), quotients


def _quotient(factor: Expression, definitions: dict[str, Einsum], reduced: set[str]) -> Product | None:
    """The quotient that a factor stands for, if dividing by its divisor can wait until after the sum."""
    if not isinstance(factor, Access) or factor.tensor not in definitions:
        return None
    value = inlined(factor, definitions[factor.tensor])
    if value is None:
        return None
    product = product_of(value)
    return product if any(_fixed(d, reduced) for d in product.divisors) else None


def _fixed(node: Expression, reduced: set[str]) -> bool:
    from tierplan.einsum.expressions import variables

    return not set(variables(node)) & reduced


def hoist_factor(cascade: Cascade) -> Cascade:
    """Take factors that do not move with a summed rank out of the sum: sum_k Y * A[k] = Y * sum_k A[k].

    Raises: InvalidInputError: no sum multiplies by something that stays the same while it sums.
    """
    names = Names.of(cascade)
    found: list[Einsum] = []
    for e in cascade.einsums:
        product = product_of(e.expression)
        reduced = set(e.reduced_variables)
        fixed = tuple(f for f in product.factors if _fixed(f, reduced))
        moving = tuple(f for f in product.factors if f not in fixed)
        if not plain_sum(e) or not fixed or not moving or product.divisors:
            found.append(e)
            continue
        name = names.fresh(f"X{e.name}")
        kept = tuple(i for i in e.output.indices if any(v in _all_variables(moving) for v in i.variables))
        total = Access(name, kept)
        found.append(Einsum(total, multiplied(moving), e.reductions))
        found.append(Einsum(e.output, multiplied((*fixed, total))))
    if len(found) == len(cascade.einsums):
        raise InvalidInputError("no sum multiplies by something that stays the same while it sums")
    return replace(cascade, einsums=tuple(found))


def _all_variables(nodes: tuple[Expression, ...]) -> set[str]:
    from tierplan.einsum.expressions import variables

    return {v for node in nodes for v in variables(node)}
