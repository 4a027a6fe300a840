"""Transforms: results stay, passes change, and FlashAttention's cascade comes out of softmax attention."""

import numpy as np
import pytest
from einsum_equivalence import canonical
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.einsum.counts import count
from tierplan.einsum.execute import execute
from tierplan.einsum.library import named
from tierplan.einsum.parse import parse_cascade
from tierplan.einsum.passes import analyse, rank_variables
from tierplan.einsum.printer import show_cascade
from tierplan.einsum.rewrites import REWRITES, check_same, rewrite
from tierplan.ir.errors import InvalidInputError

TO_C5 = ["defer-division", "partition:m", "split-reduction:m0", "online:m1"]


def n_passes(cascade, rank):
    return analyse(cascade, rank_variables(cascade, rank)).n_passes


def chain(name, specs):
    cascade = named(name)
    for spec in specs:
        cascade = rewrite(cascade, spec)
    return cascade


@pytest.mark.parametrize(
    ("name", "specs", "rank", "before", "after"),
    [
        ("attention-3pass", ["defer-division"], "m", 3, 2),
        ("attention-unstable", ["defer-division"], "m", 2, 1),
        ("attention-3pass", ["local-max:m"], "m", 3, 2),
        ("attention-3pass", ["local-max:m", "defer-division"], "m", 3, 2),
        ("attention-3pass", TO_C5, "m", 3, 1),
        ("attention-3pass", ["online:m"], "m", 3, 1),
        ("attention-2pass-deferred", ["online:m"], "m", 2, 1),
        ("softmax-masked", ["online:m"], "m", 3, 2),
        ("logsumexp", ["online:m"], "m", 2, 1),
        ("routing-top1", ["online:e"], "e", 2, 1),
        ("product-2pass", ["hoist-factor"], "k", 2, 1),
        ("product-2pass", ["online:k"], "k", 2, 1),
        ("layernorm", ["partition:n"], "n", 3, 3),
        ("layernorm", ["online:n"], "n", 3, 3),
    ],
)  # fmt: skip
def test_passes_before_and_after(name, specs, rank, before, after):
    assert n_passes(named(name), rank) == before
    cascade = chain(name, specs)
    final = rank.upper() if any(s.startswith(("partition", "local")) for s in specs) else rank
    assert n_passes(cascade, final) == after
    check_same(named(name), cascade, seeds=4, tolerance=1e-11)
    assert parse_cascade(show_cascade(cascade)) == cascade


def test_the_one_pass_cascade_is_derived():
    """Four transforms turn three-pass attention into the one-pass cascade, Einsum by Einsum."""
    derived = chain("attention-3pass", TO_C5)
    assert canonical(derived) == canonical(named("attention-1pass"))
    assert canonical(derived) != canonical(named("attention-2pass"))


def test_deferred_division_and_local_maxima_are_the_library_s():
    assert canonical(rewrite(named("attention-3pass"), "defer-division")) == canonical(
        named("attention-2pass-deferred")
    )
    assert canonical(rewrite(named("attention-3pass"), "local-max:m")) == canonical(named("attention-2pass"))
    assert canonical(rewrite(named("product-2pass"), "hoist-factor")) == canonical(named("product-1pass"))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1e4]))
@settings(deadline=None, max_examples=60)
def test_the_derived_cascade_is_softmax_attention(m1, m0, p, seed, scale):
    rng = np.random.default_rng(seed)
    q, k, v = scale * rng.normal(size=(3, p)), rng.normal(size=(3, m1 * m0)), rng.normal(size=(2, m1 * m0))
    scores = np.einsum("ep,em->mp", q, k)
    weights = np.exp(scores - scores.max(axis=0))
    want = np.einsum("mp,fm->fp", weights / weights.sum(axis=0), v)
    got = execute(DERIVED, {"Q": q, "K": k, "V": v}, {"M0": m0})["AV"]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


DERIVED = chain("attention-3pass", TO_C5)


def test_deferred_division_divides_f_times_p():
    before, after = named("attention-3pass"), rewrite(named("attention-3pass"), "defer-division")
    assert str(count(before).operations["divide"]) == "M*P"
    assert str(count(after).operations["divide"]) == "F*P"


def test_a_quotient_that_is_still_needed_stays():
    text = named_text = "S[p] = X[m, p]\nA[m, p] = X[m, p] / S[p]\nY[f, p] = A[m, p] * V[f, m]\noutput A, Y"
    after = rewrite(parse_cascade(text), "defer-division")
    assert "A" in {e.name for e in after.einsums}, named_text
    assert after.outputs == ("A", "Y")


def test_default_ranks():
    cascade = rewrite(named("attention-3pass"), "defer-division")
    assert n_passes(rewrite(cascade, "online"), "m") == 1
    cascade = rewrite(rewrite(cascade, "partition"), "split-reduction")
    assert n_passes(rewrite(cascade, "online"), "M") == 1


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("mlp", "defer-division", "no sum divides"),
        ("mlp", "defer-divison", "did you mean 'defer-division'"),
        ("mlp", "defer-division:m", "takes no rank"),
        ("mlp", "partition:q", "unknown rank variable 'q'"),
        ("mlp", "hoist-factor", "no sum multiplies"),
        ("mlp", "local-max:s", "no Einsum reduces over"),
        ("mlp", "split-reduction:s", "no Einsum reduces over 's' and another"),
        ("welford", "partition:i", "cannot be split"),
        ("welford", "online:i", "iterative along 'i' already"),
        ("softmax-masked", "online:p", "no Einsum reduces over 'p' alone"),
        ("attention-1pass", "partition:m", "unknown rank variable"),
    ],
)
def test_what_does_not_apply_is_told(name, spec, message):
    with pytest.raises(InvalidInputError, match=message):
        rewrite(named(name), spec)


def test_a_wrong_rewrite_is_found_by_running_it():
    good = named("attention-2pass-deferred")
    wrong = parse_cascade(show_cascade(good).replace("SNV[f, p] / SD[p]", "SNV[f, p] * SD[p]"))
    with pytest.raises(InvalidInputError, match="would change AV"):
        check_same(good, wrong)


def test_a_sum_that_does_not_scale_keeps_the_final_value():
    """exp(x - G) + 1 is no multiple of exp(-G): its sum needs the finished maximum, in a second pass."""
    cascade = parse_cascade("G = max[m] X[m]\nE[m] = exp(X[m] - G[]) + 1\nS = E[m]")
    after = rewrite(cascade, "online:m")
    assert n_passes(after, "m") == 2


def test_a_product_of_scaled_values_keeps_the_final_value():
    """A product over j of exp(x - G) scales with exp(-J * G), which no fixed power corrects."""
    text = "L[m] = max[j] X[m, j]\nG = max[m] L[m]\nE[m, j] = exp(X[m, j] - G[])\nP[m] = prod[j] E[m, j]\nS = P[m]"
    assert n_passes(rewrite(parse_cascade(text), "online:m"), "m") == 2


def test_every_rewrite_is_tested():
    text = "".join(map(str, test_passes_before_and_after.pytestmark)) + str(TO_C5)
    assert all(name in text for name in REWRITES)
