"""Passes, levels and barriers against what the literature says of each cascade."""

import re

import pytest

from tierplan.einsum.counts import bound, symbol
from tierplan.einsum.library import named, names, source
from tierplan.einsum.parse import parse_cascade
from tierplan.einsum.passes import analyse, logical_ranks, rank_variables
from tierplan.einsum.printer import show_index
from tierplan.ir.errors import InvalidInputError

# Source: FuseMax (MICRO 2024), sections 3 and 4; LayerNorm and the MLP from the same definition.
EXPECTED = [
    ("product-2pass", "k", 2),
    ("product-1pass", "k", 1),
    ("product-iterative", "i", 1),
    ("attention-unstable", "m", 2),
    ("attention-unstable-deferred", "m", 1),
    ("attention-3pass", "m", 3),
    ("attention-2pass-deferred", "m", 2),
    ("attention-2pass", "m1,m0", 2),
    ("attention-1pass", "m1,m0", 1),
    ("attention-1pass", "m0", 2),
    ("layernorm", "n", 3),
    ("mlp", "s", 1),
    # Not in the paper: counted by hand from the definition.
    ("softmax-masked", "m", 3),
    ("logsumexp", "m", 2),
    ("rmsnorm", "n", 2),
    ("layernorm-moments", "n", 2),
    ("batchnorm", "b", 3),
    ("kmeans-assign", "k", 1),
    ("routing-top1", "e", 2),
    ("welford", "i", 1),
]


@pytest.mark.parametrize(("name", "rank", "n_passes"), EXPECTED)
def test_passes(name, rank, n_passes):
    cascade = named(name)
    assert analyse(cascade, rank_variables(cascade, rank)).n_passes == n_passes


def test_every_cascade_of_the_library_has_an_expected_number():
    assert {name for name, _, _ in EXPECTED} == set(names())


def live(passes):
    return {t.tensor: show_index(t.min_live) for t in passes.live_across}


def test_attention_3pass_in_full():
    passes = analyse(named("attention-3pass"), ("m",))
    assert {level.einsum.name: level.level for level in passes.levels} == {
        "QK": 1, "GM": 1, "SN": 2, "SD": 2, "A": 3, "AV": 3,
    }  # fmt: skip
    assert passes.groups == (("QK", "GM"), ("SN", "SD"), ("A", "AV"))
    assert live(passes) == {"QK": "M", "SN": "M"}
    assert [show_index(x) for x in passes.live_footprints] == ["M", "M"]
    assert show_index(passes.min_live("K")) == "1"


def test_deferred_division_keeps_only_the_scores_live():
    passes = analyse(named("attention-2pass-deferred"), ("m",))
    assert live(passes) == {"QK": "M"}


def test_local_maxima_keep_the_numerators_and_the_maxima_live():
    passes = analyse(named("attention-2pass"), ("m1", "m0"))
    found = live(passes)
    assert found["SLN"] == "M0*M1"
    assert found["LM"] == "M1"


def test_attention_1pass_keeps_nothing_live():
    cascade = named("attention-1pass")
    passes = analyse(cascade, ("m1", "m0"))
    assert passes.live_across == ()
    assert passes.live_footprints == ()
    over_tile = analyse(cascade, ("m0",))
    assert live(over_tile) == {"BQK": "M0"}


def test_names_and_operators_do_not_matter():
    """The same structure under other names, with other operators, has the same levels."""
    text = source("attention-3pass")
    for old, new in [("QK", "Zebra"), ("GM", "Apple"), ("SN", "Moss"), ("SD", "Kite"), ("AV", "Out")]:
        text = re.sub(rf"\b{old}\b", new, text)
    text = text.replace("max[", "min[").replace("exp(", "tanh(").replace(" / ", " + ")
    assert [level.level for level in analyse(parse_cascade(text), ("m",)).levels] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("text", "rank", "n_passes"),
    [
        # An independent scalar is there from the beginning: it adds no pass.
        ("Y = A[j]\nZ = Y[] * B[k]", "k", 1),
        # A window of neighbours lags behind, but needs no second pass; the reversed order does.
        ("T[x] = A[x]\nZ[y] = T[y + r] * F[r]\nrank Y\ninput A[X], F[R]", "x", 1),
        ("T[n] = A[n] * A[n]\nZ[n] = T[N - 1 - n]", "n", 2),
        # Two softmaxes over different tensors are two families.
        ("G = max[m] A[m]\nS = A[m] - G[]\nH = max[m] B[m]\nU[m] = B[m] - H[]\nV = max[m] U[m]\nW = U[m] * V[]",
         "m", 3),
        # A recurrence is one pass; what needs its end and the stream again is a second one.
        ("init {\n S[0] = 0\n}\nS[i + 1] = S[i] + B[i]\nZ = S[I]\n<>: i >= I", "i", 1),
        ("init {\n S[0] = 0\n}\nS[i + 1] = S[i] + B[i]\nZ[i] = S[I] * B[i]\n<>: i >= I", "i", 2),
        # Routing by the largest score only.
        ("L[e, t] = X[d, t] * W[d, e]\nC[t] = argmax[e] L[e, t]", "e", 1),
    ],
)  # fmt: skip
def test_passes_of_small_cascades(text, rank, n_passes):
    cascade = parse_cascade(text)
    assert analyse(cascade, rank_variables(cascade, rank)).n_passes == n_passes


def test_families_are_apart():
    text = "G = max[m] A[m]\nS[m] = A[m] - G[]\nH[m] = B[m] * 2"
    families = dict(analyse(parse_cascade(text), ("m",)).families)
    assert families == {("A", "S"): 2, ("H", "B"): 1}


def test_ranks_by_name():
    cascade = named("attention-1pass")
    assert logical_ranks(cascade) == {"M": ("m1", "m0")}
    assert rank_variables(cascade, "M") == ("m1", "m0")
    assert rank_variables(cascade, "M0") == ("m0",)
    assert rank_variables(cascade, " m1, m0 ") == ("m1", "m0")
    with pytest.raises(InvalidInputError, match="unknown rank 'N'"):
        rank_variables(cascade, "N")
    with pytest.raises(InvalidInputError, match="unknown rank variable 'k'"):
        analyse(cascade, ("k",))
    with pytest.raises(InvalidInputError, match="no tensor is indexed by all of m0, p, e"):
        analyse(cascade, ("m0", "p", "e"))


def test_traffic_bounds():
    e, f, m, p = (symbol(rank) for rank in "EFMP")
    cascade = named("attention-3pass")
    bounds = bound(cascade, analyse(cascade, ("m",)))
    assert bounds.traffic_buffered == e * p + e * m + f * m + f * p
    # The scores and the numerators are written once and read once more.
    assert bounds.traffic_unbuffered == bounds.traffic_buffered + 4 * m * p
    assert bounds.reads == {"Q": 1, "K": 1, "V": 1}
    assert bounds.live == (m, m)
    norm = named("layernorm")
    n, t = symbol("N"), symbol("T")
    bounds = bound(norm, analyse(norm, ("n",)))
    assert bounds.traffic_buffered == 2 * n * t + 2 * n
    # X is read for the mean and again for the difference, which is itself kept until the end.
    assert bounds.reads["X"] == 2
    assert bounds.traffic_unbuffered == bounds.traffic_buffered + n * t + 2 * n * t
    online = named("attention-1pass")
    bounds = bound(online, analyse(online, ("m1", "m0")))
    assert bounds.traffic_unbuffered == bounds.traffic_buffered
