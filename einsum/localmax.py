"""Local maxima: exponentials relative to the maximum of their own block, corrected once the whole one is known."""

from __future__ import annotations

from dataclasses import replace

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.division import inlined, multiplied, plain_sum, product_of
from tierplan.einsum.expressions import Access, Affine, Apply, Expression, Term, rewrite, variables
from tierplan.einsum.naming import Names
from tierplan.einsum.partition import partition, split_reduction
from tierplan.einsum.statements import Einsum, Reduction
from tierplan.ir.errors import InvalidInputError


def local_max(cascade: Cascade, variable: str) -> Cascade:
    """Partition a rank and take maxima per block: exp(x - G) = exp(x - L) * exp(L - G).

    Source: FuseMax (MICRO 2024), section 4.2.
    Raises: InvalidInputError: no exponential is relative to a maximum over the rank.
    """
    inner = f"{variable}0"
    return split_products(rebase(split_reduction(partition(cascade, variable), inner, only="max"), inner), inner)


def rebase(cascade: Cascade, variable: str) -> Cascade:
    """Write `S = exp(x - G)`, with `G = max L`, as `exp(x - L) * exp(L - G)` wherever S is read."""
    definitions = {e.name: e for e in cascade.einsums}
    names = Names.of(cascade)
    found: list[Einsum] = []
    products: dict[str, tuple[Access, Expression]] = {}
    for e in cascade.einsums:
        parts = _exponential(e, definitions, variable)
        if parts is None:
            found.append(_substituted(e, products))
            continue
        value, whole, local = parts
        near = replace(e.output, tensor=names.fresh(names.local(e.name)))
        far = Access(names.fresh(f"PR{whole.tensor[1:]}"), local.indices)
        found.append(Einsum(near, Apply("exp", (value - local,))))
        found.append(Einsum(far, Apply("exp", (local - whole,))))
        products[e.name] = (e.output, near * far)
    if not products:
        raise InvalidInputError("no exponential is relative to a maximum over the rank")
    return replace(cascade, einsums=tuple(found))


def _exponential(e: Einsum, definitions: dict[str, Einsum], variable: str) -> tuple[Expression, Access, Access] | None:
    """(x, G, L) of an Einsum `exp(x - G)` along the variable, where G is the maximum of L."""
    match e.expression:
        case Apply(operator="exp", operands=(Apply(operator="subtract", operands=(value, Access() as whole)),)):
            definition = definitions.get(whole.tensor)
        case _:
            return None
    if definition is None or e.reductions or e.filters or variable not in e.output_variables:
        return None
    is_max = [r.operator for r in definition.reductions] == ["max"] and not definition.filters
    if not is_max or not isinstance(definition.expression, Access) or variable in variables(definition.expression):
        return None
    values = {o.variable: i for o, i in zip(definition.output.indices, whole.indices, strict=True) if o.variable}
    local = definition.expression
    indices = tuple(values.get(i.variable, i) if i.variable else i for i in local.indices)
    return value, whole, replace(local, indices=indices)


def _substituted(e: Einsum, products: dict[str, tuple[Access, Expression]]) -> Einsum:
    def change(part: Expression) -> Expression:
        if not isinstance(part, Access) or part.tensor not in products:
            return part
        output, value = products[part.tensor]
        found = inlined(part, Einsum(output, value))
        return part if found is None else found

    return replace(e, expression=rewrite(e.expression, change))


def split_products(cascade: Cascade, variable: str) -> Cascade:
    """Sum over `variable` first where some factors do not move with it: sum S*P = sum P * (sum S)."""
    names = Names.of(cascade)
    found: list[Einsum] = []
    for e in cascade.einsums:
        product = product_of(e.expression)
        moving = tuple(f for f in product.factors if variable in variables(f))
        fixed = tuple(f for f in product.factors if f not in moving)
        rest = tuple(v for v in e.reduced_variables if v != variable)
        if not (plain_sum(e) and variable in e.reduced_variables and rest and moving and fixed) or product.divisors:
            found.append(e)
            continue
        order = tuple(v for v in variables(multiplied(moving)) if v in (*e.output_variables, *rest))
        local = Access(names.fresh(names.local(e.name)), tuple(Affine((Term(of=v),)) for v in order))
        found.append(Einsum(local, multiplied(moving), (Reduction("add", (variable,)),)))
        found.append(Einsum(e.output, multiplied((local, *fixed)), (Reduction("add", rest),)))
    return replace(cascade, einsums=tuple(found))
