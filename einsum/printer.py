"""Cascades to text: what is printed parses back to an equal cascade."""

from __future__ import annotations

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Access, Affine, Apply, Constant, Expression, Symbol, Term
from tierplan.einsum.operators import MAPS
from tierplan.einsum.statements import Declaration, Einsum, OperatorDefinition, RankShape, Reduction
from tierplan.ir.errors import InvalidInputError

_ATOM = 9
_NEGATION = 7


def show_number(value: float) -> str:
    """A constant as text.

    >>> show_number(-float("inf")), show_number(True), show_number(0.5)
    ('-inf', 'true', '0.5')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _show_term(term: Term) -> str:
    factors = list(term.symbols)
    if term.of is not None:
        factors.insert(0, term.of if isinstance(term.of, str) else show_expression(term.of))
    if abs(term.coefficient) != 1 or not factors:
        factors.insert(0, str(abs(term.coefficient)))
    return "*".join(factors)


def show_index(index: Affine) -> str:
    """An index as text.

    >>> show_index(Affine((Term(2, (), "x"), Term(-1))))
    '2*x - 1'
    """
    text = ""
    for term in index.terms:
        sign = "-" if term.coefficient < 0 else "+"
        text += f" {sign} {_show_term(term)}" if text else ("-" if sign == "-" else "") + _show_term(term)
    return text or "0"


def show_expression(node: Expression) -> str:
    """An expression as text, with the brackets that it needs and no others."""
    return _show(node)[0]


def _show(node: Expression) -> tuple[str, int]:
    """Text, and how tightly its outermost operator binds."""
    match node:
        case Constant(value=value):
            text = show_number(value)
            return text, _NEGATION if text.startswith("-") else _ATOM
        case Symbol(name=name):
            return name, _ATOM
        case Access():
            return _show_access(node), _ATOM
        case Apply():
            return _show_apply(node)
        case _:
            raise InvalidInputError(f"{type(node).__name__} has no text form")


def _show_access(access: Access) -> str:
    indices = ", ".join(show_index(index) for index in access.indices)
    outside = "" if access.outside is None else f" | {show_number(access.outside)}"
    return f"{access.tensor}[{indices}{outside}]"


def _inside(node: Expression, least: int) -> str:
    text, binds = _show(node)
    return text if binds >= least else f"({text})"


def _show_apply(node: Apply) -> tuple[str, int]:
    known = MAPS.get(node.operator)
    merge = f"{{{node.merge}}}" if node.merge else ""
    if known is None or known.infix is None or len(node.operands) != known.arity or _folds(node):
        arguments = ", ".join(show_expression(operand) for operand in node.operands)
        return f"{node.operator}{merge}({arguments})", _ATOM
    binds = known.binds
    if known.arity == 1:
        space = " " if known.infix.isalpha() else ""
        return f"{known.infix}{space}{_inside(node.operands[0], binds)}", binds
    left, right = node.operands
    # A comparison takes sums on both sides; a power takes an atom on its left, a signed power on its right.
    on_left = binds + 1 if binds == MAPS["less"].binds else binds
    on_right = binds + 1
    if node.operator == "power":
        on_left, on_right = _ATOM, _NEGATION
    return f"{_inside(left, on_left)} {known.infix}{merge} {_inside(right, on_right)}", binds


def _folds(node: Apply) -> bool:
    """Whether the sign of a negated number would be read as part of the number."""
    operand = node.operands[0]
    return node.operator == "negate" and isinstance(operand, Constant) and not isinstance(operand.value, bool)


def show_reduction(reduction: Reduction) -> str:
    """`max[m]`, `top[e:j]`."""
    into = f":{reduction.into}" if reduction.into else ""
    name = {"add": "sum", "multiply": "prod", "and": "all", "or": "any"}.get(reduction.operator)
    return f"{name or reduction.operator}[{', '.join(reduction.over)}{into}]"


def show_einsum(einsum: Einsum) -> str:
    """An Einsum as text; a sum over exactly the missing rank variables goes without saying."""
    reductions = list(einsum.reductions)
    if reductions and _unsaid(einsum):
        reductions.pop()
    prefix = "".join(f"{show_reduction(reduction)} " for reduction in reductions)
    filters = ", ".join(show_expression(condition) for condition in einsum.filters)
    suffix = f" if {filters}" if filters else ""
    return f"{_show_access(einsum.output)} = {prefix}{show_expression(einsum.expression)}{suffix}"


def _unsaid(einsum: Einsum) -> bool:
    *said, last = einsum.reductions
    if last.operator != "add":
        return False
    return Einsum(einsum.output, einsum.expression, tuple(said), einsum.filters) == einsum


def _show_declaration(declaration: Declaration) -> str:
    shape = f"[{', '.join(show_index(extent) for extent in declaration.shape)}]" if declaration.shape else ""
    empty = f" empty {show_number(declaration.empty)}" if declaration.empty != 0 else ""
    return f"{declaration.name}{shape}{empty}"


def _show_rank(rank: RankShape) -> str:
    return rank.name if rank.extent is None else f"{rank.name} = {show_expression(rank.extent)}"


def _show_operator(operator: OperatorDefinition) -> str:
    identity = "" if operator.identity is None else f" identity {show_number(operator.identity)}"
    body = "" if operator.body is None else f" = {show_expression(operator.body)}"
    return f"operator {operator.name}({', '.join(operator.parameters)}){identity}{body}"


def show_cascade(cascade: Cascade) -> str:
    """A cascade as text, one statement per line, ready to be read by a person or parsed again."""
    lines: list[str] = []
    if cascade.name:
        lines.append(f"cascade {cascade.name}")
    inputs = [_show_declaration(d) for d in cascade.tensors if d.is_input]
    others = [_show_declaration(d) for d in cascade.tensors if not d.is_input]
    lines += [f"input {', '.join(inputs)}"] if inputs else []
    lines += [f"tensor {', '.join(others)}"] if others else []
    lines += [f"rank {', '.join(_show_rank(r) for r in cascade.ranks)}"] if cascade.ranks else []
    lines += [_show_operator(operator) for operator in cascade.operators]
    lines.append(f"output {', '.join(cascade.outputs)}")
    if cascade.init:
        lines += ["", "init {", *(f"  {show_einsum(einsum)}" for einsum in cascade.init), "}"]
    lines += ["", *(show_einsum(einsum) for einsum in cascade.einsums)]
    lines += [f"<>: {show_expression(stop)}" for stop in cascade.stops]
    return "\n".join(lines) + "\n"
