"""Execution against a literal point-by-point oracle, plain numpy, and plain softmax attention."""

import re

import numpy as np
import pytest
from einsum_oracle import Oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.einsum.execute import execute
from tierplan.einsum.library import named
from tierplan.einsum.parse import parse_cascade
from tierplan.einsum.sizes import resolve
from tierplan.ir.errors import InvalidInputError

BACKENDS = ["numpy", "jax"]
ATTENTION = [
    "attention-3pass", "attention-2pass-deferred", "attention-2pass", "attention-1pass",
    "attention-unstable", "attention-unstable-deferred",
]  # fmt: skip
STABLE = [name for name in ATTENTION if "unstable" not in name]


def softmax_attention(q, k, v):
    scores = np.einsum("ep,em->mp", q, k) / np.sqrt(len(q))
    weights = np.exp(scores - scores.max(axis=0))
    return np.einsum("mp,fm->fp", weights / weights.sum(axis=0), v)


def run_attention(name, q, k, v, m0, backend):
    inputs = {"Q": q / np.sqrt(len(q)), "K": k, "V": v}
    cascade = named(name)
    sizes = {"M0": m0} if "M0" in str(cascade.ranks) else {}
    return np.asarray(execute(cascade, inputs, sizes, backend=backend)["AV"])


@given(st.sampled_from(ATTENTION), st.integers(1, 5), st.integers(1, 4), st.integers(1, 6), st.integers(1, 4),
       st.integers(1, 5), st.integers(0, 2**32 - 1))  # fmt: skip
@settings(deadline=None, max_examples=120)
def test_attention_is_softmax_attention(name, e, f, p, m1, m0, seed):
    rng = np.random.default_rng(seed)
    q, k, v = rng.normal(size=(e, p)), rng.normal(size=(e, m1 * m0)), rng.normal(size=(f, m1 * m0))
    got = run_attention(name, q, k, v, m0, "numpy")
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, softmax_attention(q, k, v), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (4, 3, 5, 3, 4), (2, 2, 7, 1, 6), (3, 1, 2, 6, 1)])
def test_attention_on_jax(name, shape):
    e, f, p, m1, m0 = shape
    rng = np.random.default_rng(7)
    q, k, v = rng.normal(size=(e, p)), rng.normal(size=(e, m1 * m0)), rng.normal(size=(f, m1 * m0))
    got = run_attention(name, q, k, v, m0, "jax")
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, softmax_attention(q, k, v), rtol=1e-12, atol=1e-12)


