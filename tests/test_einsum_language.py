"""The text form: round trips, shapes, and errors that say where and what instead."""

import pytest
from einsum_strategies import cascades, expressions
from hypothesis import given, settings

from tierplan.einsum.construct import access, declare, einsum
from tierplan.einsum.expressions import Access, Affine, Apply, Constant, Term, apply
from tierplan.einsum.library import find, named, names
from tierplan.einsum.parse import parse_cascade, parse_einsum, parse_index, read_cascade
from tierplan.einsum.printer import show_cascade, show_einsum, show_expression, show_index
from tierplan.einsum.shapes import signatures
from tierplan.einsum.sizes import resolve
from tierplan.einsum.statements import Einsum, Reduction
from tierplan.ir.errors import InvalidInputError


@pytest.mark.parametrize("name", names())
def test_library_round_trip(name):
    cascade = named(name)
    assert cascade.name == name
    assert parse_cascade(show_cascade(cascade)) == cascade
    assert show_cascade(parse_cascade(show_cascade(cascade))) == show_cascade(cascade)


@given(cascades())
@settings(deadline=None, max_examples=300)
def test_print_then_parse_is_the_identity(cascade):
    text = show_cascade(cascade)
    again = parse_cascade(text)
    assert again == cascade
    assert show_cascade(again) == text


@given(expressions)
@settings(deadline=None, max_examples=300)
def test_printed_expressions_keep_their_shape(expression):
    text = f"Z = {show_expression(expression)}"
    assert show_expression(parse_einsum(text).expression) == show_expression(expression)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("Z[m,n]=A[k,m]*B[k,n]", "Z[m, n] = A[k, m] * B[k, n]"),
        ("Z[m] = sum[k] A[k,m]", "Z[m] = A[k, m]"),
        ("Z[m] = max[j] sum[k] A[k,m,j]", "Z[m] = max[j] A[k, m, j]"),
        ("Z = (A[k] + B[k]) * -2 - -C[k]", "Z[] = (A[k] + B[k]) * -2 - -C[k]"),
        ("Z = A[k] - (B[k] - C[k])", "Z[] = A[k] - (B[k] - C[k])"),
        ("Z = 2 ** -A[k] ** 2", "Z[] = 2 ** -A[k] ** 2"),
        ("Z = (2 ** 3) ** A[k]", "Z[] = (2 ** 3) ** A[k]"),
        ("Z = not A[k] < 1 and B[k] or C[k]", "Z[] = not A[k] < 1 and B[k] or C[k]"),
        ("S[i+1] = A[k: k<=i]", "S[i + 1] = A[k] if k <= i"),
        ("S[i] = A[k] if 0 <= k < i", "S[i] = A[k] if 0 <= k and k < i"),
        ("Z[t] = E[Ids[t]+1, 2*(x - 1)]", "Z[t] = E[Ids[t] + 1, 2*x - 2]"),
        ("Z[x] = A[x*1 + 0 + M0*2*M1 | -inf]", "Z[x] = A[x + 2*M0*M1 | -inf]"),
        ("Z[m] = A[m] *{intersect} max{union}(B[m], C[m])", "Z[m] = A[m] *{intersect} max{union}(B[m], C[m])"),
        ("V[t, j] = top[e:j] X[t, e]", "V[t, j] = top[e:j] X[t, e]"),
        ("Z[m] = A[m,\n  k] *  # a comment\n", None),
    ],
)
def test_canonical_text(text, printed):
    if printed is None:
        with pytest.raises(InvalidInputError, match="line 2, column 20"):
            parse_einsum(text)
        return
    assert show_einsum(parse_einsum(text)) == printed
    assert show_einsum(parse_einsum(printed)) == printed


def test_lines_continue_inside_brackets_and_statements_end_with_semicolons():
    text = "A[m] = (B[m]\n + C[m]); D[m] = A[\nm]   # rest\n\n"
    assert [e.name for e in parse_cascade(text).einsums] == ["A", "D"]


def test_objects_built_in_python_equal_parsed_ones():
    built = einsum(access("GM", "p"), access("QK", "m", "p"), reduce="max")
    assert built == parse_einsum("GM[p] = max[m] QK[m, p]")
    built = einsum(access("SN", "m", "p"), apply("exp", access("QK", "m", "p") - access("GM", "p")) * 2 / 3 + 1)
    assert built == parse_einsum("SN[m, p] = exp(QK[m, p] - GM[p]) * 2 / 3 + 1")
    built = einsum(access("Z", "x"), access("I", "2*x + r - 1", outside=0) * access("F", "r"))
    assert built == parse_einsum("Z[x] = I[2*x + r - 1 | 0] * F[r]")
    built = einsum(access("X", "t", "d"), access("E", access("Ids", "t"), "d"))
    assert built == parse_einsum("X[t, d] = E[Ids[t], d]")
    assert declare("K", "E", "M1*M0").shape[1] == parse_index("M0*M1")
    assert 1 - access("A", "m") == parse_einsum("Z[m] = 1 - A[m]").expression


def test_shapes_are_inferred():
    shapes = signatures(named("attention-1pass"))
    show = {tensor: [show_index(extent) for extent in shape] for tensor, shape in shapes.items()}
    assert show["BK"] == ["E", "M1", "M0"]
    assert show["RNV"] == ["F", "M1 + 1", "P"]
    assert show["AV"] == ["F", "P"]
    sizes = resolve(named("attention-1pass"), {"M": 12, "M0": 4, "E": 1, "F": 2, "P": 3})
    assert sizes["M1"] == 3
    with pytest.raises(InvalidInputError, match=r"rank M = 12 is not a multiple of 5 \(M = M1 \* M0\)"):
        resolve(named("attention-1pass"), {"M": 12, "M0": 5, "E": 1, "F": 2, "P": 3})
    with pytest.raises(InvalidInputError, match=r"rank M is 13 \(given\) and 12 \(M = M1 \* M0\)"):
        resolve(named("attention-1pass"), {"M": 13, "M0": 4, "M1": 3, "E": 1, "F": 2, "P": 3})


