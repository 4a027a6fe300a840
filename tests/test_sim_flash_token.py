"""Time per token: what each way of loading costs, and the best one under a DRAM limit."""

import dataclasses

import pytest
from flash_models import model_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.flash import ReadModel, read_bandwidth
from tierplan.sim.flash_sparsity import sparsity_from_figures
from tierplan.sim.flash_store import ManagementCost
from tierplan.sim.flash_token import FlashSetup, Loading, best_loading, token_cost

OPT = model_bytes("opt-6.7b")
DRIVE = ReadModel(186.4e-6, 11.25e9, 6.1e9, 32)
SPARSITY = sparsity_from_figures(0.033, 3, window=4, kept=0.24, new=0.024)
SETUP = FlashSetup(
    OPT, DRIVE, OPT.total * 6 // 10, SPARSITY, predictor=OPT.total // 80, management=ManagementCost(1e-6, 2e10)
)


def test_model_sizes_are_those_of_the_checkpoint() -> None:
    assert OPT.total == 2 * 6_658_473_984
    assert OPT.feed_forward.total == 2 * 4_295_622_656
    llama = model_bytes("llama2-7b")
    assert llama.total == 2 * 6_738_415_616
    assert llama.feed_forward.neuron == 3 * 2 * 4096
    assert OPT.at(32).total == 2 * OPT.total


def test_everything_is_read_or_resident() -> None:
    naive = token_cost(SETUP, Loading(32, resident=False))
    assert (naive.loaded, naive.dram) == (OPT.total, 0)
    assert naive.bandwidth == pytest.approx(6.1e9, rel=1e-3)
    hybrid = token_cost(SETUP, Loading(32))
    assert hybrid.loaded + hybrid.dram == OPT.total
    assert hybrid.dram == SETUP.dram
    roomy = token_cost(dataclasses.replace(SETUP, dram=2 * OPT.total), Loading(32))
    assert (roomy.loaded, roomy.io_s, roomy.bandwidth, roomy.dram) == (0, 0.0, 0.0, OPT.total)
    tight = token_cost(dataclasses.replace(SETUP, dram=10**9), Loading(32))
    assert tight.short_by == OPT.attention + OPT.embedding + OPT.other - 10**9


def test_sparse_loading_follows_the_aggregated_use() -> None:
    none = token_cost(SETUP, Loading(32, sparse=True))
    window = token_cost(SETUP, Loading(32, sparse=True, window=4))
    bundled = token_cost(SETUP, Loading(32, sparse=True, window=4, bundled=True))
    ffn = OPT.feed_forward.total
    assert none.loaded == pytest.approx(SPARSITY.predicted * ffn)
    assert window.loaded == bundled.loaded == pytest.approx(0.024 * ffn)
    assert window.dram - none.dram == pytest.approx(0.24 * ffn - SPARSITY.predicted * ffn / 32, abs=2)
    assert window.io_s == pytest.approx(window.loaded / read_bandwidth(DRIVE, 8192, 32))
    assert bundled.bandwidth == pytest.approx(read_bandwidth(DRIVE, 16384, 32))
    assert none.management_s == 0.0
    assert window.management_s == pytest.approx(2 * 0.024 * 32 * 16384 * (1e-6 + 16384 / 2e10))
    assert window.total_s == pytest.approx(window.io_s + window.management_s)


def test_reads_ahead_hide_behind_compute() -> None:
    way = Loading(32, sparse=True, window=4, bundled=True)
    busy = dataclasses.replace(SETUP, compute_s=0.2, management=None)
    serial, ahead = token_cost(busy, way), token_cost(dataclasses.replace(busy, ahead=1), way)
    assert serial.total_s == pytest.approx(serial.io_s + 0.2)
    assert ahead.total_s == pytest.approx(0.2 + serial.io_s / 32)


@given(st.integers(0, 20), st.booleans(), st.integers(1, 64))
@settings(deadline=None, max_examples=40)
def test_over_reading_never_loses_to_unmerged_reads(window: int, bundled: bool, threads: int) -> None:
    near = Loading(threads, sparse=True, window=window, bundled=bundled, over_read=True)
    plain = dataclasses.replace(near, over_read=False)
    # a last, partly filled round of reads and the first latency are not part of the long run
    assert token_cost(SETUP, near).io_s <= token_cost(SETUP, plain).io_s + 2 * DRIVE.latency_s


def test_the_best_way_fits_and_no_fitting_way_is_faster() -> None:
    answer = best_loading(SETUP)
    assert answer.best is not None
    assert not answer.best.short_by
    assert all(way.short_by or way.total_s >= answer.best.total_s for way in answer.alternatives)
    totals = [way.total_s for way in answer.alternatives]
    assert totals == sorted(totals)
    assert answer.best.loading.bundled
    assert answer.best.loading.threads == 32
    pinned = best_loading(SETUP, windows=(2,), bundled=(False,), threads=(8,)).best
    assert pinned is not None
    assert (pinned.loading.window, pinned.loading.bundled, pinned.loading.threads) == (2, False, 8)


@given(st.integers(4 * 10**9, 14 * 10**9), st.integers(0, 2 * 10**9))
@settings(deadline=None, max_examples=25)
def test_more_dram_never_hurts(dram: int, more: int) -> None:
    small = best_loading(dataclasses.replace(SETUP, dram=dram)).best
    large = best_loading(dataclasses.replace(SETUP, dram=dram + more)).best
    if small is not None:
        assert large is not None
        assert large.total_s <= small.total_s


def test_a_limit_below_what_must_be_resident_says_what_is_missing() -> None:
    answer = best_loading(dataclasses.replace(SETUP, dram=10**9))
    assert answer.best is None
    assert "least DRAM that works is 4.726 GB (attention 4.296 GB, embeddings 428.6 MB" in answer.message
    assert "3.726 GB more than the limit of 1 GB" in answer.message


def test_a_dense_model_has_dense_ways_only() -> None:
    answer = best_loading(dataclasses.replace(SETUP, sparsity=None))
    assert answer.best is not None
    assert not answer.best.loading.sparse
    with pytest.raises(InvalidInputError, match="needs its sparsity"):
        token_cost(dataclasses.replace(SETUP, sparsity=None), Loading(32, sparse=True))


def test_contradictions_are_refused() -> None:
    for wrong in ({"window": 2}, {"bundled": True}, {"over_read": True}, {"sparse": True, "window": -1},
                  {"sparse": True, "resident": False}):  # fmt: skip
        with pytest.raises(InvalidInputError):
            Loading(8, **wrong)  # type: ignore[arg-type]
    for wrong in ({"dram": -1}, {"compute_s": float("nan")}, {"ahead": -1}, {"predictor": -1}):
        with pytest.raises(InvalidInputError):
            dataclasses.replace(SETUP, **wrong)