@given(st.sampled_from(STABLE), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_stable_attention_at_large_magnitude(name, m1, m0, seed):
    rng = np.random.default_rng(seed)
    q, k, v = (1e4 * rng.normal(size=s) for s in ((3, 4), (3, m1 * m0), (2, m1 * m0)))
    want = softmax_attention(q, k, v)
    assert np.isfinite(want).all()
    np.testing.assert_allclose(run_attention(name, q, k, v, m0, "numpy"), want, rtol=1e-12, atol=1e-12)


def test_unstable_attention_overflows():
    q = k = np.full((1, 2), 1e4)
    assert np.isnan(run_attention("attention-unstable", q, k, k, 1, "numpy")).all()


# (cascade, input shapes, sizes, kind of inputs)
CASES = [
    ("Z[m, n] = A[k, m] * B[k, n]", {"A": (3, 2), "B": (3, 4)}, {}),
    ("Z[m] = max[k] A[k, m]", {"A": (3, 2)}, {}),
    ("Z = prod[k, m] A[k, m]", {"A": (3, 2)}, {}),
    ("Z[m] = argmax[k] A[k, m]", {"A": (5, 3)}, {}),
    ("Z[m] = argmin[k] A[k, m] if k != 1", {"A": (5, 3)}, {}),
    ("Z[m] = any[k] A[k, m] > 1", {"A": (4, 3)}, {}),
    ("Z[m] = all[k] A[k, m] < 1", {"A": (4, 3)}, {}),
    ("Z[m] = max[k] sum[j] A[k, j, m]", {"A": (3, 4, 2)}, {}),
    ("Z[m] = A[k, m]", {"A": (3, 2)}, {}),
    ("Z[m, n] = A[m]\nrank N", {"A": (3,)}, {"N": 2}),
    ("Z[m] = A[m] * B[k] / 2", {"A": (3,), "B": (4,)}, {}),
    ("input I[H], F[R]\nrank X\nZ[x] = I[2*x + 3*r - 1 | 0] * F[r]", {"I": (9,), "F": (3,)}, {"X": 5}),
    ("input I[X], F[R]\nZ[x] = I[x + r - 1] * F[r] if x + r >= 1, x + r <= 7", {"I": (7,), "F": (3,)}, {"X": 7}),
    ("Z[m] = A[m, m]", {"A": (4, 4)}, {}),
    ("input A[M]\nZ[m] = A[M - 1 - m]", {"A": (4,)}, {}),
    ("Z[m1, m0] = A[m1*M0 + m0]\nrank M0, M1", {"A": (12,)}, {"M0": 3, "M1": 4}),
    ("Z[m1*M0 + m0] = A[m1, m0]", {"A": (3, 4)}, {}),
    ("Z[2*m] = A[m]\ntensor Z[2*M] empty -1", {"A": (3,)}, {}),
    ("Z[m + 2] = A[m]\ntensor Z[M + 3]", {"A": (3,)}, {}),
    ("S[i] = A[k : k <= i]\nrank I", {"A": (5,)}, {"I": 5}),
    ("S[i + 1] = A[k : k <= i]\nrank I", {"A": (5,)}, {"I": 5}),
    ("Z[p] = max[m] A[m, p] if m > p\ntensor Z[P] empty -inf", {"A": (3, 4)}, {}),
    ("Z[m, e] = where(e == 1, A[m], -inf)\nrank E", {"A": (3,)}, {"E": 3}),
    ("Z[m] = A[m] * m + K\nY[k] = B[k]", {"A": (3,), "B": (4,)}, {}),
    ("init {\n S[0] = 0\n}\nS[i + 1] = S[i] * 0.5 + A[i]\n<>: i >= I", {"A": (6,)}, {}),
    ("init {\n S[0, p] = 1\n}\nS[i + 1, p] = max(S[i, p], A[i, p])\nZ[p] = S[I, p]\n<>: i >= I", {"A": (6, 2)}, {}),
    ("init {\n S[0] = 0\n T[0] = 0\n}\nS[i + 1] = S[i] + A[i, j]\nT[i + 1] = T[i] + S[i + 1]\nD[i] = A[i, j] - S[I]",
     {"A": (4, 3)}, {}),
    # a recurrence inside a recurrence
    ("init {\n S[0] = 0\n R[t, 0] = 0\n}\nR[t, i + 1] = R[t, i] + A[t, i] * S[t]\nS[t + 1] = S[t] + R[t, I] + 1\n"
     "Z = S[T]\n<>: t >= T\n<>: i >= I", {"A": (3, 4)}, {}),
]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("text", "shapes", "sizes"), CASES, ids=[case[0].replace("\n", "; ")[:60] for case in CASES])
def test_against_the_oracle(text, shapes, sizes, backend):
    cascade = parse_cascade(text)
    rng = np.random.default_rng(11)
    inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    known = resolve(cascade, sizes, shapes)
    for name, got in execute(cascade, inputs, sizes, backend=backend).items():
        want = Oracle(cascade, inputs, known).array(name)
        np.testing.assert_allclose(np.asarray(got).astype(float), want.astype(float), rtol=1e-13, atol=1e-13)


SAFE = ["add", "subtract", "multiply", "max", "min", "less", "where", "negate", "abs", "tanh"]


