"""How to draw expressions and cascades for property tests."""

from hypothesis import strategies as st

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Access, Affine, Apply, Constant, Symbol, Term
from tierplan.einsum.operators import MAPS, MERGES
from tierplan.einsum.statements import Declaration, Einsum, OperatorDefinition, RankShape, Reduction

VARIABLES = ["i", "j", "m0", "m1"]
RANKS = ["I", "J", "M0", "M1"]
# Inputs with their shapes; every rank is bound by one of them.
INPUTS = {"A": ("I", "J"), "B": ("M0", "M1"), "C": ("I",), "Scalar": ()}

numbers = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=True),
)


@st.composite
def indices(draw, depth=1):
    terms = [Term(draw(st.integers(-3, 3)), (), draw(st.sampled_from(VARIABLES)))]
    if draw(st.booleans()):
        symbols = tuple(draw(st.lists(st.sampled_from(RANKS), max_size=2)))
        terms.append(Term(draw(st.integers(-3, 3)), symbols, draw(st.sampled_from([*VARIABLES, None]))))
    if depth and draw(st.integers(0, 5)) == 0:
        terms.append(Term(draw(st.integers(1, 2)), (), draw(accesses(depth=depth - 1))))
    if draw(st.booleans()):
        terms.append(Term(draw(st.integers(-5, 5))))
    return Affine(tuple(terms))


@st.composite
def accesses(draw, depth=1):
    tensor = draw(st.sampled_from(sorted(INPUTS)))
    outside = draw(st.one_of(st.none(), numbers))
    index = tuple(draw(indices(depth=depth)) for _ in INPUTS[tensor])
    return Access(tensor, index, outside if index else None)


leaves = st.one_of(numbers.map(Constant), st.sampled_from([*VARIABLES, *RANKS]).map(Symbol), accesses())


@st.composite
def _apply(draw, inner):
    name = draw(st.sampled_from([*sorted(MAPS), "own"]))
    arity = MAPS[name].arity if name in MAPS else 2
    merge = draw(st.one_of(st.none(), st.sampled_from(sorted(MERGES)))) if arity == 2 else None
    return Apply(name, tuple(draw(inner) for _ in range(arity)), merge)


expressions = st.recursive(leaves, _apply, max_leaves=8)


@st.composite
def cascades(draw):
    """Well-formed cascades whose Einsums read the inputs (any expression, any merge, any filter)."""
    einsums = []
    for number in range(draw(st.integers(1, 3))):
        kept = draw(st.lists(st.sampled_from(VARIABLES), unique=True, max_size=3))
        value = draw(expressions)
        filters = tuple(draw(st.lists(expressions, max_size=2)))
        output = Access(f"Out{number}", tuple(Affine((Term(of=v), Term(draw(st.integers(0, 2))))) for v in kept))
        plain = Einsum(output, value, (), filters)
        over = list(plain.reduced_variables)
        reductions = []
        while over and draw(st.booleans()):
            operator = draw(st.sampled_from(["add", "max", "min", "multiply", "and", "or", "argmax", "own"]))
            count = 1 if operator == "argmax" else draw(st.integers(1, len(over)))
            reductions.append(Reduction(operator, tuple(over[:count])))
            over = over[count:]
        einsums.append(Einsum(output, value, tuple(reductions), filters))
    empty = st.one_of(st.integers(-3, 3), st.just(float("-inf")), st.just(0.5))
    tensors = tuple(
        Declaration(name, tuple(Affine((Term(symbols=(rank,)),)) for rank in shape), True, draw(empty))
        for name, shape in INPUTS.items()
    )
    body = draw(st.one_of(st.none(), st.just(Symbol("a") + Symbol("b") * 2)))
    own = OperatorDefinition("own", ("a", "b"), body, draw(st.sampled_from([0, 1, float("-inf"), 0.25])))
    ranks = (RankShape("I", Symbol("M0") * 2),) if draw(st.booleans()) else ()
    name = draw(st.sampled_from(["", "drawn", "drawn-2.a_b"]))
    return Cascade(tuple(einsums), (), (), ranks, tensors, (own,), (), name)
