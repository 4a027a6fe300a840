"""Operation counts, footprints and traffic, as formulas and as numbers."""

import pytest
from einsum_oracle import Oracle

from tierplan.einsum.counts import MULTIPLY_ACCUMULATE, count, number, symbol
from tierplan.einsum.library import named
from tierplan.einsum.parse import parse_cascade

E, F, M, P, M0, M1 = (symbol(rank) for rank in ("E", "F", "M", "P", "M0", "M1"))


def by_name(cascade):
    return {c.name: dict(c.operations) for c in count(cascade).einsums}


def test_attention_3pass():
    assert by_name(named("attention-3pass")) == {
        "QK": {MULTIPLY_ACCUMULATE: E * M * P},
        "GM": {"max": M * P},
        "SN": {"subtract": M * P, "exp": M * P},
        "SD": {"add": M * P},
        "A": {"divide": M * P},
        "AV": {MULTIPLY_ACCUMULATE: F * M * P},
    }


def test_deferred_division_divides_less():
    assert count(named("attention-3pass")).operations["divide"] == M * P
    assert count(named("attention-2pass-deferred")).operations["divide"] == F * P


def test_attention_1pass():
    counts = count(named("attention-1pass"))
    found = {c.name: dict(c.operations) for c in counts.einsums}
    assert found["BQK"] == {MULTIPLY_ACCUMULATE: E * M0 * M1 * P}
    assert found["LM"] == {"max": M0 * M1 * P}
    assert found["RM"] == {"max": M1 * P}
    assert found["SPNV"] == {"multiply": F * M1 * P}
    assert found["RNV"] == {"add": F * M1 * P}
    assert found["AV"] == {"divide": F * P}
    assert counts.footprints["RNV"] == F * (M1 + 1) * P
    assert counts.compulsory_traffic == E * P + E * M + F * M + F * P
    sizes = {"E": 64, "F": 64, "P": 1024, "M": 4096, "M1": 16, "M0": 256}
    assert number(found["BQK"][MULTIPLY_ACCUMULATE], sizes) == 64 * 4096 * 1024
    assert number(counts.footprints["RNV"], {"F": 64}) is None


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ("Z[m, n] = A[m, n] + B[m, n]", {"add": "M*N"}),
        ("Z[m] = max[k] A[k, m] * B[k]", {"multiply": "K*M", "max": "K*M"}),
        ("Z[m] = max[m1] sum[k] A[k, m1, m] * B[k]", {"multiply-accumulate": "K*M*M1", "max": "M*M1"}),
        ("Z[m] = A[m] * B[m] * C[k]", {"multiply": "K*M", "multiply-accumulate": "K*M"}),
        ("operator f(x) = exp(x) + 1\nZ[m] = f(A[m]) / 2", {"exp": "M", "add": "M", "divide": "M"}),
        ("operator g(x)\nZ[m] = g(A[m])", {"g": "M"}),
        ("S[i] = A[k : k <= i]\nrank I", {"compare": "I*K", "add": "I*K"}),
        ("V[j] = top[e:j] X[e]\nrank J", {"top": "E"}),
        ("Z[m] = A[m]", {}),
    ],
)
def test_operations(text, operations):
    (found,) = count(parse_cascade(text)).einsums
    assert {kind: str(n) for kind, n in found.operations.items()} == operations


def test_iteration_space_is_what_the_oracle_visits():
    """The formula equals the number of points that a literal evaluation touches."""
    import numpy as np

    cascade = parse_cascade("Z[m] = max[j] A[k, j, m] * B[k]")
    visited = 0

    class Counting(Oracle):
        def expression(self, node, here):
            nonlocal visited
            visited += node is cascade.einsums[0].expression
            return super().expression(node, here)

    inputs = {"A": np.ones((2, 3, 5)), "B": np.ones(2)}
    Counting(cascade, inputs, {"K": 2, "J": 3, "M": 5}).array("Z")
    assert number(count(cascade).einsums[0].iteration_space, {"K": 2, "J": 3, "M": 5}) == visited == 30
