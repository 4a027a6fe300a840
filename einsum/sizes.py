"""Shapes as numbers: from what is given, from arrays, and from the equations between ranks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.dependence import trip_limit
from tierplan.einsum.expressions import (
    Affine,
    Apply,
    Constant,
    Expression,
    Position,
    Symbol,
    Term,
    affine_expression,
    at,
    rank_of,
    walk,
)
from tierplan.einsum.printer import show_expression, show_index
from tierplan.einsum.shapes import bounds_of, reads_of, signatures
from tierplan.ir.errors import InvalidInputError, unknown_name

Sizes = Mapping[str, int]
Learn = Callable[[str, int, str], None]
MAX_SIZE = 2**62

_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": lambda a, b: a // b,
    "floor_divide": lambda a, b: a // b,
    "remainder": operator.mod,
    "max": max,
    "min": min,
}


def evaluate(extent: Affine, sizes: Sizes) -> int:
    """A shape as a number.

    Raises: InvalidInputError: the shape of a rank in it is unknown.
    """
    total = 0
    for term in extent.terms:
        product = term.coefficient
        for symbol in term.symbols:
            if symbol not in sizes:
                raise InvalidInputError(f"rank {symbol} has no shape; give one, like {symbol}=128")
            product *= sizes[symbol]
        total += product
    return total


def resolve(
    cascade: Cascade, sizes: Sizes | None = None, arrays: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, int]:
    """The shape of every rank, from what is given, from the arrays' shapes, and from the ranks' equations.

    Raises: InvalidInputError: two sources disagree, a rank stays unknown, or an index leaves its tensor.
    """
    known = partial(cascade, sizes, arrays)
    needed = needed_ranks(cascade)
    missing = [rank for rank in needed if rank not in known]
    if missing:
        raise InvalidInputError(
            f"rank {missing[0]} has no shape; give one, like {missing[0]}=128 (missing: {', '.join(missing)})"
        )
    check_bounds(cascade, known)
    return known


def partial(
    cascade: Cascade, sizes: Sizes | None = None, arrays: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, int]:
    """The shapes that can be known; like `resolve`, but unknown ranks are left out."""
    needed = needed_ranks(cascade)
    known: dict[str, int] = {}
    why: dict[str, str] = {}

    def learn(rank: str, size: int, reason: str) -> None:
        if not 0 < size <= MAX_SIZE:
            raise InvalidInputError(f"rank {rank} = {size} ({reason}): a shape is a positive whole number")
        if known.setdefault(rank, size) != size:
            raise InvalidInputError(f"rank {rank} is {known[rank]} ({why[rank]}) and {size} ({reason})")
        why.setdefault(rank, reason)

    for rank, size in (sizes or {}).items():
        if rank not in needed:
            raise InvalidInputError(str(unknown_name("rank", rank, needed)))
        learn(rank, size, "given")
    shapes = signatures(cascade)
    for tensor, shape in (arrays or {}).items():
        if tensor not in shapes or tensor not in cascade.inputs:
            raise InvalidInputError(str(unknown_name("input", tensor, cascade.inputs)))
        if len(shape) != len(shapes[tensor]):
            raise InvalidInputError(
                f"{tensor} has {len(shapes[tensor])} ranks, the array given for it has {len(shape)}"
            )
        for n, (extent, size) in enumerate(zip(shapes[tensor], shape, strict=True)):
            if extent.symbols and len(extent.terms) == 1 and extent.terms[0] == Term(symbols=extent.symbols[:1]):
                learn(extent.symbols[0], size, f"dimension {n} of {tensor}")
    equations = list(_equations(cascade))
    while any(_deduce(left, right, known, learn) for left, right in equations):
        pass
    _learn_from_reads(cascade, shapes, known)
    while any(_deduce(left, right, known, learn) for left, right in equations):
        pass
    for tensor, shape in (arrays or {}).items():
        _check_array(tensor, shape, shapes[tensor], known)
    return known


def _check_array(tensor: str, shape: tuple[int, ...], extents: tuple[Affine, ...], known: Sizes) -> None:
    for n, (extent, size) in enumerate(zip(extents, shape, strict=True)):
        if all(symbol in known for symbol in extent.symbols) and evaluate(extent, known) != size:
            raise InvalidInputError(
                f"dimension {n} of {tensor} is {show_index(extent)} = {evaluate(extent, known)}, "
                f"the array given for it has {size}"
            )


def _learn_from_reads(cascade: Cascade, shapes: dict[str, tuple[Affine, ...]], known: dict[str, int]) -> None:
    """A rank that nothing else fixes has the shape of the dimension that its variable walks."""
    for access in reads_of(cascade):
        for index, extent in zip(access.indices, shapes[access.tensor], strict=True):
            rank = rank_of(index.variable) if index.variable else None
            if rank and rank not in known and all(symbol in known for symbol in extent.symbols):
                known[rank] = evaluate(extent, known)


def needed_ranks(cascade: Cascade) -> tuple[str, ...]:
    """Ranks of rank variables, of declared shapes and of equations, in order of appearance."""
    ranks: dict[str, None] = {}
    for extents in signatures(cascade).values():
        ranks.update((symbol, None) for extent in extents for symbol in extent.symbols)
    for einsum in cascade:
        for variable in (*einsum.variables, *einsum.output_variables):
            ranks[rank_of(variable)] = None
        for access in (einsum.output, *einsum.reads):
            ranks.update((symbol, None) for index in access.indices for symbol in index.symbols)
    for left, right in _equations(cascade):
        ranks[left] = None
        ranks.update((symbol, None) for symbol in _symbols(right))
    ranks.update((rank.name, None) for rank in cascade.ranks)
    return tuple(ranks)


def _equations(cascade: Cascade) -> Iterator[tuple[str, Expression]]:
    for rank in cascade.ranks:
        if rank.extent is not None:
            yield rank.name, rank.extent
    for stop in cascade.stops:
        limit = trip_limit(stop)
        if limit is not None:
            yield rank_of(limit[0]), affine_expression(limit[1])


def _symbols(node: Expression) -> list[str]:
    return [part.name for part in walk(node) if isinstance(part, Symbol)]


def _deduce(left: str, right: Expression, known: Sizes, learn: Learn) -> bool:
    """Use one equation forwards, or backwards when one factor of a product is unknown; whether it helped."""
    unknown = [name for name in _symbols(right) if name not in known]
    reason = f"{left} = {show_expression(right)}"
    if not unknown:
        fresh = left not in known
        learn(left, _integer(right, known), reason)
        return fresh
    parts = factors(right)
    if left in known and parts is not None and len(unknown) == 1:
        rest = 1
        for factor in parts:
            rest *= 1 if factor == Symbol(unknown[0]) else _integer(factor, known)
        if rest <= 0 or known[left] % rest:
            raise InvalidInputError(f"rank {left} = {known[left]} is not a multiple of {rest} ({reason})")
        learn(unknown[0], known[left] // rest, reason)
        return True
    return False


def factors(node: Expression) -> list[Expression] | None:
    """Factors of a product of symbols and numbers; None for any other expression."""
    if isinstance(node, (Symbol, Constant)):
        return [node]
    if isinstance(node, Apply) and node.operator == "multiply":
        left, right = (factors(operand) for operand in node.operands)
        return None if left is None or right is None else left + right
    return None


def _integer(node: Expression, known: Sizes) -> int:
    position: Position | None = getattr(node, "position", None)
    match node:
        case Constant(value=int(value)):
            return value
        case Symbol(name=name):
            return known[name]
        case Apply(operator=name, operands=(left, right)) if name in _ARITHMETIC:
            a, b = _integer(left, known), _integer(right, known)
            if name in ("divide", "floor_divide", "remainder") and b == 0:
                raise InvalidInputError(f"{at(position)}the shape {show_expression(node)} divides by zero")
            if name == "divide" and a % b:
                raise InvalidInputError(f"{at(position)}{a} is not a multiple of {b} in {show_expression(node)}")
            return _ARITHMETIC[name](a, b)
        case _:
            raise InvalidInputError(
                f"{at(position)}the shape of a rank is built from ranks and whole numbers with + - * / // % "
                f"max min, not {show_expression(node)}"
            )


def check_bounds(cascade: Cascade, sizes: Sizes) -> None:
    """Refuse accesses that can leave their tensor; filters and values outside are the ways to allow it."""
    shapes = signatures(cascade)
    for einsum in cascade:
        uses = [einsum.output, *(a for a in einsum.reads if a.outside is None and not einsum.filters)]
        for access in uses:
            for n, (index, extent) in enumerate(zip(access.indices, shapes[access.tensor], strict=True)):
                limits = bounds_of(index)
                if limits is None:
                    continue
                low, high, size = (evaluate(x, sizes) for x in (*limits, extent))
                if low < 0 or high >= size:
                    raise InvalidInputError(
                        f"{at(access.position or einsum.position)}{access.tensor}[... {show_index(index)} ...] "
                        f"reaches {low} to {high}, but dimension {n} has coordinates 0 to {size - 1}; "
                        f"filter the points, or give a value outside like {access.tensor}[i | 0]"
                    )