@st.composite
def small_cascades(draw):
    """Two Einsums: any operators, reductions and filters over plain, shifted, split and repeated indices."""
    index = st.sampled_from(["i", "j", "k", "i + j", "2*i", "K - 1 - k", "i*J + j", "1"])

    def value(depth, tensors):
        if not depth or draw(st.integers(0, 3)) == 0:
            if draw(st.integers(0, 4)) == 0:
                return draw(st.sampled_from(["2", "0.5", "i", "k", "J"]))
            tensor = draw(st.sampled_from(tensors))
            return f"{tensor}[{draw(index)}, {draw(index)} | {draw(st.sampled_from(['0', '1.5']))}]"
        name = draw(st.sampled_from(SAFE))
        n_operands = {"where": 3, "negate": 1, "abs": 1, "tanh": 1}.get(name, 2)
        return f"{name}({', '.join(value(depth - 1, tensors) for _ in range(n_operands))})"

    def einsum(name, tensors):
        kept = draw(st.lists(st.sampled_from("ijk"), min_size=2, max_size=2, unique=True))
        body = value(3, tensors)
        over = sorted(set(re.findall(r"\b[ijk]\b", body)) - set(kept))
        operator = draw(st.sampled_from(["sum", "max", "min", "prod"]))
        condition = draw(st.sampled_from(["", " if i <= k", " if A[i, j | 0] < B[k, k | 0], j != 1"]))
        free = sorted(set(over) | (set(re.findall(r"\b[ijk]\b", condition)) - set(kept)))
        reduction = f"{operator}[{', '.join(free)}] " if free else ""
        return f"{name}[{', '.join(kept)}] = {reduction}{body}{condition}"

    head = "input A[I, J], B[K, K]\n"
    return head + einsum("T", ["A", "B"]) + "\n" + einsum("Z", ["A", "B", "T"]) + "\noutput T, Z\n"


