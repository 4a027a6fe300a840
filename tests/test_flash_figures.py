"""Sparsity files: what they say, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from tierplan.ir.errors import InvalidInputError
from tierplan.models import load_sparsity, sparsity_names
from tierplan.sim.flash_figures import read_sparsity, sparsity_of_trace
from tierplan.sim.flash_generate import Activity, generate_trace
from tierplan.sim.flash_trace import ActivationTrace, aggregated_use, save_trace
from tierplan.sparsities import find_sparsity


@pytest.mark.parametrize("name", sparsity_names())
def test_built_in_sparsities_are_readable_and_sourced(name: str) -> None:
    text = load_sparsity(name)
    assert text.startswith("# Source:")
    found = read_sparsity(text, f"{name}.yaml")
    assert found.name == name
    assert found.sparsity.aggregated.new(found.sparsity.aggregated.points[1][0]) > 0


def test_figures_of_opt_are_the_papers() -> None:
    opt = find_sparsity("opt-6.7b-relu")
    assert opt.sparsity.predicted == pytest.approx(0.033 * 0.95 + 0.967 * 0.07)
    assert opt.sparsity.aggregated.share(4) == pytest.approx(0.24)
    assert opt.sparsity.aggregated.new(4) == pytest.approx(0.024)
    assert opt.predictor == pytest.approx(0.0125)


def test_curves_as_lists_mappings_and_json() -> None:
    listed = read_sparsity("[0.1, 15 %, 0.18]", "c.yaml")
    assert listed.sparsity.aggregated.points == ((1, 0.1), (2, 0.15), (3, 0.18))
    assert listed.sparsity.active == 0.1
    mapped = read_sparsity('{"active": "5 %", "aggregated_use": {"1": 0.1, "4": 0.2}}', "c.json")
    assert mapped.sparsity.aggregated.points == ((1, 0.1), (4, 0.2))
    assert mapped.sparsity.predicted == pytest.approx(0.1)


def test_one_share_means_independent_tokens() -> None:
    found = read_sparsity("active: 10 %", "one.yaml").sparsity.aggregated
    assert found.share(2) == pytest.approx(1 - 0.9**2)
    assert found.new(3) == pytest.approx(0.9**3 * 0.1)


def test_a_trace_is_measured_and_may_lie_beside_its_file(tmp_path: Path) -> None:
    trace = generate_trace(Activity(active=0.1, locality=0.5), 12, 2, 300)
    save_trace(trace, tmp_path / "t.npz")
    plain = find_sparsity(str(tmp_path / "t.npz"))
    assert plain.sparsity.aggregated == aggregated_use(trace, 12)
    assert plain.longest == 11
    (tmp_path / "s.yaml").write_text("trace: t.npz\npredictor: 3 %\n")
    named = find_sparsity(str(tmp_path / "s.yaml"))
    assert (named.sparsity, named.predictor, named.longest) == (plain.sparsity, 0.03, 11)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("active: 1.4", "s.yaml:1:9: active: a share of 1.4; need 0 to 1"),
        ("active: -1", "a share of -1; need 0 to 1"),
        ("active: 140 %", "a share of 1.4; need 0 to 1"),
        ("active: many", "active: .*write a number"),
        ("active: [1]", "need a share, like"),
        ("activ: 0.1", "unknown key 'activ'; did you mean 'active'"),
        ("schema: 2\nactive: 0.1", "schema: write 'schema: 1'"),
        ("predictor: 0.1", "missing key 'active'"),
        ("active: 0.1\nwindow: 4\nkept: 0.2", "missing key 'new'"),
        ("active: 0.1\nkept: 0.2", "'kept' means nothing beside no 'window'"),
        ("active: 0.1\nwindow: 4\nkept: 0.9\nnew: 0.2", "kept share 0.9 and new share 0.2"),
        ("active: 0.1\nwindow: 0\nkept: 0.2\nnew: 0.1", "window: a window of 0 tokens"),
        ("active: 0.1\nover_prediction: 0.5", "predicted neurons per active one, 1 or more"),
        ("active: 0.1\nover_prediction: 2\nmissed: 0.1", "'over_prediction' means nothing beside missed"),
        ("aggregated_use: {4: 0.2, 1: 0.1}", "aggregated use must begin with the share of one token"),
        ("aggregated_use: {1: 0.1, 4: 0.2, 2: 0.15}", "k = 2 comes after k = 4; sort the points by k"),
        ("aggregated_use: {1: 0.1, 4: 0.05}", "falls from 0.1 at k = 1 to 0.05 at k = 4"),
        ("aggregated_use: [0.3, 0.2]", "falls from 0.3 at k = 1"),
        ("aggregated_use: {1: 0.1, x: 0.2}", "need a number of tokens"),
        ("aggregated_use: 3", "need shares by number of tokens"),
        ("[0.2, 0.1]", "falls from 0.2"),
        ("[]", "must begin with the share of one token"),
        ("3", "need a mapping of figures, or a list"),
        ("active: 0.1\nahead: 1.5", "ahead: need a whole number"),
        ("active: 0.1\nrewriting: {row: 1 us}", "need 'hardware', 'row'"),
        ("active: 0.1\nrewriting: {hardware: m, row: 1, bandwidth: 1 GB/s}", "rewriting.row: .*has no unit"),
        ("trace: t.npz\nactive: 0.1", "'active' means nothing beside trace"),
        ("trace: no-such.npz", "no such file"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as error:
        read_sparsity(text, "s.yaml")
    assert str(error.value).startswith("s.yaml:")


def test_what_is_no_sparsity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"did you mean 'opt-6\.7b-relu'"):
        find_sparsity("opt-6.7b-rel")
    for name in ("none.yaml", "none.npz"):
        with pytest.raises(InvalidInputError, match=r"no.* file"):
            find_sparsity(str(tmp_path / name))
    with pytest.raises(InvalidInputError, match="need 2 or more"):
        sparsity_of_trace(ActivationTrace.of(np.ones((1, 1, 8), dtype=bool)), "short")
