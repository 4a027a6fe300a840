"""Composition and mixture of experts: traces, tiers, times, and cache sizes by layer."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.experts import Composition, ServiceTimes, batch_s, serve_requests
from tierplan.sim.experts_capacity import divide_for, divide_places, load_curve
from tierplan.sim.experts_mixture import Mixture, expected_unique, serve_routing
from tierplan.sim.experts_tiers import ExpertTier, look_up
from tierplan.sim.experts_trace import (
    Demand,
    Requests,
    Routing,
    generate_requests,
    generate_routing,
    load_requests,
    load_routing,
    popularity,
)
from tierplan.sim.experts_turns import generate_turns, inclusion
from tierplan.sim.replacement import Accesses, Policy, serve

GB = 10**9
HBM, DDR, DISK = ExpertTier("hbm", 4 * GB), ExpertTier("ddr", 10 * GB, 1e9, 1e-3), ExpertTier("disk", 99 * GB, 1e8)
TIMES = ServiceTimes(router_s=0.5, prompt_s=0.1, token_s=0.01)


def test_expected_unique_experts_are_those_of_the_published_table() -> None:
    table = {(64, 8): (8, 26.5, 42, 56, 63), (128, 8): (8, 29, 52, 82, 112), (256, 8): (8, 30.5, 57, 102, 163),
             (512, 10): (10, 39, 75, 139, 240)}  # fmt: skip
    for (n_experts, top_k), row in table.items():
        for tokens, expected in zip((1, 4, 8, 16, 32), row, strict=True):
            assert expected_unique(n_experts, top_k, tokens) == pytest.approx(expected, abs=0.7)


@pytest.mark.parametrize("parallel", [1, 4, 16])
def test_drawn_routing_needs_the_expected_unique_experts(parallel: int) -> None:
    uniform = generate_routing(Demand(), 3200, 1, 64, 8, seed=1).accesses(0, parallel)
    assert np.diff(uniform.start).mean() == pytest.approx(expected_unique(64, 8, parallel), rel=0.02)
    skewed = generate_routing(Demand(skew=1.2), 3200, 1, 64, 8, seed=1).accesses(0, parallel)
    assert np.diff(skewed.start).mean() <= np.diff(uniform.start).mean()


def test_skew_and_repeats_do_what_they_say() -> None:
    even, steep = (
        np.sort(generate_requests(Demand(s), 20_000, 50, seed=2).accesses().uses)[::-1] / 20_000 for s in (0, 1)
    )
    assert even[0] < 0.03
    assert steep[:10] == pytest.approx(popularity(1, 50)[:10], abs=0.01)
    repeated = generate_requests(Demand(stay=0.7), 20_000, 1000, seed=2).experts
    assert (repeated[1:] == repeated[:-1]).mean() == pytest.approx(0.7, abs=0.02)
    routing = generate_routing(Demand(1.0), 500, 3, 16, 4, seed=3)
    assert (np.diff(np.sort(routing.experts, axis=2), axis=2) > 0).all()


def test_routing_steps_hold_the_experts_of_their_tokens() -> None:
    routing = Routing(np.array([[[2, 0]], [[0, 1]], [[3, 1]]]), 4)
    accesses = routing.accesses(0, parallel=2)
    assert (accesses.start.tolist(), accesses.items.tolist()) == ([0, 3, 5], [0, 1, 2, 1, 3])


@given(st.lists(st.integers(0, 11), min_size=1, max_size=40), st.integers(0, 5), st.integers(0, 8))
@settings(deadline=None)
def test_every_access_is_found_in_the_first_tier_that_has_it(experts: list[int], fast: int, middle: int) -> None:
    tiers = (ExpertTier("a", fast * GB), ExpertTier("b", middle * GB, 1e9, 0.5), ExpertTier("c", 12 * GB, 1e8))
    accesses = Accesses.of([[expert] for expert in experts], 12)
    found = look_up(accesses, tiers, GB, Policy.LRU)
    first = serve(accesses, fast, Policy.LRU)
    assert ((found.level == 0) == ~first.loaded).all()
    second = serve(
        Accesses.of([[e] for e, miss in zip(experts, first.loaded, strict=True) if miss], 12), middle, Policy.LRU
    )
    assert (found.level[first.loaded] == np.where(second.loaded, 2, 1)).all()
    assert sum(found.found(3)) == pytest.approx(1)
    assert found.copy_s(tiers, GB) == pytest.approx(np.array([0, 1.5, 10])[found.level])


def test_experts_that_do_not_fit_are_refused_with_the_number_that_does() -> None:
    requests = generate_requests(Demand(), 10, 100)
    with pytest.raises(InvalidInputError, match=r"100 experts of 1 GB take 100 GB; tier 'disk' holds 99"):
        serve_requests(Composition(GB, (HBM, DISK), TIMES), requests, 1, 10)


def test_composition_times_add_up() -> None:
    requests = Requests(np.array([0, 1, 0, 2, 2, 2]), 3)
    run = serve_requests(Composition(2 * GB, (HBM, DDR), TIMES), requests, batch=3, n_tokens=10)
    copy, work = 2.001, 0.2
    assert run.lookup.level.tolist() == [1, 1, 0, 1, 0, 0]
    ends = [copy + work, 2 * (copy + work), 2 * copy + 3 * work, copy + work, copy + 2 * work, copy + 3 * work]
    assert run.latency_s == pytest.approx(0.5 + np.array(ends))
    assert run.batch_s == pytest.approx([0.5 + ends[2], 0.5 + ends[5]])
    assert (run.switch_s, run.stall_s) == (pytest.approx(3 * copy), pytest.approx(3 * copy))
    assert run.tokens_per_s == pytest.approx(60 / run.total_s)
    assert run.switch_share == pytest.approx(3 * copy / run.total_s)
    assert batch_s(TIMES, copy, 3, 10) == pytest.approx(0.5 + 3 * (copy + work))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 8), st.sampled_from(list(Policy)))
@settings(deadline=None)
def test_prefetch_never_slows_a_batch_beyond_the_place_that_it_takes(
    experts: list[int], batch: int, policy: Policy
) -> None:
    requests = Requests(np.array(experts), 10)
    one_less = ExpertTier("hbm", 2 * GB)
    plain = serve_requests(Composition(2 * GB, (one_less, DISK), TIMES, policy), requests, batch, 5)
    early = serve_requests(Composition(2 * GB, (HBM, DISK), TIMES, policy, prefetch=True), requests, batch, 5)
    assert (early.latency_s <= plain.latency_s + 1e-9).all()
    assert early.switch_s == plain.switch_s
    assert early.stall_s <= plain.stall_s + 1e-9


def test_prefetch_hides_copies_behind_runs() -> None:
    requests = Requests(np.array([0, 1, 2]), 3)
    slow = ServiceTimes(router_s=0.0, prompt_s=5.0, token_s=1.0)
    run = serve_requests(Composition(2 * GB, (HBM, DISK), slow, prefetch=True), requests, 3, 10)
    assert run.latency_s == pytest.approx([20 + 15, 40 + 15, 60 + 15])
    with pytest.raises(InvalidInputError, match="two places"):
        serve_requests(Composition(3 * GB, (HBM, DISK), slow, prefetch=True), requests, 3, 10)


def test_grouping_requests_saves_switches() -> None:
    requests = Requests(np.array([0, 1, 2, 0, 1, 2, 0, 1]), 3)
    one_place = Composition(4 * GB, (HBM, DISK), TIMES)
    plain, grouped = (serve_requests(one_place, requests, 8, 1, grouped=g) for g in (False, True))
    assert (plain.lookup.runs[0].n_loads, grouped.lookup.runs[0].n_loads) == (8, 3)


def test_mixture_times_add_up() -> None:
    routing = Routing(np.array([[[0, 1], [2, 3]], [[0, 2], [2, 3]]]), 4)
    tier = (ExpertTier("ddr", 8 * GB, 1e9),)
    run = serve_routing(Mixture(GB, (2, 2), tier, layer_s=0.5, expert_s=0.1), routing)
    assert run.copy_s.tolist() == [[2, 2], [1, 0]]
    assert run.step_s == pytest.approx([4 + 2 * 0.7, 1 + 2 * 0.7])
    assert run.hit_rate == pytest.approx(3 / 8)
    assert run.tokens_per_s == pytest.approx(2 / run.step_s.sum())
    ahead = serve_routing(Mixture(GB, (2, 2), tier, layer_s=0.5, expert_s=0.1, ahead=1), routing)
    assert ahead.step_s == pytest.approx([2 + 2 + 0.7, 1 + 2 * 0.7])
    both = serve_routing(Mixture(GB, (2, 2), tier), routing, parallel=2)
    assert both.unique.tolist() == [[3, 2]]


def test_a_mixture_that_does_not_fit_is_refused() -> None:
    routing = generate_routing(Demand(), 4, 2, 4, 2)
    for fast, tiers in (((1,), (DISK,)), ((1, 1), (ExpertTier("ddr", 7 * GB, 1e9),)), ((1, 1), ())):
        with pytest.raises(InvalidInputError):
            serve_routing(Mixture(GB, fast, tiers), routing)


@given(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 12))
@settings(deadline=None)
def test_division_of_places_is_optimal(curves: list[list[int]], total: int) -> None:
    falling = [np.array(sorted(curve, reverse=True)) for curve in curves]
    best = min(
        sum(int(curve[n]) for curve, n in zip(falling, places, strict=True))
        for places in itertools.product(*(range(len(curve)) for curve in falling))
        if sum(places) <= total
    )
    found = divide_places(falling, total)
    assert found.loads == best == sum(int(curve[n]) for curve, n in zip(falling, found.places, strict=True))
    assert sum(found.places) <= total
    assert found.loads <= found.even_loads


def test_layers_of_unlike_skew_get_unlike_places() -> None:
    layers = [generate_routing(Demand(skew), 400, 1, 32, 2, seed=4).experts for skew in (0.0, 2.0)]
    routing = Routing(np.concatenate(layers, axis=1), 32)
    division = divide_for(routing, 32)
    assert division.loads < division.even_loads
    assert division.places[0] > division.places[1]
    assert load_curve(routing.accesses(0), Policy.LRU)[-1] == 32


def test_traces_come_from_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "trace.npz", requests=np.array([1, 0]), routing=np.array([[[1, 0]]]))
    assert load_requests(tmp_path / "trace.npz", 2).experts.tolist() == [1, 0]
    assert load_routing(tmp_path / "trace.npz", 2).top_k == 2
    with pytest.raises(InvalidInputError, match="expert 1 does not exist; there are 1"):
        load_requests(tmp_path / "trace.npz", 1)
    np.savez(tmp_path / "floats.npz", requests=np.array([0.5]))
    np.savez(tmp_path / "names.npz", other=np.array([1]))
    np.savez(tmp_path / "shape.npz", requests=np.array([[1]]))
    (tmp_path / "text.npz").write_text("no")
    np.save(tmp_path / "one.npy", np.zeros(2))
    for name in ("floats.npz", "names.npz", "shape.npz", "text.npz", "one.npy", "missing.npz"):
        with pytest.raises(InvalidInputError):
            load_requests(tmp_path / name, 9)


def test_nonsense_is_refused() -> None:
    for call in (
        lambda: Demand(skew=-1),
        lambda: Demand(stay=1.5),
        lambda: generate_requests(Demand(), 0, 5),
        lambda: generate_requests(Demand(), 5, 0),
        lambda: generate_routing(Demand(), 5, 1, 4, 5),
        lambda: generate_routing(Demand(), 0, 1, 4, 2),
        lambda: Routing(np.array([[[1, 1]]]), 4),
        lambda: Routing(np.array([[1, 1]]), 4),
        lambda: expected_unique(4, 5, 1),
        lambda: expected_unique(4, 2, -1),
        lambda: ExpertTier("x", -1),
        lambda: ExpertTier("x", 1, 0.0),
        lambda: ExpertTier("x", 1).places(0),
        lambda: ServiceTimes(-1, 0, 0),
        lambda: TIMES.run_s(-1),
        lambda: batch_s(TIMES, 0, 0, 1),
        lambda: divide_places([], 3),
    ):
        with pytest.raises(InvalidInputError):
            call()


@pytest.mark.parametrize(("skew", "n_experts", "top_k"), [(0.0, 64, 8), (1.0, 64, 8), (1.5, 16, 1), (0.8, 8, 2)])
def test_turns_drawn_at_once_use_as_many_experts_as_their_tokens(skew: float, n_experts: int, top_k: int) -> None:
    tokens = generate_routing(Demand(skew), 12_000, 1, n_experts, top_k, seed=5)
    for parallel in (8, 64):
        turns = generate_turns(Demand(skew), 400, parallel, 1, n_experts, top_k, seed=6)
        one, other = tokens.accesses(0, parallel), turns.accesses(0, parallel)
        assert other.n_steps == 400
        assert len(other.items) / 400 == pytest.approx(len(one.items) / one.n_steps, rel=0.03)
    assert (turns.n_tokens, turns.n_layers, turns.n_experts) == (400 * 64, 1, n_experts)


def test_tokens_that_repeat_add_no_experts_to_a_turn() -> None:
    few, many = (generate_turns(Demand(0.0, stay), 50, 64, 2, 256, 4).used.sum() for stay in (0.9, 0.0))
    assert few < 0.2 * many
    assert generate_turns(Demand(0.0, 1.0), 5, 64, 2, 256, 4).used.sum(axis=2).mean() == pytest.approx(4, abs=2)


def test_the_chance_to_be_taken_adds_up_to_what_a_token_takes() -> None:
    for skew in (0.0, 1.0, 3.0):
        for top_k in (1, 3, 8):
            taken = inclusion(popularity(skew, 8), top_k)
            assert taken.sum() == pytest.approx(top_k)
            assert (np.diff(taken) <= 1e-12).all()
    with pytest.raises(InvalidInputError, match="top-9 of 8"):
        inclusion(popularity(1.0, 8), 9)


def test_turns_of_another_size_are_refused() -> None:
    turns = generate_turns(Demand(), 5, 8, 1, 4, 2)
    with pytest.raises(InvalidInputError, match="turns of 8 tokens, not of 4"):
        turns.accesses(0, 4)
    with pytest.raises(InvalidInputError, match="0 turns"):
        generate_turns(Demand(), 0, 8, 1, 4, 2)