# (text, what the message says); the place is checked for each.
BAD = [
    ("Z[m] = A[k, m", 1, "expected"),
    ("rnak M = 3", 1, "did you mean 'rank'"),
    ("A[i] = B[i]\nB[i] = A[i]", 1, "A -> B -> A is a cycle that no iterative rank breaks"),
    ("X[i] = B[i]\nA[i] = B[i]\nB[i] = C[i]\nC[i] = B[i] * A[i] * D[i]", 3, "cycle"),
    ("Z[m] = A[m] * exq(A[m])", 1, "unknown operator 'exq'; did you mean 'exp'"),
    ("Z[m] = A[m] +{unoin} A[m]", 1, "unknown merge operator 'unoin'; did you mean 'union'"),
    ("Z = mxa[m] A[m]", 1, "unknown reduction 'mxa'; did you mean 'max'"),
    ("input Query[M]\nZ[m] = Qeury[m]", 2, "unknown tensor 'Qeury'; did you mean 'Query'"),
    ("Z[m] = A[m] * EXTENT", 1, "unknown scalar or rank 'EXTENT'"),
    ("Z[m, j] = A[m]", 1, "rank J has no shape"),
    ("rank M0\nZ[m] = A[m]", 1, "rank M0 is never used"),
    ("Z[m] = A[m]\nZ[m] = B[m]", 2, "Z is written twice"),
    ("Z[m] = A[m]\nY[m] = A[m, m]", 2, "A has 1 ranks, not 2"),
    ("Z[m] = max[m] A[m]", 1, "'m' is reduced, yet the output keeps it"),
    ("Z = max[k] A[m]", 1, "'k' is reduced, yet nothing is indexed by it"),
    ("Z = exp(A[m], A[m])", 1, "operator 'exp' takes 1 operands, not 2"),
    ("Z = top[m] A[m]", 1, r"write the reduction 'top' as top\[m:j\]"),
    ("Z[m] = A[m * m]", 1, "affine"),
    ("Z[m] = A[exp(m)]", 1, "affine"),
    ("S[i + 1] = S[i] + A[i]", 1, "no first value"),
    ("Z[m] = A[m]\n<>: m >= M", 2, "iterative"),
    ("input A[m]\nZ[m] = A[m]", 1, "declare ranks"),
    ("input A[M]\ninput A[M]\nZ[m] = A[m]", 2, "A is declared twice"),
    ("input Z[M]\nZ[m] = A[m]", 1, "declared as an input, yet"),
    ("operator exp(x) = x\nZ[m] = A[m]", 1, "operator 'exp' is built in"),
    ("operator f(x) = g(x)\noperator g(x) = f(x)\nZ[m] = f(A[m])", 1, "before it is defined"),
    ("operator f(x) = y\nZ[m] = f(A[m])", 1, "no parameter 'y'"),
    ("output Y\nZ[m] = A[m]", 1, "unknown output 'Y'"),
    ("Z[m] = 99999999999999999999 * A[m]", 1, "smaller than 2"),
    ("rank M, M\nZ[m] = A[m]", 1, "rank M is declared twice"),
    ("operator f(x)\noperator f(y)\nZ[m] = f(A[m])", 2, "operator 'f' is defined twice"),
    ("cascade a\ncascade b\nZ[m] = A[m]", 2, "named twice"),
    ("Y = A[m]\ninit { X = Y[] }\nZ = X[] * 2", 2, "init reads Y"),
    ("Q = A[m]\nZ[m] = A[m] * Q\nrank Q\nX[q] = A[q]", 2, "both a scalar tensor and a rank"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), BAD, ids=[bad[0].replace("\n", "; ")[:50] for bad in BAD])
def test_errors_say_where_and_what(text, line, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        parse_cascade(text)
    assert str(caught.value).startswith(f"line {line}, column ")
    assert "\n" not in str(caught.value)


def test_constructors_refuse_nonsense():
    x = Access("X")
    for build in [
        lambda: Access("lower"),
        lambda: Constant(float("nan")),
        lambda: Apply("add", ()),
        lambda: Apply("add", (x, x), "sometimes"),
        lambda: Reduction("add", ()),
        lambda: Reduction("argmax", ("i", "j")),
        lambda: Einsum(Access("Z", (), 0.0), x),
        lambda: Affine((Term(of="i"),)) * Affine((Term(of="j"),)),
    ]:
        with pytest.raises(InvalidInputError):
            build()


def test_depth_is_bounded():
    def nested(n):
        expression = Access("X")
        for _ in range(n):
            expression = -expression
        return expression

    assert nested(90).depth == 91
    with pytest.raises(InvalidInputError, match="deeper than"):
        nested(200)


def test_find_and_read(tmp_path):
    with pytest.raises(InvalidInputError, match="did you mean 'attention-1pass'"):
        find("attention-1pas")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        find(str(tmp_path / "none.cascade"))
    path = tmp_path / "mine.cascade"
    path.write_text("Z[m] = A[m]\n")
    assert find(str(path)).name == "mine"
    path.write_text("Z[m] = \n")
    with pytest.raises(InvalidInputError, match=r"mine\.cascade: line 1, column 8: expected"):
        read_cascade(path)
    path.write_bytes(b"Z[m] = \xff")
    with pytest.raises(InvalidInputError, match="byte 7 is not UTF-8"):
        read_cascade(path)