@given(small_cascades(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=150)
def test_random_cascades_against_the_oracle(text, seed):
    cascade = parse_cascade(text)
    rng = np.random.default_rng(seed)
    shapes = {"A": (2, 3), "B": (4, 4)}
    inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    oracle = Oracle(cascade, inputs, resolve(cascade, {}, shapes))
    for name, got in execute(cascade, inputs).items():
        np.testing.assert_allclose(got.astype(float), oracle.array(name).astype(float), rtol=1e-12, atol=1e-12)


LIBRARY = {
    "attention-1pass": ({"Q": (2, 3), "K": (2, 6), "V": (2, 6)}, {"M0": 2}),
    "attention-2pass": ({"Q": (2, 3), "K": (2, 6), "V": (2, 6)}, {"M0": 2}),
    "batchnorm": ({"X": (4, 3), "G": (3,), "H": (3,)}, {}),
    "kmeans-assign": ({"X": (2, 5), "C": (2, 3)}, {}),
    "layernorm": ({"X": (4, 3), "G": (4,), "B": (4,)}, {}),
    "layernorm-moments": ({"X": (4, 3), "G": (4,), "B": (4,)}, {}),
    "logsumexp": ({"X": (4, 3)}, {}),
    "mlp": ({"X": (2, 3), "U": (2, 4), "W": (4, 2)}, {}),
    "product-1pass": ({"A": (4,), "B": (4,)}, {}),
    "product-2pass": ({"A": (4,), "B": (4,)}, {}),
    "rmsnorm": ({"X": (4, 3), "G": (4,)}, {}),
    "routing-top1": ({"X": (2, 3), "W": (2, 4)}, {}),
    "welford": ({"X": (5, 3)}, {}),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", LIBRARY)
def test_library_against_the_oracle(name, backend):
    shapes, sizes = LIBRARY[name]
    cascade = named(name)
    rng = np.random.default_rng(3)
    inputs = {tensor: rng.normal(size=shape) for tensor, shape in shapes.items()}
    known = resolve(cascade, sizes, shapes)
    for tensor, got in execute(cascade, inputs, sizes, backend=backend).items():
        want = Oracle(cascade, inputs, known).array(tensor)
        np.testing.assert_allclose(np.asarray(got).astype(float), want.astype(float), rtol=1e-12, atol=1e-12)


def test_norms_and_statistics_against_numpy():
    x = np.random.default_rng(5).normal(size=(6, 4))
    one, zero = np.ones(6), np.zeros(6)
    want = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    for name in ("layernorm", "layernorm-moments"):
        got = execute(named(name), {"X": x, "G": one, "B": zero})["Y"]
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    found = execute(named("welford"), {"X": x})
    np.testing.assert_allclose(found["Mean"], x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found["Var"], x.var(0), rtol=1e-13)


def test_product_iterative_matches_the_product():
    a, b = np.array([0.5, 0.0, 2.0]), np.array([1.0, 4.0, -3.0])
    want = execute(named("product-2pass"), {"A": a, "B": b})["Z"]
    for backend in BACKENDS:
        got = execute(named("product-iterative"), {"A": a, "B": b}, backend=backend)["Z"]
        np.testing.assert_allclose(got, want, rtol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gather_scatter_top_and_one_hot(backend):
    rng = np.random.default_rng(2)
    table, ids = rng.normal(size=(7, 3)), np.array([6, 0, 6, 2])
    text = "input Table[V, D], Ids[T]\nX[t, d] = Table[Ids[t], d]"
    got = execute(parse_cascade(text), {"Table": table, "Ids": ids}, backend=backend)["X"]
    np.testing.assert_array_equal(got, table[ids])
    text = "input U[T, D], Ids[T]\noutput O[V, D] empty 0\nrank V\nO[Ids[t], d] = U[t, d]"
    got = execute(parse_cascade(text), {"U": table[ids], "Ids": ids}, {"V": 7}, backend=backend)["O"]
    want = np.zeros((7, 3))
    np.add.at(want, ids, table[ids])
    np.testing.assert_allclose(got, want)
    text = "input U[T], Ids[T]\noutput O[V] empty -9\nrank V\nO[Ids[t]] = max[t] U[t]"
    got = execute(parse_cascade(text), {"U": table[:4, 0], "Ids": ids}, {"V": 7}, backend=backend)["O"]
    want = np.array([max([table[t, 0] for t in range(4) if ids[t] == v], default=-9) for v in range(7)])
    np.testing.assert_allclose(got, want)
    scores = np.array([[1.0, 3.0, 2.0, 3.0], [0.0, -1.0, 5.0, 5.0]])
    text = "input X[T, E]\nrank J\nV[t, j] = top[e:j] X[t, e]\nI[t, j] = argtop[e:j] X[t, e]"
    found = execute(parse_cascade(text), {"X": scores}, {"J": 2}, backend=backend)
    np.testing.assert_array_equal(found["I"], [[1, 3], [2, 3]])
    np.testing.assert_array_equal(found["V"], [[3, 3], [5, 5]])
    text = "input I[T]\nrank E\nH[t, e] = where(e == I[t], 1.0, 0.0)"
    got = execute(parse_cascade(text), {"I": np.array([2, 0])}, {"E": 3}, backend=backend)["H"]
    np.testing.assert_array_equal(got, [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_merge_operators(backend):
    a, b = np.array([0.0, 0, 3, 5]), np.array([0.0, 2, 0, 7])
    want = {
        "intersect": [0, 0, 0, 12], "union": [0, 2, 3, 12], "take_left": [0, 0, 3, 12], "take_right": [0, 2, 0, 12],
        "take_left_only": [0, 0, 3, 0], "take_right_only": [0, 2, 0, 0], "xor": [0, 2, 3, 0],
        "pass_through": [0, 2, 3, 12], "no_pass": [0, 0, 0, 0],
    }  # fmt: skip
    for merge, values in want.items():
        got = execute(parse_cascade(f"Z[m] = A[m] +{{{merge}}} B[m]"), {"A": a, "B": b}, backend=backend)["Z"]
        np.testing.assert_array_equal(got, values, err_msg=merge)
    # What a merge operator leaves out takes no part in a reduction.
    got = execute(parse_cascade("Z = min[m] A[m] *{intersect} B[m]"), {"A": a, "B": b}, backend=backend)["Z"]
    assert float(got) == 35


@pytest.mark.parametrize("backend", BACKENDS)
def test_user_operators_and_stopping_conditions(backend):
    text = """
    operator logadd(a, b) identity -inf = max(a, b) + log1p(exp(-abs(a - b)))
    operator twice(x)
    L[p] = logadd[m] twice(X[m, p])
    """
    x = np.random.default_rng(1).normal(size=(5, 3))
    got = execute(parse_cascade(text), {"X": x}, backend=backend, operators={"twice": lambda v: 2 * v})["L"]
    np.testing.assert_allclose(got, np.log(np.exp(2 * x).sum(0)), rtol=1e-12)
    # Shortest paths: rounds of relaxation until nothing changes, at most V - 1 of them.
    text = """
    input G[S, D]
    rank I, R = S
    init { P[0, s] = where(s == 0, 0.0, inf) }
    N[i, d] = min[s] P[i, s] + G[s, d]
    P[i + 1, d] = min(P[i, d], N[i, d])
    Z[d] = P[I, d]
    <>: P[i + 1, r] == P[i, r]
    """
    g = np.full((5, 5), np.inf)
    for s, d, w in [(0, 1, 4.0), (0, 2, 1.0), (2, 1, 2.0), (1, 3, 5.0), (2, 3, 9.0)]:
        g[s, d] = w
    got = execute(parse_cascade(text), {"G": g}, {"I": 50}, backend=backend)["Z"]
    np.testing.assert_array_equal(got, [0, 3, 1, 8, np.inf])


@pytest.mark.parametrize(
    ("text", "inputs", "sizes", "message"),
    [
        ("Z[m] = A[m]", {}, {}, "no array was given for input A"),
        ("Z[m] = A[m]", {"A": np.ones((2, 2))}, {}, "A has 1 ranks, the array given for it has 2"),
        ("Z[m] = A[m] * B[m]", {"A": np.ones(2), "B": np.ones(3)}, {}, "rank M is 2"),
        ("Z[m] = A[m]", {"A": np.ones(2), "C": np.ones(2)}, {}, "unknown input 'C'"),
        ("Z[m] = A[m]", {"A": np.ones(2)}, {"N": 3}, "unknown rank 'N'"),
        ("input A[M], B[M]\nZ[m] = A[m + 1] * B[m]", {"A": np.ones(3), "B": np.ones(3)}, {}, "reaches 1 to 3"),
        ("Z[m] = A[m + 1] * B[m]", {"A": np.ones(3), "B": np.ones(3)}, {}, "has 3"),
        ("Z[m, n] = A[m]\nrank N", {"A": np.ones(2)}, {}, "rank N has no shape"),
        ("Z[t] = A[I[t]]\ninput A[V], I[T]", {"A": np.ones(2), "I": np.array([0, 2])}, {}, "from 0 to 2"),
        ("Z[t] = A[I[t]]\ninput A[V], I[T]", {"A": np.ones(2), "I": np.ones(2)}, {}, "not whole numbers"),
        ("rank M = M1 * M0, M0, M1\nZ[m1] = A[m1*M0 + m0]\ninput A[M]", {"A": np.ones(7)}, {"M0": 2}, "multiple"),
        ("operator f(x)\nZ[m] = f(A[m])", {"A": np.ones(2)}, {}, "has no definition"),
    ],
)  # fmt: skip
def test_bad_input_is_told(text, inputs, sizes, message):
    with pytest.raises(InvalidInputError, match=message):
        execute(parse_cascade(text), inputs, sizes)


def test_streaming_keeps_one_tile():
    """What only the loop exchanges is stored for one coordinate of the iterative rank."""
    from tierplan.einsum.execute import prepare

    cascade = named("attention-1pass")
    sizes = resolve(cascade, {"M": 64, "M0": 4, "E": 2, "F": 2, "P": 3})
    program = prepare(cascade, sizes)
    assert program.windows["BQK"] == {0: 1}
    assert program.windows["RM"] == {0: 2}
    assert program.windows["RNV"] == {1: 2}
